"""Accuracies as shares, 0 to 1, from fractions or percent."""

from collections.abc import Sequence
from itertools import pairwise

from tasks.sources.run_files.table import Table, all_numbers, bad_cell
from tasks.sources.run_files.words import Unit, is_percent

ONE = 1.0 + 1e-6
"""A mean of ones in float32 is up to so much above 1."""
BULK = 0.75
"""So large a part of the values decides against the others."""
SAME = 0.1
"""Two values that differ by less, in parts of the larger, are the same in two units."""
UNIT_FIX = "Write all of them in one unit, and state it with --unit percent or --unit ratio"
SHARE_FIX = "Name another column with --metric, fix the value, or state the unit with --unit"


def shares_of(
    table: Table, name: str, unit: Unit | None = None, beside: Sequence[str] = ()
) -> Sequence[float | None]:
    """Return the column as shares; percent shows by name, signs, or most values.

    `beside` are columns of the same unit. Raises RunFileInvalid for a value that is no share.
    """
    values = all_numbers(table, name)
    _check_range(table, name, values, 100.0)
    top = 100.0 if in_percent(table, name, unit, beside) else 1.0
    _check_range(table, name, values, top)
    if top == 1.0 and all(value is None or not value > 1.0 for value in values):
        return values
    return [None if v is None else min(v / top, 1.0) if v < float("inf") else v for v in values]


def in_percent(
    table: Table, name: str, unit: Unit | None = None, beside: Sequence[str] = ()
) -> bool:
    """Return whether the column is in percent; raise RunFileInvalid for a bad number."""
    if unit is not None:
        return unit == "percent"
    if _says_percent(table, name):
        return True
    pooled = [value for each in (name, *beside) for value in all_numbers(table, each)]
    finite = [v for v in pooled if v is not None and 0.0 <= v < float("inf")]
    share = above_one(finite)
    if share <= 1.0 - BULK:
        return False
    _check_mixed(table, name, is_bulk=share >= BULK)
    return True


def above_one(values: Sequence[float]) -> float:
    """Return the part of the values that is above 1, beyond rounding."""
    return sum(value > ONE for value in values) / max(1, len(values))


def _says_percent(table: Table, name: str) -> bool:
    return is_percent(name) or _signed(table, name)


def _signed(table: Table, name: str) -> bool:
    """Return whether every non-empty cell has a percent sign."""
    texts = (str(cell).strip() for cell in table.columns[name] if cell is not None)
    signed = (text.endswith("%") for text in texts if text)
    return next(signed, False) and all(signed)


def _check_range(table: Table, name: str, values: Sequence[float | None], top: float) -> None:
    for row, value in enumerate(values):
        if value is not None and abs(value) < float("inf") and not 0.0 <= value <= top * ONE:
            what = "in percent" if top > 1.0 else "as a fraction"
            raise bad_cell(table, row, name, f"{value:g} is not a share {what}", SHARE_FIX)


def _check_mixed(table: Table, name: str, is_bulk: bool) -> None:
    """Raise for a change of units: a step across 1 that shrinks in percent.

    Where most values are percent it must nearly vanish, and the first one may be at chance.
    """
    values = all_numbers(table, name)
    known = [(row, value) for row, value in enumerate(values) if value is not None]
    for (_, before), (row, after) in pairwise(known[1:] if is_bulk else known):
        low, high = sorted((before, after))
        near = SAME * high if is_bulk else high - low
        if 0.0 < low <= 1.0 < high < float("inf") and abs(100.0 * low - high) < near:
            problem = f"percent is mixed with fractions ({before:g}, then {after:g})"
            raise bad_cell(table, row, name, problem, UNIT_FIX)
