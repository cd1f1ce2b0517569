"""The state of an SLO: how fast each tier burns, and what is left of the budget."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from tasks.analysis.rules.judge import Judgement
from tasks.analysis.slo.counting import Events
from tasks.analysis.slo.forecast import BudgetForecast, forecast, past_of
from tasks.analysis.slo.slo_rules import NO_TRAFFIC, thresholds_of
from tasks.analysis.slo.tiers import Tier, explained, tiers_of
from tasks.analysis.slo.weekly import Weeks, weeks
from tasks.core.maintenance_windows import Maintenance, length_of
from tasks.core.slo_report import SloLine
from tasks.core.slos import Slo
from tasks.core.thresholds import NO_DATA
from tasks.core.window import iso

State = Literal["burning", "no_data", "no_traffic", "partial", "ok", "failed"]
# without `no_data_after` or `no_traffic_after`
MISSING, IDLE = timedelta(minutes=5), timedelta(hours=1)


@dataclass(frozen=True)
class Burn:
    """A tier's burn rates: 1 spends exactly the budget in the SLO's window; None without events."""

    tier: Tier
    long: float | None
    short: float | None
    is_burning: bool


@dataclass(frozen=True)
class Status:
    """An SLO now; the alerts that Prometheus would fire are judgements."""

    slo: Slo
    state: State
    at: datetime
    burns: tuple[Burn, ...] = ()
    bad: float = 0.0
    total: float = 0.0
    covered: timedelta = timedelta(0)
    alerts: tuple[Judgement, ...] = ()
    problem: str = ""
    events: Events | None = None
    forecast: BudgetForecast = field(default_factory=BudgetForecast)
    weeks: Weeks | None = None
    maintenance: timedelta = timedelta(0)

    @property
    def good_without_maintenance(self) -> float | None:
        """Return the share of good events outside of maintenance."""
        bad, total = self.events.planned(self.slo.window) if self.events else (0.0, 0.0)
        return 1 - (self.bad - bad) / (self.total - total) if self.total > total else None

    @property
    def good_ratio(self) -> float | None:
        """Return the share of good events in the window, or in what there is of it."""
        return 1 - self.bad / self.total if self.total else None

    @property
    def budget_left(self) -> float | None:
        """Return the share of the budget that is left; below 0 more than all is spent."""
        return 1 - self.bad / self.total / self.slo.budget if self.total else None

    def line(self) -> SloLine:
        """Return it as a line of the run's document."""
        return SloLine(
            slo=self.slo.id,
            state=self.state,
            mode=self.slo.mode,
            objective=self.slo.objective,
            good_ratio=self.good_ratio,
            good_without_maintenance=self.good_without_maintenance,
            maintenance_minutes=self.maintenance / timedelta(minutes=1),
            budget_left=self.budget_left,
            bad_events=self.bad,
            total_events=self.total,
            covered_seconds=self.covered.total_seconds(),
            window_seconds=self.slo.window.total_seconds(),
            burn_rates={each.tier.name: each.long for each in self.burns},
            burning=tuple(each.tier.name for each in self.burns if each.is_burning),
            at=iso(self.at),
            definition=self.slo.definition,
            spent_within={f"{days}d": chance for days, chance in self.forecast.chances.items()},
            spent_after_days=self.forecast.day,
            spent_after_low=self.forecast.low,
            spent_after_high=self.forecast.high,
            too_little_data=self.forecast.needs,
            traffic_change=self.weeks.traffic if self.weeks else None,
            bad_before=self.weeks.before if self.weeks else None,
            bad_now=self.weeks.now if self.weeks else None,
            is_changed=bool(self.weeks and self.weeks.is_changed),
            problem=self.problem,
        )


def judge(
    slo: Slo,
    environment: str,
    events: Events,
    sampling: timedelta,
    maintenance: Iterable[Maintenance] = (),
) -> Status:
    """Return the state of the SLO by its events, as Prometheus's rules would see it."""
    burns = tuple(_burn(slo, tier, events) for tier in tiers_of(slo, sampling) if tier.is_usable)
    bad, total = events.sums(slo.window)
    covered = min(slo.window, events.at - (events.since or events.at))
    is_missing = events.is_missing(slo.no_data_after or MISSING)
    is_idle = not events.sums(slo.no_traffic_after or IDLE)[1]
    state: State = "ok" if covered >= slo.window else "partial"
    if is_missing or is_idle:
        state = "no_data" if is_missing else "no_traffic"
    if any(each.is_burning for each in burns):
        state = "burning"
    values = {f"_{each.tier.name}": each.long for each in burns if each.is_burning}
    if is_missing:
        values[NO_DATA] = None
    elif is_idle:
        values[NO_TRAFFIC] = 0.0
    alerts = tuple(
        Judgement(one, environment, "firing", events.at, value=values[ending])
        for one in thresholds_of(slo, environment, sampling)
        if (ending := one.id.removeprefix(f"slo_{slo.id}")) in values
    )
    return Status(
        slo,
        state,
        events.at,
        burns,
        bad,
        total,
        covered,
        alerts,
        events=events,
        forecast=forecast(slo, events),
        weeks=weeks(past_of(events)),
        maintenance=timedelta(seconds=length_of(maintenance, events.at - slo.window, events.at)),
    )


def _burn(slo: Slo, tier: Tier, events: Events) -> Burn:
    bad, total = events.sums(tier.long)
    rates = [
        some_bad / some / slo.budget if some else None
        for some_bad, some in ((bad, total), events.sums(tier.short))
    ]
    is_fast = all(rate is not None and rate > tier.factor for rate in rates)
    return Burn(tier, rates[0], rates[1], is_fast and bad > explained(total * slo.budget))
