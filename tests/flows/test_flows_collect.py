"""The flow collect in Prefect: its parameters, states and artifacts, and the deployment that serves it."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
import yaml
from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import DeploymentStatus, FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.collect import collect
from flows.commands.collect import Type
from flows.commands.serve import definitions, to_deployment
from tasks import stages
from tasks.run.plan import CollectType
from tests.flows.faulty import FaultyPrometheus, constant, faulty_prometheus, page
from tests.flows.installation import COMMAND, Installation, entry
from tests.real.servers import PrefectServer

SECRET = "planted-secret-77d0"
WINDOW = {"start": "2026-03-01T00:00:00Z", "stop": "2026-03-01T01:00:00Z"}


def test_every_parameter_is_typed_and_described() -> None:
    properties = collect.parameters.properties

    assert list(properties) == [
        "environment", "type", "measurements", "start", "stop", "output", "accept_shrink",
    ]  # fmt: skip
    assert (properties["accept_shrink"]["type"], properties["accept_shrink"]["default"]) == (
        "boolean",
        False,
    )
    assert all(spec["description"].endswith(".") for spec in properties.values())
    assert (
        properties["type"]["enum"] == list(get_args(CollectType)) == [each.value for each in Type]
    )
    texts = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    for name in ("environment", "start", "stop", "output"):
        assert {key: properties[name][key] for key in texts} == texts
    assert properties["measurements"]["anyOf"][0] == {"type": "array", "items": {"type": "string"}}
    assert collect.parameters.required == []


def test_the_flow_says_what_it_does() -> None:
    assert (collect.description or "").startswith(
        "Reads what is due, or a window, checks it, lands it"
    )


def test_nothing_is_cached_stored_or_tried_again_by_prefect() -> None:
    tasks: list[Any] = [
        stages.plan,
        stages.collect,
        stages.account,
        stages.watch,
        stages.annotate,
        stages.report,
        stages.heartbeat,
    ]

    assert all(isinstance(each, Task) for each in tasks)
    assert [each.persist_result for each in tasks] == [False] * 7
    assert [each.retries for each in tasks] == [0] * 7
    assert all(each.cache_policy == NO_CACHE for each in tasks)
    assert (collect.persist_result, collect.retries) == (False, 0)


def test_every_deployment_names_a_flow_and_one_schedule_with_a_slug() -> None:
    entries = definitions()

    names = [each["name"] for each in entries]
    assert names == ["hourly", "training", "maintain", "replay", "reconcile", "backfill"]
    for each in entries:
        path, name = each["entrypoint"].split(":")
        assert (Path(__file__).parents[2] / path).is_file()
        flow = getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)
        assert isinstance(flow, Flow)
        flow.validate_parameters(each["parameters"])
        # what is started by hand alone has none
        assert [schedule["slug"] for schedule in each["schedules"]] in ([each["name"]], [])


def test_a_deployment_is_made_of_its_definition() -> None:
    definition = definitions()[0]
    made = to_deployment(definition)

    assert (made.name, made.parameters, made.tags) == (
        "hourly",
        {"type": "all"},
        ["fedvitals"],
    )
    assert (made.concurrency_limit, made.concurrency_options.collision_strategy) == (
        1,
        "CANCEL_NEW",
    )
    (schedule,) = made.schedules
    assert (schedule.slug, schedule.active, schedule.schedule.cron) == ("hourly", True, "5 * * * *")
    assert schedule.schedule.timezone == "UTC"


def test_the_file_is_what_prefect_deploy_reads() -> None:
    path = Path(__file__).parents[2] / "deployments" / "prefect.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))

    assert content["name"] == "fedvitals"
    assert content["deployments"][0]["work_pool"] == {"name": "fedvitals"}
    limit = {"limit": 1, "collision_strategy": "CANCEL_NEW", "grace_period_seconds": 120}
    assert content["deployments"][0]["concurrency_limit"] == limit


@pytest.fixture
def prometheus() -> Iterator[FaultyPrometheus]:
    with faulty_prometheus(token=SECRET) as running:
        running.queries |= {"a": [constant()], "b": [constant()]}
        yield running


@pytest.fixture
def two(installed: Installation, prometheus: FaultyPrometheus) -> Installation:
    installed.variables |= {"PROMETHEUS_URL": prometheus.url, "PROMETHEUS_API_TOKEN": SECRET}
    return installed.configure({"a": entry("a"), "b": entry("b")})


@pytest.fixture
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with (
        temporary_settings({PREFECT_API_URL: prefect_server.api_url}),
        get_client(sync_client=True) as made,
    ):
        yield made


def runs(client: SyncPrefectClient) -> set[UUID]:
    return {run.id for run in client.read_flow_runs(limit=200)}


def newest_run(client: SyncPrefectClient, before: set[UUID]) -> FlowRun:
    """The one run that was not there before."""
    (found,) = runs(client) - before
    return client.read_flow_run(found)


def artifacts(client: SyncPrefectClient, run: FlowRun) -> dict[str, Any]:
    """The data of each artifact of a run, by its key."""
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    return {each.key or "": each.data for each in client.read_artifacts(artifact_filter=mine)}


@pytest.mark.slow
def test_a_run_leaves_its_artifacts_and_state(two: Installation, client: SyncPrefectClient) -> None:
    before = runs(client)

    receipt = two.here("collect", "--json", "--start", WINDOW["start"], "--stop", WINDOW["stop"])

    run = newest_run(client, before)
    assert run.state is not None
    assert (run.state.type.value, run.state.name) == ("COMPLETED", "Completed")
    assert run.state.message == "120 values landed, 0 quarantined"
    found = artifacts(client, run)
    assert set(found) == {f"collect-production-{kind}" for kind in ("summary", "measurements", "report", "chart")}  # fmt: skip
    assert receipt.document["run_id"] in found["collect-production-summary"]
    place = f"{socket.gethostname()}:{receipt.document['report']}"
    assert found["collect-production-report"] == f"The report: `{place}`\n"
    assert found["collect-production-chart"].startswith("data:image/png;base64,")
    assert '"measurement": "a"' in found["collect-production-measurements"]
    assert all(len(str(data).encode()) <= 65_536 for data in found.values())


@pytest.mark.slow
def test_a_run_of_which_something_failed_is_degraded(
    two: Installation, prometheus: FaultyPrometheus, client: SyncPrefectClient
) -> None:
    prometheus.faults["a"] = page(200)
    before = runs(client)

    two.here("collect", "--start", WINDOW["start"], "--stop", WINDOW["stop"])

    state = newest_run(client, before).state
    assert state is not None
    assert (state.type.value, state.name) == ("COMPLETED", "Degraded")
    assert state.message == "60 values landed, 0 quarantined; failed: a"


@pytest.mark.slow
def test_a_run_without_anything_is_failed_and_keeps_no_secret(
    two: Installation, client: SyncPrefectClient
) -> None:
    two.variables["PROMETHEUS_URL"] = "http://127.0.0.1:9"
    before = runs(client)

    two.here("collect", "--start", WINDOW["start"], "--stop", WINDOW["stop"])

    run = newest_run(client, before)
    assert run.state is not None
    assert (run.state.type.value, run.state.name) == ("FAILED", "Failed")
    assert str(run.state.message).startswith("nothing landed: Prometheus at http://127.0.0.1:9")
    mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    logs = client.read_logs(log_filter=mine)
    assert len(logs) > 1
    told = run.model_dump_json() + "".join(each.message for each in logs)
    assert SECRET not in told + str(artifacts(client, run))


@contextmanager
def serving(installation: Installation) -> Iterator["subprocess.Popen[bytes]"]:
    """`fedvitals serve` as a process."""
    with (installation.folder / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [str(COMMAND), "serve"],
            cwd=installation.folder,
            env=installation.environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def eventually(check: Callable[[], Any], seconds: float = 60) -> Any:
    """What the check returns as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.3)
    return found


