"""Operations on one Delta table: create, open, check, write and read."""

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

from tasks.core.disk import require_space
from tasks.core.errors import LakeBusy, LakeDamaged, SchemaChanged
from tasks.core.window import Window, iso
from tasks.lake.durability import empty_entry, is_outside, last_checkpoint, sync_commit
from tasks.lake.storage import first_and_last, holds_anything, storage_options, trouble

CONFIGURATION = {"delta.logRetentionDuration": "interval 1 hours", "delta.checkpointInterval": "20"}
METADATA_KEY = "fedvitals"
# delta-rs conflicts when two threads write one table
_WRITING: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def open_table(url: str, name: str, schema: pa.Schema, tags: tuple[str, ...] = ()) -> DeltaTable:
    """Open the table at the URL, created if missing, with new fields merged in.

    Raises SchemaChanged when a column was removed or changed its type, or a tag is new; LakeBusy
    when another writer made or changed it first; LakeDamaged when it cannot be read or made;
    LakeUnavailable, LakeRefused of an object store.
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
    """Replace all rows of the environment in the windows; return the new version.

    One atomic commit, flushed to disk. rows must lie in the windows and have exactly the table's
    columns and types (Delta would cast silently). Raises SchemaChanged when the rows do not fit the
    table, LakeBusy when another writer committed first.
    """
    within = " OR ".join(f"({inside(None, window)})" for window in windows)
    predicate = f"{inside(environment, None)} AND ({within})"
    _check_exact(table, name, rows.schema)
    return _write(table, name, rows, metadata, mode="overwrite", predicate=predicate)


def append_rows(table: DeltaTable, name: str, rows: pa.Table, metadata: Any = None) -> int:
    """Append rows; return the new version. Raises as replace_rows does."""
    _check_exact(table, name, rows.schema)
    return _write(table, name, rows, metadata, mode="append")


def replace_all_rows(table: DeltaTable, name: str, rows: pa.Table) -> int:
    """Replace all rows in this state of the table; return the new version.

    Rows appended by others since it was read stay. Raises as replace_rows does.
    """
    _check_exact(table, name, rows.schema)
    return _write(table, name, rows, mode="overwrite")


def swap_files(
    table: DeltaTable, name: str, added: list[AddAction], removed: list[RemoveAction]
) -> int:
    """Replace files by written ones with the same rows; return the new version.

    Raises LakeBusy when another writer changed a row of these files first.
    """
    with _WRITING[_place(table.table_uri)], lake_errors(name):
        before = table.version()
        table.create_write_transaction([*added, *removed], mode="append", schema=table.schema())
        table.update_incremental()
        _flush_since(table, before)
    return int(table.version())


def replace_table(table: DeltaTable, name: str, rows: pa.RecordBatchReader, metadata: Any) -> int:
    """Replace all rows and columns of the table; return the new version.

    One atomic commit, flushed to disk, without a predicate: with one the library would drop columns
    of rows that it leaves. Raises LakeBusy when another writer committed first; nothing was
    changed.
    """
    return _write(table, name, rows, metadata, mode="overwrite", schema_mode="overwrite")


def remove_missing_files(table: DeltaTable, name: str, *, dry: bool = False) -> list[str]:
    """Remove missing files from the table in one commit, if any; raise LakeBusy."""
    with _WRITING[_place(table.table_uri)], lake_errors(name):
        missing: list[str] = table.repair(dry_run=True)["files_removed"]
        if missing and not dry:
            table.repair()
            table.update_incremental()
            _flush(table)
    return missing


def remove_old_files(table: DeltaTable, name: str, keep: timedelta) -> int:
    """Vacuum unneeded files older than `keep` (whole hours); return their count.

    These were replaced by commits, or left by a crash. Then a checkpoint is written, and older log
    entries beyond the table's log retention are removed.
    """
    chosen: dict[str, Any] = {
        "retention_hours": keep // timedelta(hours=1),
        "enforce_retention_duration": False,
        "full": True,
    }
    with _WRITING[_place(table.table_uri)], lake_errors(name):
        before, path = table.version(), local_path(table.table_uri)
        # the vacuum commits twice, even with nothing to remove
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
    path = local_path(table.table_uri)
    if path is not None:
        # the Delta library panics on a disk that fills up
        require_space(path, getattr(rows, "nbytes", 0))
    with _WRITING[_place(table.table_uri)], lake_errors(name):
        write_deltalake(table, rows, commit_properties=properties, **how)
        _flush(table)
    return int(table.version())


def read_rows(
    table: DeltaTable, name: str, columns: list[str], environment: str | None, window: Window | None
) -> pa.Table:
    """Return rows of environment and window, None for all; raise LakeDamaged."""
    names = ", ".join(f'"{column}"' for column in columns)
    schema = arrow_schema_of(table)
    # to_pyarrow_table prepares every file of the table, a query only those of the window
    rows = ask(table, name, f"SELECT {names} FROM landed WHERE {inside(environment, window)}")
    return rows.cast(pa.schema([schema.field(column) for column in columns]))


def ask(table: DeltaTable, name: str, sql: str) -> pa.Table:
    """Run a SELECT on the table under the name `landed`."""
    with lake_errors(name):
        return pa.table(QueryBuilder().register("landed", table).execute(sql))


def inside(environment: str | None, window: Window | None) -> str:
    """Return the SQL condition for environment and window; None stands for all."""
    conditions = []
    if environment is not None:
        conditions.append(f"environment = {quoted(environment)}")
    if window is not None:
        conditions.append(f"time >= '{iso(window.start)}' AND time < '{iso(window.stop)}'")
    return " AND ".join(conditions) or "TRUE"


def of_files(table: DeltaTable, fact: str) -> list[Any]:
    """Return a fact of each file in the log, such as `size_bytes`, if known."""
    actions = pa.table(table.get_add_actions(flatten=True))
    return actions[fact].to_pylist() if fact in actions.column_names else []


def fitted(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the rows with exactly the columns of the schema; missing ones are null."""
    columns = [
        rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def local_files(table: DeltaTable) -> list[str]:
    """Return the Parquet files of a table on the local disk."""
    return [unquote(file) for file in table.file_uris()]


@contextmanager
def lake_errors(name: str) -> Iterator[None]:
    """Translate errors of the Delta library."""
    try:
        yield
    except CommitFailedError as error:
        raise trouble(name, error) or LakeBusy(table=name, problem=first_and_last(error)) from error
    except (DeltaError, OSError, pa.ArrowInvalid) as error:
        raise trouble(name, error) or LakeDamaged(
            table=name, problem=first_and_last(error)
        ) from error


def existing_table(url: str, name: str) -> DeltaTable | None:
    """Open the table at the URL, None when it does not exist."""
    path = local_path(url)
    # the library needs milliseconds for that, and most quarantines do not exist
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
        check_paths(table, name)
    empty = None if path is None else empty_entry(path, table.version())
    if empty is not None:
        raise LakeDamaged(table=name, problem=f"its log entry {empty} is empty, rows are missing")
    return table


def _read(url: str) -> DeltaTable:
    return DeltaTable(url, storage_options=storage_options(url))


def check_paths(table: DeltaTable, name: str) -> None:
    """Raise LakeDamaged when the log names a file outside of the table."""
    paths = pa.table(table.get_add_actions())["path"].to_pylist()
    if outside := next(filter(is_outside, paths), None):
        problem = f"its log names a file outside of the table ({outside}), so nothing was read"
        raise LakeDamaged(table=name, problem=problem)


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
    """Return how the table misfits the schema, new fields aside; empty when it fits."""
    held = arrow_schema_of(table)
    changed = [
        f"column {field.name} is {held.field(field.name).type}, the catalogue says {field.type}"
        for field in schema
        if field.name in held.names and held.field(field.name).type != field.type
    ]
    changed += [
        f"column {n} is no longer in the catalogue" for n in held.names if n not in schema.names
    ]
    # rows with and without a tag would mix, and every sum over them would be wrong
    new_tags = [tag for tag in tags if tag not in held.names]
    return changed + [f"tag {tag} is new" for tag in new_tags]


def arrow_schema_of(table: DeltaTable) -> pa.Schema:
    """Return the table's columns as pyarrow types."""
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
    """Flush every commit after that version, for operations with several."""
    path = local_path(table.table_uri)
    if path is not None:
        for version in range(before + 1, table.version() + 1):
            sync_commit(path, version)


def local_path(url: str) -> Path | None:
    """Return the folder of a lake on the local disk, None on an object store."""
    if url.startswith("file://"):
        return Path(unquote(url.removeprefix("file://")))
    return None if "://" in url else Path(url)


def _place(url: str) -> str:
    """Normalise a table's URL to one name."""
    path = local_path(url)
    return url.rstrip("/") if path is None else str(path.absolute())


def quoted(text: str) -> str:
    """Quote text as a literal of SQL and of predicates."""
    return "'" + text.replace("'", "''") + "'"
