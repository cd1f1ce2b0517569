"""The API of really started servers: every path's body, the token, the metrics, the faults."""

import time
from collections.abc import Iterator
from datetime import datetime

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.running_server import RunningServer

TIMEOUT_SECONDS = 10.0
TOKEN = {"Authorization": "Bearer s3cret"}
PREFIX = "fed_vit_autorl_"
METRICS = {
    "requests_total": "counter",
    "request_duration_seconds": "histogram",
    "inference_requests_total": "counter",
    "inference_duration_seconds": "histogram",
    "model_size_bytes": "gauge",
    "model_load_time_seconds": "gauge",
    "model_save_failures_total": "counter",
    "deployments_total": "counter",
    "cpu_usage_percent": "gauge",
    "memory_usage_bytes": "gauge",
    "gpu_utilization_percent": "gauge",
    "edge_device_info": "gauge",
    "edge_battery_level": "gauge",
    "edge_temperature": "gauge",
    "edge_cpu_usage_percent": "gauge",
    "edge_memory_usage_bytes": "gauge",
    "packet_loss_rate": "gauge",
    "training_rounds_total": "counter",
    "client_updates_total": "counter",
    "client_dropped_total": "counter",
    "training_loss": "gauge",
    "model_accuracy": "gauge",
    "convergence_rate": "gauge",
    "aggregation_duration_seconds": "histogram",
    "active_clients": "gauge",
    "connected_clients": "gauge",
    "total_clients": "gauge",
    "data_quality_score": "gauge",
    "data_drift_score": "gauge",
    "privacy_epsilon_remaining": "gauge",
    "privacy_delta_used": "gauge",
    "noise_scale": "gauge",
    "unauthorized_requests_total": "counter",
    "encryption_failures_total": "counter",
    "certificate_expiry_days": "gauge",
}
LABELS = {
    "requests_total": {"method", "status"},
    "request_duration_seconds": {"method"},
    "inference_requests_total": {"model"},
    "inference_duration_seconds": {"model"},
    "model_size_bytes": {"model"},
    "model_load_time_seconds": {"model"},
    "edge_device_info": {"client", "device"},
    "edge_battery_level": {"client"},
    "edge_temperature": {"client"},
    "edge_cpu_usage_percent": {"client"},
    "edge_memory_usage_bytes": {"client"},
    "packet_loss_rate": {"client"},
}
WITHOUT_SERIES = {"gpu_utilization_percent"}
BODIES = {
    "/health": {"status"},
    "/health/detailed": {"status", "uptime_seconds", "version", "checks"},
    "/api/status": {
        "status",
        "environment",
        "version",
        "uptime_seconds",
        "training",
        "requests",
        "storage",
    },
    "/api/clients/count": {"total", "connected", "active"},
    "/api/training/status": {"run_id", "state", "current_round", "total_rounds", "last_round_at"},
    "/api/training/progress": {
        "run_id",
        "current_round",
        "total_rounds",
        "active_clients",
        "global_accuracy",
        "convergence_rate",
    },
    "/api/clients/participation": {
        "total_clients",
        "active_clients",
        "participation_rate",
        "avg_data_quality",
    },
    "/api/privacy/status": {
        "epsilon_remaining",
        "delta_used",
        "privacy_budget_utilization",
        "epsilon_budget",
        "noise_multiplier",
        "sampling_rate",
    },
    "/api/training/history": {
        "run_id",
        "delta",
        "sampling_rate",
        "noise_multiplier",
        "epsilon_budget",
        "rounds",
    },
}


def get(server: RunningServer, path: str, **headers: str) -> requests.Response:
    return requests.get(server.http + path, headers=headers, timeout=TIMEOUT_SECONDS)


def finished_history(server: RunningServer, **headers: str) -> list[dict[str, object]]:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while get(server, "/api/training/status", **headers).json()["state"] != "finished":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    rounds: list[dict[str, object]] = get(server, "/api/training/history", **headers).json()[
        "rounds"
    ]
    return rounds


@pytest.fixture
def faulty_server(testing_server: RunningServer) -> Iterator[RunningServer]:
    """The testing server; its faults are cleared afterwards."""
    yield testing_server
    requests.delete(f"{testing_server.http}/testing/faults", timeout=TIMEOUT_SECONDS)


