"""Accuracies as shares, 0 to 1, from fractions or percent."""

from collections.abc import Sequence
from itertools import pairwise

from tasks.sources.run_files.names import is_percent
from tasks.sources.run_files.table import Table, all_numbers, bad_cell

PERCENT_FIX = "Write all of them as fractions, or all in percent with percent in the column's name"


def shares_of(table: Table, name: str) -> Sequence[float | None]:
    """Return the column as shares; percent shows by name, signs, or values above 1."""
    values = all_numbers(table, name)
    known = ((row, value) for row, value in enumerate(values) if value is not None)
    finite = [(row, value) for row, value in known if abs(value) < float("inf")]
    for row, value in finite:
        if not 0.0 <= value <= 100.0:
            problem = f"{value:g} is not a share, neither as a fraction nor in percent"
            fix = "Name another column with --metric, or fix the value"
            raise bad_cell(table, row, name, problem, fix)
    if not in_percent(table, name):
        return values
    if not _says_percent(table, name):
        _check_mixed(table, name, finite)
    return [None if value is None else value / 100.0 for value in values]


def in_percent(table: Table, name: str) -> bool:
    """Return whether the column is in percent; raise RunFileInvalid for a bad number."""
    return _says_percent(table, name) or any(
        value is not None and 1.0 < value <= 100.0 for value in all_numbers(table, name)
    )


def _says_percent(table: Table, name: str) -> bool:
    return is_percent(name) or _signed(table, name)


def _signed(table: Table, name: str) -> bool:
    """Return whether every non-empty cell has a percent sign."""
    texts = (str(cell).strip() for cell in table.columns[name] if cell is not None)
    signed = (text.endswith("%") for text in texts if text)
    return next(signed, False) and all(signed)


def _check_mixed(table: Table, name: str, finite: list[tuple[int, float]]) -> None:
    """Raise for a change of units: a step across 1 that shrinks in percent."""
    for (_, before), (row, after) in pairwise(finite):
        low, high = sorted((before, after))
        if low <= 1.0 < high and low > 0.0 and abs(100.0 * low - high) < high - low:
            problem = f"percent is mixed with fractions ({before:g}, then {after:g})"
            raise bad_cell(table, row, name, problem, PERCENT_FIX)
