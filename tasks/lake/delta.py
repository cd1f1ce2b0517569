"""One Delta table: made, opened, checked, written and read by the rules of the lake."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from tasks.core.errors import LakeBusy, LakeDamaged, SchemaChanged
from tasks.core.window import Window, iso
from tasks.lake.durability import empty_entry, last_checkpoint, sync_commit
from tasks.lake.storage import first_and_last, holds_anything, storage_options, trouble

CONFIGURATION = {"delta.logRetentionDuration": "interval 1 hours", "delta.checkpointInterval": "20"}
METADATA_KEY = "fedvitals"
# delta-rs may not write one table from two threads at once without a conflict
_WRITING: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def open_table(url: str, name: str, schema: pa.Schema, tags: tuple[str, ...] = ()) -> DeltaTable:
    """The table at the URL, made when it is not there, with new fields merged in.

    Raises:
        SchemaChanged: when a column went or changed its type, or a tag is new.
        LakeBusy: when another writer made or changed it first.
        LakeDamaged: when the table cannot be read or made.
        LakeUnavailable, LakeRefused: when the object store under it does not answer, or refuses.
    """
    with _WRITING[_place(url)]:
        table = existing_table(url, name) or _create(url, name, schema)
        missing = _new_columns(table, name, schema, tags)
        if missing:
            with lake_errors(name):
                table.alter.add_columns(_delta_fields(missing))
                table.update_incremental()
                _flush(table)
    return table


def replace_rows(
    table: DeltaTable,
    name: str,
    rows: pa.Table,
    environment: str,
    windows: list[Window],
    metadata: Any,
) -> int:
    """Commits rows in place of all rows of the environment in the windows; the new version.

    One atomic commit, flushed to disk. rows must lie in the windows and have exactly the table's
    columns and types (Delta would cast silently).

    Raises:
        SchemaChanged: when the rows do not fit the table.
        LakeBusy: when another writer committed first.
    """
    within = " OR ".join(f"({inside(None, window)})" for window in windows)
    predicate = f"{inside(environment, None)} AND ({within})"
    _check_exact(table, name, rows.schema)
    return _write(table, name, rows, metadata, mode="overwrite", predicate=predicate)


def append_rows(table: DeltaTable, name: str, rows: pa.Table, metadata: Any = None) -> int:
    """Commits rows beside what is there; the new version. Raises as replace_rows does."""
    _check_exact(table, name, rows.schema)
    return _write(table, name, rows, metadata, mode="append")


def replace_all_rows(table: DeltaTable, name: str, rows: pa.Table) -> int:
    """Commits rows in place of all that this state of the table holds; the new version.

    What somebody appended since it was read stays. Raises as replace_rows does.
    """
    _check_exact(table, name, rows.schema)
    return _write(table, name, rows, mode="overwrite")


def swap_files(
    table: DeltaTable, name: str, added: list[AddAction], removed: list[RemoveAction]
) -> int:
    """Commits files that were written in place of others with the same rows; the new version.

    Raises LakeBusy when another writer changed a row of these files first.
    """
    with _WRITING[_place(table.table_uri)], lake_errors(name):
        before = table.version()
        table.create_write_transaction([*added, *removed], mode="append", schema=table.schema())
        table.update_incremental()
        _flush_since(table, before)
    return int(table.version())


def replace_table(table: DeltaTable, name: str, rows: pa.RecordBatchReader, metadata: Any) -> int:
    """Commits rows in place of all that the table holds, with their columns in place of its own.

    One atomic commit, flushed to disk; the new version. It names no rows to replace: with a
    predicate the library would drop columns of rows that it leaves.

    Raises LakeBusy when another writer committed first; nothing was changed.
    """
    return _write(table, name, rows, metadata, mode="overwrite", schema_mode="overwrite")


def remove_missing_files(table: DeltaTable, name: str) -> int:
    """Takes the files that are not there out of the table, in one commit when there are any.

    Raises LakeBusy when another writer committed first.
    """
    with _WRITING[_place(table.table_uri)], lake_errors(name):
        missing = table.repair(dry_run=True)["files_removed"]
        if missing:
            table.repair()
            table.update_incremental()
            _flush(table)
    return len(missing)


def remove_old_files(table: DeltaTable, name: str, keep: timedelta) -> int:
    """Removes the files that no row needs, once they are older than `keep` (whole hours); their count.

    These are the ones that commits replaced so long ago, and those that a crash left without a
    commit. Then a checkpoint is written, and log entries before it that are older than the table's
    log retention go.
    """
    chosen: dict[str, Any] = {
        "retention_hours": keep // timedelta(hours=1),
        "enforce_retention_duration": False,
        "full": True,
    }
    with _WRITING[_place(table.table_uri)], lake_errors(name):
        before, path = table.version(), local_path(table.table_uri)
        # the removal commits twice, also when there is nothing to remove
        unneeded = table.vacuum(dry_run=True, **chosen)
        if unneeded:
            table.vacuum(dry_run=False, **chosen)
            _flush_since(table, before)
        if path is None or last_checkpoint(path) != table.version():
            table.create_checkpoint()
            _flush(table)
        table.cleanup_metadata()
    return len(unneeded)


def _write(table: DeltaTable, name: str, rows: Any, metadata: Any = None, **how: Any) -> int:
    properties = CommitProperties(custom_metadata={METADATA_KEY: json.dumps(metadata)})
    with _WRITING[_place(table.table_uri)], lake_errors(name):
        write_deltalake(table, rows, commit_properties=properties, **how)
        _flush(table)
    return int(table.version())


def read_rows(
    table: DeltaTable, name: str, columns: list[str], environment: str | None, window: Window | None
) -> pa.Table:
    """These columns of the rows of the environment and the window; None stands for all.

    Raises LakeDamaged when a file of the table is missing or torn.
    """
    names = ", ".join(f'"{column}"' for column in columns)
    schema = arrow_schema_of(table)
    # to_pyarrow_table prepares every file of the table, a query only those of the window
    rows = ask(table, name, f"SELECT {names} FROM landed WHERE {inside(environment, window)}")
    return rows.cast(pa.schema([schema.field(column) for column in columns]))


def ask(table: DeltaTable, name: str, sql: str) -> pa.Table:
    """The answer to a SELECT from the table, which it calls `landed`."""
    with lake_errors(name):
        return pa.table(QueryBuilder().register("landed", table).execute(sql))


def inside(environment: str | None, window: Window | None) -> str:
    """The condition that a row is of the environment and in the window; None stands for all."""
    conditions = []
    if environment is not None:
        conditions.append(f"environment = {quoted(environment)}")
    if window is not None:
        conditions.append(f"time >= '{iso(window.start)}' AND time < '{iso(window.stop)}'")
    return " AND ".join(conditions) or "TRUE"


def of_files(table: DeltaTable, fact: str) -> list[Any]:
    """What the log says of each file, such as `size_bytes` or `min.time`; empty when it does not."""
    actions = pa.table(table.get_add_actions(flatten=True))
    return actions[fact].to_pylist() if fact in actions.column_names else []


def fitted(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with exactly the columns of the schema; one that they lack is null."""
    columns = [
        rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def local_files(table: DeltaTable) -> list[str]:
    """The Parquet files of a table on the local disk."""
    return [unquote(file) for file in table.file_uris()]


@contextmanager
def lake_errors(name: str) -> Iterator[None]:
    """Says in our words what the Delta library could not do."""
    try:
        yield
    except CommitFailedError as error:
        raise trouble(name, error) or LakeBusy(table=name, problem=first_and_last(error)) from error
    except (DeltaError, OSError, pa.ArrowInvalid) as error:
        raise trouble(name, error) or LakeDamaged(
            table=name, problem=first_and_last(error)
        ) from error


def existing_table(url: str, name: str) -> DeltaTable | None:
    """The table at the URL as it stands, None when it is not there."""
    path = local_path(url)
    # the library needs milliseconds to find that out, and most quarantines are not there
    if path is not None and not path.exists():
        return None
    with lake_errors(name):
        try:
            table = _read(url)
        except TableNotFoundError:
            if not (holds_anything(url) if path is None else path.is_dir() and any(path.iterdir())):
                return None
            try:
                # another process may have made it since
                table = _read(url)
            except TableNotFoundError as error:
                raise LakeDamaged(
                    table=name, problem="it holds files but no readable log"
                ) from error
    empty = None if path is None else empty_entry(path, table.version())
    if empty is not None:
        raise LakeDamaged(table=name, problem=f"its log entry {empty} is empty, rows are missing")
    return table


def _read(url: str) -> DeltaTable:
    return DeltaTable(url, storage_options=storage_options(url))


def _create(url: str, name: str, schema: pa.Schema) -> DeltaTable:
    with lake_errors(name):
        table = DeltaTable.create(
            url,
            schema=schema,
            name=name,
            mode="ignore",
            configuration=CONFIGURATION,
            storage_options=storage_options(url),
        )
        _flush(table)
    return table


def _new_columns(
    table: DeltaTable, name: str, schema: pa.Schema, tags: tuple[str, ...]
) -> list[pa.Field]:
    if changed := misfits(table, schema, tags):
        raise SchemaChanged(table=name, problem="; ".join(changed))
    held = arrow_schema_of(table).names
    return [field for field in schema if field.name not in held]


def misfits(table: DeltaTable, schema: pa.Schema, tags: tuple[str, ...]) -> list[str]:
    """What of the table does not fit the schema, other than fields that are new; empty when all does."""
    held = arrow_schema_of(table)
    changed = [
        f"column {field.name} is {held.field(field.name).type}, the catalogue says {field.type}"
        for field in schema
        if field.name in held.names and held.field(field.name).type != field.type
    ]
    changed += [
        f"column {n} is no longer in the catalogue" for n in held.names if n not in schema.names
    ]
    # rows with and without a tag would stand side by side, and every sum over them would be wrong
    new_tags = [tag for tag in tags if tag not in held.names]
    return changed + [f"tag {tag} is new" for tag in new_tags]


def arrow_schema_of(table: DeltaTable) -> pa.Schema:
    """The table's columns as pyarrow types."""
    return pa.schema(table.schema().to_arrow())


def _delta_fields(fields: list[pa.Field]) -> list[Any]:
    return list(Schema.from_arrow(pa.schema(fields)).fields)


def _check_exact(table: DeltaTable, name: str, schema: pa.Schema) -> None:
    held = arrow_schema_of(table)
    plain = pa.schema([pa.field(f.name, _undictionaried(f.type)) for f in schema])
    if not plain.equals(held.remove_metadata(), check_metadata=False):
        raise SchemaChanged(
            table=name, problem=f"its columns are {_brief(held)}, the rows have {_brief(plain)}"
        )


def _undictionaried(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _brief(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def _flush(table: DeltaTable) -> None:
    path = local_path(table.table_uri)
    if path is not None:
        sync_commit(path, table.version())


def _flush_since(table: DeltaTable, before: int) -> None:
    """Flushes every commit after that version, for an operation that makes several."""
    path = local_path(table.table_uri)
    if path is not None:
        for version in range(before + 1, table.version() + 1):
            sync_commit(path, version)


def local_path(url: str) -> Path | None:
    """The folder of a lake on the local disk, None on an object store."""
    if url.startswith("file://"):
        return Path(unquote(url.removeprefix("file://")))
    return None if "://" in url else Path(url)


def _place(url: str) -> str:
    """One name for one table, however its URL is written."""
    path = local_path(url)
    return url.rstrip("/") if path is None else str(path.absolute())


def quoted(text: str) -> str:
    """A string literal of SQL and of predicates."""
    return "'" + text.replace("'", "''") + "'"
