"""The file of Prometheus's rules, made of the thresholds."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import yaml

from tasks.analysis.rules.promql import absence, condition
from tasks.core.severity import Severity
from tasks.core.thresholds import NO_DATA, RUNBOOKS, WATCHDOG, Threshold
from tasks.core.window import format_duration

HEAD = "# Made by `fedvitals rules build` from alert-thresholds.yaml: change that file instead.\n"


def group_name(environment: str) -> str:
    """Return the name of the environment's group of rules, and of its file."""
    return f"fedvitals-{environment}"


def rule_file(thresholds: Iterable[Threshold], environment: str, interval: timedelta) -> str:
    """Return the rules of the environment as Prometheus reads them, the watchdog first."""
    rules = [_watchdog(environment)]
    for each in thresholds:
        if each.expr is not None and each.applies_in(environment):
            rules += _rules(each, environment, interval)
    name, every = group_name(environment), format_duration(interval)
    content = {"groups": [{"name": name, "interval": every, "rules": rules}]}
    return HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)


def _watchdog(environment: str) -> dict[str, Any]:
    labels = {"severity": str(Severity.INFO), "environment": environment}
    summary = "always fires, so that its absence shows that alerts do not arrive"
    return {
        "alert": WATCHDOG,
        "expr": "vector(1)",
        "labels": labels,
        "annotations": {"summary": summary, "runbook_url": f"{RUNBOOKS}/{WATCHDOG}.md"},
    }


def _rules(threshold: Threshold, environment: str, interval: timedelta) -> Iterator[dict[str, Any]]:
    rest = {
        "labels": labels_of(threshold, environment),
        "annotations": {
            "summary": threshold.summary,
            "runbook_url": threshold.runbook_page,
            **threshold.annotations,
        },
    }
    times = {"for": threshold.for_, "keep_firing_for": threshold.keep_firing_for}
    held = {key: format_duration(length) for key, length in times.items() if length}
    yield {"alert": threshold.id, "expr": condition(threshold), **held, **rest}
    if threshold.no_data_after is not None:
        summary = {**rest["annotations"], "summary": f"no data: {threshold.summary}"}
        name = threshold.id + NO_DATA
        rule = {"alert": name, "expr": absence(threshold, interval)}
        yield {**rule, **rest, "annotations": summary}


def labels_of(threshold: Threshold, environment: str) -> dict[str, str]:
    """Return the labels that the rule adds to its series's."""
    fixed = {"severity": str(threshold.severity), "environment": environment}
    return {**threshold.labels, **fixed, "mode": threshold.mode}
