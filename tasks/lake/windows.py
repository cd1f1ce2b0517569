"""The table _windows: how each cell stands, one append a run, so that the lake holds its own state."""

from collections.abc import Iterable
from dataclasses import asdict

import pyarrow as pa

from tasks.core.state import CellState
from tasks.lake.delta import append_rows, existing_table, open_table, read_rows
from tasks.lake.tables import Lake

WINDOWS = "_windows"
_MOMENT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("measurement", pa.string()),
        ("environment", pa.string()),
        ("cell_start", _MOMENT),
        ("cell_stop", _MOMENT),
        ("source", pa.string()),
        ("covered_until", _MOMENT),
        ("state", pa.string()),
        ("source_digest", pa.string()),
        ("landed_digest", pa.string()),
        ("rows", pa.int64()),
        ("values", pa.int64()),
        ("quarantined", pa.int64()),
        ("erasures", pa.int64()),
        ("catalogue_digest", pa.string()),
        ("run_id", pa.string()),
    ]
)


def append_states(lake: Lake, states: Iterable[CellState]) -> None:
    """One append with the cells whose state changed in a run; nothing for none.

    Raises:
        LakeBusy, LakeDamaged.
    """
    rows = [_row(state) for state in states]
    if not rows:
        return
    table = open_table(lake.table_url(WINDOWS), WINDOWS, SCHEMA)
    append_rows(table, WINDOWS, pa.Table.from_pylist(rows, schema=SCHEMA))


def read_states(lake: Lake) -> pa.Table:
    """All that was ever appended; of several rows of one cell the last run's is in force.

    Raises:
        LakeDamaged: when the table cannot be read.
    """
    table = existing_table(lake.table_url(WINDOWS), WINDOWS)
    if table is None:
        return SCHEMA.empty_table()
    return read_rows(table, WINDOWS, SCHEMA.names, None, None)


def _row(state: CellState) -> dict[str, object]:
    row = asdict(state)
    row.pop("cell")
    return {**row, "cell_start": state.cell.start, "cell_stop": state.cell.stop}
