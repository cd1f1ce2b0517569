"""Common form of every format: named columns, and the position of each row."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Any, Literal

from tasks.core.errors import RunFileInvalid
from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.core.training import PrivacyTerms, TrainingRun

MOST_ROUNDS = 1_000_000_000
"""A greater number is not a round."""
MOST_CELLS = 5_000_000
"""A run of 1,000 rounds and 200 clients has two million."""
NO_ROUND = ("it has no round", "Name a file of a run that has finished a round")
NOTHING = ("none", "null", "n/a", "na", "-", "–")
"""Usual texts for a missing number."""


@dataclass(frozen=True)
class About:
    """Facts of a file about the whole run; None for unknown ones."""

    run_id: str
    source: str
    total_rounds: int | None = None
    privacy: PrivacyTerms | None = None


@dataclass(frozen=True)
class Table:
    """Columns of equal length, named as in the file; cells are text, numbers or None.

    places has each row's position for people: line 7, rounds[3].
    """

    about: About
    columns: Mapping[str, Sequence[Any]]
    places: Sequence[str]
    findings: tuple[Finding, ...] = field(default=())
    _numbers: dict[str, Sequence[float | None] | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def numbers(self, name: str) -> Sequence[float | None] | None:
        """Return the column as `number` has its cells; None if one is not a number."""
        if name not in self._numbers:
            self._numbers[name] = _numbers(self.columns[name])
        return self._numbers[name]


@dataclass(frozen=True)
class RunFile:
    """The runs of one file in its order, findings on the file, and whether its
    accuracy is in percent (the runs have shares). kind is that of a requested column."""

    runs: tuple[TrainingRun, ...]
    findings: tuple[Finding, ...]
    in_percent: bool
    kind: Literal["accuracy", "loss"] | None = None


def check_cells(file: str, rows: int, columns: int) -> None:
    """Refuse a table, before it is built, that would fill the memory."""
    if rows * columns > MOST_CELLS:
        problem = (
            f"it has {rows:,} rows of {columns:,} columns, at most {MOST_CELLS:,} cells are read"
        )
        raise invalid(file, problem, "Keep the columns of round, loss and accuracy")


def invalid(file: str, problem: str, fix: str) -> RunFileInvalid:
    """Return the error that ends the reading of a file."""
    return RunFileInvalid(file=file, problem=problem, fix=fix)


def odd(
    kind: str, sentence: str, severity: Severity = Severity.WARNING, **evidence: Any
) -> Finding:
    """Return a finding about a file."""
    return Finding(kind, severity, sentence, evidence)


def bad_cell(table: Table, row: int, name: str, problem: str, fix: str) -> RunFileInvalid:
    """Build the error of one cell."""
    return invalid(table.about.source, f"{table.places[row]}, column {name}: {problem}", fix)


def all_numbers(table: Table, name: str) -> Sequence[float | None]:
    """Return the column as `number` does; raise RunFileInvalid for the first bad cell."""
    known = table.numbers(name)
    rows = range(len(table.places))
    return known if known is not None else [number(table, name, row) for row in rows]


def number(table: Table, name: str, row: int) -> float | None:
    """Parse the cell, None where it is empty; raise RunFileInvalid for a bad number."""
    known = table.numbers(name)
    if known is not None:
        return known[row]
    # only the first of several bad cells is reported
    cell = table.columns[name][row]
    try:
        return _number(cell)
    except ValueError:
        problem = f"{_short(str(cell).strip())} is not a number"
        raise bad_cell(table, row, name, problem, "Correct the cell or leave it empty") from None


def _numbers(cells: Sequence[Any]) -> Sequence[float | None] | None:
    try:
        # nearly every column is plain text
        with suppress(TypeError, ValueError):
            if "_" not in "".join(cells):
                return [float(cell) if cell else None for cell in cells]
        return [_number(cell) for cell in cells]
    except ValueError:
        return None


def _number(cell: Any) -> float | None:
    if cell is None or isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        return _float(cell)
    text = str(cell).strip()
    if not text or text.lower() in NOTHING:
        return None
    return _float(_plain(text))


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _plain(text: str) -> str:
    """Return the number without a percent sign, with a point for a comma."""
    bare = text.removesuffix("%").strip()
    if "_" in bare:
        raise ValueError(bare)
    return bare.replace(",", ".") if bare.count(",") == 1 and "." not in bare else bare


def _short(text: str) -> str:
    cut = text if len(text) <= 40 else f"{text[:40]}…"
    return repr(cut)


def is_count(value: float) -> bool:
    """Return whether it is a whole number from 0 to a billion."""
    return 0 <= value <= MOST_ROUNDS and value.is_integer()


def whole(table: Table, name: str, row: int, what: str) -> int | None:
    """Return the cell as a count, 0 to a billion; raise RunFileInvalid."""
    value = number(table, name, row)
    if value is None:
        return None
    if is_count(value):
        return int(value)
    fix = "Write a whole number from 0 on, or leave the cell empty"
    raise bad_cell(table, row, name, f"{what} cannot be {value:g}", fix)


def text(table: Table, name: str, row: int) -> str | None:
    """Return the cell as a name; None where it is empty."""
    cell = table.columns[name][row]
    if cell is None:
        return None
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell).strip() or None


def moment(cell: Any) -> datetime | None:
    """Parse ISO 8601, or seconds or milliseconds since 1970; None for anything else."""
    try:
        since = float(cell)
    except (TypeError, ValueError, OverflowError):
        since = math.nan
    if 1e11 <= since < 1e14:
        since /= 1000.0
    if 1e9 <= since < 1e11:
        return datetime.fromtimestamp(since, UTC)
    if not isinstance(cell, str):
        return None
    try:
        time = datetime.fromisoformat(cell.strip())
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    # else it could not be shown in every zone
    return time if MINYEAR < time.year < MAXYEAR else None
