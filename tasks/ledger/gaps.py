"""Which time the ledger does not know as covered, asked with one query however long it is."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    String,
    and_,
    column,
    func,
    select,
    values,
)

from tasks.core.state import CellState
from tasks.core.window import Cell, Window
from tasks.ledger.ledger import Ledger, cell_state
from tasks.ledger.schema import as_text, cells

# a slice in which no cell lacks is only counted, so that few rows leave the database
SLICE_CELLS = 128
MOST_SLICES = 128
NEWEST_CELLS = 1_000


@dataclass(frozen=True)
class Gaps:
    """Stretches of whole cells that are not covered, oldest first; none touches the next."""

    stretches: tuple[Window, ...]
    length: timedelta

    @property
    def count(self) -> int:
        """How many cells they are."""
        return sum(stretch.length // self.length for stretch in self.stretches)

    def cells(self) -> Iterator[Cell]:
        """Each cell, oldest first."""
        for stretch in self.stretches:
            yield from stretch.cells(self.length)

    def without(self, taken: Iterable[Window]) -> "Gaps":
        """What is left when these windows, which are on the grid, are taken out."""
        left = self
        for window in taken:
            parts = (*left.before(window.start).stretches, *left.since(window.stop).stretches)
            left = Gaps(parts, self.length)
        return left

    def before(self, moment: datetime) -> "Gaps":
        """What lies before the moment, which is on the grid."""
        parts = (stretch.clipped(moment) for stretch in self.stretches)
        return Gaps(tuple(part for part in parts if part is not None), self.length)

    def since(self, moment: datetime) -> "Gaps":
        """What does not lie before the moment, which is on the grid."""
        parts = (
            Window(max(stretch.start, moment), stretch.stop)
            for stretch in self.stretches
            if stretch.stop > moment
        )
        return Gaps(tuple(parts), self.length)


def find_gaps(
    ledger: Ledger, measurement: str, environment: str, window: Window, length: timedelta
) -> Gaps:
    """What of the window is not covered to its end; it is of whole cells of this length.

    A cell that was answered without data is covered; one that was read in part, or not at all, is
    not.

    Raises:
        LedgerUnavailable.
    """
    is_mine = and_(cells.c.measurement == measurement, cells.c.environment == environment)
    rows = ledger.ask(_query(is_mine, _slices(window, length)))
    stretches: list[Window] = []
    for bounds, covered in groupby(rows, key=lambda row: (row["start"], row["stop"])):
        for stretch in _between(Window(*map(datetime.fromisoformat, bounds)), covered):
            if stretches and stretches[-1].stop == stretch.start:
                stretch = Window(stretches.pop().start, stretch.stop)
            stretches.append(stretch)
    return Gaps(tuple(stretches), length)


def covered_beyond(
    ledger: Ledger, measurement: str, environment: str, moment: datetime, length: timedelta
) -> list[CellState]:
    """The cells, of this length, that are said to be covered further than the moment, oldest first.

    Raises:
        LedgerUnavailable.
    """
    query = (
        select(cells)
        .where(
            cells.c.measurement == measurement,
            cells.c.environment == environment,
            cells.c.cell_start > as_text(moment - length),
            cells.c.covered_until > as_text(moment),
        )
        .order_by(cells.c.cell_start)
    )
    return [cell_state(row) for row in ledger.ask(query)]


def most_rows(ledger: Ledger, measurement: str, environment: str) -> int:
    """Rows of the fullest among the newest thousand cells.

    Raises:
        LedgerUnavailable.
    """
    newest = (
        select(cells.c.rows)
        .where(cells.c.measurement == measurement, cells.c.environment == environment)
        .order_by(cells.c.cell_start.desc())
        .limit(NEWEST_CELLS)
        .subquery()
    )
    rows = ledger.ask(select(func.coalesce(func.max(newest.c.rows), 0).label("most")))
    return int(rows[0]["most"])


def _slices(window: Window, length: timedelta) -> FromClause:
    """The window cut up, with how many cells each slice has."""
    total = window.length // length
    size = max(SLICE_CELLS, -(-total // MOST_SLICES))
    rows = [
        (
            as_text(window.start + first * length),
            as_text(window.start + min(first + size, total) * length),
            min(size, total - first),
        )
        for first in range(0, total, size)
    ]
    columns = (column("start", String), column("stop", String), column("cells", BigInteger))
    return values(*columns, name="slices", literal_binds=True).data(rows).cte("slices")


def _query(is_mine: ColumnElement[bool], slices: FromClause) -> Select[Any]:
    """The covered cells of each slice that lacks one; a slice without any has a row of nulls.

    Both counts are of one index alone: that of the key, and that of the cells read in part.
    """
    inside = and_(is_mine, cells.c.cell_start >= slices.c.start, cells.c.cell_start < slices.c.stop)
    is_partial = cells.c.covered_until < cells.c.cell_stop
    known = select(func.count()).select_from(cells).where(inside).scalar_subquery()
    partial = select(func.count()).select_from(cells).where(inside, is_partial).scalar_subquery()
    short = (
        select(slices.c.start, slices.c.stop).where(slices.c.cells > known - partial).cte("short")
    )
    covered = and_(
        is_mine,
        cells.c.cell_start >= short.c.start,
        cells.c.cell_start < short.c.stop,
        cells.c.covered_until >= cells.c.cell_stop,
    )
    return (
        select(short.c.start, short.c.stop, cells.c.cell_start, cells.c.cell_stop)
        .select_from(short.outerjoin(cells, covered))
        .order_by(short.c.start, cells.c.cell_start)
    )


def _between(span: Window, covered: Iterator[Mapping[str, Any]]) -> Iterator[Window]:
    """The stretches of the span before, between and behind the covered cells."""
    reached = span.start
    for row in covered:
        if row["cell_start"] is None:
            break
        start = datetime.fromisoformat(row["cell_start"])
        if start > reached:
            yield Window(reached, start)
        reached = datetime.fromisoformat(row["cell_stop"])
    if reached < span.stop:
        yield Window(reached, span.stop)
