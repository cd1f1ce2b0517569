"""promtool's unit tests, made of a table of minutes at which each rule has to fire."""

from collections.abc import Iterable
from typing import Any, Self

import yaml
from pydantic import Field, model_validator

from tasks.analysis.rules.rule_file import HEAD, annotations_of, labels_of, with_watchdog
from tasks.core.documents import Duration, Strict
from tasks.core.errors import ConfigurationInvalid
from tasks.core.slos import FILE as SLOS
from tasks.core.thresholds import FILE as THRESHOLDS
from tasks.core.thresholds import NO_DATA, WATCHDOG, Threshold
from tasks.core.window import format_duration, parse_duration

FILE = "alert-tests.yaml"
SLO_TESTS = "slo-tests.yaml"
# moments of a test besides those around its edges
PROBES = 100


class Firing(Strict):
    """An alert and the minutes of its first and last firing evaluation."""

    first: int = Field(ge=0)
    last: int = Field(ge=0)
    labels: dict[str, str] = Field(default_factory=dict)


class RuleTest(Strict):
    """Series as promtool writes them, and when the rule fires on them."""

    rule: str
    name: str
    minutes: int = Field(gt=0)
    interval: Duration = parse_duration("1m")
    evaluations: Duration = parse_duration("1m")
    series: dict[str, str] = Field(default_factory=dict)
    firing: tuple[Firing, ...] = ()

    @model_validator(mode="after")
    def _ends_in_time(self) -> Self:
        if any(not each.first <= each.last <= self.minutes for each in self.firing):
            raise ValueError("`firing` must lie within `minutes`, `first` before `last`")
        return self

    @property
    def probes(self) -> list[int]:
        """Return the minutes to look at: around each edge, and evenly in between."""
        edges = {m for each in self.firing for m in (each.first, each.last)}
        step = max(1, int(self.evaluations.total_seconds()) // 60)
        around = {minute + beside for minute in edges for beside in (-step, 0, step)}
        evenly = range(0, self.minutes + 1, -(-self.minutes // PROBES // step) * step or step)
        return sorted(m for m in around.union(evenly, {self.minutes}) if 0 <= m <= self.minutes)


class TestsFile(Strict):
    """The content of alert-tests.yaml."""

    # pytest collects classes by their name
    __test__ = False
    tests: tuple[RuleTest, ...] = ()


def promtool_tests(
    thresholds: Iterable[Threshold], tests: Iterable[RuleTest], environment: str, rules: str
) -> dict[str, str]:
    """Return promtool's tests of a file of rules, by the distance of two evaluations."""
    alerts = rules_by_alert(thresholds, environment)
    by_distance: dict[str, list[dict[str, Any]]] = {}
    for each in tests:
        if each.rule in alerts:
            group = _group(each, alerts[each.rule], environment)
            by_distance.setdefault(format_duration(each.evaluations), []).append(group)
    head = HEAD.replace(THRESHOLDS, FILE).replace(SLOS, SLO_TESTS)
    return {
        every: head + yaml.safe_dump(_content(rules, every, groups), sort_keys=False)
        for every, groups in by_distance.items()
    }


def _content(rules: str, every: str, groups: list[dict[str, Any]]) -> dict[str, Any]:
    return {"rule_files": [rules], "evaluation_interval": every, "tests": groups}


def rules_by_alert(thresholds: Iterable[Threshold], environment: str) -> dict[str, Threshold]:
    """Return the threshold of each alert that Prometheus is given."""
    found = {}
    for each in with_watchdog(thresholds, environment):
        found[each.id] = each
        if each.no_data_after is not None:
            found[each.id + NO_DATA] = each
    return found


def require_rules(
    tests: Iterable[RuleTest], thresholds: Iterable[Threshold], file: str = FILE
) -> None:
    """Raise ConfigurationInvalid for tests of rules that are not there."""
    known = {WATCHDOG} | {f"{each.id}{end}" for each in thresholds for end in ("", NO_DATA)}
    if unknown := sorted({each.rule for each in tests} - known):
        raise ConfigurationInvalid(
            where=file,
            problem=f"there is no rule {', '.join(unknown)}",
            fix="Correct the names, or remove these tests",
        )


def _group(test: RuleTest, threshold: Threshold, environment: str) -> dict[str, Any]:
    labels = labels_of(threshold, environment)
    annotations = annotations_of(threshold, is_absent=test.rule != threshold.id)
    return {
        "name": f"{test.rule}: {test.name}",
        "interval": format_duration(test.interval),
        "input_series": [{"series": name, "values": text} for name, text in test.series.items()],
        "alert_rule_test": [
            {
                "eval_time": f"{minute}m",
                "alertname": test.rule,
                "exp_alerts": [
                    {"exp_labels": {**each.labels, **labels}, "exp_annotations": {**annotations}}
                    for each in test.firing
                    if each.first <= minute <= each.last
                ],
            }
            for minute in test.probes
        ],
    }
