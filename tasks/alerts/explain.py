"""What incidents are, and what would become of an alert: its identity, its route, its steps."""

from collections.abc import Collection, Iterable, Mapping

from tasks.alerts.planning import expanded, usable
from tasks.analysis.incidents import take
from tasks.core.alert_report import Explained, IncidentLine, IncidentState, PlannedStep
from tasks.core.incidents import Incident, Notice
from tasks.core.routes import Routes


def explain(
    notice: Notice,
    known: Incident | None,
    routes: Routes,
    configured: Collection[str],
) -> Explained:
    """Return what a notice would do now, without doing it.

    `known` is the newest incident of its alert.
    """
    step = take(known, notice, routes.timing)
    name, route = routes.route_of(step.incident)
    steps = tuple(
        PlannedStep(
            at=planned.at,
            step=planned.number,
            channels=tuple(usable(route, planned.channels, configured, step.incident)),
            not_configured=tuple(
                one for one in planned.channels if not expanded([one], configured)
            ),
        )
        for planned in routes.steps_of(step.incident)
    )
    changes = tuple(event.change for event in step.events)
    return Explained(
        alert=notice.name,
        environment=notice.environment,
        severity=notice.severity,
        fingerprint=notice.fingerprint,
        incident=known.id if known is not None and step.incident.id == known.id else None,
        changes=changes,
        route=name,
        steps=steps if {"opened", "reopened"} & {*changes} else (),
        fallback=route.fallback,
    )


def lines_of(
    incidents: Iterable[Incident], undelivered: Mapping[str, str]
) -> tuple[IncidentLine, ...]:
    """Return incidents as lines, the gravest open ones first."""

    def rank(one: Incident) -> tuple[object, ...]:
        return not one.is_open, one.newest.severity.rank, one.opened_at

    return tuple(line_of(one, undelivered.get(one.id, "")) for one in sorted(incidents, key=rank))


def line_of(one: Incident, undelivered: str = "") -> IncidentLine:
    """Return an incident as a line."""
    given = one.acknowledged
    return IncidentLine(
        id=one.id,
        severity=one.newest.severity,
        environment=one.newest.environment,
        alert=one.newest.name,
        state=state_of(one),
        since=one.opened_at,
        until=one.closed_at,
        acknowledged_by=given.by if given else "",
        acknowledged_until=given.until if given else None,
        silenced_until=one.silence.until if one.silence else None,
        undelivered=undelivered,
        what=one.what,
    )


def state_of(one: Incident) -> IncidentState:
    """Return the state of an incident in one word."""
    if not one.is_open:
        return one.reason or "resolved"
    if one.silence is not None:
        return "silenced"
    if one.muted:
        return one.muted
    names: dict[IncidentState, bool] = {
        "stale": one.is_stale,
        "flapping": one.is_flapping,
        "quiet": one.quiet_since is not None,
        "acknowledged": one.acknowledged is not None,
    }
    return next((name for name, holds in names.items() if holds), "open")
