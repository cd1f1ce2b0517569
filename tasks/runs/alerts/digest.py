"""A digest of all environments, with what alerts alone do not say: silences, budgets, limits."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import NamedTuple

from tasks.alerts.digest import digest
from tasks.alerts.noise import acted_on, noise
from tasks.alerts.shadow import compare
from tasks.core.alert_report import (
    BudgetLine,
    Digest,
    LimitLine,
    NoiseReport,
    Review,
    ShadowReport,
    SilenceLine,
)
from tasks.core.errors import FedvitalsError
from tasks.core.incidents import Incident, IncidentEvent
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.slo_measurement import SLO, slo_measurements
from tasks.core.window import Window
from tasks.lake.tables import Lake
from tasks.ledger import incidents as kept
from tasks.ledger.outbox import refused_openings, sent_of
from tasks.runs.base.alerts import Desk
from tasks.runs.base.thresholds import thresholds_in_force
from tasks.sources.alertmanager import Alertmanager

# of a budget that a digest names, and of one that a review finds unused
_LITTLE, _MUCH = 0.25, 0.9
# states of SLOs are written hourly
_NEWEST = timedelta(days=2)
_SOON, _WITHOUT_END = timedelta(days=1), timedelta(days=30)
# the limits that the history of an environment would set elsewhere
Learn = Callable[[Settings, Environment, Window], Iterable[LimitLine]]


class _Past(NamedTuple):
    incidents: Sequence[Incident]
    events: Sequence[IncidentEvent]


def _past(desk: Desk, window: Window) -> _Past:
    return _Past(kept.incidents_in(desk.ledger, window), kept.events_in(desk.ledger, window))


def noise_of(desk: Desk, window: Window) -> NoiseReport:
    """Return which alerts of a window were noise."""
    past = _past(desk, window)
    return noise(*past, sent_of(desk.ledger, [one.id for one in past.incidents]), window)


def shadow_of(desk: Desk, window: Window) -> ShadowReport:
    """Return alerts of fedvitals beside those of the team."""
    return compare(*_past(desk, window), desk.routes, window)


def make_digest(desk: Desk, window: Window, learn: Learn | None = None) -> Digest:
    """Return the digest of a window; with `learn` it has the review of rules, SLOs and silences."""
    past, ledger = _past(desk, window), desk.ledger
    undelivered = refused_openings(ledger, [one.id for one in past.incidents if one.is_open])
    silences, problems = _silences(desk, past.incidents, window.stop)
    budgets: list[BudgetLine] = []
    try:
        budgets += _budgets(desk.settings, window)
    except FedvitalsError as error:
        problems.append(f"budgets: {error}")
    soon = window.stop + max(_SOON, window.length)
    more: dict[str, object] = {
        "silences_that_end": tuple(one for one in silences if one.until <= soon),
        "budgets": tuple(one for one in budgets if one.left_ratio < _LITTLE),
    }
    if learn is not None:
        limits, unknown = _limits(desk.settings, window, learn)
        problems += unknown
        more["review"] = _review(desk, window, past, budgets, silences, limits)
    more["not_known"] = tuple(problems)
    return digest(*past, undelivered, window).model_copy(update=more)


def _review(
    desk: Desk,
    window: Window,
    past: _Past,
    budgets: Sequence[BudgetLine],
    silences: Sequence[SilenceLine],
    limits: Sequence[LimitLine],
) -> Review:
    acted = acted_on(past.events)
    fired = {one.newest.name for one in past.incidents}
    handled = {one.newest.name for one in past.incidents if one.id in acted}
    rules = thresholds_in_force(desk.settings).thresholds.values()
    return Review(
        never_fired=tuple(one.id for one in rules if one.mode == "alert" and one.id not in fired),
        never_acted_on=tuple(sorted(fired - handled)),
        budgets_unused=tuple(
            one for one in budgets if one.left_ratio > _MUCH and one.state == "ok"
        ),
        limits=tuple(limits),
        silences_without_end=tuple(
            one for one in silences if one.until > window.stop + _WITHOUT_END
        ),
    )


def _limits(settings: Settings, window: Window, learn: Learn) -> tuple[list[LimitLine], list[str]]:
    found: list[LimitLine] = []
    problems: list[str] = []
    for environment in settings.environments.values():
        try:
            found += learn(settings, environment, window)
        except FedvitalsError as error:
            problems.append(f"limits of {environment.name}: {error}")
    return found, problems


def _silences(
    desk: Desk, incidents: Iterable[Incident], at: datetime
) -> tuple[list[SilenceLine], list[str]]:
    """Return the silences that hold at a moment, and what could not be asked."""
    found = {
        one.key: SilenceLine(
            where="fedvitals",
            environment=one.newest.environment,
            what=one.newest.name,
            by=one.silence.by,
            until=one.silence.until,
            why=one.silence.why,
        )
        for one in incidents
        if one.silence is not None and one.silence.until > at
    }
    lines, problems = [*found.values()], []
    asked: set[str] = set()
    for environment in desk.settings.environments.values():
        service = environment.services.get("alertmanager")
        if service is not None and service.url not in asked:
            asked.add(service.url)
            try:
                with closing(Alertmanager(service)) as client:
                    lines += [
                        SilenceLine(
                            where="Alertmanager",
                            environment=environment.name,
                            what=one.what,
                            by=one.created_by,
                            until=one.ends_at,
                            why=one.comment,
                        )
                        for one in client.silences()
                    ]
            except FedvitalsError as error:
                problems.append(f"silences of {environment.name}: {error}")
    return sorted(lines, key=lambda one: one.until), problems


def _budgets(settings: Settings, window: Window) -> Iterator[BudgetLine]:
    """Yield what the newest run of each environment says of each SLO."""
    lake, (states, _) = Lake(settings.lake_url), slo_measurements()
    if not lake.has(SLO):
        return
    for name in settings.environments:
        rows = lake.read(states, name, Window(window.stop - _NEWEST, window.stop))
        newest = rows.sort_values("time").groupby("slo").tail(1)
        for row in newest[newest["budget_left_ratio"].notna()].itertuples():
            yield BudgetLine(
                environment=name,
                slo=str(row.slo),
                left_ratio=float(row.budget_left_ratio),
                state=str(row.state),
            )
