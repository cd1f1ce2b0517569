"""SQL queries of the lake (DuckDB), read-only and confined to the lake."""

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow as pa

from tasks.core.errors import FedvitalsError, LakeDamaged, QueryInvalid
from tasks.core.settings import LakeQuery
from tasks.lake.delta import arrow_schema_of, existing_table, local_files, local_path, of_files
from tasks.lake.storage import first_and_last, trouble
from tasks.lake.tables import Lake
from tasks.lake.windows import WINDOWS

if TYPE_CHECKING:
    import duckdb

DEFAULTS = LakeQuery()
_NO_TABLE = re.compile(r"Table with name (\w+) does not exist")


@dataclass(frozen=True)
class TableFacts:
    """One table of the lake: rows and bytes, range of time, version."""

    name: str
    rows: int
    files: int
    bytes: int
    first: datetime | None
    last: datetime | None
    version: int


def describe(lake: Lake) -> list[TableFacts]:
    """Return the facts of every table, from the log's statistics alone."""
    return [_facts(lake, name) for name in lake.names()]


def query(lake: Lake, sql: str, limits: LakeQuery = DEFAULTS, home: Path | None = None) -> pa.Table:
    """Run one SELECT over the lake; what does not fit in memory goes to a folder in `home`.

    A measurement is a view of its name, its quarantine `<name>_quarantine`, the cells `_windows`.
    An unreadable table does not affect queries of others. Raises QueryInvalid when it is not one
    SELECT, DuckDB refuses it, or it exceeds a limit; LakeDamaged when a file of a queried table is missing or corrupt;
    LakeUnavailable, LakeRefused of an object store.
    """
    import duckdb

    _check_one_select(sql)
    views = _views(lake)
    with _spilling(home) as spill, closing(_connected(limits, spill)) as connection:
        unread = _create_views(connection, views)
        # cuts hours and days in UTC, whatever the machine's time zone
        connection.execute("SET TimeZone = 'UTC'")
        _shut_in(connection, lake)
        try:
            found = connection.sql(sql).limit(limits.rows + 1).to_arrow_table()
        except duckdb.OutOfMemoryException as error:
            fix = "Ask for less, or raise lake_query.memory in environments.yaml"
            raise QueryInvalid(problem=f"it needs more than {limits.memory}", fix=fix) from error
        except duckdb.Error as error:
            raise _reported(error, views, unread) from error
    if len(found) > limits.rows:
        fix = "Give it a LIMIT, raise lake_query.rows in environments.yaml, or use lake export"
        raise QueryInvalid(problem=f"it has more than {limits.rows} rows", fix=fix)
    return found


def _spilling(home: Path | None) -> "TemporaryDirectory[str]":
    """Make a folder that only this process knows, in FEDVITALS_HOME if there is one."""
    is_there = home is not None and home.is_dir()
    return TemporaryDirectory(prefix="query-", dir=home if is_there else None)


def _connected(limits: LakeQuery, spill: str) -> "duckdb.DuckDBPyConnection":
    import duckdb

    return duckdb.connect(
        config={
            "threads": 2,
            "autoinstall_known_extensions": False,
            "memory_limit": limits.memory,
            "temp_directory": spill,
        }
    )


def _check_one_select(sql: str) -> None:
    import duckdb

    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise _refused(error) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryInvalid(
            problem="only one SELECT is allowed; the lake is read-only here",
            fix="Write it as one SELECT statement",
        )


def _views(lake: Lake) -> dict[str, str]:
    names = lake.names()
    quarantines = {f"{name}_quarantine": lake.quarantine_url(name) for name in names}
    return {name: lake.table_url(name) for name in (*names, WINDOWS)} | quarantines


def _create_views(
    connection: "duckdb.DuckDBPyConnection", views: Mapping[str, str]
) -> dict[str, FedvitalsError]:
    """Create the views, and return the errors of unreadable tables by lower-case name."""
    import duckdb

    unread: dict[str, FedvitalsError] = {}
    for view, url in views.items():
        try:
            _create_view(connection, view, url)
        except duckdb.Error as error:
            unread[view.casefold()] = _unreadable(view, error)
        except FedvitalsError as error:
            unread[view.casefold()] = error
    return unread


def _reported(
    error: "duckdb.Error", views: Mapping[str, str], unread: Mapping[str, FedvitalsError]
) -> FedvitalsError:
    """Return the error to raise, of an unreadable table or of the query itself."""
    text = str(error)
    asked = _NO_TABLE.search(text)
    if asked is not None and asked[1].casefold() in unread:
        return unread[asked[1].casefold()]
    for view, url in views.items():
        # some damage shows only when rows are read
        if f"/{url.rstrip('/').rpartition('/')[2]}/part-" in text:
            return _unreadable(view, error)
    return _refused(error)


def _refused(error: "duckdb.Error") -> QueryInvalid:
    text = " ".join(str(error).split())
    return QueryInvalid(problem=text, fix="List the tables: fedvitals lake ls")


def _unreadable(view: str, error: Exception) -> FedvitalsError:
    return trouble(view, error) or LakeDamaged(table=view, problem=first_and_last(error))


def _create_view(connection: "duckdb.DuckDBPyConnection", view: str, url: str) -> None:
    table = existing_table(url, view)
    if table is None:
        return
    files = table.file_uris()
    if files and local_path(url) is None:
        # DuckDB would have to download its httpfs to reach the files by itself
        relation = connection.from_arrow(table.to_pyarrow_dataset())
    elif files:
        # older files lack columns added later
        relation = connection.read_parquet(local_files(table), union_by_name=True)
    else:
        relation = connection.from_arrow(arrow_schema_of(table).empty_table())
    relation.create_view(view)


def _shut_in(connection: "duckdb.DuckDBPyConnection", lake: Lake) -> None:
    folder = local_path(lake.url)
    # on an object store DuckDB accesses nothing itself: tables are Arrow datasets
    inside = [] if folder is None else [str(folder)]
    connection.execute("SET allowed_directories = ?", [inside])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _facts(lake: Lake, name: str) -> TableFacts:
    table = lake.table(name)
    assert table is not None
    return TableFacts(
        name=name,
        rows=sum(of_files(table, "num_records")),
        files=len(table.file_uris()),
        bytes=sum(of_files(table, "size_bytes")),
        first=min(filter(None, of_files(table, "min.time")), default=None),
        last=max(filter(None, of_files(table, "max.time")), default=None),
        version=int(table.version()),
    )
