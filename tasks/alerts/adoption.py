"""Take over what is open elsewhere into a ledger that knows nothing of it, without a message."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from tasks.analysis.incidents import event
from tasks.core.incidents import AlertMessage, Incident, IncidentEvent, Notice, ShownIncident
from tasks.core.severity import Severity, worst
from tasks.core.units import counted
from tasks.ledger import incidents as kept
from tasks.ledger import outbox
from tasks.ledger.ledger import Ledger
from tasks.ledger.outbox import Shown

_MOST_NAMES = 20
_KEYED = "pagerduty"


def adopt(
    ledger: Ledger, shown: Mapping[str, Sequence[ShownIncident]], now: datetime
) -> list[IncidentEvent]:
    """Open what channels show as open, under the id that it has there; return what was opened.

    What one channel shows, PagerDuty may show as well: its key there is the id, so its end is sent.
    """
    return ledger.patiently(partial(_adopt, ledger, shown, now))


def _adopt(
    ledger: Ledger,
    shown: Mapping[str, Sequence[ShownIncident]],
    now: datetime,
    connection: Connection,
) -> list[IncidentEvent]:
    kept.in_turn(connection)
    # of two about one alert the newest is the one that goes on
    groups = (one for group in shown.values() for one in group)
    every = {
        (one.environment, one.fingerprint): one
        for one in sorted(groups, key=lambda one: one.opened_at)
    }
    known = kept.newest_of(connection, every)
    new = [_incident(one, now) for key, one in every.items() if key not in known]
    events = [event(one, now, "adopted", str(one.newest.severity)) for one in new]
    kept.keep(ledger, connection, new, events)
    ids = {one.id for one in new}
    places = [
        Shown(one.id, channel, one.reference)
        for channel, group in shown.items()
        for one in group
        if one.id in ids
    ]
    places += (Shown(one, _KEYED, one) for one in ids if _KEYED in shown)
    outbox.show(ledger, connection, places)
    return events


def _incident(one: ShownIncident, now: datetime) -> Incident:
    notice = Notice(
        fingerprint=one.fingerprint,
        environment=one.environment,
        name=one.name,
        kind="alert",
        severity=one.severity,
        origin="alertmanager",
        starts_at=one.opened_at,
        received_at=now,
        sentence=one.name,
    )
    return Incident(one.id, notice, one.opened_at, one.opened_at, now)


def summary_of(adopted: Sequence[Incident], environment: str, now: datetime) -> AlertMessage:
    """Return the one message about what was taken over."""
    lines = [f"{one.newest.environment}: {one.newest.name}" for one in adopted]
    more = [f"and {len(lines) - _MOST_NAMES} more"] if len(lines) > _MOST_NAMES else []
    return AlertMessage(
        incident_id=f"adopted-{now:%Y%m%dT%H%M}",
        fingerprint="adopted",
        action="summary",
        environment=environment,
        name="adopted",
        kind="digest",
        severity=worst([one.newest.severity for one in adopted]) or Severity.INFO,
        title=f"{counted(len(adopted), 'open alert')} taken over",
        sentence="They were open before fedvitals began to watch, so nothing was sent about each:",
        time=now,
        opened_at=now,
        failed=(*lines[:_MOST_NAMES], *more),
    )
