"""Pending cells of a sink, found without reading each of its cells."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import CTE, ColumnElement, FromClause, Table, and_, func, select

from tasks.core.state import CellState
from tasks.core.window import Window
from tasks.ledger.buckets import slices_of
from tasks.ledger.ledger import Ledger, cell_state
from tasks.ledger.schema import as_text, cells, loads, of_measurement


def pending_cells(
    ledger: Ledger, sink: str, measurement: str, environment: str
) -> Iterator[CellState]:
    """Yield the cells whose landed digest the sink lacks, newest first, read lazily."""
    differing = _differing(ledger, sink, measurement, environment)
    if differing is None:
        return
    lacking = select(cells).where(is_owed(sink, measurement, environment))
    for row in ledger.ask(select(differing).order_by(differing.c.start.desc())):
        inside = and_(cells.c.cell_start >= row["start"], cells.c.cell_start < row["stop"])
        newest_first = lacking.where(inside).order_by(cells.c.cell_start.desc())
        yield from map(cell_state, ledger.ask(newest_first))


def pending_values(
    ledger: Ledger, sink: str, measurement: str, environment: str, before: datetime, run_id: str
) -> int:
    """Count pending values in cells before the moment, without those this run landed."""
    differing = _differing(ledger, sink, measurement, environment)
    if differing is None:
        return 0
    is_older = and_(cells.c.cell_start < as_text(before), cells.c.run_id != run_id)
    is_one = and_(is_owed(sink, measurement, environment), _inside(cells, differing), is_older)
    of_slice = select(func.sum(cells.c["values"])).where(is_one).correlate(differing)
    held = select(of_slice.scalar_subquery().label("held")).select_from(differing).subquery()
    total = select(func.coalesce(func.sum(held.c.held), 0).label("found"))
    return int(ledger.ask(total)[0]["found"])


def is_owed(sink: str, measurement: str, environment: str) -> ColumnElement[bool]:
    """Return whether a landed cell is pending: the sink lacks its digest."""
    lacks = cells.c.landed_digest.is_distinct_from(digest_in(sink))
    return and_(_is_landed(measurement, environment), lacks)


def _is_landed(measurement: str, environment: str) -> ColumnElement[bool]:
    return and_(of_measurement(cells, measurement, environment), cells.c.landed_digest != "")


def digest_in(sink: str) -> ColumnElement[str]:
    """Return the sink's digest of a cell's rows; null when it has none.

    Looked up cell by cell: for a join, or EXISTS, a server with stale statistics compares each cell
    with each.
    """
    is_same = and_(
        loads.c.sink == sink,
        loads.c.measurement == cells.c.measurement,
        loads.c.environment == cells.c.environment,
        loads.c.cell_start == cells.c.cell_start,
    )
    return select(loads.c.landed_digest).where(is_same).correlate(cells).scalar_subquery()


def _differing(ledger: Ledger, sink: str, measurement: str, environment: str) -> CTE | None:
    """Return the slices with differing landed and loaded digests, if any.

    Both indexes are read once from end to end, a fraction of the cost of a look-up a cell.
    """
    oldest = ledger.oldest(measurement, environment)
    newest = ledger.newest(measurement, environment)
    if oldest is None or newest is None:
        return None
    slices = slices_of(Window(oldest.cell.start, newest.cell.stop), newest.cell.length)
    is_loaded = and_(loads.c.sink == sink, of_measurement(loads, measurement, environment))
    landed, loaded = (
        _digests(table, which, slices, ledger.is_on_server)
        for table, which in ((cells, _is_landed(measurement, environment)), (loads, is_loaded))
    )
    differing = select(slices.c.start, slices.c.stop).where(landed.is_distinct_from(loaded))
    return differing.cte("differing")


def _digests(
    table: Table, which: ColumnElement[bool], slices: FromClause, is_on_server: bool
) -> ColumnElement[str]:
    """Return all starts and digests of a slice as one text.

    Texts in another order differ, which costs a look at the slice. SQLite reads the index in order,
    and is faster without ORDER BY. A server gets the text's parts as its order: by the texts
    themselves it would sort each.
    """
    each = (table.c.cell_start + table.c.landed_digest).label("each")
    of_slice = select(each).where(which, _inside(table, slices)).correlate(slices)
    if is_on_server:
        of_slice = of_slice.order_by(table.c.cell_start)
    return select(func.aggregate_strings(of_slice.subquery().c.each, ",")).scalar_subquery()


def _inside(table: Table, slices: FromClause) -> ColumnElement[bool]:
    return and_(table.c.cell_start >= slices.c.start, table.c.cell_start < slices.c.stop)
