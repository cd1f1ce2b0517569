"""What messages about incidents say."""

from collections.abc import Sequence
from datetime import datetime, tzinfo

from tasks.core.finding import clock_of
from tasks.core.incidents import Action, AlertMessage, Incident
from tasks.core.routes import Routes
from tasks.core.severity import Severity, worst
from tasks.core.units import counted, digits, human
from tasks.ledger.outbox import Row

_CHANGES = {
    "reopened": "fires again",
    "unmuted": "is not silenced any more",
    "worsened": "is {why} now",
    "eased": "is {why} now",
    "flapping": "flaps ({why}): no more messages until it is quiet",
    "stale": "{why}",
    "unacknowledged": "{why}",
    "escalated": "not acknowledged: step {step} of the escalation",
}
_NEWS = frozenset({"worsened", "escalated"})
# of a storm
_MOST_NAMES = 20
# pairs of title and URL
Links = tuple[tuple[str, str], ...]
# shown elsewhere, or of no use to people
_HIDDEN = frozenset({"alertname", "severity", "environment", "fedvitals_rule", "flow"})


def message_of(
    incident: Incident,
    row: Row,
    action: Action,
    routes: Routes,
    now: datetime,
    zone: tzinfo,
    links: Links = (),
) -> AlertMessage:
    """Return what one channel shows of an incident, at the moment of sending."""
    newest, local = incident.newest, now.astimezone(zone)
    own = (("Runbook", newest.runbook), ("Report", newest.link))
    return AlertMessage(
        incident_id=incident.id,
        fingerprint=newest.fingerprint,
        action=action,
        environment=newest.environment,
        name=newest.name,
        kind=newest.kind,
        severity=newest.severity,
        title=_title(incident, action),
        sentence=incident.what,
        time=now,
        opened_at=incident.opened_at,
        closed_at=incident.closed_at,
        history=_history(incident, row, local),
        facts=tuple(_facts(incident, routes, local)),
        failed=tuple(one for one in newest.labels.get("failed", "").split("\n") if one),
        newest=incident.values,
        links=tuple((title, url) for title, url in (*own, *links) if url),
        is_news=row.change in _NEWS,
        is_test=newest.labels.get("test") == "true",
    )


def _title(incident: Incident, action: Action) -> str:
    newest = incident.newest
    state = "RESOLVED" if action == "resolve" else str(newest.severity).upper()
    test = "TEST " if newest.labels.get("test") == "true" else ""
    return f"{test}[{state}] {newest.environment}: {newest.name}"


def _history(incident: Incident, row: Row, local: datetime) -> str:
    given = incident.acknowledged
    if row.change == "acknowledged" and given is not None:
        why = f": {given.why}" if given.why else ""
        return f"acknowledged by {given.by} until {clock_of(given.until, local)}{why}"
    if row.change == "resolved":
        text = f"{row.why or 'resolved'} after {_lasted(incident)}"
    else:
        text = _CHANGES.get(row.change, row.change).format(why=row.why, step=row.step)
    return f"{clock_of(local, local)} {text}"


def _lasted(incident: Incident) -> str:
    end = incident.quiet_since or incident.closed_at or incident.seen_at
    return human(max(0.0, (end - incident.opened_at).total_seconds()), "seconds")


def _facts(incident: Incident, routes: Routes, local: datetime) -> Sequence[tuple[str, str]]:
    newest = incident.newest
    where = [f"{name}={value}" for name, value in newest.labels.items() if name not in _HIDDEN]
    facts = [("Severity", str(newest.severity)), ("Environment", newest.environment)]
    if where:
        facts.append(("Where", ", ".join(where)))
    facts.append(("Since", clock_of(incident.starts_at, local)))
    if newest.value is not None:
        limit = "" if newest.limit is None else f" (limit {digits(newest.limit)})"
        facts.append(("Value", f"{digits(newest.value)}{limit}"))
    ahead = [step for step in routes.steps_of(incident) if step.number and step.at > local]
    if ahead and incident.fires and incident.acknowledged is None:
        steps = ", ".join(f"{clock_of(s.at, local)} {' and '.join(s.channels)}" for s in ahead)
        facts.append(("If not acknowledged", steps))
    return facts


def storm_message(
    storm: str, incidents: Sequence[Incident], action: Action, now: datetime
) -> AlertMessage:
    """Return the one message about many incidents that opened at once."""
    fire = [one for one in incidents if one.is_open]
    severity = worst([one.newest.severity for one in incidents]) or Severity.INFO
    names = [f"{one.newest.environment}: {one.newest.name}" for one in fire or incidents]
    more = [f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    where = " and ".join(sorted({one.newest.environment for one in incidents}))
    state = "RESOLVED" if action == "resolve" else str(severity).upper()
    return AlertMessage(
        incident_id=storm,
        fingerprint=storm,
        action=action,
        environment=where,
        name="storm",
        kind="storm",
        severity=severity,
        title=f"[{state}] {where}: {counted(len(incidents), 'alert')} at once",
        sentence=f"{len(fire)} open, {len(incidents) - len(fire)} ended. List them: fedvitals alerts ls",
        time=now,
        opened_at=min(one.opened_at for one in incidents),
        closed_at=None if fire else now,
        history=f"{len(fire)} open, {len(incidents) - len(fire)} ended",
        failed=(*names[:_MOST_NAMES], *more),
    )
