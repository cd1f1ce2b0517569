"""One Delta table: made, opened, checked, written and read by the rules of the lake."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from tasks.core.errors import LakeBusy, LakeDamaged, SchemaChanged
from tasks.core.window import Window, iso
from tasks.lake.durability import empty_entry, sync_commit

CONFIGURATION = {
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.checkpointInterval": "20",
}
METADATA_KEY = "fedvitals"
# delta-rs may not write one table from two threads at once without a conflict
_WRITING: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def open_table(url: str, name: str, schema: pa.Schema, tags: tuple[str, ...] = ()) -> DeltaTable:
    """The table at the URL, made when it is not there, with new fields merged in.

    Raises:
        SchemaChanged: when a column went or changed its type, or a tag is new.
        LakeBusy: when another writer made or changed it first.
        LakeDamaged: when the table cannot be read or made.
    """
    with _WRITING[_place(url)]:
        table = _load(url, name) or _create(url, name, schema)
        missing = _new_columns(table, name, schema, tags)
        if missing:
            with telling(name):
                table.alter.add_columns(_delta_fields(missing))
                table.update_incremental()
                _flush(table)
    return table


def existing_table(url: str, name: str) -> DeltaTable | None:
    """The table at the URL as it stands, None when it is not there.

    Raises:
        LakeDamaged: when it is there and cannot be read.
    """
    return _load(url, name)


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
        LakeDamaged: when the table cannot be written.
    """
    within = " OR ".join(
        f"(time >= '{iso(window.start)}' AND time < '{iso(window.stop)}')" for window in windows
    )
    predicate = f"environment = {quoted(environment)} AND ({within})"
    return _write(table, name, rows, predicate, metadata)


def append_rows(table: DeltaTable, name: str, rows: pa.Table, metadata: Any = None) -> int:
    """Commits rows beside what is there; the new version. Raises as replace_rows does."""
    return _write(table, name, rows, None, metadata)


def _write(
    table: DeltaTable, name: str, rows: pa.Table, predicate: str | None, metadata: Any
) -> int:
    properties = CommitProperties(custom_metadata={METADATA_KEY: json.dumps(metadata)})
    with _WRITING[_place(table.table_uri)], telling(name):
        _check_exact(table, name, rows.schema)
        if predicate is None:
            write_deltalake(table, rows, mode="append", commit_properties=properties)
        else:
            write_deltalake(
                table, rows, mode="overwrite", predicate=predicate, commit_properties=properties
            )
        _flush(table)
    return int(table.version())


def read_rows(
    table: DeltaTable,
    name: str,
    columns: list[str],
    environment: str | None,
    window: Window | None,
) -> pa.Table:
    """These columns of the rows of the environment and the window; None stands for all.

    Raises:
        LakeDamaged: when a file of the table is missing or torn.
    """
    conditions = ["TRUE"]
    if environment is not None:
        conditions.append(f"environment = {quoted(environment)}")
    if window is not None:
        conditions.append(f"time >= '{iso(window.start)}' AND time < '{iso(window.stop)}'")
    names = ", ".join(f'"{column}"' for column in columns)
    sql = f"SELECT {names} FROM landed WHERE {' AND '.join(conditions)}"
    schema = arrow_schema_of(table)
    with telling(name):
        # to_pyarrow_table prepares every file of the table, a query only those of the window
        rows = pa.table(QueryBuilder().register("landed", table).execute(sql))
        return rows.cast(pa.schema([schema.field(column) for column in columns]))


def local_files(table: DeltaTable) -> list[str]:
    """The table's Parquet files: paths on the local disk, else URLs."""
    files = table.file_uris()
    return files if local_path(table.table_uri) is None else [unquote(file) for file in files]


@contextmanager
def telling(name: str) -> Iterator[None]:
    """Says in our words what the Delta library could not do."""
    try:
        yield
    except CommitFailedError as error:
        raise LakeBusy(table=name, problem=_first_line(error)) from error
    except (DeltaError, OSError, pa.ArrowInvalid) as error:
        raise LakeDamaged(table=name, problem=_first_line(error)) from error


def _load(url: str, name: str) -> DeltaTable | None:
    with telling(name):
        try:
            table = DeltaTable(url)
        except TableNotFoundError as error:
            if _has_files(url):
                raise LakeDamaged(
                    table=name, problem="it holds files but no readable log"
                ) from error
            return None
    path = local_path(url)
    empty = None if path is None else empty_entry(path, table.version())
    if empty is not None:
        raise LakeDamaged(table=name, problem=f"its log entry {empty} is empty, rows are missing")
    return table


def _has_files(url: str) -> bool:
    folder = local_path(url)
    return folder is not None and folder.is_dir() and any(folder.iterdir())


def _create(url: str, name: str, schema: pa.Schema) -> DeltaTable:
    with telling(name):
        table = DeltaTable.create(
            url, schema=schema, name=name, mode="ignore", configuration=CONFIGURATION
        )
        _flush(table)
    return table


def _new_columns(
    table: DeltaTable, name: str, schema: pa.Schema, tags: tuple[str, ...]
) -> list[pa.Field]:
    held = arrow_schema_of(table)
    changed = [
        f"column {field.name} is {held.field(field.name).type}, the catalogue says {field.type}"
        for field in schema
        if field.name in held.names and held.field(field.name).type != field.type
    ]
    missing = [field for field in schema if field.name not in held.names]
    changed += [
        f"column {n} is no longer in the catalogue" for n in held.names if n not in schema.names
    ]
    # rows with and without a tag would stand side by side, and every sum over them would be wrong
    changed += [f"tag {field.name} is new" for field in missing if field.name in tags]
    if changed:
        raise SchemaChanged(table=name, problem="; ".join(changed))
    return missing


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


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
