"""Checks of rules: each finds its fault, and nothing in a good rule."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tasks.analysis.rules.checks import LiveFacts, check_live, check_offline, needed_series
from tasks.analysis.rules.promql import normal
from tasks.core.severity import Severity
from tasks.core.thresholds import Threshold

GOOD: dict[str, object] = {
    "id": "errors",
    "expr": "sum by (job) (rate(errors_total[5m]))",
    "comparison": ">",
    "value": 1,
    "severity": Severity.HIGH,
    "tags": ["job"],
    "summary": "errors of {{ $labels.job }}",
}
LIVE = LiveFacts(
    retention=timedelta(days=15),
    scrapes={"": timedelta(seconds=15), "slow": timedelta(minutes=5)},
    series={"errors_total": [{"job": "api"}], "job:errors": [{"job": "api"}]},
    recorded={"job:errors": "sum by (job) (errors_total)", "job:plain": "errors_total"},
)


def threshold(**changes: object) -> Threshold:
    return Threshold.model_validate({k: v for k, v in (GOOD | changes).items() if v is not None})


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({}, None),
        ({"comparison": None, "value": None}, "comparison"),
        ({"expr": "sum(rate(errors_total[5m]))"}, "label_dropped"),
        ({"expr": "sum(rate(errors_total[5m]))", "tags": []}, "label_dropped"),
        ({"expr": "sum(rate(errors_total[5m]))", "tags": [], "summary": "errors"}, None),
        ({"expr": "rate(sum by (job) (errors_total)[5m:1m])"}, "rate_of_sum"),
        ({"expr": "max_over_time(sum by (job) (errors_total)[5m:1m])"}, None),
    ],
)
def test_what_the_promql_shows(changes: dict[str, object], check: str | None) -> None:
    found = {each.check for each in check_offline(threshold(**changes))}

    assert found == ({check} if check else set())


@pytest.mark.parametrize(
    ("changes", "live", "check"),
    [
        ({}, {}, None),
        ({}, {"series": {}}, "no_series"),
        ({"may_be_absent": True}, {"series": {}}, None),
        ({}, {"series": {"errors_total": [{"job": ""}]}}, "label_missing"),
        ({"expr": "sum by (job) (rate(errors_total[20s]))"}, {}, "short_rate"),
        ({"expr": "sum by (job) (rate(errors_total[30s]))"}, {}, None),
        ({}, {"series": {"errors_total": [{"job": "slow"}]}}, "short_rate"),
        ({"expr": "rate(job:errors[5m])"}, {}, "rate_of_sum"),
        (
            {"expr": "rate(job:plain[5m])"},
            {"series": {"job:plain": [{"job": "api"}]}},
            None,
        ),
        ({"expr": "sum by (job) (rate(errors_total[1d] offset 15d))"}, {}, "retention"),
        ({"expr": "sum by (job) (rate(errors_total[1d] offset 14d))"}, {}, None),
        ({"when": "sum(increase(errors_total[16d])) > 0"}, {}, "retention"),
        (
            {},
            {"alerts": {normal("sum(rate(errors_total[5m])) by (job) > 1"): "Theirs"}},
            "duplicate",
        ),
        ({}, {"alerts": {normal("sum(rate(errors_total[5m])) by (job) > 2"): "Theirs"}}, None),
    ],
)
def test_what_a_live_prometheus_shows(
    changes: dict[str, object], live: dict[str, object], check: str | None
) -> None:
    found = {each.check for each in check_live(threshold(**changes), replace(LIVE, **live))}  # type: ignore[arg-type]

    assert found == ({check} if check else set())


def test_each_selector_is_asked_for_once_with_all_labels() -> None:
    rules = [
        threshold(when="sum(calls_total) > 0"),
        threshold(expr="max by (instance) (errors_total)", tags=[]),
    ]

    found = needed_series(rules)

    assert found == {"errors_total": {"job", "instance"}, "calls_total": set()}
