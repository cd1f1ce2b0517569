"""Migration of a table to the catalogue: the changes to columns, and their checks."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from tasks.core.batch import arrow_schema
from tasks.core.errors import MigrationRefused, UsageInvalid
from tasks.core.measurement import Measurement
from tasks.core.window import Window
from tasks.lake.delta import arrow_schema_of, ask, existing_table, fitted, read_rows, replace_table
from tasks.lake.tables import QUARANTINE, Lake

# largest range in which a 64-bit float holds every integer
_MOST_EXACT = 2**53
_MOST_INTEGER = 2.0**63
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Change:
    """Changes to a table's columns: `renamed` maps new names to old ones, `cast`
    names to (type, new type); names are those of the catalogue, those of `dropped` the table's."""

    renamed: Mapping[str, str]
    added: tuple[str, ...]
    dropped: tuple[str, ...]
    cast: Mapping[str, tuple[str, str]]

    @property
    def is_none(self) -> bool:
        """Return whether the table fits as it is."""
        return not (self.renamed or self.added or self.dropped or self.cast)

    def origin(self, name: str) -> str:
        """Return the table's column that becomes this one."""
        return self.renamed.get(name, name)


def find_change(table: DeltaTable, measurement: Measurement, renames: Mapping[str, str]) -> Change:
    """Return the changes that fit the table to the catalogue; renames are old to new.

    Raises UsageInvalid when a rename names an unknown column, MigrationRefused when a column's new
    type cannot hold its values.
    """
    held, expected = arrow_schema_of(table), arrow_schema(measurement)
    done = {old for old, new in renames.items() if old not in held.names and new in held.names}
    left = {old: new for old, new in renames.items() if old not in done}
    for old, new in left.items():
        _check_rename(old, new, held.names, measurement)
    renamed = {new: old for old, new in left.items()}
    both = [n for n in expected.names if renamed.get(n, n) in held.names]
    types = {n: (held.field(renamed.get(n, n)).type, expected.field(n).type) for n in both}
    cast = {n: kinds for n, kinds in types.items() if kinds[0] != kinds[1]}
    for name, kinds in cast.items():
        if set(kinds) != {pa.int64(), pa.float64()}:
            raise _refused(
                measurement, f"column {name} is {kinds[0]}, the catalogue says {kinds[1]}"
            )
    kept = {renamed.get(n, n) for n in both}
    return Change(
        renamed=renamed,
        added=tuple(n for n in expected.names if n not in both),
        dropped=tuple(n for n in held.names if n not in kept),
        cast={n: (str(old), str(new)) for n, (old, new) in cast.items()},
    )


def check_change(table: DeltaTable, measurement: Measurement, change: Change) -> None:
    """Raise MigrationRefused if rows would become equal, or numbers change."""
    tags = set(arrow_schema_of(table).names) & {change.origin(t) for t in measurement.all_tags}
    key = ", ".join(f'"{tag}"' for tag in [*sorted(tags), "time"])
    surplus = _count(
        table,
        measurement.name,
        f"SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM landed GROUP BY {key})",
    )
    if surplus:
        raise _refused(measurement, f"{surplus} rows would have the same tags and time as others")
    for name, (_, new) in change.cast.items():
        origin = f'"{change.origin(name)}"'
        wrong = (
            f"({origin} <> floor({origin}) OR abs({origin}) >= {_MOST_INTEGER})"
            if new == "int64"
            else f"({origin} > {_MOST_EXACT} OR {origin} < -{_MOST_EXACT})"
        )
        count = _count(table, measurement.name, f"SELECT count(*) FROM landed WHERE {wrong}")
        if count:
            raise _refused(measurement, f"{count} values of {name} would change as {new}")


def make_change(table: DeltaTable, measurement: Measurement, change: Change, metadata: Any) -> int:
    """Rewrite the table with the catalogue's columns; return its version.

    One atomic commit. A day of rows is in memory at once, by way of a temporary file, since the library
    be queried while it writes. Raises as replace_table does.
    """
    schema = arrow_schema(measurement)
    with tempfile.TemporaryFile() as spool:
        with pa.ipc.new_stream(spool, schema) as writer:
            for day in days_of(table, measurement.name):
                writer.write_table(_changed(table, measurement, change, day, schema))
        spool.seek(0)
        with pa.ipc.open_stream(spool) as reader:
            return replace_table(table, measurement.name, reader, metadata)


def rename_in_quarantine(lake: Lake, measurement: Measurement, renames: Mapping[str, str]) -> int:
    """Rename fields and tags in the measurement's records; return how many changed."""
    name = measurement.name
    table = existing_table(lake.quarantine_url(name), f"{QUARANTINE}/{name}")
    if table is None or not renames:
        return 0
    records = lake.quarantined(name)
    fields = records["field"].map(lambda field: renames.get(field, field))
    tags = records["tags"].map(lambda text: _renamed_tags(text, renames))
    changed = int(((fields != records["field"]) & records["field"].notna()).sum())
    changed = max(changed, int((tags != records["tags"]).sum()))
    if changed:
        lake.replace_quarantine(name, records.assign(field=fields, tags=tags))
    return changed


def days_of(table: DeltaTable, name: str, window: Window | None = None) -> list[Window]:
    """Return the days (UTC) with rows in the table, oldest first; cut to the window."""
    sql = "SELECT DISTINCT date_bin(INTERVAL '1 day', time, TIMESTAMP '1970-01-01T00:00:00Z') AS day FROM landed ORDER BY day"
    answer = ask(table, name, sql)
    starts: list[datetime] = answer["day"].cast(pa.timestamp("us", tz="UTC")).to_pylist()
    days = [Window(start, start + _DAY) for start in starts]
    if window is None:
        return days
    return [
        Window(max(day.start, window.start), min(day.stop, window.stop))
        for day in days
        if day.start < window.stop and day.stop > window.start
    ]


def _changed(
    table: DeltaTable, measurement: Measurement, change: Change, day: Window, schema: pa.Schema
) -> pa.Table:
    there = [n for n in schema.names if n not in change.added]
    rows = read_rows(table, measurement.name, [change.origin(n) for n in there], None, day)
    order = [("environment", "ascending"), ("time", "ascending")]
    return fitted(rows.rename_columns(there), schema).sort_by(order)


def _check_rename(old: str, new: str, held: list[str], measurement: Measurement) -> None:
    expected = arrow_schema(measurement).names
    problems = {
        f"the table has no column {old}": old not in held,
        f"{old} is still in the catalogue": old in expected,
        f"the catalogue has no column {new}": new not in expected,
        f"the table has a column {new} already": new in held,
    }
    problem = next((problem for problem, is_so in problems.items() if is_so), None)
    if problem is not None:
        raise UsageInvalid(
            argument=f"--rename {old}:{new}",
            problem=problem,
            fix="Give the name in the table, a colon, and the name in the catalogue",
        )


def _refused(measurement: Measurement, problem: str) -> MigrationRefused:
    return MigrationRefused(
        table=measurement.name,
        problem=problem,
        fix="Undo the change in the catalogue, or give the measurement a new name there",
    )


def _count(table: DeltaTable, name: str, sql: str) -> int:
    return int(ask(table, name, sql).column(0)[0].as_py())


def _renamed_tags(text: str, renames: Mapping[str, str]) -> str:
    tags = {renames.get(tag, tag): value for tag, value in json.loads(text).items()}
    return json.dumps(tags, sort_keys=True, ensure_ascii=False)
