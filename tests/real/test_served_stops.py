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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
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
        before = len(terminal.text)
        if how == "key":
            terminal.press(CTRL_C)
        else:
            terminal.signal(signal.SIGTERM)
        ended, _ = terminal.end(30)
    said = terminal.text[before:].replace("^C", "").split("\r\n")
    assert (ended, [line for line in said if line.strip()]) == (code, [LINE])


def test_the_loop_of_health_checks_runs_beside_serve_and_ends_with_it(here: Installation) -> None:
    here.variables["FED_VIT_API_URL"] = "http://127.0.0.1:9"
    with on_terminal(here, "serve") as terminal:
        terminal.wait_until(lambda: "health watch | fedvitals: sampling" in terminal.text, 240)
        (loop,) = loops_of(here)
        terminal.press(CTRL_C)
        ended, _ = terminal.end(30)
    assert ended == 130
    assert "health watch | fedvitals: stopped" in terminal.text
    assert not loop.is_running()


def loops_of(here: Installation) -> list[psutil.Process]:
    """The loops that work on the installation's home."""
    every = psutil.process_iter(["cmdline", "environ"])
    return [
        each
        for each in every
        if (each.info["cmdline"] or [])[-2:] == ["health", "watch"]
        and (each.info["environ"] or {}).get("FEDVITALS_HOME") == str(here.home)
    ]


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

    def places_held(self) -> int:
        limit = self.deployed().global_concurrency_limit
        return int(self.client.read_global_concurrency_limit_by_name(limit.name).active_slots)

    def run_next(self, server: PrefectServer | None = None) -> str:
        """Serve anew, run to the end, and return what serve wrote; a server is restarted before."""
        with on_terminal(self.here, "serve") as terminal:
            if server:
                terminal.wait_until(lambda: "serving collect/by-hand" in terminal.text, 240)
                terminal.pause(3)
                server.kill()
                terminal.pause(8)
                server.start()
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


def stop(terminal: Terminal, how: str) -> list[str]:
    """Stop a serve in the middle of its run; the lines that it wrote since."""
    before = len(terminal.text)
    if how == "SIGTERM":
        terminal.signal(signal.SIGTERM)
    else:
        terminal.press(CTRL_C)
    terminal.wait_until(lambda: "stopping 1 run…" in terminal.text[before:])
    if how == "twice":
        terminal.press(CTRL_C)
    code, seconds = terminal.end(3 if how == "twice" else 18)
    assert code == (143 if how == "SIGTERM" else 130), (how, seconds)
    lines = terminal.text[before:].replace("^C", "").split("\r\n")
    return [line for line in lines if line.strip()]


@pytest.mark.promise(
    "Prefect: a stopped or killed `serve` leaves no run that blocks its deployment"
)
def test_serve_is_stopped_in_the_middle_of_a_run(
    here: Installation, source: Source, client: SyncPrefectClient
) -> None:
    """And each next one begins its run, for which the place must be free."""
    one = served(here, source, client)
    for how in ("Ctrl-C", "SIGTERM"):
        with one.at_work() as (terminal, run):
            lines = stop(terminal, how)
            state = one.state(run)
        assert (state.name, state.message) == ("Cancelled", STOPPED)
        ending = f"fedvitals: collect/by-hand ended as Cancelled: {STOPPED}"
        assert lines == ["fedvitals: stopping 1 run…", ending, LINE]

    with one.at_work() as (terminal, run):
        # none of the runs before was left
        assert "set to Crashed" not in terminal.text
        children = psutil.Process(terminal.pid).children(recursive=True)
        assert stop(terminal, "twice") == ["fedvitals: stopping 1 run…", LINE]
        assert psutil.wait_procs(children, 5)[1] == []
    one.run_next()
    assert one.state(run).is_final()


@pytest.mark.promise(
    "Prefect: a stopped or killed `serve` leaves no run that blocks its deployment"
)
def test_the_server_ends_in_the_middle_of_a_run(
    here: Installation, source: Source, tmp_path: Path
) -> None:
    """With serve and its run, as when the machine restarts; and before serve is stopped."""
    home = tmp_path / "prefect"
    home.mkdir()
    server = PrefectServer(home)
    here.variables["PREFECT_API_URL"] = server.api_url
    with server, client_of(server) as client:
        with served(here, source, client).at_work() as (terminal, killed):
            for each in psutil.Process(terminal.pid).children(recursive=True):
                each.kill()
            os.kill(terminal.pid, signal.SIGKILL)
            server.kill()

        server.start()
        one = served(here, source, client)
        # the server itself keeps the place for ever
        assert (one.state(killed).name, one.places_held()) == ("Running", 1)
        with one.at_work() as (terminal, stopped):
            crashed(terminal.text, one, killed)
            server.kill()
            first, *more, last = stop(terminal, "Ctrl-C")
            # Prefect's worker of logs may say that its last ones found no server
            assert (first, last.endswith(LINE)) == ("fedvitals: stopping 1 run…", True)
            assert more in ([], ["--- Error logging to API ---"])

        server.start()
        crashed(one.run_next(server), one, stopped)
        assert one.places_held() == 0


def crashed(text: str, one: Served, run: Any) -> None:
    """Serve set it right, and wrote so once."""
    line = f"collect/by-hand: run {run.name} set to Crashed, since its process is gone"
    assert text.count(f"fedvitals: {line}\r\n") == 1
    state = one.state(run)
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
