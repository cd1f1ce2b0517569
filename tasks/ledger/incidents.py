"""Incidents in the ledger: the record of each, and every change for ever."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Select, delete, insert, select

from tasks.core.health_measurements import STATES_KEPT
from tasks.core.incidents import Incident, IncidentEvent
from tasks.core.window import Window
from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import as_text, incident_events, incidents, meta, outbox, shown_in
from tasks.ledger.version import lock

# differs from the keys of upgrades and of health
_LOCK = 3
_TICK, _INTAKE = "alerts_tick", "alerts_intake"
# in `meta`: what was looked at
LOOKED = "alerts_looked "
_OF_LATE = timedelta(minutes=1)
# of the parameters that one query may have
_AT_ONCE = 500
_RECORD: TypeAdapter[Incident] = TypeAdapter(Incident)


def in_turn(connection: Connection) -> None:
    """Let one transaction at a time change incidents and their messages."""
    lock(connection, _LOCK)


def newest_of(
    connection: Connection, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Incident]:
    """Return the newest incident of each alert, by environment and fingerprint."""
    wanted = set(keys)
    prints = sorted({fingerprint for _, fingerprint in wanted})
    found: dict[tuple[str, str], Incident] = {}
    for first in range(0, len(prints), _AT_ONCE):
        some = incidents.c.fingerprint.in_(prints[first : first + _AT_ONCE])
        for one in _read(connection, select(incidents.c.record).where(some)):
            # the time of what never opened is that of its end
            if one.key in wanted and (one.key not in found or _is_newer(one, found[one.key])):
                found[one.key] = one
    return found


def _is_newer(one: Incident, other: Incident) -> bool:
    return (one.is_open, one.opened_at) > (other.is_open, other.opened_at)


def of_ids(connection: Connection, ids: Iterable[str]) -> dict[str, Incident]:
    """Return incidents by id."""
    wanted, found = sorted(set(ids)), []
    for first in range(0, len(wanted), _AT_ONCE):
        some = incidents.c.id.in_(wanted[first : first + _AT_ONCE])
        found += _read(connection, select(incidents.c.record).where(some))
    return {one.id: one for one in found}


def opened(connection: Connection) -> list[Incident]:
    """Return all open incidents, oldest first."""
    return _read(connection, _OPEN)


_OPEN = (
    select(incidents.c.record)
    .where(incidents.c.closed_at.is_(None))
    .order_by(incidents.c.opened_at, incidents.c.id)
)


def keep(
    ledger: Ledger,
    connection: Connection,
    changed: Sequence[Incident],
    events: Sequence[IncidentEvent],
) -> None:
    """Keep incidents as they are now, with what changed."""
    if changed:
        connection.execute(ledger.upsert(incidents), [_row(one) for one in changed])
    if events:
        rows = [{**asdict(one), "at": as_text(one.at)} for one in events]
        connection.execute(insert(incident_events), rows)


def open_incidents(ledger: Ledger) -> list[Incident]:
    """Return all open incidents, oldest first."""
    return ledger.patiently(opened)


def incident(ledger: Ledger, beginning: str) -> list[Incident]:
    """Return the incidents whose id begins so."""
    query = select(incidents.c.record).where(incidents.c.id.startswith(beginning, autoescape=True))
    return ledger.patiently(lambda connection: _read(connection, query))


def incidents_in(ledger: Ledger, window: Window) -> list[Incident]:
    """Return the incidents that were open at some time of a window, oldest first."""
    table = incidents.c
    query = (
        select(table.record)
        .where(
            table.opened_at < as_text(window.stop),
            table.closed_at.is_(None) | (table.closed_at >= as_text(window.start)),
            # what never opened
            table.closed_at.is_(None) | (table.closed_at != table.opened_at),
        )
        .order_by(table.opened_at, table.id)
    )
    return ledger.patiently(lambda connection: _read(connection, query))


def is_first_look(ledger: Ledger, connection: Connection, environment: str) -> bool:
    """Return whether an environment's Alertmanager is looked at for the first time, and note it."""
    key = f"{LOOKED}{environment}"[:64]
    is_known = connection.execute(select(meta.c.value).where(meta.c.key == key)).first() is not None
    if not is_known:
        connection.execute(ledger.upsert(meta), {"key": key, "value": "yes"})
    return not is_known


def events_of(ledger: Ledger, incident_id: str) -> list[IncidentEvent]:
    """Return the changes of an incident, in order."""
    return _events(ledger, select(incident_events).where(_EVENT.incident_id == incident_id))


def events_in(ledger: Ledger, window: Window) -> list[IncidentEvent]:
    """Return the changes of all incidents in a window, in order."""
    start, stop = as_text(window.start), as_text(window.stop)
    return _events(ledger, select(incident_events).where(_EVENT.at >= start, _EVENT.at < stop))


def changes_in(
    ledger: Ledger, environment: str, window: Window
) -> list[tuple[IncidentEvent, Incident]]:
    """Return the changes of an environment's incidents in a window, in order, with each incident."""
    events = events_in(ledger, window)
    known = ledger.patiently(lambda c: of_ids(c, (one.incident_id for one in events)))
    pairs = ((one, known.get(one.incident_id)) for one in events)
    return [(one, of) for one, of in pairs if of and of.newest.environment == environment]


_EVENT = incident_events.c


def _events(ledger: Ledger, query: Select[Any]) -> list[IncidentEvent]:
    found = ledger.ask(query.order_by(_EVENT.number))
    return [
        IncidentEvent(**{n: v for n, v in row.items() if n != "number"} | {"at": _time(row["at"])})
        for row in found
    ]


def forget_incidents(ledger: Ledger, now: datetime) -> None:
    """Drop incidents that were closed 400 days ago, with their events and messages."""
    is_old = incidents.c.closed_at < as_text(now - STATES_KEPT)
    closed = select(incidents.c.id).where(is_old)

    def do(connection: Connection) -> None:
        in_turn(connection)
        for column in (_EVENT.incident_id, outbox.c.incident_id, shown_in.c.subject):
            connection.execute(delete(column.table).where(column.in_(closed)))
        connection.execute(delete(incidents).where(is_old))

    ledger.patiently(do)


def last_tick(connection: Connection) -> datetime | None:
    """Return when time last passed for incidents."""
    text = connection.execute(select(meta.c.value).where(meta.c.key == _TICK)).scalar()
    return _time(text) if text else None


def keep_tick(ledger: Ledger, connection: Connection, at: datetime) -> None:
    """Keep when time last passed for incidents."""
    connection.execute(ledger.upsert(meta), {"key": _TICK, "value": as_text(at)})


def note_intake(ledger: Ledger, at: datetime) -> None:
    """Note that an intake runs, which sends what waits."""
    ledger.write(meta, [{"key": _INTAKE, "value": as_text(at)}])


def intake_runs(ledger: Ledger, now: datetime) -> bool:
    """Return whether an intake has run on this ledger of late."""
    found = ledger.ask(select(meta.c.value).where(meta.c.key == _INTAKE))
    return any(now - _time(row["value"]) < _OF_LATE for row in found)


def _row(one: Incident) -> dict[str, Any]:
    return {
        "id": one.id,
        "environment": one.newest.environment,
        "fingerprint": one.newest.fingerprint,
        "opened_at": as_text(one.opened_at),
        "closed_at": as_text(one.closed_at) if one.closed_at else None,
        "record": _RECORD.dump_json(one).decode(),
    }


def _read(connection: Connection, query: Select[Any]) -> list[Incident]:
    return [_RECORD.validate_json(text) for text in connection.execute(query).scalars()]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
