"""Means of a measurement in earlier windows, by one aggregating query."""

from collections.abc import Mapping
from datetime import timedelta

from tasks.core.measurement import Measurement
from tasks.core.window import Window
from tasks.lake.delta import arrow_schema_of, ask, inside, of_files
from tasks.lake.tables import Lake

DIGITS = 12  # threads add up in any order, which changes the last digits of a mean


def means(
    lake: Lake, measurement: Measurement, environment: str, windows: Mapping[timedelta, Window]
) -> dict[str, dict[timedelta, float]]:
    """Return the mean of all landed values in each window, by field and key.

    Only numbers (a bool is 0 or 1), in the field's base unit, of windows with values. Files outside
    the windows are not read.
    """
    table = lake.table(measurement.name)
    if table is None:
        return {}
    known = arrow_schema_of(table).names
    fields = [n for n, spec in measurement.fields.items() if spec.type != "string" and n in known]
    first = min(filter(None, of_files(table, "min.time")), default=None)
    asked = {key: w for key, w in windows.items() if first is not None and w.stop > first}
    if not fields or not asked:
        return {}
    columns = ", ".join(f'avg(CAST("{name}" AS DOUBLE)) AS "{name}"' for name in fields)
    sql = " UNION ALL ".join(
        f"SELECT {number} AS number, {columns} FROM landed WHERE {inside(environment, window)}"
        for number, window in enumerate(asked.values())
    )
    answer = ask(table, measurement.name, sql).to_pydict()
    keys = [list(asked)[number] for number in answer["number"]]
    return {
        name: {
            key: float(f"{mean:.{DIGITS}g}")
            for key, mean in zip(keys, answer[name], strict=True)
            if mean is not None
        }
        for name in fields
    }
