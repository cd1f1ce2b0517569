"""`fedvitals serve` beside a real Prefect server: schedules make runs by themselves, and who reports
it when they do not."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from sqlalchemy.engine import make_url

from tests.support.faulty import FaultyPrometheus, constant, faulty_prometheus
from tests.support.installation import Installation, entry
from tests.support.process import environment
from tests.support.servers import PostgresServer, PrefectServer
from tests.support.serving import eventually, serving

# a schedule of every minute, a scheduler that comes round each minute, and a busy machine
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PATIENCE = 400
ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "deployments" / "prefect.yaml"
EVERY_MINUTE = {
    "name": "minutely",
    "entrypoint": "flows/collect.py:collect",
    "schedules": [{"slug": "minutely", "cron": "* * * * *"}],
    "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"},
}


@pytest.fixture(scope="module")
def prometheus() -> Iterator[FaultyPrometheus]:
    with faulty_prometheus() as running:
        running.queries["a"] = [constant()]
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as running:
        yield running


@pytest.fixture
def installation(tmp_path: Path, prometheus: FaultyPrometheus) -> Installation:
    """One measurement, and a deployment of one's own that collects it every minute."""
    made = Installation(tmp_path, {"PROMETHEUS_URL": prometheus.url}).configure({"a": entry("a")})
    made.write_yaml("prefect.yaml", {"name": "mine", "deployments": [EVERY_MINUTE]})
    return made


@contextmanager
def client_of(server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with (
        temporary_settings({PREFECT_API_URL: server.api_url}),
        get_client(sync_client=True) as client,
    ):
        yield client


def automatic(client: SyncPrefectClient, name: str, *states: StateType) -> list[FlowRun]:
    """The runs of a deployment that nobody started by hand, in one of these states."""
    try:
        deployment = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return []
    found = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))
        ),
    )
    return [run for run in found if run.auto_scheduled]


def doctor(installation: Installation) -> dict[str, Any]:
    """What `doctor` says of the schedules."""
    checks = installation.run("doctor", "--json").document["checks"]
    (found,) = [c for c in checks if (c["service"], c["what"]) == ("prefect", "schedules")]
    return dict(found)


def log_of(installation: Installation) -> str:
    return (installation.folder / "serve.log").read_text()


def collects_by_itself(installation: Installation, server: PrefectServer) -> None:
    """Serves, and waits for a run that only the schedule made."""
    installation.variables["PREFECT_API_URL"] = server.api_url
    with client_of(server) as client, serving(installation):
        ended = eventually(
            lambda: automatic(client, "collect/minutely", StateType.COMPLETED), PATIENCE
        )
        health = doctor(installation)

    assert ended[-1].created_by.type == "SCHEDULE"
    assert ended[-1].state.name == "Completed"
    ran = installation.run("lake", "query", "SELECT count(*) AS n FROM a WHERE a = 0.5", "--json")
    assert ran.document["rows"][0]["n"] > 0
    assert health["ok"]
    assert health["detail"].startswith("next runs: collect/minutely 20")
    assert "scheduled ahead" not in log_of(installation)


@pytest.mark.promise(
    "Prefect: schedules create runs with SQLite and PostgreSQL behind the server; a dead scheduler is reported"
)
def test_a_schedule_makes_runs(installation: Installation, server: PrefectServer) -> None:
    collects_by_itself(installation, server)


@pytest.mark.promise(
    "Prefect: schedules create runs with SQLite and PostgreSQL behind the server; a dead scheduler is reported"
)
def test_a_schedule_makes_runs_with_postgresql_behind_the_server(
    installation: Installation, postgresql: PostgresServer, tmp_path: Path
) -> None:
    url = make_url(postgresql.make_database()).set(drivername="postgresql+asyncpg")
    database = url.render_as_string(hide_password=False)
    home = tmp_path / "prefect"
    home.mkdir()
    with PrefectServer(home, {"PREFECT_API_DATABASE_CONNECTION_URL": database}) as server:
        collects_by_itself(installation, server)
        # it did not fall back to a file
        assert not list(home.glob("*.db"))