def set_fault(server: RunningServer, **fault: object) -> requests.Response:
    return requests.post(f"{server.http}/testing/faults", json=fault, timeout=TIMEOUT_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "fields"), BODIES.items())
def test_each_path_has_exactly_its_fields(
    testing_server: RunningServer, path: str, fields: set[str]
) -> None:
    answer = get(testing_server, path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == fields


@pytest.mark.parametrize("path", ["/", "/docs", "/api", "/health/", "/api/training/history/"])
def test_other_paths_are_not_found(testing_server: RunningServer, path: str) -> None:
    assert get(testing_server, path).status_code == 404


def test_a_path_takes_no_other_method(testing_server: RunningServer) -> None:
    answer = requests.post(f"{testing_server.http}/api/status", timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 405


def test_the_bodies_agree_with_each_other(testing_server: RunningServer) -> None:
    rounds = finished_history(testing_server)
    status = get(testing_server, "/api/status").json()
    progress = get(testing_server, "/api/training/progress").json()
    count = get(testing_server, "/api/clients/count").json()
    participation = get(testing_server, "/api/clients/participation").json()
    assert status["training"] == {"run_id": testing_server.run_id, "state": "finished"}
    assert status["environment"] == "testing"
    assert 0 < status["storage"]["used_bytes"] < status["storage"]["total_bytes"]
    assert (progress["current_round"], progress["total_rounds"]) == (4, 4)
    assert progress["global_accuracy"] == rounds[-1]["accuracy"]
    assert count["total"] == 40 >= count["connected"] >= count["active"]
    assert participation["participation_rate"] == count["active"] / 40


def test_history_gives_whole_rounds(testing_server: RunningServer) -> None:
    rounds = finished_history(testing_server)
    assert [entry["round"] for entry in rounds] == [1, 2, 3, 4]
    epsilons = [entry["epsilon"] for entry in rounds]
    assert epsilons == sorted(epsilons)  # type: ignore[type-var]
    for entry in rounds:
        assert set(entry) == {
            "round",
            "started",
            "seconds",
            "loss",
            "accuracy",
            "epsilon",
            "clients",
        }
        started = datetime.fromisoformat(str(entry["started"]))
        assert started.utcoffset() is not None
        clients = entry["clients"]
        assert isinstance(clients, list)
        assert set(clients[0]) == {
            "id",
            "examples",
            "accuracy",
            "seconds",
            "state",
            "data_quality",
        }


@pytest.mark.parametrize(
    ("since", "rounds"), [("0", [1, 2, 3, 4]), ("3", [4]), ("4", []), ("1000", [])]
)
def test_history_since_a_round(
    testing_server: RunningServer, since: str, rounds: list[int]
) -> None:
    finished_history(testing_server)
    answer = get(testing_server, f"/api/training/history?since={since}").json()
    assert [entry["round"] for entry in answer["rounds"]] == rounds


@pytest.mark.parametrize("since", ["-1", "last", "1.5", ""])
def test_history_since_nonsense_is_refused(testing_server: RunningServer, since: str) -> None:
    assert get(testing_server, f"/api/training/history?since={since}").status_code == 422


def test_every_metric_of_the_vocabulary_is_there_and_no_other(
    testing_server: RunningServer,
) -> None:
    get(testing_server, "/health")
    answer = get(testing_server, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    # the parser takes _total off the names of counters
    kinds = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in families
    }
    assert kinds == {PREFIX + name: kind for name, kind in METRICS.items()}
    empty = {family.name for family in families if not family.samples}
    assert empty == {PREFIX + name for name in WITHOUT_SERIES}


def test_every_series_has_exactly_its_labels(testing_server: RunningServer) -> None:
    get(testing_server, "/health")
    for family in text_string_to_metric_families(get(testing_server, "/metrics").text):
        name = family.name.removeprefix(PREFIX) + ("_total" if family.type == "counter" else "")
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == LABELS.get(name, set())


@pytest.mark.slow
@pytest.mark.parametrize("path", [*BODIES, "/metrics", "/nowhere", "/openapi.json"])
def test_without_the_token_only_health_is_open(guarded_server: RunningServer, path: str) -> None:
    answer = get(guarded_server, path)
    if path == "/health":
        assert answer.status_code == 200
    else:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", [*BODIES, "/metrics"])
def test_with_the_token_all_is_open(guarded_server: RunningServer, path: str) -> None:
    assert get(guarded_server, path, **TOKEN).status_code == 200


def test_refused_callers_are_counted(guarded_server: RunningServer) -> None:
    def refused() -> float:
        page = get(guarded_server, "/metrics", **TOKEN).text
        return next(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == f"{PREFIX}unauthorized_requests_total"
        )

    before = refused()
    get(guarded_server, "/metrics", Authorization="Bearer wrong")
    get(guarded_server, "/health")
    assert refused() == before + 1


def test_without_https_no_certificate_is_reported(guarded_server: RunningServer) -> None:
    page = get(guarded_server, "/metrics", **TOKEN).text
    assert "certificate_expiry_days" not in page
    assert "model_accuracy" in page


def test_an_error_comes_as_often_as_asked_and_is_counted(faulty_server: RunningServer) -> None:
    before = get(faulty_server, "/api/status").json()["requests"]
    answer = set_fault(faulty_server, path="/health", kind="error_500", times=2)
    assert answer.status_code == 201
    assert answer.json() == {"path": "/health", "kind": "error_500", "times": 2}
    assert [get(faulty_server, "/health").status_code for _ in range(3)] == [500, 500, 200]
    after = get(faulty_server, "/api/status").json()["requests"]
    assert after["failed"] - before["failed"] == 2
    assert after["total"] - before["total"] == 5


def test_a_slow_answer_is_late_and_right(faulty_server: RunningServer) -> None:
    set_fault(faulty_server, path="/health", kind="slow", seconds=0.3, times=1)
    answers = [get(faulty_server, "/health") for _ in range(2)]
    assert answers[0].elapsed.total_seconds() >= 0.3 > answers[1].elapsed.total_seconds()
    assert answers[0].json() == {"status": "ok"}


def test_a_malformed_answer_cannot_be_parsed(faulty_server: RunningServer) -> None:
    set_fault(faulty_server, path="/api/clients/count", kind="malformed_json", times=1)
    answer = get(faulty_server, "/api/clients/count")
    assert answer.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert "total" in get(faulty_server, "/api/clients/count").json()


def test_a_field_is_missing_until_the_faults_are_cleared(faulty_server: RunningServer) -> None:
    set_fault(faulty_server, path="/api/clients/count", kind="missing_field", field="active")
    for _ in range(2):
        assert set(get(faulty_server, "/api/clients/count").json()) == {"total", "connected"}
    cleared = requests.delete(f"{faulty_server.http}/testing/faults", timeout=TIMEOUT_SECONDS)
    assert cleared.json() == {"cleared": 1}
    assert "active" in get(faulty_server, "/api/clients/count").json()


def test_a_metric_can_be_missing_too(faulty_server: RunningServer) -> None:
    set_fault(faulty_server, path="/metrics", kind="missing_field", field="model_accuracy")
    page = get(faulty_server, "/metrics").text
    assert "model_accuracy" not in page
    assert "training_loss" in page


@pytest.mark.parametrize(
    "fault",
    [
        {"path": "/health", "kind": "earthquake"},
        {"path": "/testing/faults", "kind": "error_500"},
        {"path": "/health", "kind": "slow"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(
    faulty_server: RunningServer, fault: dict[str, str]
) -> None:
    assert set_fault(faulty_server, **fault).status_code == 422
    assert get(faulty_server, "/health").status_code == 200


def test_outside_of_testing_there_are_no_fault_knobs(guarded_server: RunningServer) -> None:
    url = f"{guarded_server.http}/testing/faults"
    fault = {"path": "/health", "kind": "error_500"}
    posted = requests.post(url, json=fault, headers=TOKEN, timeout=TIMEOUT_SECONDS)
    deleted = requests.delete(url, headers=TOKEN, timeout=TIMEOUT_SECONDS)
    assert (posted.status_code, deleted.status_code) == (404, 404)
    assert get(guarded_server, "/health").status_code == 200