def deployed(client: SyncPrefectClient) -> Any:
    """The served deployment, once it is ready."""
    found = [each for each in client.read_deployments() if each.name == "hourly"]
    return found[0] if found and found[0].status == DeploymentStatus.READY else None


@pytest.mark.slow
def test_served_it_runs_from_prefect_and_outlives_a_restart(
    two: Installation, client: SyncPrefectClient
) -> None:
    with serving(two):
        deployment = eventually(lambda: deployed(client))
        (schedule,) = deployment.schedules
        assert (schedule.slug, schedule.active) == ("hourly", True)
        run = client.create_flow_run_from_deployment(
            deployment.id, parameters={"type": "performance", "measurements": ["a"], **WINDOW}
        )
        ended = eventually(lambda: _ended(client, run.id), 90)
        assert (ended.state.name, ended.state.message) == ("Completed", "60 values landed, 0 quarantined")  # fmt: skip
        assert len(artifacts(client, ended)) == 4

    stopped = client.read_deployment(deployment.id)
    assert (stopped.paused, stopped.schedules[0].active) == (False, True)

    with serving(two):
        eventually(lambda: _is_seen_since(client, stopped.updated))
        again = client.read_deployment(deployment.id)
    assert [each.slug for each in again.schedules] == ["hourly"]
    assert (again.paused, again.schedules[0].active) == (False, True)
    assert again.schedules[0].id == schedule.id
    assert SECRET not in (two.folder / "serve.log").read_text()


def _ended(client: SyncPrefectClient, run: UUID) -> FlowRun | None:
    (found,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
    return found if found.state is not None and found.state.is_final() else None


def _is_seen_since(client: SyncPrefectClient, moment: Any) -> bool:
    found = deployed(client)
    return found is not None and found.updated - moment > timedelta(0)
