"""The ledger: the landed digest of each cell, and the sinks that have it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from tasks.core.disk import require_space
from tasks.core.errors import LedgerAway, LedgerUnavailable
from tasks.core.receipt import Receipt
from tasks.core.retry import retrying
from tasks.core.state import CellState, LoadState
from tasks.core.window import Cell, Window
from tasks.ledger.locks import DatabaseLocks, FileLocks, reason_of
from tasks.ledger.schema import (
    as_text,
    cells,
    loads,
    meta,
    of_measurement,
    open_engine,
    pages,
    runs,
    set_aside,
    verified_suites,
)
from tasks.ledger.version import bring_up_to_date

Answer = TypeVar("Answer")
# the key in `meta` of the time of the last rebuild
REBUILT = "rebuilt_at"


class Ledger:
    """The state database; every method may raise LedgerUnavailable."""

    def __init__(self, url: str, retry_timeout: float = 0.0) -> None:
        """Open it; a server that goes away later is waited for, `retry_timeout` seconds in all."""
        self._engine = open_engine(url)
        self.url = make_url(url).render_as_string(hide_password=True)
        with self.transaction() as connection:
            bring_up_to_date(connection, self.url)
        self._deadline = retry_timeout if self.is_on_server else 0.0

    @property
    def is_on_server(self) -> bool:
        """Return whether it is a PostgreSQL database, not a SQLite file."""
        return bool(self._engine.dialect.name == "postgresql")

    def close(self) -> None:
        """Release the connections."""
        self._engine.dispose()

    def own_id(self) -> str:
        """Return the ledger's id, created on first use."""
        known = self.known_id()
        if known is None:
            insert = self._insert(meta).on_conflict_do_nothing()
            with self.transaction() as connection:
                connection.execute(insert, {"key": "id", "value": uuid4().hex[:16]})
            known = self.known_id()
        assert known is not None, "it was just written"
        return known

    def take_id(self, known: str) -> None:
        """Take over the id that the lake keeps."""
        if self.known_id() != known:
            self._keep_fact("id", known)

    def note_rebuilt(self, now: datetime) -> None:
        """Note that nothing is known any more of what sinks were sent before."""
        self._keep_fact(REBUILT, as_text(now))

    def rebuilt_at(self) -> datetime | None:
        """Return when the ledger was last rebuilt; None when it never was."""
        found = self._fact(REBUILT)
        return datetime.fromisoformat(found) if found else None

    def known_id(self) -> str | None:
        """Return the ledger's id; None before its first run."""
        return self._fact("id")

    def lake_id(self) -> str | None:
        """Return the id that its lake must have; None while no cell is known."""
        return self.known_id() if self.newest_run() else None

    def is_complete(self) -> bool:
        """Return whether it has no fewer cells than when it last knew all of the lake's."""
        before = self._fact("cells")
        return bool(before) and self._count() >= int(before or 0)

    def keep_complete(self, is_complete: bool) -> None:
        """Remember whether it knows all cells of the lake, and how many."""
        self._keep_fact("cells", str(self._count()) if is_complete else "")

    def _count(self) -> int:
        return int(self.ask(select(func.count().label("cells")).select_from(cells))[0]["cells"])

    def _fact(self, key: str) -> str | None:
        query = select(meta.c.value).where(meta.c.key == key)
        return next((row["value"] for row in self.ask(query)), None)

    def _keep_fact(self, key: str, value: str) -> None:
        self.write(meta, [{"key": key, "value": value}])

    def locks(self, folder: Path) -> FileLocks | DatabaseLocks:
        """Return the ledger's run locks: in the folder, or in the PostgreSQL server."""
        if self.is_on_server:
            return DatabaseLocks(self._engine)
        return FileLocks(folder)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield one transaction on the database."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = reason_of(error)
            if "disk" in reason and not self.is_on_server:
                # SQLite calls a full one an I/O error, too
                require_space(Path(self._engine.url.database or "").parent)
            kind = LedgerAway if self.is_on_server else LedgerUnavailable
            raise kind(url=self.url, problem=reason) from error

    def patiently(self, do: Callable[[Connection], Answer]) -> Answer:
        """Do what may be done twice in a transaction, again while a server is away."""

        def once() -> Answer:
            with self.transaction() as connection:
                return do(connection)

        try:
            return retrying(self._deadline)(once)
        except LedgerUnavailable:
            self._deadline = 0.0
            raise

    def cells(self, measurement: str, environment: str, window: Window) -> dict[Cell, CellState]:
        """Return the known states of the window's cells."""
        of = {"measurement": measurement, "environment": environment}
        query = select(cells).where(_touching(cells, of, window))
        return {state.cell: state for state in map(cell_state, self.ask(query))}

    def newest(self, measurement: str, environment: str) -> CellState | None:
        """Return the state of the newest known cell."""
        return self._first(measurement, environment, cells.c.cell_start.desc())

    def oldest(self, measurement: str, environment: str) -> CellState | None:
        """Return the state of the oldest known cell."""
        return self._first(measurement, environment, cells.c.cell_start.asc())

    def forget_all(self) -> None:
        """Drop all states of cells and sinks, which are of another lake."""
        with self.transaction() as connection:
            for table in (cells, loads, set_aside):
                connection.execute(delete(table))

    def relearn(
        self, measurement: str, environment: str, states: Iterable[CellState], *, is_all: bool
    ) -> None:
        """Write states recovered from the lake in one transaction; no sink has them.

        Known states of their cells are dropped first, of all cells of the measurement if `is_all`. How
        far a sink was sent that takes nothing twice stays known.
        """
        rows = [_row_of(state) for state in states]
        starts = [{"start": row["cell_start"]} for row in rows]
        unloaded = update(loads).values(landed_digest="", delete_count=0)
        with self.transaction() as connection:
            for table, statement in ((cells, delete(cells)), (loads, unloaded)):
                of_all = statement.where(of_measurement(table, measurement, environment))
                if is_all:
                    connection.execute(of_all)
                elif rows:
                    is_one = table.c.cell_start == bindparam("start")
                    connection.execute(of_all.where(is_one), starts)
            if rows:
                connection.execute(cells.insert(), rows)

    def newest_run(self) -> str:
        """Return the newest run's id that changed a cell; empty when no cell is known."""
        return self.ask(select(func.max(cells.c.run_id).label("newest")))[0]["newest"] or ""

    def record(self, states: Iterable[CellState]) -> None:
        """Write the states, in one transaction."""
        self.write(cells, [_row_of(state) for state in states])

    def loads(
        self, sink: str, measurement: str, environment: str, window: Window
    ) -> dict[Cell, LoadState]:
        """Return the sink's states of the window's cells."""
        of = {"sink": sink, "measurement": measurement, "environment": environment}
        query = select(loads).where(_touching(loads, of, window))
        return {state.cell: state for state in map(_load_state, self.ask(query))}

    def record_loads(self, states: Iterable[LoadState]) -> None:
        """Write states of a sink in one transaction."""
        self.write(loads, [_row_of(state) for state in states])

    def forget_loads(self, sink: str, measurement: str, environment: str, window: Window) -> None:
        """Drop the sink's states of the window's cells, so that they are owed to it again."""
        statement = delete(loads).where(
            loads.c.sink == sink,
            of_measurement(loads, measurement, environment),
            loads.c.cell_start < as_text(window.stop),
            loads.c.cell_stop > as_text(window.start),
        )
        self._do(statement)

    def last_page(self, reader: str, url: str) -> tuple[datetime, bytes] | None:
        """Return the /metrics page kept by the reader's earlier run, with its time."""
        query = select(pages.c.time, pages.c.content).where(
            pages.c.environment == reader, pages.c.url == url
        )
        row = next(iter(self.ask(query)), None)
        return None if row is None else (datetime.fromisoformat(row["time"]), row["content"])

    def keep_page(self, reader: str, url: str, time: datetime, content: bytes) -> None:
        """Keep the page for the reader's next rates; a reader is a flow of an environment."""
        row = {"environment": reader, "url": url, "time": as_text(time), "content": content}
        self.write(pages, [row])

    def keep_receipt(self, receipt: Receipt) -> None:
        """Store a run's receipt, replacing an earlier one of the same run."""
        row = {
            "run_id": receipt.run_id,
            "flow": receipt.flow,
            "environment": receipt.environment,
            "receipt": receipt.model_dump_json(),
        }
        self.write(runs, [row])

    def last_runs(self, flow: str, environment: str, before: str, most: int) -> list[str]:
        """Return JSON receipts of the flow's runs before this one, newest first."""
        query = (
            select(runs.c.receipt)
            .where(runs.c.flow == flow, runs.c.environment == environment, runs.c.run_id < before)
            .order_by(runs.c.run_id.desc())
            .limit(most)
        )
        return [row["receipt"] for row in self.ask(query)]

    def has_runs(self, besides: str = "") -> bool:
        """Return whether any run's receipt is stored, besides that of one run."""
        return bool(self.ask(select(runs.c.run_id).where(runs.c.run_id != besides).limit(1)))

    def verified(self, digests: Iterable[str]) -> frozenset[str]:
        """Return those of the digests whose suites were verified before."""
        query = select(verified_suites).where(verified_suites.c.digest.in_(list(digests)))
        return frozenset(row["digest"] for row in self.ask(query))

    def keep_verified(self, digest: str) -> None:
        """Remember that the suite with this digest is valid."""
        self.write(verified_suites, [{"digest": digest}])

    def _first(self, measurement: str, environment: str, order: Any) -> CellState | None:
        query = (
            select(cells)
            .where(of_measurement(cells, measurement, environment))
            .order_by(order)
            .limit(1)
        )
        return next(map(cell_state, self.ask(query)), None)

    def ask(self, query: Select[Any]) -> list[dict[str, Any]]:
        """Run a query of the schema's tables; return its rows by column."""
        return self.patiently(lambda c: [dict(row) for row in c.execute(query).mappings()])

    def _do(self, statement: Delete) -> None:
        self.patiently(lambda connection: connection.execute(statement))

    def write(self, table: Table, rows: list[dict[str, Any]]) -> None:
        """Insert rows in one transaction; those with the same keys are replaced."""
        if rows:
            self.patiently(lambda connection: connection.execute(self.upsert(table), rows))

    def write_new(self, table: Table, row: dict[str, Any]) -> None:
        """Write a row unless there is one with its keys."""
        statement = self._insert(table).on_conflict_do_nothing()
        self.patiently(lambda connection: connection.execute(statement, [row]))

    def upsert(self, table: Table) -> Any:
        """Return the statement that inserts a row, or replaces the one with its keys."""
        keys = [column.name for column in table.primary_key]
        statement = self._insert(table)
        rest = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys}
        if rest:
            return statement.on_conflict_do_update(index_elements=keys, set_=rest)
        return statement.on_conflict_do_nothing(index_elements=keys)

    def _insert(self, table: Table) -> Any:
        return (postgresql if self.is_on_server else sqlite).insert(table)


