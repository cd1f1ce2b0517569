"""Uncovered time in the ledger, found with one query however long the window is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, FromClause, Select, and_, func, not_, select

from tasks.core.state import CellState
from tasks.core.window import Cell, Window
from tasks.ledger.buckets import slices_of
from tasks.ledger.ledger import Ledger, cell_state
from tasks.ledger.schema import as_text, cells, of_measurement

NEWEST_CELLS = 1_000
# separates texts in one column
BETWEEN, SEPARATOR = "/", ","


@dataclass(frozen=True)
class Gaps:
    """Uncovered stretches of whole cells, oldest first and not adjacent."""

    stretches: tuple[Window, ...]
    length: timedelta

    @property
    def count(self) -> int:
        """Return the number of cells."""
        return sum(stretch.length // self.length for stretch in self.stretches)

    def cells(self) -> Iterator[Cell]:
        """Yield each cell, oldest first."""
        for stretch in self.stretches:
            yield from stretch.cells(self.length)

    def without(self, taken: Iterable[Window]) -> "Gaps":
        """Return the rest without these windows, which are on the grid."""
        left = self
        for window in taken:
            parts = (*left.before(window.start).stretches, *left.since(window.stop).stretches)
            left = Gaps(parts, self.length)
        return left

    def before(self, moment: datetime) -> "Gaps":
        """Return the part before the moment, which is on the grid."""
        parts = (stretch.clipped(moment) for stretch in self.stretches)
        return Gaps(tuple(part for part in parts if part is not None), self.length)

    def since(self, moment: datetime) -> "Gaps":
        """Return the part from the moment on, which is on the grid."""
        parts = (
            Window(max(stretch.start, moment), stretch.stop)
            for stretch in self.stretches
            if stretch.stop > moment
        )
        return Gaps(tuple(parts), self.length)


def find_gaps(
    ledger: Ledger, measurement: str, environment: str, window: Window, length: timedelta
) -> Gaps:
    """Return the uncovered cells of the window, which is of whole cells.

    A cell answered without data is covered; one read in part, or not at all, is not.
    """
    is_mine = of_measurement(cells, measurement, environment)
    rows = ledger.ask(_query(is_mine, slices_of(window, length)))
    stretches: list[Window] = []
    for row in rows:
        for start, stop in _between(row["start"], row["stop"], row["covered"]):
            stretch = Window(datetime.fromisoformat(start), datetime.fromisoformat(stop))
            if stretches and stretches[-1].stop == stretch.start:
                stretch = Window(stretches.pop().start, stretch.stop)
            stretches.append(stretch)
    return Gaps(tuple(stretches), length)


def covered_beyond(
    ledger: Ledger, measurement: str, environment: str, moment: datetime, length: timedelta
) -> list[CellState]:
    """Return the cells recorded as covered beyond the moment, oldest first."""
    query = (
        select(cells)
        .where(
            of_measurement(cells, measurement, environment),
            cells.c.cell_start > as_text(moment - length),
            cells.c.covered_until > as_text(moment),
        )
        .order_by(cells.c.cell_start)
    )
    return [cell_state(row) for row in ledger.ask(query)]


def most_of(
    ledger: Ledger, fact: Literal["rows", "quarantined"], measurement: str, environment: str
) -> int:
    """Return the most rows or quarantined values of the newest thousand cells."""
    newest = (
        select(cells.c[fact].label("fact"))
        .where(of_measurement(cells, measurement, environment))
        .order_by(cells.c.cell_start.desc())
        .limit(NEWEST_CELLS)
        .subquery()
    )
    rows = ledger.ask(select(func.coalesce(func.max(newest.c.fact), 0).label("most")))
    return int(rows[0]["most"])


def _query(is_mine: ColumnElement[bool], slices: FromClause) -> Select[Any]:
    """Query the slices that lack a cell, with their covered cells as one text.

    The text has starts and stops in any order. Both counts use one index each: of the key, and of
    partly read cells. Covered cells are queried slice by slice: for a join a server would compare
    each cell with each slice.
    """
    inside = and_(is_mine, cells.c.cell_start >= slices.c.start, cells.c.cell_start < slices.c.stop)
    is_partial = cells.c.covered_until < cells.c.cell_stop
    known = select(func.count()).select_from(cells).where(inside).scalar_subquery()
    partial = select(func.count()).select_from(cells).where(inside, is_partial).scalar_subquery()
    spans = func.aggregate_strings(cells.c.cell_start + BETWEEN + cells.c.cell_stop, SEPARATOR)
    covered = select(spans).where(inside, not_(is_partial)).scalar_subquery().label("covered")
    return (
        select(slices.c.start, slices.c.stop, covered)
        .where(slices.c.cells > known - partial)
        .order_by(slices.c.start)
    )


def _between(start: str, stop: str, covered: str | None) -> Iterator[tuple[str, str]]:
    """Yield the stretches from start to stop between the covered cells."""
    reached = start
    for span in sorted(covered.split(SEPARATOR)) if covered else ():
        first, last = span.split(BETWEEN)
        if first > reached:
            yield reached, first
        reached = last
    if reached < stop:
        yield reached, stop
