"""PromQL of an SLO: two recorded counts of events, and an alert of each tier."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import promql_parser as promql

from tasks.analysis.rules.promql import nodes, parsed, selector_text
from tasks.analysis.slo.tiers import SECOND, Tier, tiers_of
from tasks.core.errors import ConfigurationInvalid
from tasks.core.severity import Severity
from tasks.core.slos import FILE, Slo, TimeSlice
from tasks.core.thresholds import NO_DATA, RUNBOOKS, Threshold
from tasks.core.window import format_duration

TOTAL, BAD = "slo:total:increase", "slo:bad:increase"
NO_TRAFFIC = "_no_traffic"
RUNBOOK = f"{RUNBOOKS}/slo.md"
# a scrape may have begun before an evaluation, and be stored after it
SETTLE = timedelta(seconds=15)
# a counter that comes back within it goes on; it may have been a scrape that failed
BRIDGED = timedelta(hours=1)
# what makes a target
TARGET = ("job", "instance")


def require_selectors(slos: Iterable[Slo], path: Path) -> None:
    """Raise ConfigurationInvalid naming each SLO with a counter or query that is none."""
    problems = []
    for each in slos:
        for text in each.ratio.counters if each.ratio else ():
            if not _is_selector(text):
                problems.append(f"{each.id}: {text!r} is not a counter such as x_total{{a='b'}}")
        try:
            parsed(each.slices.expr if each.slices else "1")
        except ValueError as error:
            problems.append(f"{each.id}: `expr` is not PromQL: {error}")
    if problems:
        fix = "Correct the SLOs named here"
        raise ConfigurationInvalid(where=path, problem="; ".join(problems), fix=fix)


def _is_selector(text: str) -> bool:
    try:
        node = parsed(text)
    except ValueError:
        return False
    is_plain = isinstance(node, promql.VectorSelector) and node.offset is None and node.at is None
    return is_plain and "#" not in text


def selectors_of(slo: Slo) -> list[str]:
    """Return the selectors that its indicator reads."""
    if slo.ratio is not None:
        return list(slo.ratio.counters)
    found = nodes(parsed(slo.slices.expr if slo.slices else "1"))
    return [selector_text(each) for each in found if isinstance(each, promql.VectorSelector)]


def recordings(slo: Slo, environment: str, sampling: timedelta) -> Mapping[str, str]:
    """Return the queries of the events since the last evaluation, and of the bad ones."""
    total = _selector(TOTAL, slo, environment)
    if slo.slices is not None:
        return {TOTAL: slices_query(slo.slices), BAD: _rest(total, good_slices(slo.slices))}
    assert slo.ratio is not None
    part = increase(slo.ratio.part, slo.ratio.total, sampling)
    bad = part if slo.ratio.bad else _rest(total, part)
    return {TOTAL: increase(slo.ratio.total, slo.ratio.total, sampling), BAD: bad}


def _rest(total: str, good: str) -> str:
    """Return what is not good; without a good one all are bad."""
    return f"clamp_min(sum({total}) - ({good} or on () 0 * sum({total})), 0)"


def slices_query(slices: TimeSlice) -> str:
    """Return the query of the slices now: one of each series; NaN is none."""
    return f"count(({slices.expr}\n) >= -Inf)"


def good_slices(slices: TimeSlice) -> str:
    """Return the query of the good slices now."""
    return f"count((({slices.expr}\n) {slices.comparison} {slices.value!r}) >= -Inf)"


def increase(counters: Iterable[str], siblings: Iterable[str], sampling: timedelta) -> str:
    """Return the query of what the counters counted since the last evaluation.

    Each series by itself: its growth; after a reset its value; and its first value if its target was
    scraped before, a sibling included. All else is a baseline.
    """
    now, before = format_duration(SETTLE), format_duration(SETTLE + sampling)
    window, bridged = format_duration(sampling), format_duration(BRIDGED)
    seen = " or ".join(f"last_over_time({each}[{window}] offset {before})" for each in siblings)
    target = f"and on ({', '.join(TARGET)})"
    parts = []
    for index, each in enumerate(counters):
        new = f"last_over_time({each}[{window}] offset {now})"
        old = f"last_over_time({each}[{bridged}] offset {before})"
        first = f"({new} unless {old}) {target} (up offset {before} == 1) {target} ({seen})"
        grown = f"({new} - {old}) >= 0 or ({new} and {old}) or {first}"
        # two counters may have equal labels
        parts.append(f'label_replace({grown}, "counter", "{index}", "", "")')
    return f"sum({' or '.join(parts)})"


def thresholds_of(slo: Slo, environment: str, sampling: timedelta) -> Iterator[Threshold]:
    """Yield the alerts of the SLO's tiers, and on missing data and traffic."""
    for tier in tiers_of(slo, sampling):
        if tier.is_usable:
            what = f"its error budget burns {tier.factor:g} times too fast"
            expr = tier_query(slo, tier, environment)
            yield _alert(slo, f"_{tier.name}", tier.severity, expr, what, tier=tier.name)
    total = _selector(TOTAL, slo, environment)
    if slo.no_data_after:
        expr = f"absent({total})"
        text = "its indicator is missing"
        one = _alert(slo, NO_DATA, Severity.HIGH, expr, text)
        yield one.model_copy(update={"for_": slo.no_data_after})
    if slo.no_traffic_after:
        expr = f"sum_over_time({total}[{_range(slo.no_traffic_after)}]) == 0"
        text = f"no event in {format_duration(slo.no_traffic_after)}"
        yield _alert(slo, NO_TRAFFIC, Severity.HIGH, expr, text)


