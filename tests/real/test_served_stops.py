"""`fedvitals serve` and its runs are stopped: Ctrl-C on a terminal, SIGTERM, and Cancel in Prefect."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from pytest_httpserver import HTTPServer

from tests.support.faulty import constant, faulty_prometheus
from tests.support.installation import Installation, entry
from tests.support.servers import PrefectServer
from tests.support.serving import eventually, serving
from tests.support.terminal import CTRL_C, Terminal, on_terminal
from tests.support.whole_way import Source

pytestmark = pytest.mark.timeout(600)
LINE = "fedvitals: stopped. Landed data stays; the next run continues"
STOPPED = "fedvitals serve was stopped. Landed data stays; the next run continues"
BY_HAND = {
    "name": "by-hand",
    "entrypoint": "flows/collect.py:collect",
    "schedules": [],
    "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"},
}


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A service that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def here(tmp_path: Path, prefect_server: PrefectServer, silent: socket.socket) -> Installation:
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    variables = {"PREFECT_API_URL": prefect_server.api_url, "PROMETHEUS_URL": url}
    made = Installation(tmp_path, variables).configure({"a": entry("a")}, retry_timeout="300s")
    made.write_yaml("prefect.yaml", {"name": "mine", "deployments": [BY_HAND]})
    return made


@contextmanager
def client_of(server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with (
        temporary_settings({PREFECT_API_URL: server.api_url}),
        get_client(sync_client=True) as one,
    ):
        yield one


@pytest.fixture
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with client_of(prefect_server) as one:
        yield one


@pytest.mark.parametrize(("how", "code"), [("key", 130), ("signal", 143)])
def test_serve_ends_without_a_warning(here: Installation, how: str, code: int) -> None:
    with on_terminal(here, "serve") as terminal:
        terminal.wait_until(lambda: "serving collect/by-hand" in terminal.text, 240)
        # once it has registered its deployment, the runner handles signals
        terminal.pause(5)
        before = len(terminal.text)
        if how == "key":
            terminal.press(CTRL_C)
        else:
            terminal.signal(signal.SIGTERM)
        ended, _ = terminal.end(30)
    said = terminal.text[before:].replace("^C", "").split("\r\n")
    assert (ended, [line for line in said if line.strip()]) == (code, [LINE])


def test_a_run_that_is_cancelled_in_prefect_ends_and_loses_nothing(
    here: Installation, client: SyncPrefectClient, silent: socket.socket
) -> None:
    with serving(here):
        run = begun(client, here, silent)
        client.set_flow_run_state(run.id, Cancelling())
        ended: Any = eventually(lambda: cancelled(client, run.id), 40)
    assert ended.state.name == "Cancelled"

    # what a kill leaves: a gap, and no lock
    with faulty_prometheus() as prometheus:
        prometheus.queries["a"] = [constant()]
        here.variables["PROMETHEUS_URL"] = prometheus.url
        ran = here.run("collect", "--json")
    assert (ran.code, ran.document["status"]) == (0, "ok")
    assert ran.document["values"]["landed"] > 0


@dataclass
class Served:
    """A `serve` on a terminal, and one deployment that it runs once at a time."""

    here: Installation
    source: Source
    client: SyncPrefectClient

    @contextmanager
    def at_work(self) -> Iterator[tuple[Terminal, Any]]:
        """In the middle of a run, which holds the place of its deployment."""
        self.source.gate.clear()
        self.source.reached.clear()
        with on_terminal(self.here, "serve") as terminal:
            run = self.start()
            terminal.wait_until(self.source.reached.is_set, 240)
            assert self.state(run).type == StateType.RUNNING
            yield terminal, run
        self.source.gate.set()

    def start(self) -> Any:
        deployment = eventually(self.deployed, 240)
        return self.client.create_flow_run_from_deployment(deployment.id)

    def deployed(self) -> Any:
        return deployed(self.client)

    def state(self, run: Any) -> Any:
        return self.client.read_flow_run(run.id).state

    def run_next(self) -> str:
        """Serve anew, run to the end, and return what serve wrote."""
        with on_terminal(self.here, "serve") as terminal:
            run = self.start()
            terminal.wait_until(lambda: self.state(run).is_final(), 240)
            assert self.state(run).name == "Completed", self.state(run).message
            ended = f"fedvitals: collect/by-hand ended as Completed: {self.state(run).message}"
            terminal.wait_until(lambda: ended in terminal.text)
            assert f"fedvitals: collect/by-hand started ({run.name})" in terminal.text
            terminal.signal(signal.SIGTERM)
            assert terminal.end(30)[0] == 143
        return terminal.text


@pytest.fixture
def source(httpserver: HTTPServer) -> Iterator[Source]:
    made = Source(httpserver)
    made.put("a")
    yield made
    made.gate.set()


def served(here: Installation, source: Source, client: SyncPrefectClient) -> Served:
    here.variables |= {"PROMETHEUS_URL": source.url, "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    return Served(here, source, client)


def lines_of(text: str) -> list[str]:
    return [line for line in text.replace("^C", "").split("\r\n") if line.strip()]


@pytest.mark.promise(
    "Prefect: a stopped or killed `serve` leaves no run that blocks its deployment"
)
@pytest.mark.parametrize(("how", "code"), [("key", 130), ("signal", 143)])
def test_serve_is_stopped_in_the_middle_of_a_run(
    here: Installation, source: Source, client: SyncPrefectClient, how: str, code: int
) -> None:
    one = served(here, source, client)
    with one.at_work() as (terminal, run):
        before = len(terminal.text)
        if how == "key":
            terminal.press(CTRL_C)
        else:
            terminal.signal(signal.SIGTERM)
        ended = terminal.end(20)[0]
        state = one.state(run)
    ending = f"fedvitals: collect/by-hand ended as Cancelled: {STOPPED}"
    assert lines_of(terminal.text[before:]) == ["fedvitals: stopping 1 run…", ending, LINE]
    assert (ended, state.name, state.message) == (code, "Cancelled", STOPPED)
    # nothing is left to be set right
    assert "set to Crashed" not in one.run_next()


@pytest.mark.promise(
    "Prefect: a stopped or killed `serve` leaves no run that blocks its deployment"
)
def test_a_second_ctrl_c_ends_at_once(
    here: Installation, source: Source, client: SyncPrefectClient
) -> None:
    one = served(here, source, client)
    with one.at_work() as (terminal, run):
        children = psutil.Process(terminal.pid).children(recursive=True)
        before = len(terminal.text)
        terminal.press(CTRL_C)
        terminal.wait_until(lambda: "stopping 1 run" in terminal.text[before:])
        terminal.press(CTRL_C)
        ended, seconds = terminal.end(5)
        assert psutil.wait_procs(children, 5)[1] == []
    assert (ended, seconds < 2) == (130, True)
    assert lines_of(terminal.text[before:]) == ["fedvitals: stopping 1 run…", LINE]
    assert "Traceback" not in one.run_next()
    assert one.state(run).is_final()


@pytest.mark.promise(
    "Prefect: a stopped or killed `serve` leaves no run that blocks its deployment"
)
def test_server_and_serve_are_killed_in_the_middle_of_a_run(
    here: Installation, source: Source, tmp_path: Path
) -> None:
    """As when the machine restarts."""
    home = tmp_path / "prefect"
    home.mkdir()
    server = PrefectServer(home)
    here.variables["PREFECT_API_URL"] = server.api_url
    with server, client_of(server) as client:
        one = served(here, source, client)
        with one.at_work() as (terminal, run):
            for each in psutil.Process(terminal.pid).children(recursive=True):
                each.kill()
            os.kill(terminal.pid, signal.SIGKILL)
            server.kill()
    with server, client_of(server) as client:
        one = served(here, source, client)
        assert one.state(run).name == "Running"
        text = one.run_next()
        state = one.state(run)
    line = f"collect/by-hand: run {run.name} set to Crashed, since its process is gone"
    assert text.count(f"fedvitals: {line}\r\n") == 1
    assert state.name == "Crashed"
    assert state.message.startswith("Its process is gone (killed, or the machine restarted).")


def begun(client: SyncPrefectClient, here: Installation, silent: socket.socket) -> Any:
    """Start the deployment by hand; the run waits for the service that never answers."""
    deployment = eventually(lambda: deployed(client), 240)
    run = client.create_flow_run_from_deployment(deployment.id)
    silent.settimeout(240)
    connections.append(silent.accept()[0])
    assert client.read_flow_run(run.id).state_type == StateType.RUNNING
    return run


def deployed(client: SyncPrefectClient) -> Any:
    try:
        return client.read_deployment_by_name("collect/by-hand")
    except ObjectNotFound:
        return None


def cancelled(client: SyncPrefectClient, flow_run_id: Any) -> Any:
    found = client.read_flow_run(flow_run_id)
    return found if found.state_type == StateType.CANCELLED else None


# they stay open as long as the test needs them to
connections: list[socket.socket] = []
