"""Run locks on files: one holder, named to the next, and freed with the process that held it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.core.errors import LockHeld, LockLost
from tasks.ledger.locks import FileLocks

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys
from pathlib import Path
from tasks.ledger.locks import FileLocks
with FileLocks(Path(sys.argv[1])).hold("m", "production", "run-of-the-child"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def locks(tmp_path: Path) -> FileLocks:
    return FileLocks(tmp_path / "locks")


@contextmanager
def holding_child(folder: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.communicate()


@pytest.mark.promise(
    "Two runs: one works; the other names the lock's holder, is pending and ends with exit code 3"
)
def test_second_holder_is_refused_at_once_and_reported_who_holds_it(locks: FileLocks) -> None:
    with locks.hold("m", "production", "run-1"):
        with pytest.raises(LockHeld) as caught, locks.hold("m", "production", "run-2"):
            pytest.fail("held twice")
        assert f"is locked by run run-1 (process {os.getpid()} on " in str(caught.value)
        # the refused one does not take the name over
        with pytest.raises(LockHeld, match="run run-1"), locks.hold("m", "production", "run-3"):
            pytest.fail("held twice")
    with locks.hold("m", "production", "run-2") as lock:
        lock.check()


@pytest.mark.parametrize(
    ("measurement", "environment"),
    [("m", "staging"), ("n", "production"), ("m--production", ""), ("m/production", "x")],
)
def test_other_measurements_and_environments_are_free(
    locks: FileLocks, measurement: str, environment: str
) -> None:
    with (
        locks.hold("m", "production", "run-1"),
        locks.hold(measurement, environment, "run-2") as lock,
    ):
        lock.check()


def test_names_that_look_the_same_as_files_are_apart(locks: FileLocks, tmp_path: Path) -> None:
    with locks.hold("m", "a/b", "run-1"), locks.hold("m", "a_b", "run-2"):
        assert len(list((tmp_path / "locks").glob("*.lock"))) == 2
    long = "x" * 300
    with locks.hold("m", long, "run-1"), locks.hold("m", long + "y", "run-2") as lock:
        lock.check()


@pytest.mark.promise("Two runs: a lock ends with its process")
def test_lock_falls_with_a_process_that_is_killed(locks: FileLocks, tmp_path: Path) -> None:
    with holding_child(tmp_path / "locks") as child:
        with pytest.raises(LockHeld) as caught, locks.hold("m", "production", "run-2"):
            pytest.fail("held twice")
        assert f"run run-of-the-child (process {child.pid} on " in str(caught.value)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        with locks.hold("m", "production", "run-2") as lock:
            lock.check()


def test_lock_falls_with_an_error_of_the_holder(locks: FileLocks) -> None:
    with pytest.raises(ZeroDivisionError), locks.hold("m", "production", "run-1"):
        raise ZeroDivisionError
    with locks.hold("m", "production", "run-2") as lock:
        lock.check()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_lock_whose_file_is_taken_away_is_lost(
    locks: FileLocks, tmp_path: Path, is_replaced: bool
) -> None:
    with locks.hold("m", "production", "run-1") as lock:
        lock.check()
        (path,) = (tmp_path / "locks").glob("*.lock")
        moved = path.rename(tmp_path / "moved")
        if is_replaced:
            path.write_text("")
        with pytest.raises(LockLost, match="m in production: the lock was lost before the commit"):
            lock.check()
        path.unlink(missing_ok=True)
        moved.rename(path)
        lock.check()


def test_lock_is_lost_after_it_was_given_back(locks: FileLocks) -> None:
    with locks.hold("m", "production", "run-1") as lock:
        pass
    with pytest.raises(LockLost):
        lock.check()


def test_lock_is_checked_from_other_threads(locks: FileLocks) -> None:
    errors: list[Exception] = []

    def check() -> None:
        try:
            for _ in range(50):
                lock.check()
        except LockLost as error:
            errors.append(error)

    with locks.hold("m", "production", "run-1") as lock:
        threads = [threading.Thread(target=check) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run_id": "x"}', "\x00"])
def test_holder_that_left_no_readable_name_is_another_run(
    locks: FileLocks, tmp_path: Path, content: str
) -> None:
    with locks.hold("m", "production", "run-1"):
        (name,) = (tmp_path / "locks").glob("*.json")
        name.write_text(content)
        with (
            pytest.raises(LockHeld, match="is locked by another run"),
            locks.hold("m", "production", "run-2"),
        ):
            pytest.fail("held twice")
