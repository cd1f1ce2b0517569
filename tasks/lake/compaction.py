"""Compaction: rewrites many small files of a table as one file a day."""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction, RemoveAction
from pyarrow.fs import PyFileSystem

from tasks.core.errors import LakeDamaged
from tasks.core.window import Window, floor, micros
from tasks.lake.delta import arrow_schema_of, check_paths, fitted, lake_errors, swap_files

# rows in memory at once; a larger day becomes several files
MOST_ROWS = 2_000_000
_DAY = timedelta(days=1)
_MOMENT = pa.timestamp("us", tz="UTC")
_HOURS_OF_A_PART = (24, 12, 8, 6, 4, 3, 2, 1)


@dataclass(frozen=True)
class File:
    """One file, as the Delta log describes it. Times and environments are those of its first and last row."""

    path: str
    size: int
    environments: tuple[str, ...]
    start: datetime
    last: datetime
    rows: int

    def meets(self, environment: str, window: Window) -> bool:
        """Return whether it may have rows of the window."""
        inside = self.start < window.stop and self.last >= window.start
        return inside and environment in self.environments


@dataclass(frozen=True)
class _Part:
    """The content of one file: a day of one environment, or a share of a large day."""

    environment: str
    window: Window


@dataclass(frozen=True)
class Compacted:
    """Number of files replaced, and of rows expired."""

    files: int = 0
    expired: int = 0


def compact(
    table: DeltaTable,
    name: str,
    kept_from: datetime | None,
    until: datetime,
    check: Callable[[], None],
) -> Compacted:
    """Rewrite each day and environment that is in several files as one file.

    Rows before `kept_from` expire; None keeps all. Rows from `until` on still change: they stay in
    their files, except where they share one with older rows. All is one atomic commit, and `check`
    is called before it. A file holds at most one day, since a landing rewrites each file that it
    touches as a whole, and about MOST_ROWS. Raises LakeBusy when another writer changed a row of
    these files first, LakeDamaged when a file is missing or corrupt, or the disk is full; LockLost
    by `check`.
    """
    work = _Work(table, name)
    oldest = kept_from or datetime.min.replace(tzinfo=UTC)
    old = [file for file in work.files if file.last < oldest]
    files = [file for file in work.files if file.last >= oldest]
    due = _due(files, oldest, until)
    if not due and not old:
        return Compacted()
    expired = sum(file.rows for file in old)
    added = []
    for part in _parts(due, files, (oldest, until)):
        if part.window.start < oldest:
            expired += len(work.read(part, due))
        elif action := work.write(part, due, data_change=bool(expired)):
            added.append(action)
    gone = [*old, *due]
    work.check_whole(sum(file.rows for file in gone) - expired)
    check()
    swap_files(table, name, added, [_removal(file, bool(expired)) for file in gone])
    return Compacted(len(gone), expired)


def _due(files: list[File], oldest: datetime, until: datetime) -> list[File]:
    keys = {file: _keys(file, files, until) for file in files}
    crowd = Counter(key for own in keys.values() for key in own)
    return [
        file
        for file, own in keys.items()
        if file.start < oldest or len(own) > 1 or any(crowd[key] > 1 for key in own)
    ]


def files_of(table: DeltaTable, name: str) -> list[File]:
    """Return the table's files with statistics in the log, oldest first.

    Raises LakeDamaged when a file with rows of several environments cannot be read.
    """
    return _Work(table, name).files


