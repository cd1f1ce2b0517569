"""The table _windows: states of cells, appended by runs, as the lake's own state."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

import pyarrow as pa
from deltalake import DeltaTable

from tasks.core.retry import COMMIT_DEADLINE_SECONDS, retrying
from tasks.core.state import CellState
from tasks.core.window import EPOCH, Cell
from tasks.lake.delta import append_rows, arrow_schema_of, ask, fitted, open_table
from tasks.lake.tables import Lake

WINDOWS = "_windows"
_MOMENT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("measurement", "environment")),
        *((name, _MOMENT) for name in ("cell_start", "cell_stop")),
        ("source", pa.string()),
        ("covered_until", _MOMENT),
        *((name, pa.string()) for name in ("state", "source_digest", "landed_digest")),
        *((name, pa.int64()) for name in ("rows", "values", "quarantined", "delete_count")),
        *((name, pa.string()) for name in ("catalogue_digest", "run_id")),
        # set under the lock; null in older lakes
        ("made_at", _MOMENT),
    ]
)


def append_states(lake: Lake, states: Iterable[CellState]) -> None:
    """Append the cells that changed in a run in one commit; nothing for none."""
    rows = [_row(state) for state in states]
    if not rows:
        return
    lake.say_version()
    for attempt in retrying(COMMIT_DEADLINE_SECONDS):
        with attempt:
            table = open_table(lake.table_url(WINDOWS), WINDOWS, SCHEMA)
            append_rows(table, WINDOWS, pa.Table.from_pylist(rows, schema=SCHEMA))


def states_in_force(lake: Lake) -> list[CellState]:
    """Return the recorded state of each cell, by measurement, environment and time.

    Of several rows of a cell the last made is in force (`made_at`, taken under the lock of the
    measurement; then the run's id): runs append in the order in which they end, which may differ
    from that in which they landed the cell.
    """
    table = lake.table(WINDOWS)
    rows = SCHEMA.empty_table() if table is None else rows_in_force(table)
    return [_state(row) for row in rows.to_pylist()]


def rows_in_force(table: DeltaTable) -> pa.Table:
    """Return the rows of _windows in force, in the order of states_in_force."""
    held = arrow_schema_of(table).names
    names = [name for name in SCHEMA.names if name in held]
    columns = ", ".join(f'"{name}"' for name in names)
    latest = ", ".join(f'"{name}" DESC' for name in ("run_id", *_REST) if name in names)
    if "made_at" in names:
        latest = f'"made_at" DESC NULLS LAST, {latest}'
    sql = (
        f"SELECT {columns} FROM (SELECT *, row_number() OVER (PARTITION BY measurement, "
        f"environment, cell_start ORDER BY {latest}) AS place FROM landed) WHERE place = 1 "
        "ORDER BY measurement, environment, cell_start"
    )
    return fitted(ask(table, WINDOWS, sql), SCHEMA)


# they make the order total, so that every reader finds the same row in force
_REST = ("covered_until", "delete_count", "source_digest", "landed_digest")


def _row(state: CellState) -> dict[str, object]:
    row = asdict(state)
    row.pop("cell")
    return {**row, "cell_start": state.cell.start, "cell_stop": state.cell.stop}


def _state(row: dict[str, object]) -> CellState:
    start, stop = row.pop("cell_start"), row.pop("cell_stop")
    assert isinstance(start, datetime)
    assert isinstance(stop, datetime)
    made_at = row.pop("made_at") or EPOCH
    return CellState(cell=Cell(start, stop), made_at=made_at, **row)  # type: ignore[arg-type]
