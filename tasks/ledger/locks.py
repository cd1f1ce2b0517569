"""Run locks: one a measurement and environment, released when their process ends."""

import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tasks.core.errors import LedgerAway, LockHeld, LockLost

# for incomplete notes of a holder
UNREAD = (OSError, ValueError, TypeError, KeyError)


class RunLock:
    """A lock, held as long as `is_held` returns true; its errors mean that it is lost."""

    def __init__(self, is_held: Callable[[], bool], measurement: str, environment: str) -> None:
        self._is_held = is_held
        self._names = {"measurement": measurement, "environment": environment}
        # whether a check found so
        self.is_lost = False

    def check(self) -> None:
        """Raise LockLost when the lock no longer holds. Call it before each commit."""
        cause = None
        try:
            self.is_lost = not self._is_held()
        except (SQLAlchemyError, *UNREAD) as error:
            self.is_lost, cause = True, error
        if self.is_lost:
            raise LockLost(**self._names) from cause


class FileLocks:
    """Locks on files below a folder; the operating system frees them with the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, measurement: str, environment: str, run_id: str) -> Iterator[RunLock]:
        """Hold the lock for a run; raise LockHeld at once if it is taken."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path, holder = self._paths(measurement, environment)
        # worker threads check the lock
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise LockHeld(
                measurement=measurement, environment=environment, holder=_read_holder(holder)
            ) from error
        try:
            holder.write_text(json.dumps(_this_process(run_id)), encoding="utf-8")
            inode = os.stat(path).st_ino
            # a lock file that was removed or replaced is lost
            yield RunLock(
                lambda: lock.is_locked and os.stat(path).st_ino == inode, measurement, environment
            )
        finally:
            lock.release()

    def watch(self, measurement: str, environment: str, run_id: str) -> RunLock:
        """Return the lock that another process of this machine holds for the run.

        The kernel does not reveal the holder of a file, so its note is read: it must name the run, and
        its process must live. A lock that was lost and not yet taken by another run, while its process
        lives on, is not noticed here.
        """
        _, holder = self._paths(measurement, environment)
        return RunLock(partial(_is_of_run, holder, run_id), measurement, environment)

    def _paths(self, measurement: str, environment: str) -> tuple[Path, Path]:
        path = self._folder / f"{_as_file_name(measurement, environment)}.lock"
        return path, path.with_suffix(".json")


class DatabaseLocks:
    """Advisory locks of PostgreSQL sessions; the server frees them with the session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def hold(self, measurement: str, environment: str, run_id: str) -> Iterator[RunLock]:
        """Hold the lock for a run, without waiting.

        Raises LockHeld at once, naming the holding session; LedgerUnavailable when the database does
        not answer.
        """
        connection = self._acquired(measurement, environment, run_id)
        # worker threads share its connection
        key, guard = {"key": _as_number(measurement, environment)}, threading.Lock()
        try:
            yield RunLock(partial(_is_mine, connection, key, guard), measurement, environment)
        finally:
            self._release(connection, measurement, environment)

    def watch(self, measurement: str, environment: str, run_id: str) -> RunLock:
        """Return the lock that another session of the run holds."""
        asked = {"key": _as_number(measurement, environment), "name": _session_name(run_id)}

        def is_held() -> bool:
            with self._engine.connect() as connection:
                return bool(connection.execute(_IS_OF_RUN, asked).scalar())

        return RunLock(is_held, measurement, environment)

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
            except SQLAlchemyError as error:
                raise LedgerAway(
                    url=self._engine.url.render_as_string(hide_password=True),
                    problem=f"no run lock: {reason_of(error)}",
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
        """Unlock explicitly: the connection returns to a pool and its session lives on."""
        try:
            connection.execute(_GIVE_BACK, {"key": _as_number(measurement, environment)})
        except SQLAlchemyError:
            # the server frees the locks of a broken session
            connection.invalidate()
        connection.close()


def reason_of(error: SQLAlchemyError) -> str:
    """Describe a database's error in one line, as the driver does."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return next(iter(str(cause).strip().splitlines()), "no answer")


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


def _is_mine(connection: Connection, key: dict[str, int], guard: threading.Lock) -> bool:
    with guard:
        return bool(connection.execute(_IS_MINE, key).scalar())


def _is_of_run(holder: Path, run_id: str) -> bool:
    held = json.loads(holder.read_text(encoding="utf-8"))
    is_of_run = held["run_id"] == run_id and held["host"] == socket.gethostname()
    return is_of_run and _is_alive(held["pid"])


def _is_alive(pid: int) -> bool:
    try:
        # a process of another user: it exists
        with suppress(PermissionError):
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _this_process(run_id: str) -> dict[str, str | int]:
    return {"run_id": run_id, "pid": os.getpid(), "host": socket.gethostname()}


def _read_holder(path: Path) -> str:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return f"run {held['run_id']} (process {held['pid']} on {held['host']})"
    except UNREAD:
        return "another run"
