"""`fedvitals federated`: a training followed from its API into lake, InfluxDB and JSON."""

import json
import math
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from flows.commands.summary import summary
from tasks.core.receipt import Receipt
from tasks.core.settings import shipped
from tests.support.fakes.influxdb import FakeInfluxDB
from tests.support.fakes.training import (
    HISTORY,
    METRICS,
    PRIVACY,
    PROGRESS,
    ROUND,
    FakeTraining,
    a_round,
)
from tests.support.installation import Installation, Ran

# each run of the flow reads eight suites, which a busy machine takes its time for
pytestmark = pytest.mark.timeout(600)
CLIENT = "client-1"


@pytest.fixture
def training(httpserver: HTTPServer) -> FakeTraining:
    start = datetime.now(UTC) - timedelta(hours=1)
    return FakeTraining(httpserver, [a_round(n, start + n * ROUND) for n in (1, 2, 3)])


@pytest.fixture
def influxdb() -> Iterator[FakeInfluxDB]:
    with HTTPServer(threaded=True) as server:
        yield FakeInfluxDB(server)


@pytest.fixture
def followed(bare: Installation, training: FakeTraining, influxdb: FakeInfluxDB) -> Installation:
    bare.variables |= {
        "FED_VIT_API_URL": training.url,
        "INFLUXDB_URL": influxdb.url,
        "INFLUXDB_TOKEN": influxdb.token,
        "INFLUXDB_ORG": influxdb.org,
        "INFLUXDB_BUCKET": "fedvitals",
    }
    return bare


def follow(installation: Installation, *options: str) -> Ran:
    output = str(installation.folder / "fl")
    return installation.here("federated", "--json", "--output", output, *options)


