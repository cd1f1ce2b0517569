"""`fedvitals federated`: a training followed from its API into lake, InfluxDB and JSON."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import Task
from prefect.cache_policies import NO_CACHE
from pytest_httpserver import HTTPServer

from flows.federated import federated
from tasks.core.settings import shipped
from tasks.training import stages as federated_stages
from tests.fakes.influxdb import FakeInfluxDB
from tests.fakes.training import HISTORY, METRICS, PRIVACY, ROUND, FakeTraining, a_round
from tests.flows.installation import Installation, Ran

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
def followed(
    installed: Installation, training: FakeTraining, influxdb: FakeInfluxDB
) -> Installation:
    installed.variables |= {
        "FED_VIT_API_URL": training.url,
        "INFLUXDB_URL": influxdb.url,
        "INFLUXDB_TOKEN": influxdb.token,
        "INFLUXDB_ORG": influxdb.org,
        "INFLUXDB_BUCKET": "fedvitals",
    }
    return installed


def follow(installation: Installation) -> Ran:
    return installation.here("federated", "--json", "--output", str(installation.folder / "fl"))


def written(installation: Installation, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((installation.folder / "fl" / name).read_text("utf-8"))
    return found


def line(ran: Ran, name: str) -> dict[str, Any]:
    (found,) = (each for each in ran.document["measurements"] if each["name"] == name)
    return dict(found)


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


def test_what_is_not_offered_is_said_and_what_is_odd_is_told(
    followed: Installation, training: FakeTraining
) -> None:
    training.gone = {HISTORY, METRICS}
    training.told = {PRIVACY: {"epsilon_budget": ..., "privacy_budget_utilization": ...}}
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


def test_clients_are_left_out_when_they_are_off(
    followed: Installation, training: FakeTraining
) -> None:
    followed.variables["FEDVITALS_CONFIG"] = str(_config(followed.folder, "off"))
    ran = follow(followed)
    assert "fl_round_clients" not in [each["name"] for each in ran.document["measurements"]]
    assert written(followed, "fl-participation.json")["rounds"] == []
    # how many there were is no secret
    assert line(ran, "fl_rounds")["values"]["landed"] == 42


def test_clients_keep_their_names_when_they_are_plain(
    followed: Installation, influxdb: FakeInfluxDB
) -> None:
    followed.variables["FEDVITALS_CONFIG"] = str(_config(followed.folder, "plain"))
    follow(followed)
    sent = {dict(tags).get("client", "") for name, tags, _ in influxdb.points if name == "fl_round_clients"}  # fmt: skip
    assert sent == {"client-0", CLIENT, "client-2"}


def test_without_an_api_it_says_what_is_missing(installed: Installation) -> None:
    ran = installed.here("federated")
    assert ran.code == 2
    assert "Set PROMETHEUS_URL, or FED_VIT_API_URL" in ran.complaint


def test_nothing_is_cached_stored_or_tried_again() -> None:
    tasks: list[Any] = [federated_stages.look, federated_stages.tell]
    assert all(isinstance(each, Task) for each in tasks)
    assert all((each.persist_result, each.retries) == (False, 0) for each in tasks)
    assert all(each.cache_policy == NO_CACHE for each in tasks)
    assert (federated.persist_result, federated.retries) == (False, 0)


def _config(folder: Path, mode: str) -> Path:
    """The shipped configuration with another way to name clients."""
    config = folder / "config"
    shutil.copytree(shipped("config"), config)
    path = config / "environments.yaml"
    text = path.read_text("utf-8").replace("client_ids: hashed", f'client_ids: "{mode}"')
    path.write_text(text, "utf-8")
    return config
