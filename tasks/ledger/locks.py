"""Run locks: one a measurement and environment; they fall with the process that held them."""

import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from tasks.core.errors import LockHeld, LockLost


class RunLock(Protocol):
    """A lock that is held; `check` raises LockLost when it no longer is."""

    def check(self) -> None:
        """Looks whether the lock still holds. Call it before each commit."""
        ...


class FileRunLock:
    """A lock on a file beside a SQLite ledger; the operating system frees it with the process."""

    def __init__(self, lock: FileLock, measurement: str, environment: str) -> None:
        self._lock = lock
        self._inode = os.stat(lock.lock_file).st_ino
        self._names = {"measurement": measurement, "environment": environment}

    def check(self) -> None:
        """Raises LockLost when the file was taken away from under the lock."""
        try:
            held = self._lock.is_locked and os.stat(self._lock.lock_file).st_ino == self._inode
        except OSError:
            held = False
        if not held:
            raise LockLost(**self._names)


class DatabaseRunLock:
    """An advisory lock of a PostgreSQL session, freed by the server when the session ends."""

    def __init__(self, connection: Connection, measurement: str, environment: str) -> None:
        self._connection = connection
        self._names = {"measurement": measurement, "environment": environment}

    def check(self) -> None:
        """Raises LockLost when the session that holds the lock is gone."""
        try:
            self._connection.execute(text("SELECT 1"))
        except DBAPIError as error:
            raise LockLost(**self._names) from error


class FileLocks:
    """Hands out file locks below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, measurement: str, environment: str, run_id: str) -> Iterator[RunLock]:
        """Holds the lock for a run, without waiting.

        Raises:
            LockHeld: at once, naming who holds it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{_as_file_name(measurement, environment)}.lock"
        holder = path.with_suffix(".json")
        # the lock is checked from the threads that work under it
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise LockHeld(
                measurement=measurement, environment=environment, holder=_read_holder(holder)
            ) from error
        try:
            holder.write_text(json.dumps(_this_process(run_id)), encoding="utf-8")
            yield FileRunLock(lock, measurement, environment)
        finally:
            lock.release()


class DatabaseLocks:
    """Hands out advisory locks of a PostgreSQL ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def hold(self, measurement: str, environment: str, run_id: str) -> Iterator[RunLock]:
        """Holds the lock for a run, without waiting.

        Raises:
            LockHeld: at once, naming the session that holds it.
        """
        key = {"key": _as_number(measurement, environment)}
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            name = {"name": f"fedvitals {run_id}"[:63]}
            connection.execute(text("SELECT set_config('application_name', :name, false)"), name)
            if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar():
                holder = connection.execute(_HOLDER, key).scalar() or "another session"
                raise LockHeld(measurement=measurement, environment=environment, holder=holder)
            try:
                yield DatabaseRunLock(connection, measurement, environment)
            finally:
                # the connection goes back to a pool, so the session would go on holding the lock
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)


_HOLDER = text(
    "SELECT application_name || ' (session ' || l.pid || ')' FROM pg_locks l "
    "JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted "
    "AND ((l.classid::bigint << 32) | l.objid::bigint) = :key"
)


def _as_file_name(measurement: str, environment: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{measurement}--{environment}")
    return f"{readable[:100]}-{_as_number(measurement, environment):016x}"


def _as_number(measurement: str, environment: str) -> int:
    digest = hashlib.blake2b(f"{measurement}\0{environment}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _this_process(run_id: str) -> dict[str, str | int]:
    return {"run_id": run_id, "pid": os.getpid(), "host": socket.gethostname()}


def _read_holder(path: Path) -> str:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "another run"
    return f"run {held['run_id']} (process {held['pid']} on {held['host']})"