def written(installation: Installation, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((installation.folder / "fl" / name).read_text("utf-8"))
    return found


def line(ran: Ran, name: str) -> dict[str, Any]:
    (found,) = (each for each in ran.document["measurements"] if each["name"] == name)
    return dict(found)


@pytest.mark.slow
@pytest.mark.promise(
    "Secrets: client names are hashed everywhere, unless `client_ids` says otherwise"
)
def test_a_training_is_followed(
    followed: Installation, training: FakeTraining, influxdb: FakeInfluxDB
) -> None:
    ran = follow(followed)

    assert (ran.code, ran.document["flow"]) == (0, "federated")
    progress = written(followed, "fl-progress.json")
    assert list(progress)[:5] == [
        "current_round", "total_rounds", "active_clients", "global_accuracy", "convergence_rate",
    ]  # fmt: skip
    assert [each["round"] for each in progress["rounds"]] == [1, 2, 3]
    assert (progress["current_round"], progress["total_rounds"], progress["findings"]) == (
        3,
        10,
        [],
    )
    assert list(written(followed, "fl-participation.json"))[:4] == [
        "total_clients", "active_clients", "participation_rate", "avg_data_quality",
    ]  # fmt: skip
    assert list(written(followed, "fl-privacy.json"))[:3] == [
        "epsilon_remaining", "delta_used", "privacy_budget_utilization",
    ]  # fmt: skip
    assert Path(ran.document["report"]).is_file()
    (judged,) = written(followed, "convergence-analysis.json")["runs"]
    assert (judged["verdict"], judged["rounds_seen"], judged["planned_rounds"]) == (
        "too_short",
        3,
        10,
    )
    assert (followed.folder / "fl" / "convergence-report.html").is_file()
    assert influxdb.count_values("fl_rounds") == line(ran, "fl_rounds")["values"]["landed"] == 42

    training.rounds.append(a_round(4, datetime.now(UTC) - timedelta(minutes=1)))
    again = follow(followed)

    assert line(again, "fl_rounds")["values"]["landed"] == 14
    assert influxdb.count_values("fl_rounds") == 56
    # nothing that leaves the machine names a client
    texts = [path.read_text("utf-8") for path in (followed.folder / "fl").iterdir() if path.suffix != ".png"]  # fmt: skip
    assert len(texts) >= 5
    assert not any(CLIENT in text for text in texts)
    sent = {dict(tags).get("client", "") for name, tags, _ in influxdb.points if name == "fl_round_clients"}  # fmt: skip
    assert len(sent) == 3
    assert CLIENT not in sent


@pytest.mark.slow
def test_an_output_may_be_a_relative_path(
    followed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(followed.folder)

    ran = followed.here("federated", "--output", "fl", "--json")

    assert ran.code == 0
    assert ran.document["report"] == str(followed.folder / "fl" / "metrics-report.html")


@pytest.mark.slow
def test_what_is_not_offered_is_said_and_what_is_odd_is_reported(
    followed: Installation, training: FakeTraining
) -> None:
    training.gone = {HISTORY, METRICS}
    training.reported = {PRIVACY: {"epsilon_budget": ..., "privacy_budget_utilization": ...}}
    training.rounds = training.rounds[:1]
    first = follow(followed)

    assert line(first, "fl_rounds")["warnings"] == [f"{HISTORY} is not offered by this service"]
    assert "epsilon_budget: not offered by this service" in line(first, "fl_privacy")["warnings"]
    # the page of metrics fails its own measurements, and no others
    assert line(first, "fl_budget")["state"] == "failed"
    assert line(first, "fl_progress")["state"] == "landed"
    assert first.code == 1
    assert written(followed, "fl-privacy.json")["not_offered"] == [
        "privacy_budget_utilization", "epsilon_budget",
    ]  # fmt: skip
    progress = written(followed, "fl-progress.json")
    assert [each["round"] for each in progress["rounds"]] == [1]


@pytest.mark.slow
@pytest.mark.promise(
    "Training: goals are checked before any work; without a target the chance is null with its reason"
)
def test_a_target_makes_a_race_and_its_absence_is_said(
    followed: Installation, training: FakeTraining
) -> None:
    training.rounds = rising(20)
    training.planned = 40
    without = follow(followed)

    (judged,) = written(followed, "convergence-analysis.json")["runs"]
    assert (without.code, judged["target"], judged["privacy"]["probability"]) == (0, None, None)
    assert "the chance to reach the target needs a target" in judged["privacy"]["why_not"]

    followed.variables["FEDVITALS_CONFIG"] = str(
        _config(followed.folder, "target: null", "target: 80%")
    )
    follow(followed)
    (judged,) = written(followed, "convergence-analysis.json")["runs"]
    assert judged["target"] == 0.8
    configured = judged["privacy"]["probability"]
    assert 0.0 <= configured <= 1.0

    # what the run is asked for counts before what is configured, but for a plan that the service has
    follow(followed, "--target", "0.99", "--total-rounds", "400")
    (judged,) = written(followed, "convergence-analysis.json")["runs"]
    assert (judged["target"], judged["planned_rounds"]) == (0.99, 40)
    assert judged["privacy"]["probability"] <= configured
    assert "the service plans 40 rounds, so a plan of 400 is ignored" in judged["notes"]

    training.reported = {PROGRESS: {"total_rounds": ...}}
    training.run_id = "run-b"
    follow(followed, "--metric", "loss", "--total-rounds", "30")
    (judged,) = written(followed, "convergence-analysis.json")["runs"]
    assert (judged["metric"], judged["target"], judged["planned_rounds"]) == ("loss", None, 30)


def notes(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("note ")]


@pytest.mark.slow
def test_a_poll_that_is_reported_nothing_new_writes_no_report(
    followed: Installation, training: FakeTraining
) -> None:
    def polled() -> Ran:
        # each poll is a sample of its own slot
        with followed.changed("metrics.yaml") as content:
            content["defaults"]["every"] = "1s"
        time.sleep(1.1)
        return followed.here("federated")

    followed.variables["FEDVITALS_CONFIG"] = str(
        _config(followed.folder, "retry_timeout: 60s", "retry_timeout: 1s")
    )
    first = polled().out
    assert "\nreport   /" in first
    still = polled()
    assert still.code == 0
    # what was found of the training holds until there is news
    assert notes(first)
    assert notes(still.out) == notes(first)
    assert "report   skipped: no new training data (write one with --output)" in still.out
    assert len(list((followed.home / "reports").iterdir())) == 1

    training.reported = {PROGRESS: {"active_clients": 2}}
    assert "\nreport   /" in polled().out
    training.rounds.append(a_round(4, datetime.now(UTC) - timedelta(minutes=1)))
    assert "\nreport   /" in polled().out
    # what went wrong is shown, whatever the training does
    training.gone = {METRICS}
    failed = polled()
    assert failed.code == 1
    assert "\nreport   /" in failed.out
    assert len(list((followed.home / "reports").iterdir())) == 4


@pytest.mark.promise(
    "Training: goals are checked before any work; without a target the chance is null with its reason"
)
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--target", "120%"), "--target 120%: it is out of range: an accuracy is a share"),
        (("--target", "soon"), "--target soon: it is not a number"),
    ],
)
def test_a_goal_that_cannot_be_is_refused_before_any_work(
    followed: Installation, training: FakeTraining, options: tuple[str, ...], complaint: str
) -> None:
    ran = follow(followed, *options)

    assert (ran.code, training.asked) == (2, [])
    assert ran.complaint.startswith(complaint)


