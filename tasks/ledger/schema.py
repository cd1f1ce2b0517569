"""The ledger's tables, on SQLite or on PostgreSQL."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from tasks.core.errors import ConfigurationInvalid

BUSY_SECONDS = 30

metadata = MetaData()

# times are ISO 8601 in UTC, so that they sort and read the same everywhere
cells = Table(
    "cells",
    metadata,
    Column("measurement", String(200), primary_key=True),
    Column("environment", String(200), primary_key=True),
    Column("cell_start", String(32), primary_key=True),
    Column("cell_stop", String(32), nullable=False),
    Column("source", String(32), nullable=False),
    Column("covered_until", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("source_digest", String(64), nullable=False),
    Column("landed_digest", String(64), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("values", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("erasures", BigInteger, nullable=False),
    Column("catalogue_digest", String(64), nullable=False),
    Column("run_id", String(64), nullable=False),
)
loads = Table(
    "loads",
    metadata,
    Column("sink", String(32), primary_key=True),
    Column("measurement", String(200), primary_key=True),
    Column("environment", String(200), primary_key=True),
    Column("cell_start", String(32), primary_key=True),
    Column("cell_stop", String(32), nullable=False),
    Column("landed_digest", String(64), nullable=False),
    Column("erasures", BigInteger, nullable=False),
    Column("loaded", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
)
pages = Table(
    "pages",
    metadata,
    Column("environment", String(200), primary_key=True),
    Column("url", String(1000), primary_key=True),
    Column("time", String(32), nullable=False),
    Column("content", LargeBinary, nullable=False),
)
runs = Table(
    "runs",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("flow", String(64), nullable=False),
    Column("environment", String(200), nullable=False),
    Column("receipt", Text, nullable=False),
)
verified_suites = Table(
    "verified_suites", metadata, Column("digest", String(200), primary_key=True)
)


def open_engine(url: str) -> Engine:
    """An engine for the URL, with SQLite set to write through to the disk.

    Raises:
        ConfigurationInvalid: when the URL is not one of a SQLite or PostgreSQL database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _wrong("is not a database URL") from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise _wrong(f"{parsed.get_backend_name()} is neither sqlite nor postgresql")
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _write_through)
        return engine
    try:
        return create_engine(parsed.set(drivername="postgresql+pg8000"), pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise _wrong("needs the driver: pip install 'fedvitals[postgresql]'") from error


def _wrong(problem: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        where="FEDVITALS_LEDGER_URL",
        problem=problem,
        mend="Give one such as sqlite:////var/lib/fedvitals/ledger.db or postgresql://user@host/name",
    )


def _write_through(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
