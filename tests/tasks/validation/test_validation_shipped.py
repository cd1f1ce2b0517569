"""The suites that come with fedvitals: each fits its measurement, and each limit is what it says."""

import math
from typing import Any

import pytest

from tasks.core.catalogue import Catalogue
from tasks.core.measurement import FieldSpec
from tasks.core.settings import shipped
from tasks.core.severity import Severity
from tasks.validation.model import Expectation, Suite
from tasks.validation.suites import canonical_json, read_suite, verify
from tasks.validation.wording import limit_of
from tests.support.suite_examples import BETWEEN, NOT_NULL, ROW_COUNT, UNIQUE

CATALOGUE = Catalogue.read(shipped("config") / "metrics.yaml")
FOLDER = shipped("expectations")

# what the team's alerts say, as (measurement, field): (limit, severity), the severest first
TEAM_LIMITS = {
    ("http_latency", "latency_p95_seconds"): [("at most 5", "high")],
    ("inference", "latency_p95_seconds"): [("at most 0.1", "warning")],
    ("model_operations", "save_failures_per_second"): [("at most 0.005", "high")],
    ("service_host", "cpu_usage_ratio"): [("at most 0.85", "warning")],
    ("node", "cpu_usage_ratio"): [("at most 0.85", "warning")],
    ("node", "memory_usage_ratio"): [("at most 0.9", "high")],
    ("filesystems", "usage_ratio"): [("at most 0.85", "high")],
    ("edge_devices", "battery_ratio"): [("at least 0.2", "warning")],
    ("edge_devices", "packet_loss_ratio"): [("at most 0.05", "warning")],
    ("training", "training_loss"): [("at most 2", "warning")],
    ("training", "model_accuracy_ratio"): [("at least 0.85", "warning")],
    ("federation", "rounds_per_hour"): [("at least 5", "warning")],
    ("federation", "connected_ratio"): [("at least 0.5", "high")],
    ("availability", "up_ratio"): [("at least 0.8", "high")],
    ("clients", "active_clients"): [("at least 50", "warning")],
    ("participation", "data_quality_ratio"): [("at least 0.7", "warning")],
    ("training_progress", "accuracy_ratio"): [("at least 0.85", "warning")],
    ("fl_progress", "active_clients"): [("at least 50", "warning")],
    ("fl_progress", "accuracy_ratio"): [("at least 0.85", "warning")],
    ("fl_participation", "active_clients"): [("at least 50", "warning")],
    ("fl_participation", "data_quality_ratio"): [("at least 0.7", "warning")],
    ("fl_privacy", "epsilon_remaining"): [("at least 0.1", "high")],
    ("fl_clients", "active_clients"): [("at least 50", "warning")],
    ("fl_clients", "data_quality_ratio"): [("at least 0.7", "warning")],
    ("fl_clients", "data_drift_score"): [("at most 0.5", "warning")],
    ("fl_budget", "epsilon_remaining"): [("at least 0.1", "high")],
    ("security_events", "unauthorized_requests_per_second"): [("at most 0.0333333333333", "high")],
    ("security_events", "certificate_days"): [("at least 7", "high"), ("at least 30", "warning")],
    ("tls_certificate", "certificate_days"): [("at least 7", "high"), ("at least 30", "warning")],
    ("fedvitals_pipeline", "lag_seconds"): [("at most 7200", "warning")],
    ("fedvitals_pipeline", "pending_values"): [("at most 0", "warning")],
    ("fedvitals_pipeline", "refused_values"): [("at most 0", "high")],
    ("fedvitals_pipeline", "failed_measurements"): [("at most 0", "high")],
}
# what is physically possible, by the unit of a field
POSSIBLE = {
    "ratio": "0 to 1.000001",  # a mean of ones in float32 is a little above 1
    "seconds": "0 to 1000000000",
    "bytes": "0 to 1e+18",
    "celsius": "-273.15 to 1000",
    "devices": "0 to 1000000",
    "clients": "0 to 10000000000",
    "rounds": "0 to 1000000000000",
    "rounds_per_hour": "0 to 3600000000000",
    "examples": "0 to 1e+18",
    "requests": "0 to 1e+18",
    "days": "-1000000 to 3000000",
    "values": "0 to 1e+18",
    "events": "0 to 1e+18",
    "rate": "0 to 1e+18",
    "measurements": "0 to 1000000",
    "retries": "0 to 1000000000",
}
# what has no unit has limits of its own
UNITLESS = {
    "training_loss": "0 to 1.79769313486e+308",
    "exit_code": "0 to 3",
    "status_code": "100 to 999",
    "load_1m": "0 to 1000000",
    "convergence_rate": "-1.79769313486e+308 to 1.79769313486e+308",
    "loss": "-1.79769313486e+308 to 1.79769313486e+308",
    "round": "0 to 1000000000000",
    "delta": "0 to 1",
    "delta_used": "0 to 1",
    "noise_multiplier": "0 to 1.79769313486e+308",
    "noise_scale": "0 to 1.79769313486e+308",
    "epsilon_spent": "0 to 1.79769313486e+308",
    "epsilon_remaining": "-1.79769313486e+308 to 1.79769313486e+308",
    "epsilon_budget": "0 to 1.79769313486e+308",
    "budget_utilization": "0 to 1.79769313486e+308",
    "data_drift_score": "0 to 1.79769313486e+308",
}
# the words that a text may be, the truths that should hold, and which columns belong together
OTHER_CHECKS = {
    ("training_run", "state_known"): ("one of failed, finished, idle, running", "warning"),
    ("training_run", "state_not_failed"): ("none of failed", "high"),
    ("service_status", "status_ok"): ("one of ok", "warning"),
    ("service_status", "status_not_failed"): ("one of degraded, ok", "high"),
    ("security_checks", "certificate_status_ok"): ("one of ok", "warning"),
    ("tls_certificate", "host_matches_holds"): ("one of True", "high"),
    ("tls_certificate", "trusted_holds"): ("one of True", "warning"),
    ("clients", "connected_among_total"): ("total_clients at least connected_clients", "warning"),
    ("clients", "active_among_total"): ("total_clients at least active_clients", "warning"),
    ("training_progress", "completed_of_planned"): (
        "planned_rounds at least completed_rounds", "warning",
    ),
    ("fl_progress", "completed_of_planned"): (
        "planned_rounds at least completed_rounds", "warning",
    ),
    ("fl_participation", "active_among_total"): ("total_clients at least active_clients", "warning"),
    ("fl_privacy", "remaining_of_budget"): ("epsilon_budget at least epsilon_remaining", "warning"),
    ("fl_rounds", "spent_of_budget"): ("epsilon_budget at least epsilon_spent", "high"),
    ("fl_rounds", "all_finite"): ("always missing", "high"),
    ("fl_round_clients", "state_known"): ("one of dropped, late, reported", "info"),
    ("fl_clients", "connected_among_total"): ("total_clients at least connected_clients", "warning"),
    ("fl_clients", "active_among_total"): ("total_clients at least active_clients", "warning"),
    ("service_status", "failed_of_total"): ("total_requests at least failed_requests", "warning"),
    ("service_status", "used_of_total"): (
        "storage_total_bytes at least storage_used_bytes", "warning",
    ),
}  # fmt: skip
# more than all of a budget can be spent
OVERSPENT = {"budget_left_ratio": "at most 1.000001"}
PER_SECOND = "0 to 1000000000"


