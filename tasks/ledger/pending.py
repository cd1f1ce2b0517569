"""What a sink lacks of what is landed, found without a look at each cell that it has."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    String,
    Table,
    and_,
    column,
    func,
    or_,
    select,
    values,
)

from tasks.core.state import CellState
from tasks.core.window import Window
from tasks.ledger.ledger import Ledger, cell_state
from tasks.ledger.schema import as_text, cells, loads

MOST_SLICES = 128
SLICE_CELLS = 128


def pending_cells(
    ledger: Ledger, sink: str, measurement: str, environment: str
) -> Iterator[CellState]:
    """The cells whose landed digest is not in the sink, newest first; read as they are asked for.

    Raises:
        LedgerUnavailable.
    """
    asked = _Asked(sink, measurement, environment)
    oldest, newest = (
        ledger.oldest(measurement, environment),
        ledger.newest(measurement, environment),
    )
    if oldest is None or newest is None:
        return
    span = Window(oldest.cell.start, newest.cell.stop)
    slices = _slices(span, newest.cell.length)
    for row in ledger.ask(asked.differing(slices, is_sorted=ledger.is_on_server)):
        for found in ledger.ask(asked.within(row["start"], row["stop"])):
            yield cell_state(found)


def pending_values(
    ledger: Ledger, sink: str, measurement: str, environment: str, before: datetime, run_id: str
) -> int:
    """How many values the cells have that start before the moment and that the sink lacks, without
    those that this run landed.

    Raises:
        LedgerUnavailable.
    """
    asked = _Asked(sink, measurement, environment)
    found = func.coalesce(func.sum(cells.c["values"]), 0).label("found")
    query = asked.lacking(select(found)).where(
        cells.c.cell_start < as_text(before), cells.c.run_id != run_id
    )
    return int(ledger.ask(query)[0]["found"])


class _Asked:
    """The queries about what one sink lacks of one measurement and environment."""

    def __init__(self, sink: str, measurement: str, environment: str) -> None:
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

    def differing(self, slices: FromClause, is_sorted: bool) -> Select[Any]:
        """The slices, newest first, whose landed and loaded digests are not all the same ones.

        Two indexes are read from one end to the other, which costs a fraction of a look-up a cell.
        SQLite reads them in order, and not each version of it can be told to; in another order
        they would differ, and cost a look at the slice.
        """
        landed = _digests(cells, self._landed, slices, is_sorted)
        loaded = _digests(loads, self._loaded, slices, is_sorted)
        return (
            select(slices.c.start, slices.c.stop)
            .where(landed.is_distinct_from(loaded))
            .order_by(slices.c.start.desc())
        )

    def within(self, start: str, stop: str) -> Select[Any]:
        """The cells of the slice that the sink lacks, newest first."""
        inside = and_(cells.c.cell_start >= start, cells.c.cell_start < stop)
        return self.lacking(select(cells)).where(inside).order_by(cells.c.cell_start.desc())

    def lacking(self, query: Select[Any]) -> Select[Any]:
        """The query, of the cells that the sink lacks."""
        same = and_(self._loaded, loads.c.cell_start == cells.c.cell_start)
        lacks = or_(loads.c.landed_digest.is_(None), loads.c.landed_digest != cells.c.landed_digest)
        return query.select_from(cells.outerjoin(loads, same)).where(self._landed, lacks)


def _digests(
    table: Table, which: ColumnElement[bool], slices: FromClause, is_sorted: bool
) -> ColumnElement[str]:
    """All starts and digests of a slice as one text."""
    inside = and_(which, table.c.cell_start >= slices.c.start, table.c.cell_start < slices.c.stop)
    all_of_it = func.aggregate_strings(table.c.cell_start + table.c.landed_digest, ",")
    in_order = all_of_it.aggregate_order_by(table.c.cell_start) if is_sorted else all_of_it
    return select(in_order).where(inside).correlate(slices).scalar_subquery()


def _slices(span: Window, length: timedelta) -> FromClause:
    """The span cut up."""
    size = length * max(SLICE_CELLS, -(-(span.length // length) // MOST_SLICES))
    starts = [span.start + number * size for number in range(-(-span.length // size))]
    rows = [(as_text(start), as_text(start + size)) for start in starts]
    return (
        values(column("start", String), column("stop", String), name="slices", literal_binds=True)
        .data(rows)
        .cte("slices")
    )
