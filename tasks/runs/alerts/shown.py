"""An incident with all that happened to it."""

from dataclasses import asdict

from tasks.alerts.explain import line_of
from tasks.core.alert_report import EventLine, IncidentDetail, MessageLine
from tasks.core.incidents import Incident, IncidentEvent
from tasks.ledger.incidents import events_of
from tasks.ledger.outbox import Row, messages_of
from tasks.runs.base.alerts import Desk


def detail_of(desk: Desk, one: Incident) -> IncidentDetail:
    """Return an incident with its changes and messages."""
    return IncidentDetail(
        **dict(line_of(one)),
        runbook=one.newest.runbook,
        labels=dict(one.newest.labels),
        events=tuple(map(_event, events_of(desk.ledger, one.id))),
        messages=tuple(map(_message, messages_of(desk.ledger, one.id))),
    )


def _event(one: IncidentEvent) -> EventLine:
    return EventLine(
        **{name: value for name, value in asdict(one).items() if name != "incident_id"}
    )


def _message(one: Row) -> MessageLine:
    return MessageLine(
        at=one.ended_at or one.next_at,
        channel=one.channel,
        what=one.action,
        because=one.change,
        state=one.state,
        tries=one.tries,
        problem=one.problem,
    )