def _touching(table: Table, of: Mapping[str, str], window: Window) -> ColumnElement[bool]:
    """Select the window's cells; of earlier ones only the last may reach into it."""
    before = table.alias()
    # the last one, descending: for max() a server without statistics reads them all
    last = (
        select(before.c.cell_start)
        .where(
            *(before.c[name] == value for name, value in of.items()),
            before.c.cell_start <= as_text(window.start),
        )
        .order_by(before.c.cell_start.desc())
        .limit(1)
    )
    return and_(
        *(table.c[name] == value for name, value in of.items()),
        table.c.cell_start >= func.coalesce(last.scalar_subquery(), ""),
        table.c.cell_start < as_text(window.stop),
        table.c.cell_stop > as_text(window.start),
    )


def _row_of(state: CellState | LoadState) -> dict[str, Any]:
    row = {**asdict(state), "cell_start": state.cell.start, "cell_stop": state.cell.stop}
    del row["cell"]
    row.pop("made_at", None)
    return {n: as_text(v) if isinstance(v, datetime) else v for n, v in row.items()}


def _cell_of(row: dict[str, Any]) -> Cell:
    return Cell(*(datetime.fromisoformat(row.pop(name)) for name in ("cell_start", "cell_stop")))


def cell_state(row: dict[str, Any]) -> CellState:
    """Build the state from a row of the table cells."""
    covered = datetime.fromisoformat(row.pop("covered_until"))
    return CellState(cell=_cell_of(row), covered_until=covered, **row)


def _load_state(row: dict[str, Any]) -> LoadState:
    until = row.pop("sent_until")
    return LoadState(
        cell=_cell_of(row), sent_until=datetime.fromisoformat(until) if until else None, **row
    )