@pytest.mark.promise(
    "Prefect: schedules create runs with SQLite and PostgreSQL behind the server; a dead scheduler is reported"
)
def test_a_scheduler_that_does_not_work_is_reported(
    installation: Installation, tmp_path: Path
) -> None:
    off = {"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}
    home = tmp_path / "prefect"
    home.mkdir()
    with PrefectServer(home, off) as server, client_of(server) as client:
        installation.variables["PREFECT_API_URL"] = server.api_url
        with serving(installation):
            line = "fedvitals: Prefect schedules: active, but no run is scheduled ahead: collect/minutely."
            eventually(lambda: line in log_of(installation), PATIENCE)
        assert automatic(client, "collect/minutely", *StateType) == []
        found = doctor(installation)

    assert not found["ok"]
    assert found["detail"] == "active, but no run is scheduled ahead: collect/minutely"
    assert "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED" in found["fix"]
    assert log_of(installation).count("no run is scheduled ahead") == 1


def schedules(client: SyncPrefectClient, names: Mapping[str, bool]) -> Callable[[], bool]:
    """Whether these deployments are there and have these schedules active."""

    def check() -> bool:
        try:
            found = {name: client.read_deployment_by_name(name) for name in names}
        except ObjectNotFound:
            return False
        return {n: any(s.active for s in d.schedules) for n, d in found.items()} == dict(names)

    return check


@pytest.mark.promise(
    "Prefect: a schedule without work is inactive with the reason, and active again when there is work"
)
def test_what_has_nothing_to_do_is_inactive_until_it_has(
    installation: Installation, server: PrefectServer
) -> None:
    installation.variables["PREFECT_API_URL"] = server.api_url
    (installation.config / "prefect.yaml").write_text(
        SHIPPED.read_text("utf-8").replace("environments: []", "environments: [staging]"), "utf-8"
    )
    with installation.changed("environments.yaml") as content:
        content["environments"] = {"staging": {"prometheus_url": "http://127.0.0.1:9"}}
    without = {
        "collect/hourly": True,
        "collect/hourly-staging": True,
        "federated/training": False,
        "reconcile/reconcile": False,
        "reconcile/reconcile-staging": False,
        "maintain/maintain": True,
        "replay/replay-staging": False,
    }
    influxdb = {"INFLUXDB_URL": "http://127.0.0.1:9", "INFLUXDB_TOKEN": "planted"}
    ahead = "reconcile/reconcile"
    with client_of(server) as client:
        with serving(installation):
            eventually(schedules(client, without), PATIENCE)
        log = log_of(installation)
        staging = client.read_deployment_by_name("collect/hourly-staging")

        installation.variables |= influxdb
        with serving(installation):
            eventually(schedules(client, {**without, ahead: True}), PATIENCE)
            eventually(lambda: automatic(client, ahead, StateType.SCHEDULED), PATIENCE)

        for variable in influxdb:
            del installation.variables[variable]
        with serving(installation):
            eventually(schedules(client, without), PATIENCE)
            eventually(lambda: not automatic(client, ahead, StateType.SCHEDULED), PATIENCE)

    assert staging.parameters == {"type": "all", "environment": "staging"}
    assert [each.slug for each in staging.schedules] == ["hourly-staging"]
    for words in (
        f"federated/training is inactive: {installation.config}/metrics.yaml: there is no "
        "measurement of type federated.",
        "reconcile/reconcile is inactive: environment production: no InfluxDB is configured.",
        "reconcile/reconcile-staging is inactive: environment staging: no InfluxDB is configured.",
    ):
        assert f"fedvitals: {words}" in log
    assert "hourly is inactive" not in log


def prefect(server: PrefectServer, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        cwd=ROOT,
        env=environment(server.client_env()),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_prefect_deploy_takes_the_shipped_file(server: PrefectServer) -> None:
    deploy = ("deploy", "--all", "--prefect-file", "deployments/prefect.yaml")
    refused = prefect(server, *deploy)
    assert "work pool" in refused.stdout + refused.stderr

    made = prefect(server, "work-pool", "create", "fedvitals", "--type", "process")
    assert made.returncode == 0, made.stderr
    done = prefect(server, *deploy)
    assert done.returncode == 0, done.stdout + done.stderr

    with client_of(server) as client:
        hourly = client.read_deployment_by_name("collect/hourly")
        assert (hourly.work_pool_name, hourly.schedules[0].slug) == ("fedvitals", "hourly")
