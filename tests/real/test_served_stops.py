"""`fedvitals serve` and its runs are stopped: Ctrl-C on a terminal, SIGTERM, and Cancel in Prefect."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from tests.support.faulty import constant, faulty_prometheus
from tests.support.installation import Installation, entry
from tests.support.servers import PrefectServer
from tests.support.serving import eventually, serving
from tests.support.terminal import CTRL_C, on_terminal

pytestmark = pytest.mark.timeout(600)
LINE = "fedvitals: stopped. Landed data stays; the next run continues"
BY_HAND = {"name": "by-hand", "entrypoint": "flows/collect.py:collect", "schedules": []}


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


@pytest.fixture
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with (
        temporary_settings({PREFECT_API_URL: prefect_server.api_url}),
        get_client(sync_client=True) as one,
    ):
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


def begun(client: SyncPrefectClient, here: Installation, silent: socket.socket) -> Any:
    """Start the deployment by hand; the run waits for the service that never answers."""
    from prefect.exceptions import ObjectNotFound

    def deployed() -> Any:
        try:
            return client.read_deployment_by_name("collect/by-hand")
        except ObjectNotFound:
            return None

    deployment = eventually(deployed, 240)
    run = client.create_flow_run_from_deployment(deployment.id)
    silent.settimeout(240)
    connections.append(silent.accept()[0])
    assert client.read_flow_run(run.id).state_type == StateType.RUNNING
    return run


def cancelled(client: SyncPrefectClient, flow_run_id: Any) -> Any:
    found = client.read_flow_run(flow_run_id)
    return found if found.state_type == StateType.CANCELLED else None


# they stay open as long as the test needs them to
connections: list[socket.socket] = []
