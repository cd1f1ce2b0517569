"""Alerts of fedvitals beside those that a team has already, by environment and time."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tasks.alerts.noise import lasted
from tasks.core.alert_report import ShadowLine, ShadowReport
from tasks.core.incidents import Incident, IncidentEvent
from tasks.core.routes import Routes
from tasks.core.window import Window

# what begins so long before or after the other side's is about the same
SLACK = timedelta(minutes=15)
# of a team's own rules, by Alertmanager or POST /events; all else is a rule or finding of ours
_TEAM = frozenset({"alert", "event"})
_OPENING = frozenset({"opened", "reopened", "worsened"})


def compare(
    incidents: Sequence[Incident],
    events: Iterable[IncidentEvent],
    routes: Routes,
    window: Window,
) -> ShadowReport:
    """Return which incidents both sides had, which one alone, and what would have been sent."""
    ours = [one for one in incidents if one.newest.kind not in _TEAM]
    team = [one for one in incidents if one.newest.kind in _TEAM]
    pairs = [(one, _same(one, team)) for one in ours]
    seen = {other.id for one in ours for other in team if _are_same(one, other)}
    opened = {e.incident_id: e for e in events if e.change in _OPENING}
    openings = Counter(
        channel for one in ours if one.id in opened for channel in routes.route_of(one)[1].channels
    )
    return ShadowReport(
        start=window.start,
        stop=window.stop,
        is_on=routes.shadow,
        both=tuple(_line(one, other) for one, other in pairs if other is not None),
        only_fedvitals=tuple(_line(one, None) for one, other in pairs if other is None),
        only_team=tuple(_line(None, one) for one in team if one.id not in seen),
        openings=dict(openings.most_common()),
    )


def _same(one: Incident, team: Iterable[Incident]) -> Incident | None:
    """Return the team's incident about the same that began nearest to it."""
    near = [other for other in team if _are_same(one, other)]
    return min(near, key=lambda other: abs(other.opened_at - one.opened_at), default=None)


def _are_same(one: Incident, other: Incident) -> bool:
    is_here = one.newest.environment == other.newest.environment
    return is_here and _starts(one) < _ends(other) and _starts(other) < _ends(one)


def _starts(one: Incident) -> datetime:
    return one.opened_at - SLACK / 2


def _ends(one: Incident) -> datetime:
    length = lasted(one)
    if length is None:
        return datetime.max.replace(tzinfo=one.opened_at.tzinfo)
    return one.opened_at + length + SLACK / 2


def _line(ours: Incident | None, team: Incident | None) -> ShadowLine:
    one = ours or team
    assert one is not None
    length = lasted(one)
    lead = team.opened_at - ours.opened_at if ours and team else None
    return ShadowLine(
        environment=one.newest.environment,
        severity=one.newest.severity,
        fedvitals=ours.newest.name if ours else "",
        team=team.newest.name if team else "",
        since=one.opened_at,
        minutes=None if length is None else round(length / timedelta(minutes=1), 1),
        lead_seconds=None if lead is None else round(lead.total_seconds(), 1),
    )
