"""Check the SLOs: tiers that cannot be judged, retention, and the traffic that each tier needs."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tasks.analysis.rules.checks import Problem
from tasks.analysis.slo.slo_rules import selectors_of
from tasks.analysis.slo.tiers import LEAST_SAMPLES, Tier, needed_events, tiers_of
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.slos import Slo
from tasks.core.window import format_duration
from tasks.runs.base.slos import slos_in_force
from tasks.runs.base.thresholds import thresholds_in_force
from tasks.runs.slo.observe import events_of
from tasks.sources.prometheus_rules import RulesClient

# what traffic is taken to be usual
USUAL = timedelta(days=7)


@dataclass(frozen=True)
class Checked:
    """A tier as it is built, with the events that it needs and those that there usually are."""

    slo: Slo
    tier: Tier
    needed: int
    usual: float | None = None

    def document(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        tier = self.tier
        note = f"instead of {tier.wanted:g}: more than all would be bad" if tier.is_rescaled else ""
        return {
            "slo": self.slo.id,
            "tier": tier.name,
            "factor": tier.factor,
            "long": format_duration(tier.long),
            "short": format_duration(tier.short),
            "needs": self.needed,
            "usual": None if self.usual is None else round(self.usual, 1),
            "note": note,
        }


def check(
    settings: Settings, environment: Environment, now: datetime
) -> tuple[list[Checked], list[Problem]]:
    """Return the tiers, and what is wrong; against the live Prometheus if there is one."""
    interval = thresholds_in_force(settings).interval
    mine = [each for each in slos_in_force(settings) if each.applies_in(environment.name)]
    tiers = [
        Checked(slo, tier, needed_events(slo.budget), _slices(slo, tier, interval))
        for slo in mine
        for tier in tiers_of(slo, interval)
    ]
    problems: list[Problem] = []
    if service := environment.services.get("prometheus"):
        with closing(RulesClient(service)) as client:
            retention = client.retention()
            problems += (found for slo in mine for found in _retention(slo, retention))
            scrapes = {slo.id: _scrape(slo, client, now) for slo in mine}
            length = min(USUAL, retention)
            rates = {
                slo.id: _rate(slo, client, now, length, interval)
                for slo in mine
                if slo.ratio and scrapes[slo.id]
            }
            problems += (found for slo in mine for found in _absence(slo, scrapes[slo.id]))
            problems += (found for one in tiers for found in _scraped(one, scrapes[one.slo.id]))
        tiers = [
            Checked(
                one.slo, one.tier, one.needed, rates[one.slo.id] * one.tier.long.total_seconds()
            )
            if one.slo.id in rates
            else one
            for one in tiers
        ]
    problems += (found for one in tiers for found in _of_tier(one, interval))
    return [one for one in tiers if one.tier.is_usable], problems


def _slices(slo: Slo, tier: Tier, interval: timedelta) -> float | None:
    return tier.long / interval if slo.slices else None


def _rate(
    slo: Slo, client: RulesClient, now: datetime, length: timedelta, interval: timedelta
) -> float:
    """Return the events of a second, in the time with data."""
    events = events_of(slo, client, now, length, interval)
    covered = max(interval, events.at - (events.since or events.at))
    return events.sums(length)[1] / covered.total_seconds()


def _retention(slo: Slo, retention: timedelta) -> Iterator[Problem]:
    if slo.window > retention:
        have, of = (f"{length / timedelta(days=1):.3g}" for length in (retention, slo.window))
        problem = f"Prometheus keeps less than the window: it is partial ({have} of {of} d)"
        yield Problem(slo.id, "retention", problem)


def _scrape(slo: Slo, client: RulesClient, now: datetime) -> timedelta | None:
    """Return the slowest scrape interval of the jobs that its indicator has series of."""
    jobs: set[str] = set()
    for selector in selectors_of(slo):
        query = f"count by (job) (last_over_time({selector}[1d]))"
        jobs |= {dict(labels).get("job", "") for labels in client.now(query, now, f"slo {slo.id}")}
    every = client.scrape_intervals() if jobs else {}
    return max((every.get(job, every[""]) for job in jobs), default=None)


def _absence(slo: Slo, scrape: timedelta | None) -> Iterator[Problem]:
    if scrape is None:
        problem = (
            "Prometheus has had no series of its indicator for a day, so its traffic is unknown"
        )
        yield Problem(slo.id, "no_indicator", problem)


def _scraped(one: Checked, scrape: timedelta | None) -> Iterator[Problem]:
    tier = one.tier
    if tier.is_usable and scrape is not None and tier.short < LEAST_SAMPLES * scrape:
        window, every = format_duration(tier.short), format_duration(scrape)
        problem = f"its window {window} has fewer than {LEAST_SAMPLES} scrapes of {every}"
        yield Problem(f"{one.slo.id} {tier.name}", "short_window", problem)


def _of_tier(one: Checked, interval: timedelta) -> Iterator[Problem]:
    tier, name = one.tier, f"{one.slo.id} {one.tier.name}"
    if not tier.is_usable:
        window, every = format_duration(tier.long), format_duration(interval)
        yield Problem(
            name,
            "short_window",
            f"its window {window} has no more than {LEAST_SAMPLES} samples of {every}; it is left out",
        )
    elif one.usual is not None and one.usual < one.needed:
        window = format_duration(tier.long)
        yield Problem(
            name,
            "traffic",
            f"it needs {one.needed} events in {window}, and there are {one.usual:.3g}: even a total "
            "outage would not fire",
        )
