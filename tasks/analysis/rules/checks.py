"""Checks of the rules: by their PromQL alone, and against what a live Prometheus has."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import promql_parser as promql

from tasks.analysis.rules.promql import (
    RATES,
    Labels,
    absence,
    compares,
    condition,
    is_call,
    kept_labels,
    needed_labels,
    nodes,
    normal,
    parsed,
    selector_text,
)
from tasks.core.thresholds import NEVER, Threshold
from tasks.core.window import format_duration

OF_LABEL = re.compile(r"(?:\$labels|\.Labels)\.(\w+)")
# labels that the rule adds
_ADDED = frozenset({"alertname", "severity", "environment", "mode"})
FIXES = {
    "promtool": "Correct alert-thresholds.yaml, or alert-tests.yaml",
    "comparison": "Give it `comparison` and `value`, or a comparison in `expr`",
    "label_dropped": "Aggregate by this label too, or do not use it",
    "rate_of_sum": "Aggregate the rates of the counters",
    "retention": "Use a shorter range, or let Prometheus keep more",
    "duplicate": "Remove one of the two",
    "no_series": "Correct it, or set `may_be_absent: true`",
    "label_missing": "Use a label that the metric has",
    "short_rate": "Use a range of 4 scrapes",
    "short_window": "Use a longer `window`, a shorter `interval` in alert-thresholds.yaml, or scrape more often",
    "no_indicator": "Let Prometheus scrape the service, or correct the indicator; then check again",
    "traffic": "Send more (a probe does), group services, or rely on the tiers with longer windows",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong with a rule; `check` is a key of FIXES."""

    rule: str
    check: str
    problem: str


@dataclass(frozen=True)
class LiveFacts:
    """What a Prometheus has: series's labels by selector, scrape intervals by job, its rules.

    `recorded` has the query of each recording rule, `alerts` the name of each alert by its query.
    """

    retention: timedelta
    scrapes: Mapping[str, timedelta]
    series: Mapping[str, list[dict[str, str]]]
    recorded: Mapping[str, str] = field(default_factory=dict)
    alerts: Mapping[str, str] = field(default_factory=dict)


def check_offline(threshold: Threshold) -> Iterator[Problem]:
    """Yield what the PromQL alone shows."""
    if not compares(parsed(condition(threshold))):
        problem = "it has no comparison, so it fires for every series"
        yield Problem(threshold.id, "comparison", problem)
    kept = kept_labels(parsed(threshold.expr or ""))
    texts = " ".join((threshold.summary, *threshold.annotations.values()))
    for label in sorted({*threshold.tags, *OF_LABEL.findall(texts)} - _ADDED - {*threshold.labels}):
        if not kept.has(label):
            problem = f"it uses the label {label}, which the query drops"
            yield Problem(threshold.id, "label_dropped", problem)
    for call, part in _rated(threshold):
        if isinstance(part, promql.AggregateExpr):
            problem = f"{call.func.name} of an aggregation sees no reset of a counter"
            yield Problem(threshold.id, "rate_of_sum", problem)


def _all_nodes(threshold: Threshold) -> Iterator[Any]:
    for query in filter(None, (threshold.expr, threshold.when)):
        yield from nodes(parsed(query))


def _rated(threshold: Threshold) -> Iterator[tuple[Any, Any]]:
    """Yield each call of a rate with each part of its argument."""
    for call in _all_nodes(threshold):
        if is_call(call, RATES):
            yield from ((call, part) for argument in call.args for part in nodes(argument))


def needed_series(thresholds: Iterable[Threshold]) -> dict[str, Labels]:
    """Return the selectors of the rules, each with the labels that its series need."""
    found: dict[str, Labels] = {}
    for each in thresholds:
        for query, tags in ((each.expr, frozenset(each.tags)), (each.when, frozenset[str]())):
            for node, labels in needed_labels(parsed(query), tags) if query else ():
                text = selector_text(node)
                found[text] = found.get(text, frozenset()) | labels
    return found


def check_live(threshold: Threshold, live: LiveFacts) -> Iterator[Problem]:
    """Yield what shows against a live Prometheus."""
    for selector, labels in needed_series([threshold]).items():
        series = live.series.get(selector, [])
        if not series and not threshold.may_be_absent:
            problem = f"{selector} matches nothing in Prometheus"
            yield Problem(threshold.id, "no_series", problem)
        for label in sorted(labels) if series else ():
            if not any(one.get(label) for one in series):
                problem = f"no series of {selector} has the label {label}, which the rule needs"
                yield Problem(threshold.id, "label_missing", problem)
    yield from _rates(threshold, live)
    length = max(map(_reach, _all_nodes(threshold)), default=NEVER)
    if length > live.retention:
        kept, asked = format_duration(live.retention), format_duration(length)
        problem = f"it looks back {asked}, and Prometheus keeps {kept}"
        yield Problem(threshold.id, "retention", problem)
    for query in (condition(threshold), threshold.no_data_after and absence(threshold)):
        if query and (other := live.alerts.get(normal(query))):
            problem = f"Prometheus has the rule {other} that says the same"
            yield Problem(threshold.id, "duplicate", problem)


def _rates(threshold: Threshold, live: LiveFacts) -> Iterator[Problem]:
    for call, part in _rated(threshold):
        name = call.func.name
        query = live.recorded.get(getattr(part, "name", None) or "")
        if query and any(isinstance(one, promql.AggregateExpr) for one in nodes(parsed(query))):
            problem = f"{name} of {part.name}, which a rule records as an aggregation"
            yield Problem(threshold.id, "rate_of_sum", problem)
        if isinstance(part, promql.MatrixSelector):
            series = live.series.get(selector_text(part.vector_selector), [])
            jobs = {one.get("job", "") for one in series} or {""}
            slowest = max(live.scrapes.get(job, live.scrapes[""]) for job in jobs)
            if part.range < 2 * slowest:
                window, every = format_duration(part.range), format_duration(slowest)
                problem = f"{name} over {window} has fewer than 2 scrapes of {every}"
                yield Problem(threshold.id, "short_rate", problem)


def _reach(part: Any) -> timedelta:
    """Return how far back a selector or a subquery reaches."""
    selector = getattr(part, "vector_selector", part)
    length: timedelta = getattr(selector, "offset", None) or NEVER
    length += getattr(part, "range", NEVER)
    if isinstance(part, promql.SubqueryExpr):
        length += max(map(_reach, nodes(part.expr)), default=NEVER)
    return length