class _Work:
    """Reads and writes one table's files in place."""

    def __init__(self, table: DeltaTable, name: str) -> None:
        self._table = table
        self._name = name
        self._schema = arrow_schema_of(table)
        self._rows_written = 0

    @cached_property
    def _storage(self) -> PyFileSystem:
        return PyFileSystem(DeltaStorageHandler.from_table(self._table._table))

    @cached_property
    def files(self) -> list[File]:
        """Return the files as files_of does."""
        # the table was read again since it was opened
        check_paths(self._table, self._name)
        actions = pa.table(self._table.get_add_actions(flatten=True))
        names = ("path", "size_bytes", "min.environment", "max.environment", "min.time", "max.time", "num_records")  # fmt: skip
        if not set(names) <= set(actions.column_names):
            return []
        columns = zip(*(actions[name].to_pylist() for name in names), strict=True)
        files = [
            File(path, size, self._environments(path, first, last), start, end, rows)
            for path, size, first, last, start, end, rows in columns
            if None not in (first, last, start, end, rows)
        ]
        return sorted(files, key=lambda file: (file.start, file.path))

    def _environments(self, path: str, first: str, last: str) -> tuple[str, ...]:
        """Return the file's environments; no landing mixes them, but other programs may."""
        if first == last:
            return (first,)
        with lake_errors(self._name):
            return tuple(sorted(pc.unique(self._read(path)["environment"]).to_pylist()))

    def read(self, part: _Part, files: list[File]) -> pa.Table:
        """Return the part's rows in these files."""
        paths = [file.path for file in files if file.meets(part.environment, part.window)]
        start, stop = (pa.scalar(m, _MOMENT) for m in (part.window.start, part.window.stop))
        with lake_errors(self._name):
            rows = pa.concat_tables([self._schema.empty_table(), *map(self._read, paths)])
            inside = pc.and_(pc.greater_equal(rows["time"], start), pc.less(rows["time"], stop))
            return rows.filter(pc.and_(inside, pc.equal(rows["environment"], part.environment)))

    def write(self, part: _Part, files: list[File], data_change: bool) -> AddAction | None:
        """Write a new file with the part's rows; return None when there are none."""
        rows = self.read(part, files)
        if not len(rows):
            return None
        path = f"part-00000-{uuid.uuid4()}-c000.snappy.parquet"
        with lake_errors(self._name):
            pq.write_table(rows, path, filesystem=self._storage, compression="snappy")
            size = self._storage.get_file_info(path).size
        self._rows_written += len(rows)
        statistics = json.dumps(_statistics(rows))
        return AddAction(path, size, {}, _milliseconds(), data_change, statistics)

    def check_whole(self, rows: int) -> None:
        """Raise LakeDamaged unless every old row is in a new file or expired."""
        if rows != self._rows_written:
            raise LakeDamaged(
                table=self._name,
                problem=f"its log has {rows} rows, its files have {self._rows_written}",
            )

    def _read(self, path: str) -> pa.Table:
        rows = pq.read_table(path, filesystem=self._storage, partitioning=None)
        return fitted(rows, self._schema)


def _keys(file: File, files: list[File], until: datetime) -> list[_Part]:
    """Return the parts for which the file has final rows."""
    parts = [part for part in _whole_parts(file, files) if part.window.start < until]
    clipped = {part: part.window.clipped(until) for part in parts}
    return [p for p, w in clipped.items() if w is not None and file.meets(p.environment, w)]


def _parts(due: list[File], files: list[File], cuts: tuple[datetime, datetime]) -> list[_Part]:
    """Plan the parts for the due files, cut at these moments, oldest first."""
    parts = {part for file in due for part in _whole_parts(file, files)}
    for moment in cuts:
        parts = {cut for part in parts for cut in _cut(part, moment)}
    return sorted(parts, key=lambda part: (part.window, part.environment))


def _cut(part: _Part, moment: datetime) -> list[_Part]:
    window = part.window
    if not window.start < moment < window.stop:
        return [part]
    halves = (Window(window.start, moment), Window(moment, window.stop))
    return [_Part(part.environment, half) for half in halves]


def _whole_parts(file: File, files: list[File]) -> Iterator[_Part]:
    for environment in file.environments:
        day = Window(floor(file.start, _DAY), floor(file.start, _DAY) + _DAY)
        while day.start <= file.last:
            rows = sum(other.rows for other in files if other.meets(environment, day))
            yield from (
                _Part(environment, Window(cell.start, cell.stop))
                for cell in day.cells(_length(rows))
                if file.meets(environment, cell)
            )
            day = Window(day.stop, day.stop + _DAY)


def _length(rows: int) -> timedelta:
    """Return the span of one file, for a day with this many rows."""
    wanted = 24 * MOST_ROWS // max(rows, 1)
    return timedelta(hours=next((hours for hours in _HOURS_OF_A_PART if hours <= wanted), 1))


def _statistics(rows: pa.Table) -> dict[str, Any]:
    """Return a file's statistics for the log: the ranges for file skipping."""
    first, last = (
        {"time": _text(end(rows["time"]).as_py()), "environment": end(rows["environment"]).as_py()}
        for end in (pc.min, pc.max)
    )
    nulls = {name: rows[name].null_count for name in rows.column_names}
    return {"numRecords": len(rows), "minValues": first, "maxValues": last, "nullCount": nulls}


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _removal(file: File, data_change: bool) -> RemoveAction:
    return RemoveAction(
        path=file.path, data_change=data_change, deletion_timestamp=_milliseconds(), size=file.size
    )


def _milliseconds() -> int:
    return micros(datetime.now(UTC)) // 1000
