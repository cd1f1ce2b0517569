"""The supervisor with real processes: restarts, one Ctrl-C, and no orphan."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tasks.servers import supervisor
from tasks.servers.supervisor import supervised
from tests.support.terminal import CTRL_C, started

ROOT = Path(__file__).resolve().parents[3]
# writes its process id as a line of the file, then does as its last argument says
CHILD = """
import os, signal, sys, time
from tasks.servers.supervisor import end_with_parent
end_with_parent()
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
print("at work", flush=True)
if sys.argv[2] == "dies":
    sys.exit(7)
time.sleep(600)
"""
PARENT = """
import sys, time
from tasks.servers.supervisor import supervised
folder, child = sys.argv[1:]
names = ("one", "two")
commands = {n: [sys.executable, "-c", child, f"{folder}/{n}", "works"] for n in names}
try:
    with supervised(commands):
        print("ready", flush=True)
        time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
"""


def eventually(is_so: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pids(file: Path) -> list[int]:
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [int(line) for line in lines if line.endswith("\n")]


def is_alive(pid: int) -> bool:
    """Return whether a process is at work; one that nothing waits for is not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def _no_orphan(tmp_path: Path) -> Iterator[None]:
    """Whatever a test did, no child outlives it."""
    yield
    for file in tmp_path.iterdir():
        for pid in filter(is_alive, pids(file)):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 0.2)


@contextmanager
def child(file: Path, does: str) -> Iterator[None]:
    with supervised({"probe": [sys.executable, "-c", CHILD, str(file), does]}):
        yield


@pytest.mark.promise("Health: a server beside serve that dies is started again")
@pytest.mark.usefixtures("quick")
def test_a_child_that_is_killed_is_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "child"
    with child(file, "works"):
        eventually(lambda: len(pids(file)) == 1)
        os.kill(pids(file)[0], signal.SIGKILL)
        eventually(lambda: len(pids(file)) == 2)
    first, second = pids(file)

    assert first != second
    assert not is_alive(second)
    said = capsys.readouterr().err
    assert "probe | at work\n" in said
    assert "probe | ended by signal 9; it starts again in 0.1 s\n" in said


@pytest.mark.usefixtures("quick")
def test_restarts_back_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "child"
    with child(file, "dies"):
        eventually(lambda: len(pids(file)) >= 4)

    said = capsys.readouterr().err
    pauses = [line.split()[-2] for line in said.splitlines() if "starts again" in line]
    assert "ended with exit code 7" in said
    assert pauses[:3] == ["0.1", "0.2", "0.2"]


@pytest.mark.usefixtures("quick")
def test_a_child_that_ran_for_a_quiet_time_starts_again_soon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "QUIET_SECONDS", 0.0)
    file = tmp_path / "child"
    with child(file, "dies"):
        eventually(lambda: len(pids(file)) >= 3)

    said = capsys.readouterr().err
    assert {line.split()[-2] for line in said.splitlines() if "starts again" in line} == {"0.1"}


@pytest.mark.usefixtures("quick")
def test_a_command_that_cannot_start_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with supervised({"probe": ["/nowhere/program"]}):
        time.sleep(0.2)

    assert "probe | cannot start: No such file or directory" in capsys.readouterr().err


def test_a_child_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.3)
    file = tmp_path / "child"
    with child(file, "stubborn"):
        eventually(lambda: len(pids(file)) == 1)

    assert not is_alive(pids(file)[0])


def parent(folder: Path) -> list[str]:
    return [sys.executable, "-c", PARENT, str(folder), CHILD]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def both_started(folder: Path) -> Callable[[], bool]:
    return lambda: all(pids(folder / name) for name in ("one", "two"))


def children(folder: Path) -> list[int]:
    return [pid for name in ("one", "two") for pid in pids(folder / name)]


def test_one_ctrl_c_ends_all(tmp_path: Path) -> None:
    with started(parent(tmp_path), environment(), tmp_path) as terminal:
        terminal.wait_until(both_started(tmp_path))
        terminal.press(CTRL_C)
        code, seconds = terminal.end(10)

    assert code == 130
    assert seconds < supervisor.STOP_SECONDS
    assert not any(map(is_alive, children(tmp_path)))
    # the Ctrl-C did not reach the children themselves
    assert "ended" not in terminal.text


@pytest.mark.promise("Health: no server of ours outlives the command that started it")
def test_no_orphan_when_the_parent_is_killed(tmp_path: Path) -> None:
    command = parent(tmp_path)
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
        eventually(both_started(tmp_path))
        assert all(map(is_alive, children(tmp_path)))
        process.kill()

    eventually(lambda: not any(map(is_alive, children(tmp_path))), 5)
