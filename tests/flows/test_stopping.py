"""A command that is stopped from outside: Ctrl-C on a terminal, SIGTERM, twice each."""

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.commands.running import NOT_RECORDED
from tests.support.installation import Installation, entry
from tests.support.terminal import CTRL_C, Terminal, on_terminal

LINE = "fedvitals: stopped. Landed data stays; the next run continues"


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A service that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def waiting(installation: Installation, silent: socket.socket) -> Installation:
    port = silent.getsockname()[1]
    installation.variables["PROMETHEUS_URL"] = f"http://127.0.0.1:{port}"
    return installation.configure({"a": entry("a"), "b": entry("b")}, retry_timeout="60s")


def until_it_waits(terminal: Terminal, silent: socket.socket) -> list[socket.socket]:
    """Return the connections that the command opened."""
    silent.settimeout(0)
    found: list[socket.socket] = []

    def is_connected() -> bool:
        try:
            found.append(silent.accept()[0])
        except BlockingIOError:
            return False
        return True

    terminal.wait_until(is_connected, seconds=90)
    return found


BEGINNING = re.compile(
    rf"fedvitals: (?:{re.escape(NOT_RECORDED)}|config .+, home .+|.+ is a new home .+)$"
)


def lines_of(text: str) -> list[str]:
    """The lines that are left once a progress bar is gone."""
    plain = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text).replace("^C", "")
    return [line for line in re.split(r"[\r\n]+", plain) if line.strip()]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [("key", 130), ("signal", 143)])
@pytest.mark.parametrize("where", ["bare", "installed"])
def test_collect_ends_at_once_with_one_line(
    where: str, how: str, code: int, request: pytest.FixtureRequest, silent: socket.socket
) -> None:
    """With a Prefect server and without one."""
    installation = waiting(request.getfixturevalue(where), silent)
    with on_terminal(installation, "collect") as terminal:
        connections = until_it_waits(terminal, silent)
        children = psutil.Process(terminal.pid).children(recursive=True)
        if how == "key":
            terminal.press(CTRL_C)
        else:
            terminal.signal(signal.SIGTERM)
        ended, took = terminal.end(seconds=10)
    for connection in connections:
        connection.close()
    assert (ended, took < 5) == (code, True), terminal.text
    assert lines_of(terminal.text)[-1] == LINE
    assert "Traceback" not in terminal.text
    # before it, the lines with which every run begins
    (_,) = [line for line in lines_of(terminal.text) if not BEGINNING.match(line)]
    assert [each for each in children if each.is_running()] == []


@pytest.mark.slow
def test_a_stopped_run_leaves_a_gap_that_the_next_one_reads(
    bare: Installation, silent: socket.socket, tmp_path: Path
) -> None:
    installation = waiting(bare, silent)
    with on_terminal(installation, "collect") as terminal:
        until_it_waits(terminal, silent)
        terminal.press(CTRL_C)
        assert terminal.end(seconds=10)[0] == 130
    # whoever comes next is not kept out by a lock
    installation.write_yaml("environments.yaml", {"pipeline": {"retry_timeout": "1s"}})
    installation.variables["PROMETHEUS_URL"] = "http://127.0.0.1:9"
    ran = installation.run("collect", "--json")
    assert (ran.code, ran.document["status"]) == (1, "failed")
    assert "is locked by" not in ran.out