def _alert(
    slo: Slo, ending: str, severity: Severity, expr: str, what: str, **labels: str
) -> Threshold:
    return Threshold(
        id=f"slo_{slo.id}{ending}",
        expr=expr,
        severity=severity,
        environment=slo.environment,
        mode=slo.mode,
        runbook=slo.runbook or RUNBOOK,
        summary=f"{slo.summary}: {what}",
        labels={"slo": slo.id, **labels},
    )


def tier_query(slo: Slo, tier: Tier, environment: str) -> str:
    """Return the query with a series while the tier burns.

    A burn counts only with more bad events than chance explains: with little traffic one would do.
    """
    bad, total = (_selector(name, slo, environment) for name in (BAD, TOTAL))
    sums = {
        (name, window): f"sum_over_time({selector}[{_range(window)}])"
        for name, selector in ((BAD, bad), (TOTAL, total))
        for window in (tier.long, tier.short)
    }
    rate, budget = f"{tier.factor * slo.budget:.12g}", f"{slo.budget:.12g}"
    burns = " and ".join(
        f"{sums[BAD, window]} > {rate} * {sums[TOTAL, window]}"
        for window in (tier.long, tier.short)
    )
    expected = f"{budget} * {sums[TOTAL, tier.long]}"
    return f"{burns} and {sums[BAD, tier.long]} > {expected} + 3 * sqrt({expected}) + 3"


def _selector(name: str, slo: Slo, environment: str) -> str:
    return f'{name}{{environment="{environment}",slo="{slo.id}"}}'


def _range(window: timedelta) -> str:
    # Prometheus 2 has the sample at the window's beginning too, Prometheus 3 does not
    return format_duration(window - SECOND)


def recording_rules(
    slos: Iterable[Slo], environment: str, sampling: timedelta
) -> Iterator[dict[str, object]]:
    """Yield the recording rules as Prometheus reads them."""
    for slo in slos:
        labels = {"slo": slo.id}
        for name, query in recordings(slo, environment, sampling).items():
            yield {"record": name, "expr": query, "labels": {"environment": environment, **labels}}


def require_own_names(slos: Iterable[Slo], thresholds: Iterable[Threshold]) -> None:
    """Raise ConfigurationInvalid when a threshold has the name of an SLO's alert."""
    known = {each.id for each in thresholds}
    sampling = timedelta(seconds=1)
    taken = {one.id for slo in slos for one in thresholds_of(slo, "", sampling)} & known
    if taken:
        problem = f"a threshold has the name of an SLO's alert: {', '.join(sorted(taken))}"
        raise ConfigurationInvalid(where=FILE, problem=problem, fix="Rename one of them")
