"""The version of the ledger's tables: older ones are upgraded, newer ones refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.schema import CreateIndex

from tasks.core.errors import MadeByNewer
from tasks.core.whole_file import draft_of
from tasks.ledger.schema import (
    TIME,
    cells_digests,
    cells_of_run,
    cells_read_in_part,
    events_by_time,
    events_of_incident,
    health_samples_by_time,
    incidents_by_alert,
    incidents_open,
    loads,
    loads_digests,
    meta,
    metadata,
    outbox_ended,
    outbox_of_incident,
    outbox_waiting,
)

# 1: without the table `meta` and without indexes; 2: without `set_aside` and indexes of digests;
# 3: with times that PostgreSQL sorts by its collation; 4: without `sent_until` of loads;
# 5: without tables of health and maintenance; 6: without tables of incidents and their messages
LEDGER_VERSION = 7
_INDEXES = (
    cells_read_in_part,
    cells_of_run,
    cells_digests,
    loads_digests,
    health_samples_by_time,
    incidents_by_alert,
    incidents_open,
    events_of_incident,
    events_by_time,
    outbox_waiting,
    outbox_of_incident,
    outbox_ended,
)
# differs from every measurement's lock: theirs are hashes
_LOCK = 1


def bring_up_to_date(connection: Connection, url: str) -> None:
    """Create the tables of a new ledger, or upgrade those of an older one.

    A SQLite file is copied before the upgrade, to `<file>.version-<its version>`. `url` is for
    messages. Raises MadeByNewer when the ledger has a version that this fedvitals does not know.
    """
    if _is_sound(connection, url):
        return
    # several processes may find this at once; one does it
    lock(connection, _LOCK)
    if _is_sound(connection, url):
        return
    version = _version(connection)
    if version is not None:
        _copy(connection, version)
    metadata.create_all(connection)
    if version is not None:
        _add_sent_until(connection)
        _sort_times_by_bytes(connection)
        for index in _INDEXES:
            connection.execute(CreateIndex(index, if_not_exists=True))
    connection.execute(meta.delete().where(meta.c.key == "version"))
    connection.execute(meta.insert().values(key="version", value=str(LEDGER_VERSION)))


def _is_sound(connection: Connection, url: str) -> bool:
    version = _version(connection)
    if version is not None and version > LEDGER_VERSION:
        raise MadeByNewer(what=f"ledger {url}", version=version, known=LEDGER_VERSION)
    there = set(inspect(connection).get_table_names())
    return version == LEDGER_VERSION and set(metadata.tables) <= there


def _version(connection: Connection) -> int | None:
    there = inspect(connection).get_table_names()
    if "meta" in there:
        value = connection.execute(select(meta.c.value).where(meta.c.key == "version")).scalar()
        if value is not None:
            return int(value)
    return 1 if "cells" in there else None


def lock(connection: Connection, key: int) -> None:
    """Let one transaction at a time go on from here; on SQLite whatever its key."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _add_sent_until(connection: Connection) -> None:
    column = loads.c.sent_until
    if column.name not in {each["name"] for each in inspect(connection).get_columns(loads.name)}:
        kind = TIME.compile(connection.dialect)
        connection.execute(text(f"ALTER TABLE {loads.name} ADD COLUMN {column.name} {kind}"))


def _sort_times_by_bytes(connection: Connection) -> None:
    """Rebuild PostgreSQL's indexes of these columns to sort by bytes."""
    if connection.dialect.name != "postgresql":
        return
    kind = TIME.compile(connection.dialect)
    for table in metadata.sorted_tables:
        names = [column.name for column in table.columns if column.type is TIME]
        if names:
            changes = ", ".join(f"ALTER COLUMN {name} TYPE {kind}" for name in names)
            connection.execute(text(f"ALTER TABLE {table.name} {changes}"))
            # the server dropped its statistics of these columns
            connection.execute(text(f"ANALYZE {table.name}"))


def _copy(connection: Connection, version: int) -> None:
    """Copy a SQLite file beside it, atomically."""
    name = connection.engine.url.database
    if connection.dialect.name != "sqlite" or not name:
        return
    target = Path(f"{name}.version-{version}")
    with draft_of(target, 0o600) as draft:
        with closing(sqlite3.connect(name)) as source, closing(sqlite3.connect(draft)) as copy:
            source.backup(copy)
        draft.replace(target)