@pytest.mark.slow
@pytest.mark.promise("Training: a grave finding ends with exit code 1, a minor one does not")
def test_a_grave_finding_ends_with_1_and_an_odd_one_does_not(
    followed: Installation, training: FakeTraining
) -> None:
    training.rounds[2]["epsilon"] = 0.125
    ran = follow(followed)

    assert (ran.code, ran.document["status"], ran.document["worst"]) == (1, "ok", "high")
    graves = [each for each in ran.document["findings"] if each["severity"] == "high"]
    of_training = [each for each in graves if each["kind"] != "check"]
    found = next(each for each in of_training if "cannot come back" in each["sentence"])
    assert f"note     {found['sentence']}" in shown(ran)

    training.run_id = "run-b"
    training.rounds = [a_round(n, datetime.now(UTC) - timedelta(minutes=10 - n)) for n in (1, 2, 4)]
    again = follow(followed)
    assert (again.code, again.document["status"]) == (0, "ok")
    assert again.document["worst"] == "warning"
    odd = [each["sentence"] for each in again.document["findings"] if each["severity"] == "warning"]
    assert any("1 round of run-b up to round 4 is missing" in each for each in odd)
    assert [row["exit_code"] for row in pipeline_rows(followed)] == [1, 0]


def shown(ran: Ran) -> str:
    """What people are shown of the same run."""
    return summary(Receipt.model_validate(ran.document))


def pipeline_rows(installation: Installation) -> list[dict[str, Any]]:
    """What the runs say of themselves."""
    sql = "SELECT flow, status, worst, exit_code FROM fedvitals_pipeline ORDER BY time"
    found: list[dict[str, Any]] = installation.here("lake", "query", sql, "--json").document["rows"]
    return found


@pytest.mark.slow
@pytest.mark.promise(
    "Accounts: every run writes its own figures to `fedvitals_pipeline`, outside of its sums; a failure there leaves the run good"
)
def test_a_collapse_is_in_the_row_of_the_poll_that_finds_it(
    followed: Installation, training: FakeTraining
) -> None:
    fallen = rising(40)
    for each in fallen[30:]:
        each["accuracy"] = 0.1
    training.rounds = fallen
    ran = follow(followed)

    assert (ran.code, ran.document["status"], ran.document["worst"]) == (1, "ok", "critical")
    assert pipeline_rows(followed) == [
        {"flow": "federated", "status": "ok", "worst": "critical", "exit_code": 1}
    ]


@pytest.mark.slow
def test_clients_are_left_out_when_they_are_off(
    followed: Installation, training: FakeTraining
) -> None:
    followed.variables["FEDVITALS_CONFIG"] = str(
        _config(followed.folder, "client_ids: hashed", 'client_ids: "off"')
    )
    ran = follow(followed)
    assert "fl_round_clients" not in [each["name"] for each in ran.document["measurements"]]
    assert written(followed, "fl-participation.json")["rounds"] == []
    # how many there were is no secret
    assert line(ran, "fl_rounds")["values"]["landed"] == 42


@pytest.mark.slow
def test_clients_keep_their_names_when_they_are_plain(
    followed: Installation, influxdb: FakeInfluxDB
) -> None:
    followed.variables["FEDVITALS_CONFIG"] = str(
        _config(followed.folder, "client_ids: hashed", "client_ids: plain")
    )
    follow(followed)
    sent = {dict(tags).get("client", "") for name, tags, _ in influxdb.points if name == "fl_round_clients"}  # fmt: skip
    assert sent == {"client-0", CLIENT, "client-2"}


def test_without_an_api_it_says_what_is_missing(bare: Installation) -> None:
    ran = bare.here("federated")
    assert ran.code == 2
    assert "set PROMETHEUS_URL, or FED_VIT_API_URL" in ran.complaint


def rising(count: int) -> list[dict[str, Any]]:
    """Rounds of a training that learns."""
    start = datetime.now(UTC) - timedelta(minutes=count + 1)
    return [
        a_round(n, start + n * ROUND, accuracy=0.9 * (1 - math.exp(-n / 12)) + 0.002 * (n % 3))
        for n in range(1, count + 1)
    ]


def _config(folder: Path, before: str, after: str) -> Path:
    """The shipped configuration with one line of environments.yaml changed."""
    config = folder / "config"
    shutil.copytree(shipped("config"), config)
    path = config / "environments.yaml"
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after), "utf-8")
    return config
