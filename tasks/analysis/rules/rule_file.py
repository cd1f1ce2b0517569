"""The file of Prometheus's rules, made of the thresholds."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import yaml

from tasks.analysis.rules.promql import absence, condition
from tasks.core.thresholds import NO_DATA, WATCHDOG_RULE, Threshold
from tasks.core.window import format_duration

HEAD = "# Made by `fedvitals rules build` from alert-thresholds.yaml and slos.yaml: change those instead.\n"


def group_name(environment: str) -> str:
    """Return the name of the environment's group of rules, and of its file."""
    return f"fedvitals-{environment}"


def rule_file(
    thresholds: Iterable[Threshold],
    environment: str,
    interval: timedelta,
    recorded: Iterable[dict[str, Any]] = (),
) -> str:
    """Return the rules of the environment as Prometheus reads them, what they record first."""
    rules = list(recorded)
    rules += [
        rule
        for each in with_watchdog(thresholds, environment)
        for rule in _rules(each, environment)
    ]
    name, every = group_name(environment), format_duration(interval)
    content = {"groups": [{"name": name, "interval": every, "rules": rules}]}
    return HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)


def with_watchdog(thresholds: Iterable[Threshold], environment: str) -> list[Threshold]:
    """Return the watchdog and the thresholds that the environment's Prometheus judges."""
    mine = (each for each in thresholds if each.expr and each.applies_in(environment))
    return [WATCHDOG_RULE, *mine]


def _rules(threshold: Threshold, environment: str) -> Iterator[dict[str, Any]]:
    times = {"for": threshold.for_, "keep_firing_for": threshold.keep_firing_for}
    held = {key: format_duration(length) for key, length in times.items() if length}
    yield {
        "alert": threshold.id,
        "expr": condition(threshold),
        **held,
        "labels": labels_of(threshold, environment),
        "annotations": annotations_of(threshold),
    }
    if threshold.no_data_after is not None:
        yield {
            "alert": threshold.id + NO_DATA,
            "expr": absence(threshold),
            "for": format_duration(threshold.no_data_after),
            "labels": labels_of(threshold, environment),
            "annotations": annotations_of(threshold, is_absent=True),
        }


def labels_of(threshold: Threshold, environment: str) -> dict[str, str]:
    """Return the labels that the rule adds to its series's."""
    fixed = {"severity": str(threshold.severity), "environment": environment}
    return {**threshold.labels, **fixed, "mode": threshold.mode}


def annotations_of(threshold: Threshold, is_absent: bool = False) -> dict[str, str]:
    """Return the annotations of the rule, or of that for missing data."""
    summary = f"{'no data: ' * is_absent}{threshold.summary}"
    return {**threshold.annotations, "summary": summary, "runbook_url": threshold.runbook_page}
