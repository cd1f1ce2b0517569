"""What the shipped suites say of a bad day of business and security: it is reported, and nothing goes."""

from typing import Any

import pytest

from tasks.core.catalogue import Catalogue
from tasks.core.settings import shipped
from tasks.validation.suites import read_suite
from tasks.validation.validate import Validated, validate
from tests.support.suite_examples import a_batch, a_frame

CATALOGUE = Catalogue.read(shipped("config") / "metrics.yaml")
GOOD: dict[str, dict[str, Any]] = {
    "federation": {"rounds_per_hour": 5.0, "connected_ratio": 0.5},
    "availability": {"up_ratio": 0.8},
    "clients": {"total_clients": 50.0, "connected_clients": 50.0, "active_clients": 50.0},
    "participation": {"participation_ratio": 0.0, "data_quality_ratio": 0.7},
    "training_progress": {
        "completed_rounds": 60.0, "planned_rounds": 60.0, "accuracy_ratio": 0.85,
        "convergence_rate": -0.5,
    },
    "training_run": {"state": "finished", "run_id": "run-1"},
    "service_status": {
        "status": "ok", "version": "1", "uptime_seconds": 0.0, "total_requests": 1.0,
        "failed_requests": 1.0, "storage_used_bytes": 5.0, "storage_total_bytes": 5.0,
    },
    "security_events": {
        "unauthorized_requests_per_second": 10 / 300, "encryption_failures_per_second": 0.0,
        "certificate_days": 30.0,
    },
    "security_checks": {"certificate_status": "ok"},
    "tls_certificate": {
        "certificate_days": 30.0, "issuer": "CN=a", "subject": None, "host_matches": True,
        "trusted": True,
    },
}  # fmt: skip


def verdict(name: str, **changed: Any) -> Validated:
    measurement = CATALOGUE[name]
    columns = {field: [value] for field, value in {**GOOD[name], **changed}.items()}
    batch = a_batch(measurement, a_frame(measurement, [0], **columns))
    return validate(batch, read_suite(shipped("expectations"), measurement))


def failed(found: Validated) -> list[tuple[str, str]]:
    return sorted((check.check_id, check.severity.value) for check in found.verdict.failed)


@pytest.mark.slow
@pytest.mark.parametrize("name", GOOD)
def test_just_good_enough_is_good(name: str) -> None:
    assert failed(verdict(name)) == []


@pytest.mark.parametrize(
    ("name", "changed", "checks"),
    [
        ("federation", {"rounds_per_hour": 4.9}, [("rounds_per_hour_within_limit", "warning")]),
        ("federation", {"connected_ratio": 0.49}, [("connected_ratio_within_limit", "high")]),
        ("availability", {"up_ratio": 0.79}, [("up_ratio_within_limit", "high")]),
        ("clients", {"active_clients": 49.0}, [("active_clients_within_limit", "warning")]),
        ("clients", {"connected_clients": 51.0}, [("connected_among_total", "warning")]),
        ("clients", {"active_clients": 51.0}, [("active_among_total", "warning")]),
        ("clients", {"connected_clients": None}, []),
        ("participation", {"data_quality_ratio": 0.69}, [("data_quality_ratio_within_limit", "warning")]),
        ("training_progress", {"accuracy_ratio": 0.84}, [("accuracy_ratio_within_limit", "warning")]),
        ("training_progress", {"completed_rounds": 61.0}, [("completed_of_planned", "warning")]),
        ("training_run", {"state": "failed"}, [("state_not_failed", "high")]),
        ("training_run", {"state": "paused"}, [("state_known", "warning")]),
        ("service_status", {"status": "degraded"}, [("status_ok", "warning")]),
        ("service_status", {"status": "failed"}, [("status_not_failed", "high"), ("status_ok", "warning")]),
        ("service_status", {"failed_requests": 2.0}, [("failed_of_total", "warning")]),
        ("service_status", {"storage_used_bytes": 6.0}, [("used_of_total", "warning")]),
        ("security_events", {"unauthorized_requests_per_second": 11 / 300}, [("unauthorized_requests_per_second_within_limit", "high")]),
        ("security_events", {"certificate_days": 29.0}, [("certificate_days_renewal", "warning")]),
        ("security_checks", {"certificate_status": "degraded"}, [("certificate_status_ok", "warning")]),
        ("tls_certificate", {"certificate_days": -1.0}, [("certificate_days_renewal", "warning"), ("certificate_days_within_limit", "high")]),
        ("tls_certificate", {"host_matches": False}, [("host_matches_holds", "high")]),
        ("tls_certificate", {"trusted": False}, [("trusted_holds", "warning")]),
    ],
)  # fmt: skip
def test_a_bad_day_is_reported_and_takes_nothing(
    name: str, changed: dict[str, Any], checks: list[tuple[str, str]]
) -> None:
    found = verdict(name, **changed)
    assert failed(found) == checks
    assert found.bad.empty
    assert len(found.good) == 1


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("federation", "connected_ratio", 1.01),
        ("federation", "rounds_per_hour", -1.0),
        ("clients", "active_clients", -1.0),
        ("training_progress", "completed_rounds", -1.0),
        ("service_status", "failed_requests", -1.0),
        ("tls_certificate", "certificate_days", 4e6),
    ],
)
def test_what_cannot_be_goes_alone(name: str, field: str, value: float) -> None:
    found = verdict(name, **{field: value})
    assert found.bad["field"].tolist() == [field]
    assert found.good[field].isna().all()
    others = [other for other in GOOD[name] if other != field and GOOD[name][other] is not None]
    assert found.good[others].notna().all(axis=None)


def test_an_accuracy_that_diverges_stays_visible() -> None:
    found = verdict("training_progress", convergence_rate=-1e300)
    assert found.good["convergence_rate"].tolist() == [-1e300]
