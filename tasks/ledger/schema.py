"""The ledger's tables, on SQLite or on PostgreSQL."""

import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    and_,
    create_engine,
    event,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.types import TypeEngine

from tasks.core.errors import ConfigurationInvalid

BUSY_SECONDS = 30

metadata = MetaData()

# times are texts of as_text, which sort and read the same everywhere; by bytes, since PostgreSQL's
# collation costs more than half of a query
TIME = String(32).with_variant(String(32, collation="C"), "postgresql")


def _columns(kind: TypeEngine[Any], *names: str, is_key: bool = False) -> list[Column[Any]]:
    return [Column(name, kind, primary_key=is_key, nullable=False) for name in names]


cells = Table(
    "cells",
    metadata,
    *_columns(String(200), "measurement", "environment", is_key=True),
    *_columns(TIME, "cell_start", is_key=True),
    *_columns(TIME, "cell_stop"),
    *_columns(String(32), "source"),
    *_columns(TIME, "covered_until"),
    *_columns(String(16), "state"),
    *_columns(String(64), "source_digest", "landed_digest"),
    *_columns(BigInteger(), "rows", "values", "quarantined", "delete_count"),
    *_columns(String(64), "catalogue_digest", "run_id"),
)
_OF_CELL = (cells.c.measurement, cells.c.environment, cells.c.cell_start)
_IS_PARTIAL = cells.c.covered_until < cells.c.cell_stop
_IS_LANDED = cells.c.landed_digest != ""
# few at any time, and read by every run
cells_read_in_part = Index(
    "cells_read_in_part", *_OF_CELL, sqlite_where=_IS_PARTIAL, postgresql_where=_IS_PARTIAL
)
# every run reads the newest run
cells_of_run = Index("cells_of_run", cells.c.run_id)
# every run compares the digests of all cells
cells_digests = Index(
    "cells_digests",
    *_OF_CELL,
    cells.c.landed_digest,
    sqlite_where=_IS_LANDED,
    postgresql_where=_IS_LANDED,
)
loads = Table(
    "loads",
    metadata,
    *_columns(String(1000), "sink", is_key=True),
    *_columns(String(200), "measurement", "environment", is_key=True),
    *_columns(TIME, "cell_start", is_key=True),
    *_columns(TIME, "cell_stop"),
    *_columns(String(64), "landed_digest"),
    *_columns(BigInteger(), "delete_count", "loaded", "refused"),
    Column("sent_until", TIME),
)
loads_digests = Index("loads_digests", *loads.primary_key.columns, loads.c.landed_digest)
# gaps with an unusable answer, with the run that tried them last
set_aside = Table(
    "set_aside",
    metadata,
    *_columns(String(200), "measurement", "environment", is_key=True),
    *_columns(TIME, "cell_start", is_key=True),
    *_columns(TIME, "cell_stop"),
    *_columns(String(64), "run_id"),
    *_columns(Text(), "problem"),
)
pages = Table(
    "pages",
    metadata,
    *_columns(String(200), "environment", is_key=True),
    *_columns(String(1000), "url", is_key=True),
    *_columns(TIME, "time"),
    *_columns(LargeBinary(), "content"),
)
runs = Table(
    "runs",
    metadata,
    *_columns(String(64), "run_id", is_key=True),
    *_columns(String(64), "flow"),
    *_columns(String(200), "environment"),
    *_columns(Text(), "receipt"),
)
meta = Table(
    "meta", metadata, *_columns(String(64), "key", is_key=True), *_columns(Text(), "value")
)
# a check's newest interval with its streak, as JSON
health_tracks = Table(
    "health_tracks",
    metadata,
    *_columns(String(200), "environment", "check", is_key=True),
    *_columns(Text(), "track"),
)
health_intervals = Table(
    "health_intervals",
    metadata,
    *_columns(String(200), "environment", "check", is_key=True),
    *_columns(TIME, "start", is_key=True),
    *_columns(TIME, "until"),
    *_columns(String(16), "state"),
    *_columns(Text(), "why"),
    *_columns(Boolean(), "maintenance"),
)
health_samples = Table(
    "health_samples",
    metadata,
    *_columns(String(200), "environment", "check", is_key=True),
    *_columns(TIME, "at", is_key=True),
    *_columns(String(16), "status"),
    *_columns(Text(), "error"),
    *_columns(Boolean(), "answered", "degraded", "excused"),
    *(Column(name, Float()) for name in ("seconds", "certificate_days")),
    Column("status_code", BigInteger()),
)
# for all checks of a time at once
health_samples_by_time = Index(
    "health_samples_by_time", health_samples.c.environment, health_samples.c.at
)
health_hosts = Table(
    "health_hosts",
    metadata,
    *_columns(String(200), "environment", is_key=True),
    *_columns(TIME, "at", is_key=True),
    *_columns(Float(), "cpu_ratio", "memory_ratio", "disk_ratio"),
    *(Column(name, Float()) for name in ("load_1m", "load_5m", "load_15m")),
)
health_pushes = Table(
    "health_pushes",
    metadata,
    *_columns(String(200), "environment", "check", is_key=True),
    Column("at", TIME),
    *_columns(TIME, "deadline"),
    *_columns(Boolean(), "failed"),
)
# the round that a training was seen in, and since when
health_rounds = Table(
    "health_rounds",
    metadata,
    *_columns(String(200), "environment", is_key=True),
    *_columns(String(200), "round"),
    *_columns(TIME, "since"),
)
# maintenance started by hand; check is empty for all
maintenance = Table(
    "maintenance",
    metadata,
    *_columns(String(200), "environment", "check", is_key=True),
    *_columns(TIME, "start", is_key=True),
    *_columns(TIME, "until"),
    *_columns(Text(), "reason"),
    *_columns(String(200), "by"),
)
# the record as JSON; open ones have no time of closing
incidents = Table(
    "incidents",
    metadata,
    *_columns(String(16), "id", is_key=True),
    *_columns(String(200), "environment"),
    *_columns(String(16), "fingerprint"),
    *_columns(TIME, "opened_at"),
    Column("closed_at", TIME),
    *_columns(Text(), "record"),
)
incidents_by_alert = Index(
    "incidents_by_alert",
    incidents.c.fingerprint,
    incidents.c.environment,
    incidents.c.opened_at,
)
_IS_OPEN = incidents.c.closed_at.is_(None)
incidents_open = Index(
    "incidents_open", incidents.c.opened_at, sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN
)
incident_events = Table(
    "incident_events",
    metadata,
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    *_columns(String(16), "incident_id"),
    *_columns(TIME, "at"),
    *_columns(String(16), "change"),
    *_columns(Text(), "before", "after", "by", "why"),
)
events_of_incident = Index("events_of_incident", incident_events.c.incident_id)
events_by_time = Index("events_by_time", incident_events.c.at)
# messages to channels; a lease is held by the process that sends one
outbox = Table(
    "outbox",
    metadata,
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    *_columns(String(16), "incident_id"),
    *_columns(String(32), "channel"),
    *_columns(String(16), "action", "change"),
    *_columns(Boolean(), "is_critical", "is_unsure"),
    *_columns(BigInteger(), "step", "tries"),
    *_columns(TIME, "created_at", "due_at", "next_at"),
    Column("leased_until", TIME),
    Column("ended_at", TIME),
    *_columns(String(16), "state"),
    *_columns(String(32), "storm"),
    *_columns(Text(), "why", "problem"),
)
_IS_WAITING = outbox.c.ended_at.is_(None)
outbox_waiting = Index(
    "outbox_waiting",
    outbox.c.channel,
    outbox.c.number,
    sqlite_where=_IS_WAITING,
    postgresql_where=_IS_WAITING,
)
outbox_of_incident = Index("outbox_of_incident", outbox.c.incident_id)
outbox_ended = Index("outbox_ended", outbox.c.channel, outbox.c.ended_at)
# where an incident is shown: what the channel returned for it; a storm has one of its own
shown_in = Table(
    "shown_in",
    metadata,
    *_columns(String(32), "subject", "channel", is_key=True),
    *_columns(Text(), "reference"),
    *_columns(String(32), "storm"),
    *_columns(Boolean(), "is_open"),
)
# what the last run of a flow found and holds, with its notice as JSON
held_findings = Table(
    "held_findings",
    metadata,
    *_columns(String(64), "flow", is_key=True),
    *_columns(String(200), "environment", is_key=True),
    *_columns(String(16), "fingerprint", is_key=True),
    *_columns(Text(), "notice"),
)
verified_suites = Table("verified_suites", metadata, *_columns(String(200), "digest", is_key=True))


