"""Checks of the rules: by their PromQL alone, and against what a live Prometheus has."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import promql_parser as promql

from tasks.analysis.rules.promql import (
    RATES,
    Kept,
    absence,
    compares,
    condition,
    kept_labels,
    needed_labels,
    nodes,
    normal,
    parsed,
    selector_text,
)
from tasks.core.thresholds import Threshold
from tasks.core.window import format_duration

OF_LABEL = re.compile(r"(?:\$labels|\.Labels)\.(\w+)")
# labels that a target adds or Prometheus makes
_RESULT_ONLY = frozenset({"alertname", "__name__"})


@dataclass(frozen=True)
class Problem:
    """What is wrong with a rule."""

    rule: str
    check: str
    problem: str
    fix: str


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
    node = parsed(threshold.expr or "")
    if not compares(parsed(condition(threshold))):
        yield Problem(
            threshold.id,
            "comparison",
            "it has no comparison, so it fires for every series",
            "Give it `comparison` and `value`, or a comparison in `expr`",
        )
    yield from _dropped_labels(threshold, kept_labels(node))
    for part in _all_nodes(threshold):
        if isinstance(part, promql.Call) and part.func.name in RATES and _is_of_sum(part):
            yield Problem(
                threshold.id,
                "rate_of_sum",
                f"{part.func.name} of an aggregation sees no reset of a counter",
                "Aggregate the rates of the counters",
            )


def _dropped_labels(threshold: Threshold, kept: Kept) -> Iterator[Problem]:
    texts = " ".join((threshold.summary, *threshold.annotations.values()))
    used = {*threshold.tags, *OF_LABEL.findall(texts)} - _RESULT_ONLY - {*threshold.labels}
    for label in sorted(used - {"severity", "environment", "mode"}):
        if not kept.has(label):
            yield Problem(
                threshold.id,
                "label_dropped",
                f"it uses the label {label}, which the query drops",
                f"Aggregate by {label} too, or do not use it",
            )


def _all_nodes(threshold: Threshold) -> Iterator[Any]:
    for query in filter(None, (threshold.expr, threshold.when)):
        yield from nodes(parsed(query))


def _is_of_sum(call: Any) -> bool:
    inner = (part for argument in call.args for part in nodes(argument))
    return any(isinstance(part, promql.AggregateExpr) for part in inner)


def needed_series(thresholds: Iterable[Threshold]) -> dict[str, frozenset[str]]:
    """Return the selectors of all rules, each with the labels that its series need."""
    found: dict[str, frozenset[str]] = {}
    for each in thresholds:
        for selector, labels in _needs(each):
            found[selector] = found.get(selector, frozenset()) | labels
    return found


def _needs(threshold: Threshold) -> Iterator[tuple[str, frozenset[str]]]:
    tags = {threshold.expr: frozenset(threshold.tags), threshold.when: frozenset[str]()}
    for query, labels in tags.items():
        for node, needed in needed_labels(parsed(query), labels) if query else ():
            yield selector_text(node), needed


def check_live(threshold: Threshold, live: LiveFacts) -> Iterator[Problem]:
    """Yield what shows against a live Prometheus."""
    yield from _missing_series(threshold, live)
    yield from _short_rates(threshold, live)
    yield from _recorded_sums(threshold, live)
    length = max((_reach(part) for part in _all_nodes(threshold)), default=timedelta(0))
    if length > live.retention:
        kept, asked = format_duration(live.retention), format_duration(length)
        problem = f"it looks back {asked}, and Prometheus keeps {kept}"
        yield Problem(threshold.id, "retention", problem, "Use a shorter range, or keep more")
    queries = [condition(threshold)]
    queries += [absence(threshold)] if threshold.no_data_after else []
    for query in queries:
        if other := live.alerts.get(normal(query)):
            yield Problem(
                threshold.id,
                "duplicate",
                f"Prometheus has the rule {other} that says the same",
                "Remove one of the two",
            )


def _missing_series(threshold: Threshold, live: LiveFacts) -> Iterator[Problem]:
    for selector, labels in dict(_needs(threshold)).items():
        series = live.series.get(selector, [])
        if not series and not threshold.may_be_absent:
            yield Problem(
                threshold.id,
                "no_series",
                f"{selector} matches nothing in Prometheus",
                "Correct it, or set `may_be_absent: true`",
            )
        for label in sorted(labels - _RESULT_ONLY) if series else ():
            if not any(one.get(label) for one in series):
                yield Problem(
                    threshold.id,
                    "label_missing",
                    f"no series of {selector} has the label {label}, which the rule needs",
                    "Use a label that the metric has",
                )


def _short_rates(threshold: Threshold, live: LiveFacts) -> Iterator[Problem]:
    for call in _all_nodes(threshold):
        if not (isinstance(call, promql.Call) and call.func.name in RATES):
            continue
        for matrix in (one for one in call.args if isinstance(one, promql.MatrixSelector)):
            series = live.series.get(selector_text(matrix.vector_selector), [])
            jobs = {one.get("job", "") for one in series} or {""}
            slowest = max(live.scrapes.get(job, live.scrapes[""]) for job in jobs)
            if matrix.range < 2 * slowest:
                window, every = format_duration(matrix.range), format_duration(slowest)
                yield Problem(
                    threshold.id,
                    "short_rate",
                    f"{call.func.name} over {window} has fewer than 2 scrapes of {every}",
                    f"Use a range of {format_duration(4 * slowest)}",
                )


def _recorded_sums(threshold: Threshold, live: LiveFacts) -> Iterator[Problem]:
    for call in _all_nodes(threshold):
        if not (isinstance(call, promql.Call) and call.func.name in RATES):
            continue
        for part in (inner for argument in call.args for inner in nodes(argument)):
            query = live.recorded.get(getattr(part, "name", None) or "", "")
            if query and any(isinstance(one, promql.AggregateExpr) for one in nodes(parsed(query))):
                yield Problem(
                    threshold.id,
                    "rate_of_sum",
                    f"{call.func.name} of {part.name}, which a rule records as an aggregation",
                    "Aggregate the rates of the counters",
                )


def _reach(part: Any) -> timedelta:
    """Return how far back a selector or a subquery reaches."""
    if isinstance(part, promql.MatrixSelector):
        window: timedelta = part.range
        return window + _offset(part.vector_selector)
    if isinstance(part, promql.SubqueryExpr):
        inner = max((_reach(one) for one in nodes(part.expr)), default=timedelta(0))
        return inner + part.range + _offset(part)
    return _offset(part) if isinstance(part, promql.VectorSelector) else timedelta(0)


def _offset(part: Any) -> timedelta:
    offset: timedelta | None = part.offset
    return offset or timedelta(0)
