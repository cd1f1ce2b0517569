"""What would become of an alert: its identity, its route, and the times of each step."""

from collections.abc import Collection, Sequence
from typing import Any

from tasks.alerts.planning import usable
from tasks.analysis.incidents import take
from tasks.core.incidents import Incident, Notice
from tasks.core.routes import Routes


def explain(
    notice: Notice,
    known: Incident | None,
    routes: Routes,
    configured: Collection[str],
) -> dict[str, Any]:
    """Return what a notice would do now, without doing it.

    `known` is the newest incident of its alert.
    """
    step = take(known, notice, routes.timing)
    name, route = routes.route_of(step.incident)
    steps = [
        {
            "at": planned.at,
            "step": planned.number,
            "channels": usable(route, planned.channels, configured, step.incident),
            "not_configured": [one for one in planned.channels if one not in configured],
        }
        for planned in routes.steps_of(step.incident)
    ]
    return {
        "alert": notice.name,
        "environment": notice.environment,
        "severity": str(notice.severity),
        "fingerprint": notice.fingerprint,
        "incident": known.id if known is not None and step.incident.id == known.id else None,
        "changes": [event.change for event in step.events],
        "route": name,
        "steps": steps if any(e.change in ("opened", "reopened") for e in step.events) else [],
        "fallback": list(route.fallback),
    }


def rows_of(incidents: Sequence[Incident], undelivered: dict[str, str]) -> list[dict[str, Any]]:
    """Return incidents as rows of a table and of JSON."""
    return [_row(one, undelivered.get(one.id, "")) for one in incidents]


def _row(one: Incident, undelivered: str) -> dict[str, Any]:
    given = one.acknowledged
    return {
        "id": one.id,
        "severity": str(one.newest.severity),
        "environment": one.newest.environment,
        "alert": one.newest.name,
        "state": state_of(one),
        "since": one.opened_at,
        "acknowledged": f"{given.by} until {given.until:%Y-%m-%d %H:%M} UTC" if given else "",
        "undelivered": undelivered,
        "what": one.newest.sentence,
    }


def state_of(one: Incident) -> str:
    """Return the state of an incident in one word."""
    if not one.is_open:
        return one.reason or "closed"
    names = {
        one.muted: bool(one.muted),
        "stale": one.is_stale,
        "flapping": one.is_flapping,
        "quiet": one.quiet_since is not None,
        "acknowledged": one.acknowledged is not None,
    }
    return next((name for name, holds in names.items() if holds), "open")
