"""Cells with rows in a table, and their counts, by one aggregating query."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.core.measurement import Measurement
from tasks.core.window import Cell, Window
from tasks.lake.delta import arrow_schema_of, ask, inside
from tasks.lake.tables import Lake


@dataclass(frozen=True)
class Held:
    """Number of rows and values (non-null fields) of a cell in the lake."""

    rows: int
    values: int


def held_cells(
    lake: Lake, measurement: Measurement, environment: str, window: Window, length: timedelta
) -> dict[Cell, Held]:
    """Return the cells of the grid with rows in the lake, oldest first.

    The lake decides, since a ledger may be lost or behind. The window must be of whole cells.
    """
    table = lake.table(measurement.name)
    if table is None:
        return {}
    known = arrow_schema_of(table).names
    counts = [f'count("{name}")' for name in measurement.fields if name in known]
    micros = length // timedelta(microseconds=1)
    cell = f"date_bin(INTERVAL '{micros} microseconds', time, TIMESTAMP '1970-01-01T00:00:00Z')"
    sql = (
        f"SELECT {cell} AS start, count(*) AS rows, {' + '.join(counts) or '0'} AS held "
        f"FROM landed WHERE {inside(environment, window)} GROUP BY {cell} ORDER BY start"
    )
    answer = ask(table, measurement.name, sql).to_pydict()
    starts: list[datetime] = answer["start"]
    return {
        Cell(start, start + length): Held(rows, values)
        for start, rows, values in zip(starts, answer["rows"], answer["held"], strict=True)
    }
