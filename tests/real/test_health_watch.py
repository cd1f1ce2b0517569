"""`fedvitals health watch` as its own process: samples, reports of jobs, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
import requests
from pytest_httpserver import HTTPServer

from tasks.core.health import Key
from tasks.core.window import Window
from tasks.ledger.health import pushes, samples
from tasks.ledger.ledger import Ledger
from tests.support.fakes.raw_http import RawServer
from tests.support.installation import COMMAND, Installation, entry
from tests.support.terminal import CTRL_C, Terminal, on_terminal

pytestmark = pytest.mark.timeout(120)
STARTED = "sampling the checks of production every 1 s"
PARENT = """
import sys, time
from tasks.servers.supervisor import supervised
with supervised({"health watch": [sys.argv[1], "health", "watch"]}):
    time.sleep(600)
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path).configure({"a": entry("a")})
    content = {
        "interval": "1s",
        "endpoints": {"/health": {}},
        "pushed": {"nightly-export": {"every": "24h"}},
    }
    made.write_yaml("health.yaml", content)
    made.variables["FEDVITALS_INTAKE_ADDRESS"] = "127.0.0.1:0"
    with HTTPServer() as server:
        server.expect_request("/health").respond_with_data('{"status": "ok"}')
        made.variables["FED_VIT_API_URL"] = server.url_for("").rstrip("/")
        yield made


def recorded(here: Installation) -> list[str]:
    """The states of samples of the endpoint."""
    file, now = here.home / "ledger.db", datetime.now(UTC)
    if not file.exists():
        return []
    window = Window(now - timedelta(hours=1), now + timedelta(hours=1))
    with closing(Ledger(f"sqlite:///{file}")) as ledger:
        found = samples(ledger, "production", window)
    return [one.status for one in found if one.check == "/health"]


def eventually(is_so: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ended(terminal: Terminal, how: str) -> tuple[int, float]:
    if how == "key":
        terminal.press(CTRL_C)
    else:
        terminal.signal(signal.SIGTERM)
    return terminal.end(10)


@pytest.mark.parametrize(("how", "code"), [("key", 130), ("signal", 143)])
def test_it_samples_takes_reports_and_ends_at_once(here: Installation, how: str, code: int) -> None:
    with on_terminal(here, "health", "watch") as terminal:
        terminal.wait_until(lambda: STARTED in terminal.text and "/checks/NAME" in terminal.text)
        (url,) = re.findall(r"taking reports at (\S+)/checks/NAME", terminal.text)
        answer = requests.post(f"{url}/checks/nightly-export", timeout=10)
        terminal.wait_until(lambda: len(recorded(here)) >= 2)
        before = len(terminal.text)
        found, seconds = ended(terminal, how)

    assert (found, answer.status_code) == (code, 204)
    assert seconds < 5
    lines = [
        line for line in terminal.text[before:].replace("^C", "").split("\r\n") if line.strip()
    ]
    assert lines == ["fedvitals: stopped. Landed data stays; the next run continues"]
    assert set(recorded(here)) == {"healthy"}
    with closing(Ledger(f"sqlite:///{here.home / 'ledger.db'}")) as ledger:
        assert pushes(ledger)[Key("production", "nightly-export")].at is not None


def test_an_endpoint_that_hangs_does_not_delay_the_end(here: Installation) -> None:
    with RawServer([], connections=9, pause=60) as server:
        here.variables["FED_VIT_API_URL"] = server.url
        with on_terminal(here, "health", "watch") as terminal:
            terminal.wait_until(lambda: STARTED in terminal.text)
            terminal.pause(1)
            found, seconds = ended(terminal, "key")

    assert found == 130
    assert seconds < 6


def test_without_an_address_there_is_nothing_to_watch(here: Installation) -> None:
    here.variables.pop("FED_VIT_API_URL")
    here.write_yaml("health.yaml", {"endpoints": {"/health": {}}})
    ran = here.run("health", "watch")

    assert ran.code == 2
    assert "there is no address to check" in ran.complaint


def test_it_ends_with_the_process_that_started_it(here: Installation) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", PARENT, str(COMMAND)]
    env = {**here.environment, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, cwd=here.folder, env=env, stderr=subprocess.DEVNULL) as parent:
        eventually(lambda: recorded(here))
        (child,) = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGKILL)

    _, alive = psutil.wait_procs([child], timeout=10)
    assert alive == []
