"""The suites that come with fedvitals: each fits its measurement, and each limit is what it says."""

import math
from typing import Any

import pytest

from tasks.core.catalogue import Catalogue
from tasks.core.settings import shipped
from tasks.core.severity import Severity
from tasks.validation.model import Expectation
from tasks.validation.suites import Suite, canonical_json, read_suite, verify
from tasks.validation.wording import limit_of
from tests.tasks.validation.examples import BETWEEN, NOT_NULL

CATALOGUE = Catalogue.read(shipped("config") / "metrics.yaml")
FOLDER = shipped("expectations")

# what the team's alerts say, as (measurement, field): (limit, severity)
TEAM_LIMITS = {
    ("http_latency", "latency_p95_seconds"): ("at most 5", "high"),
    ("inference", "latency_p95_seconds"): ("at most 0.1", "warning"),
    ("model_operations", "save_failures_per_second"): ("at most 0.005", "high"),
    ("service_host", "cpu_usage_ratio"): ("at most 0.85", "warning"),
    ("node", "cpu_usage_ratio"): ("at most 0.85", "warning"),
    ("node", "memory_usage_ratio"): ("at most 0.9", "high"),
    ("filesystems", "usage_ratio"): ("at most 0.85", "high"),
    ("edge_devices", "battery_ratio"): ("at least 0.2", "warning"),
    ("edge_devices", "packet_loss_ratio"): ("at most 0.05", "warning"),
    ("training", "training_loss"): ("at most 2", "warning"),
    ("training", "model_accuracy_ratio"): ("at least 0.85", "warning"),
}
# what is physically possible, by the unit of a field
POSSIBLE = {
    "ratio": "0 to 1",
    "seconds": "0 to 1000000000",
    "bytes": "0 to 1e+18",
    "celsius": "-273.15 to 1000",
    "devices": "0 to 1000000",
    "": "0 to 1.79769313486e+308",
}
PER_SECOND = "0 to 1000000000"


def suite_of(name: str) -> Suite:
    return read_suite(FOLDER, CATALOGUE[name])


def limits(name: str) -> list[Expectation]:
    return [each for each in suite_of(name).expectations if each.type == BETWEEN]


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
            field: (
                PER_SECOND if spec.unit.endswith("_per_second") else POSSIBLE[spec.unit],
                Severity.CRITICAL,
            )
            for field, spec in measurement.fields.items()
        }
        assert found == expected, name


def test_the_operating_limits_are_those_of_the_team_and_never_critical() -> None:
    found = {
        (name, each.columns[0]): (limit_of(each), each.severity.value)
        for name in CATALOGUE
        for each in limits(name)
        if each.origin != "physical"
    }

    assert found == TEAM_LIMITS


def test_a_missing_required_field_is_told_and_takes_nothing() -> None:
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
