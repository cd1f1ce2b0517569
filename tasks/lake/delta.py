"""One Delta table: made, opened, checked, written and read by the rules of the lake."""

import json
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from tasks.core.errors import LakeBusy, LakeDamaged, SchemaChanged
from tasks.core.window import Window, iso
from tasks.lake.durability import sync_commit

CONFIGURATION = {
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.checkpointInterval": "20",
}
METADATA_KEY = "fedvitals"
# delta-rs may not write one table from two threads at once without a conflict
_WRITING: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def open_table(url: str, name: str, schema: pa.Schema) -> DeltaTable:
    """The table at the URL, made when it is not there, with new columns merged in.

    Raises:
        SchemaChanged: when a column changed its type, or seems to be renamed.
        LakeDamaged: when the table cannot be read.
    """
    with _WRITING[url]:
        table = _load(url, name) or _create(url, name, schema)
        missing = _missing_columns(table, name, schema)
        if missing:
            table.alter.add_columns(_delta_fields(missing))
            table.update_incremental()
            _flush(table, url)
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
    predicate = f"environment = {_quoted(environment)} AND ({within})"
    return _write(table, name, rows, predicate, metadata)


def append_rows(table: DeltaTable, name: str, rows: pa.Table, metadata: Any = None) -> int:
    """Commits rows beside what is there; the new version. Raises as replace_rows does."""
    return _write(table, name, rows, None, metadata)


def _write(
    table: DeltaTable, name: str, rows: pa.Table, predicate: str | None, metadata: Any
) -> int:
    properties = CommitProperties(custom_metadata={METADATA_KEY: json.dumps(metadata)})
    with _WRITING[table.table_uri]:
        _check_exact(table, name, rows.schema)
        try:
            if predicate is None:
                write_deltalake(table, rows, mode="append", commit_properties=properties)
            else:
                write_deltalake(
                    table,
                    rows,
                    mode="overwrite",
                    predicate=predicate,
                    commit_properties=properties,
                )
        except CommitFailedError as error:
            raise LakeBusy(table=name, problem=_first_line(error)) from error
        except (DeltaError, OSError) as error:
            raise LakeDamaged(table=name, problem=_first_line(error)) from error
        _flush(table, table.table_uri)
    return int(table.version())


def _load(url: str, name: str) -> DeltaTable | None:
    try:
        return DeltaTable(url)
    except TableNotFoundError as error:
        if _has_files(url):
            raise LakeDamaged(table=name, problem="it holds files but no readable log") from error
        return None
    except (DeltaError, OSError) as error:
        raise LakeDamaged(table=name, problem=_first_line(error)) from error


def _has_files(url: str) -> bool:
    folder = local_path(url)
    return folder is not None and folder.is_dir() and any(folder.iterdir())


def _create(url: str, name: str, schema: pa.Schema) -> DeltaTable:
    table = DeltaTable.create(url, schema=schema, name=name, configuration=CONFIGURATION)
    _flush(table, url)
    return table


def _missing_columns(table: DeltaTable, name: str, schema: pa.Schema) -> list[pa.Field]:
    held = arrow_schema_of(table)
    changed = [
        f"column {field.name} is {held.field(field.name).type}, the catalogue says {field.type}"
        for field in schema
        if field.name in held.names and held.field(field.name).type != field.type
    ]
    missing = [field for field in schema if field.name not in held.names]
    gone = [column for column in held.names if column not in schema.names]
    if gone and missing:
        changed.append(
            f"{', '.join(gone)} went and {', '.join(f.name for f in missing)} came, which looks like a rename"
        )
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


def _flush(table: DeltaTable, url: str) -> None:
    path = local_path(url)
    if path is not None:
        sync_commit(path, table.version())


def local_path(url: str) -> Path | None:
    """The folder of a lake on the local disk, None on an object store."""
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    return None if "://" in url else Path(url)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
