"""What a sink lacks of what is landed, found without a look at each cell that it has."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, Table, and_, func, select

from tasks.core.state import CellState
from tasks.core.window import Window
from tasks.ledger.buckets import slices_of
from tasks.ledger.ledger import Ledger, cell_state
from tasks.ledger.schema import as_text, cells, loads


def pending_cells(
    ledger: Ledger, sink: str, measurement: str, environment: str
) -> Iterator[CellState]:
    """The cells whose landed digest is not in the sink, newest first; read as they are asked for."""
    asked = _Asked(ledger, sink, measurement, environment)
    slices = _known_slices(ledger, measurement, environment)
    if slices is None:
        return
    for row in ledger.ask(asked.differing(slices).order_by(slices.c.start.desc())):
        for found in ledger.ask(asked.lacking(row["start"], row["stop"])):
            yield cell_state(found)


def pending_values(
    ledger: Ledger, sink: str, measurement: str, environment: str, before: datetime, run_id: str
) -> int:
    """How many values the cells have that start before the moment and that the sink lacks, without
    those that this run landed.
    """
    asked = _Asked(ledger, sink, measurement, environment)
    slices = _known_slices(ledger, measurement, environment)
    if slices is None:
        return 0
    is_older = and_(cells.c.cell_start < as_text(before), cells.c.run_id != run_id)
    return int(ledger.ask(asked.lacked_values(slices, is_older))[0]["found"])


def digest_in(sink: str) -> ColumnElement[str]:
    """The digest of a cell's rows that the sink has; null when it has none.

    Looked up cell by cell: from a join, or EXISTS, a server whose statistics are behind makes a
    comparison of each cell with each.
    """
    is_same = and_(
        loads.c.sink == sink,
        loads.c.measurement == cells.c.measurement,
        loads.c.environment == cells.c.environment,
        loads.c.cell_start == cells.c.cell_start,
    )
    return select(loads.c.landed_digest).where(is_same).correlate(cells).scalar_subquery()


class _Asked:
    """The queries about what one sink lacks of one measurement and environment."""

    def __init__(self, ledger: Ledger, sink: str, measurement: str, environment: str) -> None:
        self._is_on_server = ledger.is_on_server
        self._landed = and_(
            cells.c.measurement == measurement,
            cells.c.environment == environment,
            cells.c.landed_digest != "",
        )
        self._loaded = and_(
            loads.c.sink == sink,
            loads.c.measurement == measurement,
            loads.c.environment == environment,
        )
        self._lacks = cells.c.landed_digest.is_distinct_from(digest_in(sink))

    def differing(self, slices: FromClause) -> Select[Any]:
        """The slices whose landed and loaded digests are not all the same ones.

        Two indexes are read from one end to the other, which costs a fraction of a look-up a cell.
        """
        landed = self._digests(cells, self._landed, slices)
        loaded = self._digests(loads, self._loaded, slices)
        return select(slices.c.start, slices.c.stop).where(landed.is_distinct_from(loaded))

    def lacking(self, start: str, stop: str) -> Select[Any]:
        """The cells of the slice that the sink lacks, newest first."""
        inside = and_(cells.c.cell_start >= start, cells.c.cell_start < stop)
        found = select(cells).where(self._landed, inside, self._lacks)
        return found.order_by(cells.c.cell_start.desc())

    def lacked_values(self, slices: FromClause, which: ColumnElement[bool]) -> Select[Any]:
        """How many values those of these cells have that the sink lacks."""
        differing = self.differing(slices).cte("differing")
        is_one = and_(self._landed, _inside(cells, differing), which, self._lacks)
        of_slice = select(func.sum(cells.c["values"])).where(is_one).correlate(differing)
        held = select(of_slice.scalar_subquery().label("held")).select_from(differing).subquery()
        return select(func.coalesce(func.sum(held.c.held), 0).label("found"))

    def _digests(
        self, table: Table, which: ColumnElement[bool], slices: FromClause
    ) -> ColumnElement[str]:
        """All starts and digests of a slice as one text; in another order they would differ, and
        cost a look at the slice.

        SQLite reads the index in order, and is faster when it is not told to. A server is told to by
        what the texts are made of: told of the texts themselves, it would sort each.
        """
        each = (table.c.cell_start + table.c.landed_digest).label("each")
        of_slice = select(each).where(which, _inside(table, slices)).correlate(slices)
        if self._is_on_server:
            of_slice = of_slice.order_by(table.c.cell_start)
        rows = of_slice.subquery()
        return select(func.aggregate_strings(rows.c.each, ",")).scalar_subquery()


def _inside(table: Table, slices: FromClause) -> ColumnElement[bool]:
    return and_(table.c.cell_start >= slices.c.start, table.c.cell_start < slices.c.stop)


def _known_slices(ledger: Ledger, measurement: str, environment: str) -> FromClause | None:
    """All that is known of the measurement, cut up; None when nothing is."""
    oldest = ledger.oldest(measurement, environment)
    newest = ledger.newest(measurement, environment)
    if oldest is None or newest is None:
        return None
    return slices_of(Window(oldest.cell.start, newest.cell.stop), newest.cell.length)
