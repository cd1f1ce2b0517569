"""The flow collect in Prefect: its parameters, states and artifacts, and the deployment that serves it."""

import socket
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any, get_args
from uuid import UUID

import pytest
from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import DeploymentStatus, FlowRun

from flows.collect import collect
from flows.commands.running import RUNS
from tasks.core.receipt import FailOn
from tasks.runs.base.plan import CollectType
from tasks.runs.collect import collect as steps
from tasks.stages.step import as_task
from tests.support.faulty import FaultyPrometheus, constant, faulty_prometheus, page
from tests.support.flow_runs import artifacts, ending, logs, newest_run, runs, task_runs
from tests.support.installation import Installation, entry
from tests.support.serving import eventually, serving
from tests.support.suite_examples import BETWEEN, an_expectation

SECRET = "planted-secret-77d0"
WINDOW = {"start": "2026-03-01T00:00:00Z", "stop": "2026-03-01T01:00:00Z"}


def test_every_parameter_is_typed_and_described() -> None:
    properties = collect.parameters.properties

    assert list(properties) == [
        "environment", "type", "measurements", "start", "stop", "output", "allow_deletes", "fail_on",
    ]  # fmt: skip
    assert (properties["allow_deletes"]["type"], properties["allow_deletes"]["default"]) == (
        "boolean",
        False,
    )
    assert all(spec["description"].endswith(".") for spec in properties.values())
    assert properties["type"]["enum"] == list(get_args(CollectType))
    assert properties["fail_on"]["enum"] == list(get_args(FailOn))
    assert properties["fail_on"]["default"] == "high"
    texts = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    for name in ("environment", "start", "stop", "output"):
        assert {key: properties[name][key] for key in texts} == texts
    assert properties["measurements"]["anyOf"][0] == {"type": "array", "items": {"type": "string"}}
    assert collect.parameters.required == []


def test_the_flow_says_what_it_does() -> None:
    assert (collect.description or "").startswith(
        "Read due data, or a window, validate it, land it"
    )


def test_nothing_is_cached_stored_or_tried_again_by_prefect() -> None:
    task: Any = as_task("collect", steps)

    assert isinstance(task, Task)
    assert (task.name, task.persist_result, task.retries) == ("collect", False, 0)
    assert task.cache_policy == NO_CACHE
    for name in RUNS:
        flow: Any = getattr(import_module(f"flows.{name}"), name)
        assert isinstance(flow, Flow)
        assert (flow.persist_result, flow.retries) == (False, 0)


@pytest.fixture
def prometheus() -> Iterator[FaultyPrometheus]:
    with faulty_prometheus(token=SECRET) as running:
        running.queries |= {"a": [constant()], "b": [constant()]}
        yield running


@pytest.fixture
def two(installed: Installation, prometheus: FaultyPrometheus) -> Installation:
    installed.variables |= {"PROMETHEUS_URL": prometheus.url, "PROMETHEUS_API_TOKEN": SECRET}
    return installed.configure({"a": entry("a"), "b": entry("b")})


@pytest.mark.slow
def test_a_run_leaves_its_artifacts_and_state(two: Installation, client: SyncPrefectClient) -> None:
    before = runs(client)

    ran = two.here("collect", "--json", "--start", WINDOW["start"], "--stop", WINDOW["stop"])

    assert (ran.code, ran.err) == (0, "")
    run, receipt = newest_run(client, before), ran.document
    assert ending(run) == ("COMPLETED", "Completed", "all well: 120 values landed")
    assert task_runs(client, run) == [
        "plan",
        "prometheus: extract, validate, land, load (2)",
        "account",
        "self metrics",
        "report",
        "deliver",
    ]
    found = artifacts(client, run)
    assert set(found) == {f"collect-production-{kind}" for kind in ("summary", "measurements", "report", "chart")}  # fmt: skip
    assert receipt["run_id"] in found["collect-production-summary"]
    place = f"{socket.gethostname()}:{receipt['report']}"
    assert found["collect-production-report"] == f"The report: `{place}`\n"
    assert found["collect-production-chart"].startswith("data:image/png;base64,")
    assert '"measurement": "a"' in found["collect-production-measurements"]
    assert all(len(str(data).encode()) <= 65_536 for data in found.values())
    assert [each["what"] for each in receipt["deliveries"] if each["ok"]] == [
        "self metrics", "report", "artifacts",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_flow_runs_lines_are_shown_when_asked_for(two: Installation) -> None:
    two.variables["PREFECT_LOGGING_LEVEL"] = "INFO"
    ran = two.here("collect", "--start", WINDOW["start"], "--stop", WINDOW["stop"])
    assert ran.code == 0
    assert "fedvitals: prometheus: 2 measurements read, 120 values extracted" in ran.err


@pytest.mark.slow
def test_a_run_of_which_something_failed_is_degraded(
    two: Installation, prometheus: FaultyPrometheus, client: SyncPrefectClient
) -> None:
    prometheus.faults["a"] = page(200)
    before = runs(client)

    ran = two.here("collect", "--start", WINDOW["start"], "--stop", WINDOW["stop"])

    sentence = ran.out.splitlines()[0]
    assert ending(newest_run(client, before)) == ("COMPLETED", "Degraded", sentence)
    assert sentence.startswith("a failed: ")
    assert "Fix" not in sentence


@pytest.mark.promise(
    "Accounts: the data never change the status of a run, and never excuse failed work"
)
@pytest.mark.slow
def test_a_run_that_finds_the_data_bad_has_done_its_work(
    two: Installation, prometheus: FaultyPrometheus, client: SyncPrefectClient
) -> None:
    with two.changed_suite("a") as content:
        content["expectations"].append(
            an_expectation("low", BETWEEN, "high", column="a", min_value=0, max_value=0.25)
        )
    later = ("--start", WINDOW["stop"], "--stop", "2026-03-01T02:00:00Z")
    before = runs(client)
    found = two.here("collect", "--start", WINDOW["start"], "--stop", WINDOW["stop"], "--json")
    first = newest_run(client, before)
    before = runs(client)
    critical_only = two.here("collect", *later, "--fail-on", "critical", "--json")
    second = newest_run(client, before)

    assert (found.code, critical_only.code) == (1, 0)
    assert found.document["worst"] == critical_only.document["worst"] == "high"
    assert found.document["sentence"].startswith("a: a was as high as 0.5 (limit 0.25)")
    assert ending(first) == ("COMPLETED", "Findings", found.document["sentence"])
    assert ending(second)[:2] == ("COMPLETED", "Completed")


@pytest.mark.slow
def test_a_run_without_anything_is_failed_and_keeps_no_secret(
    two: Installation, client: SyncPrefectClient
) -> None:
    two.variables["PROMETHEUS_URL"] = "http://127.0.0.1:9"
    before = runs(client)

    two.here("collect", "--start", WINDOW["start"], "--stop", WINDOW["stop"])

    run = newest_run(client, before)
    kind, name, message = ending(run)
    assert (kind, name) == ("FAILED", "Failed")
    assert str(message).startswith("nothing landed: Prometheus at http://127.0.0.1:9")
    lines = logs(client, run)
    assert len(lines) > 1
    reported = run.model_dump_json() + "".join(each.message for each in lines)
    assert SECRET not in reported + str(artifacts(client, run))


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
        assert (ended.state.name, ended.state.message) == ("Completed", "all well: 60 values landed")  # fmt: skip
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
