"""One run both ways, plainly and as a flow run of Prefect, and what Prefect shows of one that fails."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from pytest_httpserver import HTTPServer

from tasks.stages import progress
from tests.support.fakes.influxdb import FakeInfluxDB, fake_influxdb
from tests.support.fakes.prometheus import FakeSeries
from tests.support.fakes.training import ROUND, FakeTraining, a_round
from tests.support.faulty import FaultyPrometheus, constant, faulty_prometheus, page
from tests.support.flow_runs import artifacts, ending, logs, newest_run, runs, task_runs
from tests.support.installation import Installation, Ran, entry
from tests.support.servers import PrefectServer

pytestmark = pytest.mark.slow

SECRET = "planted-secret-3b1f"
HOURS = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T02:00:00Z")
HALF = datetime(2026, 3, 1, 1, tzinfo=UTC).timestamp() * 1000
# of two runs of the same these alone may differ
OF_ITS_OWN = {"run_id", "seconds", "lag_seconds", "report", "places"}
KINDS = ("same", "changed", "vanished", "share", "broken")


@dataclass(frozen=True)
class Services:
    """What the runs read and load into."""

    prometheus: FaultyPrometheus
    influxdb: FakeInfluxDB

    def change(self) -> None:
        """From now on each measurement but one has an answer of another kind."""
        self.prometheus.queries |= {
            "changed": [constant("0.75")],
            "vanished": [FakeSeries({}, lambda time: "0.5" if time < HALF else None)],
            "share": [constant("1.5")],
        }
        self.prometheus.faults["broken"] = page(200)


@pytest.fixture
def services() -> Iterator[Services]:
    with (
        faulty_prometheus(token=SECRET) as prometheus,
        fake_influxdb(token=SECRET) as influxdb,
    ):
        prometheus.queries |= {name: [constant()] for name in KINDS}
        yield Services(prometheus, influxdb)


@pytest.fixture
def collected(tmp_path: Path, services: Services) -> Installation:
    """An installation of one collect before which all was well."""
    here = Installation(tmp_path / "one")
    here.variables |= {
        "PROMETHEUS_URL": services.prometheus.url,
        "PROMETHEUS_API_TOKEN": SECRET,
        "INFLUXDB_URL": services.influxdb.url,
        "INFLUXDB_TOKEN": SECRET,
    }
    entries = {name: entry(name) for name in KINDS}
    entries["share"]["fields"]["share"]["unit"] = "ratio"
    here.configure(entries)
    assert here.here("collect", *HOURS).code == 0
    return here


def copied(here: Installation, folder: Path, **variables: str) -> Installation:
    """The same home and configuration once more."""
    shutil.copytree(here.folder, folder)
    return Installation(folder, {**here.variables, **variables})


def compared(document: dict[str, Any]) -> dict[str, Any]:
    """What two runs of the same must have alike; artifacts are shown by Prefect alone."""
    handed_on = [each for each in document["deliveries"] if each["what"] != "artifacts"]
    mine = {key: value for key, value in document.items() if key not in OF_ITS_OWN}
    return {**mine, "deliveries": handed_on}


@pytest.mark.promise("Prefect: without Prefect a run lands, loads and reports as a flow run does")
def test_plainly_and_as_a_flow_run_the_receipt_is_the_same(
    collected: Installation,
    services: Services,
    prefect_server: PrefectServer,
    client: SyncPrefectClient,
    tmp_path: Path,
) -> None:
    recorded = copied(collected, tmp_path / "two", PREFECT_API_URL=prefect_server.api_url)
    services.change()
    before = runs(client)

    plain = collected.here("collect", "--json", *HOURS)
    flow_run = recorded.here("collect", "--json", *HOURS)

    run = newest_run(client, before)
    assert flow_run.document["run_id"] in artifacts(client, run)["collect-production-summary"]
    assert plain.document["run_id"] != flow_run.document["run_id"]
    # field by field, so that a difference is named
    one, other = compared(plain.document), compared(flow_run.document)
    assert set(one) == set(other)
    assert {key: (one[key], other[key]) for key in one if one[key] != other[key]} == {}
    assert (plain.code, flow_run.code) == (1, 1)
    assert set(plain.document["seconds"]) == set(flow_run.document["seconds"])
    # each kind of end was there to be compared
    states = {line["name"]: line["state"] for line in one["measurements"]}
    assert states == {
        "same": "unchanged", "changed": "landed", "vanished": "retained", "share": "landed",
        "broken": "failed",
    }  # fmt: skip
    assert (one["status"], one["worst"]) == ("degraded", "critical")
    assert one["findings"]
    assert one["sinks"]["influxdb"]["loaded"] > 0
    # and what is kept is what was said, in both ways
    assert collected.kept("collect") == plain.document
    assert recorded.kept("collect") == flow_run.document
    sql = "SELECT * EXCLUDE (environment) FROM changed ORDER BY time"
    rows = [each.here("lake", "query", sql, "--json").document for each in (collected, recorded)]
    assert rows[0] == rows[1]


@pytest.fixture
def two(tmp_path: Path, services: Services, prefect_server: PrefectServer) -> Installation:
    """Two measurements, a Prometheus that has both, and runs that Prefect records."""
    here = Installation(tmp_path, {"PREFECT_API_URL": prefect_server.api_url})
    here.variables |= {
        "PROMETHEUS_URL": services.prometheus.url,
        "PROMETHEUS_API_TOKEN": SECRET,
    }
    services.prometheus.queries |= {"a": [constant()], "b": [constant()]}
    return here.configure({"a": entry("a"), "b": entry("b")})


def lines(client: SyncPrefectClient, here: Installation, *arguments: str) -> tuple[Ran, Any]:
    """A command as a process, with the flow run that it became."""
    before = runs(client)
    ran = here.run("collect", *arguments)
    return ran, newest_run(client, before)


EXPECTED = {
    "Prometheus is down": (
        {"PROMETHEUS_URL": "http://127.0.0.1:9"},
        "Prometheus at http://127.0.0.1:9 could not answer query of a.a: [Errno 111] Connection refused",
    ),
    "the token is wrong": (
        {"PROMETHEUS_API_TOKEN": "wrong"},
        "refused query of a.a (HTTP 401): the token is not accepted. Fix: set PROMETHEUS_API_TOKEN",
    ),
}


@pytest.mark.parametrize(("variables", "words"), EXPECTED.values(), ids=EXPECTED.keys())
def test_an_expected_failure_is_one_sentence_without_a_traceback(
    two: Installation, client: SyncPrefectClient, variables: dict[str, str], words: str
) -> None:
    two.variables |= variables

    ran, run = lines(client, two, *HOURS, "--json")

    assert (ran.code, ran.err) == (1, "")
    problem = ran.document["measurements"][0]["problems"][0]
    assert words in problem
    sentence = ran.document["sentence"]
    assert sentence.startswith("nothing landed: ")
    assert problem.partition(". Fix: ")[0] in sentence
    assert ending(run) == ("FAILED", "Failed", sentence)
    reported = [each.message for each in logs(client, run)]
    assert sentence in reported
    assert [each for each in reported if "Traceback" in each or "Error:" in each] == []
    assert SECRET not in "".join(reported)


def test_an_error_before_there_is_a_receipt_is_the_sentence_of_the_command_line(
    two: Installation, client: SyncPrefectClient, services: Services
) -> None:
    two.variables |= {"PROMETHEUS_URL": "", "FED_VIT_API_URL": services.prometheus.url}
    # a token without an address would be named as unused
    two.variables |= {"PROMETHEUS_API_TOKEN": ""}

    ran, run = lines(client, two, *HOURS)

    assert (ran.code, ran.out) == (1, "")
    assert ran.complaint.startswith("the service's API at ")
    assert ending(run) == ("FAILED", "Failed", ran.complaint)
    reported = [each.message for each in logs(client, run)]
    assert ran.complaint in reported
    assert [each for each in reported if "Traceback" in each] == []


def test_wrong_usage_is_a_failed_step_of_one_sentence(
    two: Installation, client: SyncPrefectClient
) -> None:
    ran, run = lines(client, two, "--measurement", "modles")

    assert (ran.code, ran.out) == (2, "")
    assert ran.complaint == (
        "--measurement: modles is not in the catalogue. Fix: list them: fedvitals catalogue"
    )
    assert ending(run) == ("FAILED", "Failed", ran.complaint)
    assert task_runs(client, run) == ["plan"]
    assert [each.message for each in logs(client, run) if "Traceback" in each.message] == []


def test_a_run_logs_what_was_due_read_landed_loaded_and_failed(
    two: Installation, client: SyncPrefectClient, services: Services
) -> None:
    two.variables |= {"INFLUXDB_URL": services.influxdb.url, "INFLUXDB_TOKEN": SECRET}
    services.prometheus.faults["b"] = page(200)

    ran, run = lines(client, two, *HOURS, "--json")

    assert ran.code == 1
    ours = [(each.level, each.message) for each in logs(client, run) if each.name == "fedvitals"]
    info, warning = 20, 30
    problem = ran.document["measurements"][1]["problems"][0]
    assert sorted(ours) == sorted(
        [
            (
                info,
                f"collect {ran.document['run_id']} in production: 2 measurements, "
                "2026-03-01T00:00:00Z to 2026-03-01T02:00:00Z",
            ),
            (warning, f"b: failed, 0 values landed, 0 quarantined: {problem}"),
            (
                info,
                "prometheus: 2 measurements read, 120 values extracted, 120 landed, 120 loaded, "
                "1 failed",
            ),
            (
                info,
                ran.document["sentence"],
            ),
        ]
    )


def test_a_reconcile_leaves_what_differs_and_is_named_by_its_finding(
    two: Installation, client: SyncPrefectClient, services: Services
) -> None:
    two.variables |= {"INFLUXDB_URL": services.influxdb.url, "INFLUXDB_TOKEN": SECRET}
    assert two.here("collect", *HOURS).code == 0
    gone = min((key for key in services.influxdb.points if key[0] == "a"), key=str)
    del services.influxdb.points[gone]
    before = runs(client)

    ran = two.here("reconcile", "--json", "--measurement", "a", "--measurement", "b")

    run = newest_run(client, before)
    assert ran.code == 1
    assert ending(run) == ("COMPLETED", "Findings", "4 cells compared, 1 differ, 0 fixed")
    assert task_runs(client, run) == [
        "plan",
        "lake and influxdb: compare (2)",
        "account",
        "self metrics",
        "deliver",
    ]
    (table,) = artifacts(client, run).values()
    (row,) = json.loads(table)
    assert (row["measurement"], row["lake"], row["sink"], row["fixed"]) == ("a", 60, 59, "no")


def test_a_backfill_leaves_its_measurements(two: Installation, client: SyncPrefectClient) -> None:
    before = runs(client)

    ran = two.here("backfill", *HOURS, "--json")

    run = newest_run(client, before)
    assert (ran.code, ran.err) == (0, "")
    assert ending(run) == ("COMPLETED", "Completed", "all well: 240 values landed")
    assert task_runs(client, run) == [
        "plan",
        "survey",
        "prometheus: extract, validate, land, load (2)",
        "account",
        "self metrics",
        "deliver",
    ]
    found = artifacts(client, run)
    assert list(found) == ["backfill-measurements"]
    assert [row["landed"] for row in json.loads(found["backfill-measurements"])] == [120, 120]


def test_a_training_is_followed_as_a_flow_run(
    tmp_path: Path, prefect_server: PrefectServer, client: SyncPrefectClient
) -> None:
    start = datetime.now(UTC) - timedelta(hours=1)
    with HTTPServer(threaded=True) as server:
        training = FakeTraining(server, [a_round(n, start + n * ROUND) for n in range(1, 31)])
        for each in training.rounds[20:]:
            each["accuracy"] = 0.1
        variables = {"FED_VIT_API_URL": training.url, "PREFECT_API_URL": prefect_server.api_url}
        before = runs(client)
        ran = Installation(tmp_path, variables).here("federated", "--json")

    run = newest_run(client, before)
    assert (ran.code, ending(run)[:2]) == (1, ("COMPLETED", "Findings"))
    assert ran.document["worst"] == "critical"
    steps = task_runs(client, run)
    assert steps[:4] == [
        "plan",
        "rest: extract, validate, land, load (3)",
        "federated: extract, validate, land, load (2)",
        "prometheus: extract, validate, land, load (4)",
    ]
    assert steps[-6:] == [
        "find anomalies", "judge convergence", "account", "self metrics", "report", "deliver",
    ]  # fmt: skip
    found = artifacts(client, run)
    assert {"federated-production-summary", "federated-production-report"} < set(found)
    assert any("convergence" in key for key in found)


def test_a_long_step_shows_how_far_it_is(
    collected: Installation,
    tmp_path: Path,
    prefect_server: PrefectServer,
    client: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BEFORE", 0.0)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    here = copied(collected, tmp_path / "two", PREFECT_API_URL=prefect_server.api_url)
    before = runs(client)

    here.here("collect", "--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T04:00:00Z")

    found = artifacts(client, newest_run(client, before))
    assert found["progress-same"] == 100.0
    # the failing twin: what ends soon shows none
    monkeypatch.setattr(progress, "SECONDS_BEFORE", 600.0)
    before = runs(client)
    here.here("collect", *HOURS)
    assert not [key for key in artifacts(client, newest_run(client, before)) if "progress" in key]
