"""Maintenance of one Delta table: compaction, retention, vacuum."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from tasks.core.retry import COMMIT_DEADLINE_SECONDS, retrying
from tasks.lake.compaction import Compacted, compact, files_of
from tasks.lake.delta import lake_errors, of_files, open_table, remove_old_files, replace_all_rows
from tasks.lake.tables import Lake
from tasks.lake.windows import SCHEMA, WINDOWS, rows_in_force


@dataclass(frozen=True)
class Size:
    """Files and bytes of a table's present state, without replaced files."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.files + other.files, self.bytes + other.bytes)


@dataclass(frozen=True)
class Upkeep:
    """Work done on a table: rows expired, files compacted, files removed."""

    before: Size = Size()
    after: Size = Size()
    expired: int = 0
    compacted: int = 0
    removed: int = 0


@dataclass(frozen=True)
class Rules:
    """Retention of a table: rows from `kept_from` on (None: all), and of old files.

    Rows from `until` on still change, so they are not compacted.
    """

    kept_from: datetime | None
    until: datetime
    files: timedelta


def keep_up(table: DeltaTable, name: str, rules: Rules, check: Callable[[], None]) -> Upkeep:
    """Expire rows, compact each day into one file, and remove unneeded files.

    No row changes but expired ones. Each step is atomic, so that a crash between two leaves a sound
    table. `check` is called before each commit, to verify the locks. Raises LakeBusy when other
    writers committed first repeatedly, with finished steps kept; LockLost by `check`.
    """
    before = size_of(table)
    done = retrying(COMMIT_DEADLINE_SECONDS)(_compacted, table, name, rules, check)
    removed = retrying(COMMIT_DEADLINE_SECONDS)(remove_old_files, table, name, rules.files)
    return Upkeep(before, size_of(table), done.expired, done.files, removed)


def _compacted(table: DeltaTable, name: str, rules: Rules, check: Callable[[], None]) -> Compacted:
    with lake_errors(name):
        table.update_incremental()
    return compact(table, name, rules.kept_from, rules.until, check)


def keep_states_up(lake: Lake, kept_from: Mapping[str, datetime], files: timedelta) -> Upkeep:
    """Keep in _windows the row in force of each cell, from `kept_from` on.

    One atomic commit: readers see the rows before or after it. Rows appended by a run meanwhile
    stay.
    """
    if lake.table(WINDOWS) is None:
        return Upkeep()
    return retrying(COMMIT_DEADLINE_SECONDS)(_states_kept_up, lake, kept_from, files)


def _states_kept_up(lake: Lake, kept_from: Mapping[str, datetime], files: timedelta) -> Upkeep:
    # a lake older than one of its columns gets that column
    table = open_table(lake.table_url(WINDOWS), WINDOWS, SCHEMA)
    before, total = size_of(table), sum(of_files(table, "num_records"))
    rows = _unexpired(rows_in_force(table), kept_from)
    if len(rows) < total or before.files > 1:
        replace_all_rows(table, WINDOWS, rows)
    removed = remove_old_files(table, WINDOWS, files)
    return Upkeep(before, size_of(table), total - len(rows), 0, removed)


def size_of(table: DeltaTable) -> Size:
    """Return the files and bytes of the table's present state."""
    sizes = of_files(table, "size_bytes")
    return Size(len(sizes), sum(sizes))


def environments_of(table: DeltaTable, name: str) -> frozenset[str]:
    """Return the environments with rows in the table."""
    return frozenset(known for file in files_of(table, name) for known in file.environments)


def _unexpired(rows: pa.Table, kept_from: Mapping[str, datetime]) -> pa.Table:
    for name, moment in kept_from.items():
        old = pc.and_(
            pc.equal(rows["measurement"], name),
            pc.less_equal(rows["cell_stop"], pa.scalar(moment, pa.timestamp("us", tz="UTC"))),
        )
        rows = rows.filter(pc.invert(old))
    return rows