def of_measurement(table: Table, measurement: str, environment: str) -> ColumnElement[bool]:
    """Return the rows of one measurement in one environment."""
    return and_(table.c.measurement == measurement, table.c.environment == environment)


def as_text(moment: datetime) -> str:
    """Format ISO 8601 in UTC with six decimals, so that texts sort by time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def open_engine(url: str) -> Engine:
    """Return an engine for the URL, with SQLite set to write through to the disk.

    Raises ConfigurationInvalid when the URL is not one of a SQLite or PostgreSQL database.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise _wrong("is not a database URL") from error
    kind = parsed.drivername.partition("+")[0]
    if kind not in ("sqlite", "postgresql"):
        raise _wrong(f"{kind} is neither sqlite nor postgresql")
    if kind == "sqlite":
        parsed = parsed.set(drivername="sqlite").update_query_dict(
            {"timeout": parsed.query.get("timeout", str(BUSY_SECONDS))}
        )
        _make_file(parsed.database or "")
        engine = create_engine(parsed)
        event.listen(engine, "connect", _write_through)
        return engine
    if not parsed.username:
        raise _wrong("names no user")
    return _server_engine(parsed.set(drivername="postgresql+psycopg"))


def _server_engine(url: URL) -> Engine:
    # it logs tracebacks of broken sessions, which are replaced
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise _wrong("needs the driver: pip install 'fedvitals[postgresql]'") from error
    driver: Any = engine.dialect.loaded_dbapi
    try:
        driver.conninfo.make_conninfo(**url.query)
    except driver.ProgrammingError as error:
        raise _wrong(f"has settings that PostgreSQL lacks: {error}") from error
    return engine


def _make_file(path: str) -> None:
    """Create the file for its owner alone; SQLite would let everybody read it.

    One that is there is not opened: to close it would drop the locks of this process's other
    connections, and SQLite would take away the journal that they write to.
    """
    with suppress(OSError):  # which SQLite reports
        if path and not path.startswith((":", "file:")):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _wrong(problem: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        where="FEDVITALS_LEDGER_URL",
        problem=problem,
        fix="Give one such as sqlite:////var/lib/fedvitals/ledger.db or postgresql://user@host/name",
    )


def _write_through(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
