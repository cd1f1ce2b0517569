"""Proposals of `init`: usable entries of the catalogue, and entries for the rest."""

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime

from tasks.core.errors import Terminal
from tasks.core.measurement import Measurement
from tasks.core.services import Service
from tasks.runs.base.registry import source
from tasks.runs.init.families import Family, Skipped, families
from tasks.runs.init.fields import Draft, Drafted, drafted
from tasks.runs.init.groups import Proposed, grouped
from tasks.sources.discovery import probe
from tasks.sources.inventory import ALL, Selection, look, lowest_and_highest

# parts of a query that are not metric names: grouping, matchers and ranges, text
_ASIDE = re.compile(r"\bby \([^)]*\)|\{[^}]*\}|\[[^]]*\]")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?![a-zA-Z0-9_:]|\s*\()")
# problems that no later data will solve
UNFIT = ("labels_differ", "too_many_series", "refused")


class NothingFound(Terminal):
    """A Prometheus has no metrics to propose. Facts: url, problem."""

    message = (
        "Prometheus at {url} {problem}, so nothing was written. "
        "Fix: check its scrape_configs and its targets, and --select and --job"
    )


@dataclass(frozen=True)
class Dropped:
    """A measurement of the catalogue that is dropped, and the reason."""

    measurement: str
    reason: str


@dataclass(frozen=True)
class Proposal:
    """Kept, dropped and added measurements, and the skipped metrics."""

    kept: tuple[Measurement, ...]
    dropped: tuple[Dropped, ...]
    proposed: tuple[Proposed, ...]
    skipped: tuple[Skipped, ...]


def propose(
    service: Service,
    catalogue: Mapping[str, Measurement],
    has_api: bool,
    now: datetime,
    selection: Selection = ALL,
) -> Proposal:
    """Examine Prometheus at `now`; drop measurements that need a missing API.

    Raises NothingFound when no metric has a sample, or none can be collected; SourceUnavailable,
    SourceOverloaded, SourceRefused, AnswerInvalid as any query.
    """
    inventory = look(service, now, selection)
    metrics = {*inventory.series, *inventory.too_many}
    if not metrics:
        what = "" if selection == ALL else f" for {selection}"
        raise NothingFound(url=service.url, problem=f"has no data of the last five minutes{what}")
    # the self metrics are built in
    asked = {name: entry for name, entry in catalogue.items() if not entry.is_own}
    reasons = {
        name: _unselected(one, metrics, selection) or _reason_against(service, one, has_api, now)
        for name, one in asked.items()
    }
    kept = tuple(catalogue[name] for name, reason in reasons.items() if not reason)
    found, skipped = families(inventory)
    drafts, known = _drafts(found, kept)
    groups = _checked(grouped(drafts, catalogue), service, now)
    proposed, unfit = _probed(groups, service, now)
    if not kept and not proposed:
        raise NothingFound(url=service.url, problem="has no metric that could be collected")
    return Proposal(
        kept=kept,
        dropped=tuple(Dropped(name, reason) for name, reason in reasons.items() if reason),
        proposed=tuple(proposed),
        skipped=tuple(sorted([*skipped, *known, *unfit], key=lambda one: one.metric)),
    )


def _unselected(entry: Measurement, metrics: Set[str], selection: Selection) -> str:
    own = _metrics_of(entry)
    is_asked = selection == ALL or not own or own & metrics
    return "" if is_asked else f"it reads no metric of {selection}"


def _reason_against(service: Service, entry: Measurement, has_api: bool, now: datetime) -> str:
    """Return why a measurement cannot be collected here; empty when it can."""
    if source(entry.source).probe is None:
        return "" if has_api else "it is read from the service itself, whose address is not set"
    findings = probe(service, entry, now)
    lacking = [one for one in findings if one.state != "ok"]
    required = [one for one in lacking if entry.fields[one.field].required]
    if not findings:
        return f"{next(iter(entry.fields))}: it has no query"
    if required or len(lacking) == len(findings):
        worst = (required or lacking)[0]
        return f"{worst.field}: {worst.detail}"
    return ""


def _drafts(
    found: Iterable[Family], kept: Iterable[Measurement]
) -> tuple[list[Drafted], list[Skipped]]:
    readers = _readers(kept)
    drafts: list[Drafted] = []
    skipped: list[Skipped] = []
    for family in found:
        reader = next((readers[name] for name in family.samples if name in readers), None)
        if reader is not None:
            skipped.append(Skipped(family.name, f"{reader} reads it already"))
            continue
        if draft := drafted(family):
            drafts.append(draft)
        else:
            reason = "more than 500 series differ in job and instance alone"
            skipped.append(Skipped(family.name, reason))
    return drafts, skipped


def _readers(kept: Iterable[Measurement]) -> dict[str, str]:
    return {metric: entry.name for entry in kept for metric in _metrics_of(entry)}


def _metrics_of(entry: Measurement) -> set[str]:
    queries = (spec.query or "" for spec in entry.fields.values())
    return {metric for query in queries for metric in _METRIC.findall(_ASIDE.sub(" ", query))}


def _checked(groups: Iterable[Proposed], service: Service, now: datetime) -> list[Proposed]:
    """Return the groups without limits that the last hour contradicts."""
    groups = list(groups)
    drafts = [draft for group in groups for draft in group.drafts.values()]
    gauges = {draft.gauge: draft.gauge for draft in drafts if draft.gauge}
    ranges = lowest_and_highest(service, gauges, now)

    def checked(drafts: Mapping[str, Draft]) -> dict[str, Draft]:
        return {name: _possible(one, ranges.get(one.gauge)) for name, one in drafts.items()}

    return [replace(group, drafts=checked(group.drafts)) for group in groups]


def _possible(draft: Draft, seen: tuple[float, float] | None) -> Draft:
    if seen is None:
        return draft
    low, high = (end / draft.divisor for end in seen)
    fits = (draft.low is None or low >= draft.low) and (draft.high is None or high <= draft.high)
    return draft if fits else replace(draft, low=None, high=None)


def _probed(
    groups: Iterable[Proposed], service: Service, now: datetime
) -> tuple[list[Proposed], list[Skipped]]:
    """Return the groups without fields whose query does not fit the catalogue."""
    sound: list[Proposed] = []
    skipped: list[Skipped] = []
    for group in groups:
        unfit = [one for one in probe(service, group.measurement, now) if one.state in UNFIT]
        skipped += [Skipped(f"{one.measurement}.{one.field}", one.detail) for one in unfit]
        rest = group.without(one.field for one in unfit)
        sound += [rest] if rest is not None else []
    return sound, skipped
