"""The ledger's tables, on SQLite or on PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError

from tasks.core.errors import ConfigurationInvalid
from tasks.ledger.tls import tls_context

BUSY_SECONDS = 30

metadata = MetaData()

# times are texts of as_text, so that they sort and read the same everywhere; by bytes, for PostgreSQL
# would go by the rules of its language, which costs more than half of a question
TIME = String(32).with_variant(String(32, collation="C"), "postgresql")

cells = Table(
    "cells",
    metadata,
    Column("measurement", String(200), primary_key=True),
    Column("environment", String(200), primary_key=True),
    Column("cell_start", TIME, primary_key=True),
    Column("cell_stop", TIME, nullable=False),
    Column("source", String(32), nullable=False),
    Column("covered_until", TIME, nullable=False),
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
# few at any time, and asked for by every run
cells_read_in_part = Index(
    "cells_read_in_part",
    cells.c.measurement,
    cells.c.environment,
    cells.c.cell_start,
    sqlite_where=cells.c.covered_until < cells.c.cell_stop,
    postgresql_where=cells.c.covered_until < cells.c.cell_stop,
)
# the newest run is asked for by every run
cells_of_run = Index("cells_of_run", cells.c.run_id)
# digests are compared over all cells by every run
cells_digests = Index(
    "cells_digests",
    cells.c.measurement,
    cells.c.environment,
    cells.c.cell_start,
    cells.c.landed_digest,
    sqlite_where=cells.c.landed_digest != "",
    postgresql_where=cells.c.landed_digest != "",
)
loads = Table(
    "loads",
    metadata,
    Column("sink", String(1000), primary_key=True),
    Column("measurement", String(200), primary_key=True),
    Column("environment", String(200), primary_key=True),
    Column("cell_start", TIME, primary_key=True),
    Column("cell_stop", TIME, nullable=False),
    Column("landed_digest", String(64), nullable=False),
    Column("erasures", BigInteger, nullable=False),
    Column("loaded", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
)
loads_digests = Index(
    "loads_digests",
    loads.c.sink,
    loads.c.measurement,
    loads.c.environment,
    loads.c.cell_start,
    loads.c.landed_digest,
)
# gaps whose answer cannot be used, with the run that found it out last
set_aside = Table(
    "set_aside",
    metadata,
    Column("measurement", String(200), primary_key=True),
    Column("environment", String(200), primary_key=True),
    Column("cell_start", TIME, primary_key=True),
    Column("cell_stop", TIME, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("problem", Text, nullable=False),
)
pages = Table(
    "pages",
    metadata,
    Column("environment", String(200), primary_key=True),
    Column("url", String(1000), primary_key=True),
    Column("time", TIME, nullable=False),
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
meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
verified_suites = Table(
    "verified_suites", metadata, Column("digest", String(200), primary_key=True)
)


def as_text(moment: datetime) -> str:
    """ISO 8601 in UTC with all six decimals: a shorter text would sort behind a longer one."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def open_engine(url: str) -> Engine:
    """An engine for the URL, with SQLite set to write through to the disk.

    Raises:
        ConfigurationInvalid: when the URL is not one of a SQLite or PostgreSQL database.
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
        engine = create_engine(parsed)
        event.listen(engine, "connect", _write_through)
        return engine
    if not parsed.username:
        raise _wrong("names no user")
    context = tls_context(parsed.query)
    # what is set for other drivers would end in a TypeError of this one
    parsed = parsed.set(drivername="postgresql+pg8000", query={})
    try:
        engine = create_engine(parsed, connect_args={"ssl_context": context})
    except ModuleNotFoundError as error:
        raise _wrong("needs the driver: pip install 'fedvitals[postgresql]'") from error
    event.listen(engine, "checkout", _trying_out((engine.dialect.loaded_dbapi.Error, OSError)))
    return engine


def _wrong(problem: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        where="FEDVITALS_LEDGER_URL",
        problem=problem,
        mend="Give one such as sqlite:////var/lib/fedvitals/ledger.db or postgresql://user@host/name",
    )


def _trying_out(broken: tuple[type[Exception], ...]) -> Callable[[Any, Any, Any], None]:
    """Has the pool replace a session that is gone; its own ping lets the driver's OSErrors through."""

    def try_out(connection: Any, _record: Any, _proxy: Any) -> None:
        try:
            connection.cursor().execute("SELECT 1")
            connection.rollback()
        except broken as error:
            raise DisconnectionError from error

    return try_out


def _write_through(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