def suite_of(name: str) -> Suite:
    return read_suite(FOLDER, CATALOGUE[name])


def limits(name: str) -> list[Expectation]:
    return [each for each in suite_of(name).expectations if each.type == BETWEEN]


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOGUE)
def test_great_expectations_takes_it_whole(name: str) -> None:
    verify(suite_of(name), CATALOGUE[name])


@pytest.mark.parametrize("name", CATALOGUE)
def test_its_file_is_what_great_expectations_writes_in_canonical_form(name: str) -> None:
    from great_expectations.core.expectation_suite import ExpectationSuite

    suite = suite_of(name)
    text = suite.path.read_text(encoding="utf-8")

    assert canonical_json(suite.content) == text
    written = ExpectationSuite(name=name, expectations=suite.content["expectations"])
    assert canonical_json(written.to_json_dict()) == text


def test_there_is_no_suite_without_a_measurement() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {
        measurement.suite_name for measurement in CATALOGUE.values()
    }


def test_the_physical_limit_of_every_field_follows_from_its_unit() -> None:
    for name, measurement in CATALOGUE.items():
        found = {
            each.columns[0]: (limit_of(each), each.severity)
            for each in limits(name)
            if each.origin == "physical"
        }
        expected = {
            field: (possible(field, spec), Severity.CRITICAL)
            for field, spec in measurement.fields.items()
            if spec.type in ("float", "int")
        }
        assert found == expected, name


def possible(field: str, spec: FieldSpec) -> str:
    if spec.unit.endswith("_per_second"):
        return PER_SECOND
    return OVERSPENT.get(field) or (POSSIBLE[spec.unit] if spec.unit else UNITLESS[field])


def test_the_operating_limits_are_those_of_the_team_and_never_critical() -> None:
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name in CATALOGUE:
        for each in limits(name):
            if each.origin != "physical":
                limit = (limit_of(each), each.severity.value)
                found.setdefault((name, each.columns[0]), []).append(limit)

    assert found == TEAM_LIMITS


def test_no_other_check_takes_anything() -> None:
    usual = (BETWEEN, NOT_NULL, ROW_COUNT, UNIQUE)
    found = {
        (name, each.check_id): (limit_of(each), each.severity.value)
        for name in CATALOGUE
        for each in suite_of(name).expectations
        if each.type not in usual
    }

    assert found == OTHER_CHECKS


def test_a_missing_required_field_is_reported_and_takes_nothing() -> None:
    for name, measurement in CATALOGUE.items():
        found = {
            each.columns[0]: (each.severity, each.origin)
            for each in suite_of(name).expectations
            if each.type == NOT_NULL and each.columns != ("time",)
        }
        expected = {
            field: (Severity.HIGH, "operating limit of the team")
            for field, spec in measurement.fields.items()
            if spec.required
        }
        assert found == expected, name


def test_every_limit_is_finite_and_every_reason_a_sentence() -> None:
    for name in CATALOGUE:
        for each in suite_of(name).expectations:
            assert all(map(math.isfinite, numbers(each.arguments))), (name, each.check_id)
            assert each.reason[0].isupper(), (name, each.check_id)
            assert each.reason.endswith("."), (name, each.check_id)


def numbers(arguments: dict[str, Any]) -> list[float]:
    return [value for value in arguments.values() if isinstance(value, int | float)]
