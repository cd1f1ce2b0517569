"""Run locks: one a measurement and environment; they fall with the process that held them."""

import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from tasks.core.errors import LedgerUnavailable, LockHeld, LockLost

# the PostgreSQL driver raises OSErrors of its own where a session broke off
LOST = (SQLAlchemyError, OSError)


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


class DistantFileLock:
    """A file lock of another process of this machine, seen from a worker of the same run.

    The kernel tells nobody else who holds a file, so its holder's note is read: it must name the
    run, and the process that wrote it must live. A lock that was lost and not yet taken by another
    run, while its process lives on, is not noticed here.
    """

    def __init__(self, holder: Path, run_id: str, measurement: str, environment: str) -> None:
        self._holder = holder
        self._run_id = run_id
        self._names = {"measurement": measurement, "environment": environment}

    def check(self) -> None:
        """Raises LockLost when the note names another run, or its process is gone."""
        try:
            held = json.loads(self._holder.read_text(encoding="utf-8"))
            is_held = held["run_id"] == self._run_id and held["host"] == socket.gethostname()
            is_held = is_held and _is_alive(held["pid"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LockLost(**self._names) from error
        if not is_held:
            raise LockLost(**self._names)


class DistantDatabaseLock:
    """An advisory lock that another session of the same run holds, seen from a worker."""

    def __init__(self, engine: Engine, run_id: str, measurement: str, environment: str) -> None:
        self._engine = engine
        self._asked = {"key": _as_number(measurement, environment), "name": _session_name(run_id)}
        self._names = {"measurement": measurement, "environment": environment}

    def check(self) -> None:
        """Raises LockLost when no session of the run holds the lock."""
        try:
            with self._engine.connect() as connection:
                held = connection.execute(_IS_OF_RUN, self._asked).scalar()
        except LOST as error:
            raise LockLost(**self._names) from error
        if not held:
            raise LockLost(**self._names)


class DatabaseRunLock:
    """An advisory lock of a PostgreSQL session, freed by the server when the session ends."""

    def __init__(self, connection: Connection, measurement: str, environment: str) -> None:
        self._connection = connection
        self._key = {"key": _as_number(measurement, environment)}
        self._names = {"measurement": measurement, "environment": environment}
        # the threads that work under the lock share its connection
        self._guard = threading.Lock()

    def check(self) -> None:
        """Raises LockLost when the session that holds the lock is gone."""
        try:
            with self._guard:
                held = self._connection.execute(_IS_MINE, self._key).scalar()
        except LOST as error:
            raise LockLost(**self._names) from error
        if not held:
            raise LockLost(**self._names)


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
        path, holder = self._paths(measurement, environment)
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

    def watch(self, measurement: str, environment: str, run_id: str) -> RunLock:
        """The lock that another process of the run holds."""
        _, holder = self._paths(measurement, environment)
        return DistantFileLock(holder, run_id, measurement, environment)

    def _paths(self, measurement: str, environment: str) -> tuple[Path, Path]:
        path = self._folder / f"{_as_file_name(measurement, environment)}.lock"
        return path, path.with_suffix(".json")


class DatabaseLocks:
    """Hands out advisory locks of a PostgreSQL ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def hold(self, measurement: str, environment: str, run_id: str) -> Iterator[RunLock]:
        """Holds the lock for a run, without waiting.

        Raises:
            LockHeld: at once, naming the session that holds it.
            LedgerUnavailable: when the database does not answer.
        """
        connection = self._acquired(measurement, environment, run_id)
        try:
            yield DatabaseRunLock(connection, measurement, environment)
        finally:
            self._release(connection, measurement, environment)

    def watch(self, measurement: str, environment: str, run_id: str) -> RunLock:
        """The lock that another session of the run holds."""
        return DistantDatabaseLock(self._engine, run_id, measurement, environment)

    def _acquired(self, measurement: str, environment: str, run_id: str) -> Connection:
        key = {"key": _as_number(measurement, environment)}
        name = {"name": _session_name(run_id)}
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._engine.connect())
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.execute(_TAKE_NAME, name)
                is_mine = connection.execute(_TAKE, key).scalar()
                holder = None if is_mine else connection.execute(_HOLDER, key).scalar()
            except LOST as error:
                raise LedgerUnavailable(
                    url=self._engine.url.render_as_string(hide_password=True),
                    problem=f"no run lock: {str(error).splitlines()[0]}",
                ) from error
            if not is_mine:
                raise LockHeld(
                    measurement=measurement,
                    environment=environment,
                    holder=holder or "another session",
                )
            stack.pop_all()
        return connection

    @staticmethod
    def _release(connection: Connection, measurement: str, environment: str) -> None:
        """Unlocks, since the connection goes back to a pool and its session lives on."""
        try:
            connection.execute(_GIVE_BACK, {"key": _as_number(measurement, environment)})
        except LOST:
            # the server frees the locks of a session that is gone
            connection.invalidate()
        connection.close()


_TAKE_NAME = text("SELECT set_config('application_name', :name, false)")
_TAKE = text("SELECT pg_try_advisory_lock(:key)")
_GIVE_BACK = text("SELECT pg_advisory_unlock(:key)")
_HELD = (
    "FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND ((l.classid::bigint << 32) | l.objid::bigint) = :key"
)
_IS_MINE = text(f"SELECT count(*) {_HELD} AND l.pid = pg_backend_pid()")
_IS_OF_RUN = text(
    f"SELECT count(*) {_HELD} AND EXISTS "
    "(SELECT 1 FROM pg_stat_activity a WHERE a.pid = l.pid AND a.application_name = :name)"
)
_HOLDER = text(
    "SELECT (SELECT application_name FROM pg_stat_activity a WHERE a.pid = l.pid) "
    f"|| ' (session ' || l.pid || ')' {_HELD}"
)


def _as_file_name(measurement: str, environment: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{measurement}--{environment}")
    return f"{readable[:100]}-{_as_number(measurement, environment):016x}"


def _as_number(measurement: str, environment: str) -> int:
    digest = hashlib.blake2b(f"{measurement}\0{environment}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _session_name(run_id: str) -> str:
    return f"fedvitals {run_id}"[:63]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _this_process(run_id: str) -> dict[str, str | int]:
    return {"run_id": run_id, "pid": os.getpid(), "host": socket.gethostname()}


def _read_holder(path: Path) -> str:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return f"run {held['run_id']} (process {held['pid']} on {held['host']})"
    except (OSError, ValueError, TypeError, KeyError):
        return "another run"
