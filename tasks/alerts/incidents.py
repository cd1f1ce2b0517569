"""What changes incidents: each time one transaction, with the messages that follow from it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tasks.analysis import incidents as machine
from tasks.analysis.incidents import Step
from tasks.core.errors import UsageInvalid
from tasks.core.incidents import (
    Acknowledgement,
    Incident,
    IncidentEvent,
    Notice,
    Silence,
    Snapshot,
    Timing,
)
from tasks.ledger import incidents as kept
from tasks.ledger.ledger import Ledger

# writes the messages that follow from a change
Plan = Callable[[Connection, Incident, IncidentEvent], None]
# of quiet between two ticks; more was not watched
_LONGEST_TICK = timedelta(seconds=60)


def no_plan(_: Connection, incident: Incident, event: IncidentEvent) -> None:
    """Plan no message."""


@dataclass
class Book:
    """The incidents that one transaction reads and changes."""

    ledger: Ledger
    connection: Connection
    plan: Plan
    known: dict[tuple[str, str], Incident] = field(default_factory=dict)
    changed: dict[str, Incident] = field(default_factory=dict)
    events: list[IncidentEvent] = field(default_factory=list)
    planned: list[tuple[Incident, IncidentEvent]] = field(default_factory=list)

    def note(self, before: Incident | None, step: Step) -> None:
        """Take over what a step changed."""
        if step.incident is not before:
            self.known[step.incident.key] = step.incident
            self.changed[step.incident.id] = step.incident
        self.events += step.events
        self.planned += ((step.incident, event) for event in step.events)

    def close(self) -> list[IncidentEvent]:
        """Write all that changed, and the messages about it."""
        kept.keep(self.ledger, self.connection, list(self.changed.values()), self.events)
        for incident, event in self.planned:
            self.plan(self.connection, self.changed.get(incident.id, incident), event)
        return self.events


def _change(ledger: Ledger, plan: Plan, do: Callable[[Book], None]) -> list[IncidentEvent]:
    def once(connection: Connection) -> list[IncidentEvent]:
        kept.in_turn(connection)
        book = Book(ledger, connection, plan)
        do(book)
        return book.close()

    return ledger.patiently(once)


def take(
    ledger: Ledger, notices: Sequence[Notice], timing: Timing, plan: Plan = no_plan
) -> list[IncidentEvent]:
    """Take notices in one transaction; return what changed.

    Raises:
        UsageInvalid: when a notice has no identity.
        LedgerUnavailable: when nothing was taken.
    """
    require_identity(notices)

    def do(book: Book) -> None:
        book.known = kept.newest_of(book.connection, (one.key for one in notices))
        for notice in notices:
            before = book.known.get(notice.key)
            book.note(before, machine.take(before, notice, timing))

    return _change(ledger, plan, do)


def require_identity(notices: Iterable[Notice]) -> None:
    """Raise UsageInvalid for a notice that could be about any alert."""
    for one in notices:
        if not (one.fingerprint and one.environment and one.name):
            raise UsageInvalid(
                argument="an alert",
                problem="it lacks a name, an environment or a fingerprint",
                fix="Give it alertname (alert_name) and environment",
            )


def tick(
    ledger: Ledger, timing: Timing, now: datetime, plan: Plan = no_plan, *, is_source_up: bool
) -> list[IncidentEvent]:
    """Let time pass for all open incidents.

    `is_source_up` is about alerts of Prometheus: what fedvitals finds by itself is quiet in any case.
    """

    def do(book: Book) -> None:
        before = kept.last_tick(book.connection)
        elapsed = min(max(now - before, timedelta()), _LONGEST_TICK) if before else timedelta()
        for one in kept.opened(book.connection):
            is_up = is_source_up or one.newest.origin != "alertmanager"
            book.note(one, machine.pass_time(one, timing, now, elapsed, is_source_up=is_up))
        kept.keep_tick(ledger, book.connection, now)

    return _change(ledger, plan, do)


def reconcile(
    ledger: Ledger, snapshot: Snapshot, timing: Timing, plan: Plan = no_plan
) -> list[IncidentEvent]:
    """Make incidents of Alertmanager what it holds; at the first look it is adopted in silence.

    What it holds no more is gone, unless it has run for too short to know. Raises UsageInvalid as
    `take` does.
    """
    require_identity(one.notice for one in snapshot.alerts)
    held = {one.notice.key: one for one in snapshot.alerts}
    is_settled = snapshot.at - snapshot.started_at >= timing.resolve_hold

    def do(book: Book) -> None:
        adopt = kept.is_first_look(ledger, book.connection, snapshot.environment)
        book.known = kept.newest_of(book.connection, held)
        for key, alert in held.items():
            before = book.known.get(key)
            step = machine.take(before, alert.notice, timing, adopt=adopt)
            book.note(before, step)
            book.note(step.incident, machine.mute(step.incident, alert.muted, snapshot.at))
        if not (is_settled and snapshot.is_source_up):
            return
        for one in kept.opened(book.connection):
            is_here = one.newest.environment not in snapshot.others
            is_gone = is_here and one.key not in held and not snapshot.fires(one)
            if one.newest.origin == "alertmanager" and is_gone:
                book.note(one, machine.lose(one, snapshot.at))

    return _change(ledger, plan, do)


def acknowledge(
    ledger: Ledger, incident_id: str, given: Acknowledgement, plan: Plan = no_plan
) -> list[IncidentEvent]:
    """Acknowledge an incident."""
    return _change_one(ledger, incident_id, plan, lambda one: machine.acknowledge(one, given))


def silence(
    ledger: Ledger,
    incident_id: str,
    given: Silence | None,
    now: datetime,
    by: str,
    plan: Plan = no_plan,
) -> list[IncidentEvent]:
    """Silence the alert of an incident, or end that."""
    return _change_one(
        ledger, incident_id, plan, lambda one: machine.silence(one, given, now, by, "by hand")
    )


def resolve_by_hand(
    ledger: Ledger, incident_id: str, now: datetime, by: str, why: str, plan: Plan = no_plan
) -> list[IncidentEvent]:
    """Close an open incident whose source does not end it."""

    def do(one: Incident) -> Step:
        return machine.close(one, now, "by hand", by, why) if one.is_open else Step(one)

    return _change_one(ledger, incident_id, plan, do)


def _change_one(
    ledger: Ledger, incident_id: str, plan: Plan, step: Callable[[Incident], Step]
) -> list[IncidentEvent]:
    found = [the_incident(ledger, incident_id)]

    def do(book: Book) -> None:
        (one,) = (x for x in kept.newest_of(book.connection, [found[0].key]).values())
        # an older incident of the alert takes notes only
        before = one if one.id == found[0].id else found[0]
        book.note(before, step(before))

    return _change(ledger, plan, do)


def the_incident(ledger: Ledger, beginning: str) -> Incident:
    """Return the incident whose id begins so; raise UsageInvalid for none or several."""
    found = kept.incident(ledger, beginning)
    if len(found) != 1:
        raise UsageInvalid(
            argument=beginning,
            problem="it is the beginning of several ids" if found else "there is no such incident",
            fix="List them: fedvitals alerts ls --all",
        )
    return found[0]
