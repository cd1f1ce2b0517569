"""Maintenance of the ledger: backup, and removal of expired records."""

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, bindparam, delete, select

from tasks.core.errors import LedgerUnavailable
from tasks.core.whole_file import draft_of
from tasks.ledger.incidents import LOOKED
from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import as_text, cells, loads, pages, runs, set_aside, verified_suites

# newest receipts of each flow and environment, however old: reports compare with them
RUNS_ALWAYS_KEPT = 10
BACKUPS = "ledger-*.db"
# a copy takes seconds
LEFT_OVER_SECONDS = 3600.0
# below this, rewriting the whole file is not worth it
SHARE_WORTH_FREEING = 0.25
# another writer is active; extended error codes have the primary one in their low byte
HELD, PRIMARY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED), 0xFF


@dataclass(frozen=True)
class Cleaned:
    """Number of removed records."""

    runs: int
    pages: int
    suites: int


@dataclass(frozen=True)
class Backup:
    """The new copy of the ledger, and the number of removed older ones."""

    path: Path
    removed: int


def environments_of(ledger: Ledger, measurement: str) -> frozenset[str]:
    """Return the environments with cells of the measurement in the ledger."""
    query = select(cells.c.environment).where(cells.c.measurement == measurement).distinct()
    with ledger.transaction() as connection:
        return frozenset(connection.execute(query).scalars())


def forget_before(ledger: Ledger, measurement: str, moment: datetime) -> int:
    """Drop cells that end by then, with their loads; return their number."""
    with ledger.transaction() as connection:
        for table in (set_aside, loads, cells):
            ended = (table.c.measurement == measurement) & (table.c.cell_stop <= as_text(moment))
            done = connection.execute(delete(table).where(ended))
        return done.rowcount


def clean(ledger: Ledger, before: datetime, suites: frozenset[str] | None) -> Cleaned:
    """Drop receipts and pages from before the moment, and proofs of other suites.

    The newest receipts of each flow and environment stay. None for suites keeps all proofs.
    """
    with ledger.transaction() as connection:
        return Cleaned(
            runs=_drop_runs(connection, f"{before:%Y%m%dT%H%M%S}"),
            pages=connection.execute(delete(pages).where(pages.c.time < as_text(before))).rowcount,
            suites=0 if suites is None else _drop_suites(connection, suites),
        )


def back_up(ledger: Ledger, folder: Path, name: str, keep: int) -> Backup | None:
    """Copy a SQLite ledger to `ledger-<name>.db` in the folder; retain `keep` copies.

    Uses SQLite's online backup, so a run may write meanwhile; the copy is checked before an older
    one is removed. None for a PostgreSQL ledger, backed up on its server, and for keep = 0. Raises
    LedgerUnavailable when it cannot be written or is corrupt; the older ones stay.
    """
    if keep == 0:
        return None
    with ledger.transaction() as connection:
        source = connection.connection.driver_connection
        if not isinstance(source, sqlite3.Connection):
            return None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = _copied(source, folder, name)
        except (OSError, sqlite3.Error) as error:
            raise LedgerUnavailable(
                url=ledger.url, problem=f"no backup in {folder}: {error}"
            ) from error
    older = sorted(folder.glob(BACKUPS))[:-keep]
    for each in (*older, *_left_over(folder)):
        each.unlink(missing_ok=True)
    return Backup(path, len(older))


def shrink(ledger: Ledger) -> None:
    """Vacuum a SQLite ledger with much free space, and empty its write-ahead log.

    A PostgreSQL server does so itself. Space in use by another process is left for next time.
    Raises LedgerUnavailable when the database cannot be written for another reason.
    """
    with ledger.transaction() as connection:
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            return
        free, pages_ = (
            driver.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("freelist_count", "page_count")
        )
        try:
            if free > SHARE_WORTH_FREEING * pages_:
                driver.execute("VACUUM")
            driver.execute("PRAGMA optimize")
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & PRIMARY not in HELD:
                raise LedgerUnavailable(url=ledger.url, problem=str(error)) from error


def bytes_of(ledger: Ledger) -> int | None:
    """Return the size of a SQLite ledger's file; None for one on a server."""
    with ledger.transaction() as connection:
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            return None
        sizes = [driver.execute(f"PRAGMA {n}").fetchone()[0] for n in ("page_count", "page_size")]
    return int(sizes[0] * sizes[1])


def _copied(source: sqlite3.Connection, folder: Path, name: str) -> Path:
    """Return a complete copy, flushed to the disk before it gets its name."""
    path = folder / f"ledger-{name}.db"
    with draft_of(path, 0o600) as unfinished:
        with closing(sqlite3.connect(unfinished)) as target:
            source.backup(target)
            _let_it_look_again(target)
            # the copy must be a single file, whatever journals are beside it
            target.execute("PRAGMA journal_mode=DELETE")
            (said,) = target.execute("PRAGMA quick_check").fetchone()
        if said != "ok":
            raise sqlite3.DatabaseError(f"the copy is corrupt: {said}")
        for place in (unfinished, folder):
            _sync(place)
        unfinished.rename(path)
        _sync(folder)
    return path


def _let_it_look_again(copy: sqlite3.Connection) -> None:
    """Let a restored copy take over what opened since, and mark as a repeat what it sends again."""
    copy.execute("DELETE FROM meta WHERE substr(key, 1, ?) = ?", (len(LOOKED), LOOKED))
    copy.execute("UPDATE outbox SET is_unsure = 1 WHERE ended_at IS NULL")
    copy.commit()


def _left_over(folder: Path) -> Iterator[Path]:
    """Yield unfinished copies of dead processes, not of ones that may be at work."""
    for part in folder.glob(".ledger-*.db.*"):
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > LEFT_OVER_SECONDS:
                yield part


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _drop_runs(connection: Connection, before: str) -> int:
    query = select(runs.c.run_id, runs.c.flow, runs.c.environment).order_by(runs.c.run_id.desc())
    seen: Counter[tuple[str, str]] = Counter()
    old = []
    for run_id, flow, environment in connection.execute(query):
        seen[flow, environment] += 1
        if run_id < before and seen[flow, environment] > RUNS_ALWAYS_KEPT:
            old.append({"old": run_id})
    if old:
        connection.execute(delete(runs).where(runs.c.run_id == bindparam("old")), old)
    return len(old)


def _drop_suites(connection: Connection, kept: frozenset[str]) -> int:
    held = connection.execute(select(verified_suites.c.digest)).scalars().all()
    gone = [{"gone": digest} for digest in held if digest not in kept]
    if gone:
        by_digest = delete(verified_suites).where(verified_suites.c.digest == bindparam("gone"))
        connection.execute(by_digest, gone)
    return len(gone)
