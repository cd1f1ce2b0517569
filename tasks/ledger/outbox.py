"""Messages to channels in the ledger: what waits, who sends it, and where incidents are shown."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, and_, func, insert, select, update

from tasks.core.incidents import Action, Change
from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import as_text, outbox, shown_in

State = Literal["waiting", "sent", "cancelled", "refused"]
# after it another process may send what one had begun to
LEASE = timedelta(seconds=90)


@dataclass(frozen=True)
class Row:
    """A message to one channel, about one change of an incident.

    `due_at` is when it was due first, and `next_at` when it is tried next. `is_unsure` says that a try
    may have arrived. `step` is that of the escalation, 0 for the first
    messages; `storm` is the message about many in which this one is shown.
    """

    incident_id: str
    channel: str
    action: Action
    change: Change
    is_critical: bool
    created_at: datetime
    due_at: datetime
    next_at: datetime
    number: int = 0
    step: int = 0
    tries: int = 0
    is_unsure: bool = False
    leased_until: datetime | None = None
    ended_at: datetime | None = None
    state: State = "waiting"
    storm: str = ""
    why: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Shown:
    """Where an incident, or a storm, is shown: what the channel returned for it."""

    subject: str
    channel: str
    reference: str
    storm: str = ""
    is_open: bool = True


class Sent(NamedTuple):
    """Messages that a channel took: of one action and storm, their number, and the last one's time."""

    action: Action
    storm: str
    number: int
    last: datetime


# of the parameters that one query may have
_AT_ONCE = 500
_TIMES = ("created_at", "due_at", "next_at", "leased_until", "ended_at")
_ROW = outbox.c


def add(connection: Connection, rows: Iterable[Row]) -> None:
    """Add messages that wait."""
    texts = [_texts(one) for one in rows]
    if texts:
        connection.execute(insert(outbox), texts)


def waiting(connection: Connection, channel: str, by: datetime | None = None) -> list[Row]:
    """Return the messages to a channel that have not ended, in the order in which they are due.

    With `by` only those of incidents that have one to try by then: in a storm most have none.
    """
    waits = and_(_ROW.channel == channel, _ROW.ended_at.is_(None))
    query = select(outbox).where(waits).order_by(_ROW.due_at, _ROW.number)
    if by is not None:
        ready = select(_ROW.incident_id).where(waits, _ROW.next_at <= as_text(by))
        query = query.where(_ROW.incident_id.in_(ready))
    return [_read(row) for row in connection.execute(query).mappings()]


def cancel_steps(connection: Connection, incident_id: str, at: datetime) -> None:
    """Cancel the steps of an incident's escalation that wait, and that nobody sends."""
    steps = _ROW.incident_id == incident_id, _ROW.change == "escalated"
    wait = and_(*steps, _ROW.ended_at.is_(None), _ROW.leased_until.is_(None))
    ended = {"state": "cancelled", "ended_at": as_text(at)}
    connection.execute(update(outbox).where(wait).values(**ended))


def lease(
    connection: Connection, rows: Sequence[Row], until: datetime, storm: str = ""
) -> list[Row]:
    """Take messages to send; a try that does not end has perhaps arrived."""
    change = {"leased_until": as_text(until), "is_unsure": True, "tries": _ROW.tries + 1}
    _change(connection, rows, {**change, "storm": storm})
    return [replace(one, leased_until=until, tries=one.tries + 1, storm=storm) for one in rows]


def owned(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """Return those of leased messages that nobody else has taken since their lease ended."""
    found: set[int] = set()
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        query = select(_ROW.number).where(
            _ROW.number.in_([one.number for one in some]),
            _ROW.leased_until.in_({as_text(one.leased_until) for one in some if one.leased_until}),
        )
        found.update(connection.execute(query).scalars())
    return [one for one in rows if one.number in found]


def end(
    connection: Connection, rows: Sequence[Row], state: State, at: datetime, **facts: str
) -> None:
    """End messages: sent, cancelled or refused."""
    change = {"state": state, "ended_at": as_text(at), "leased_until": None, **facts}
    _change(connection, rows, change)


def put_off(
    connection: Connection, rows: Sequence[Row], until: datetime, problem: str, *, is_unsure: bool
) -> None:
    """Let messages wait for another try."""
    change = {
        "next_at": as_text(until),
        "leased_until": None,
        "problem": problem,
        "is_unsure": is_unsure,
    }
    _change(connection, rows, change)


def delay(connection: Connection, rows: Sequence[Row], until: datetime) -> None:
    """Try messages no sooner than then."""
    _change(connection, rows, {"next_at": as_text(until)})


def pause(connection: Connection, channel: str, until: datetime) -> None:
    """Try nothing that waits for a channel before a moment: it asked for that."""
    early = and_(_ROW.channel == channel, _ROW.ended_at.is_(None), _ROW.next_at < as_text(until))
    connection.execute(update(outbox).where(early).values(next_at=as_text(until)))


def _change(connection: Connection, rows: Sequence[Row], change: dict[str, Any]) -> None:
    numbers = [one.number for one in rows]
    for first in range(0, len(numbers), _AT_ONCE):
        some = _ROW.number.in_(numbers[first : first + _AT_ONCE])
        connection.execute(update(outbox).where(some).values(**change))


def sent_since(
    connection: Connection, channel: str, since: datetime, *, is_critical: bool
) -> list[Sent]:
    """Count the messages that a channel took since then, by action and storm."""
    query = select(_ROW.action, _ROW.storm, func.count(), func.max(_ROW.ended_at)).where(
        _ROW.channel == channel,
        _ROW.state == "sent",
        _ROW.is_critical == is_critical,
        _ROW.ended_at >= as_text(since),
    )
    rows = connection.execute(query.group_by(_ROW.action, _ROW.storm))
    return [
        Sent(action, storm, number, datetime.fromisoformat(last))
        for action, storm, number, last in rows
    ]


def channels_tried(connection: Connection, one: Row) -> set[str]:
    """Return the channels that have a message about the same change of the incident."""
    query = select(_ROW.channel).where(
        _ROW.incident_id == one.incident_id,
        _ROW.change == one.change,
        _ROW.created_at >= as_text(one.created_at),
    )
    return set(connection.execute(query).scalars())


def refused_openings(ledger: Ledger, ids: Sequence[str]) -> dict[str, str]:
    """Return the incidents that no channel took, with what the last one answered."""
    query = select(_ROW.incident_id, _ROW.state, _ROW.problem).where(
        _ROW.incident_id.in_(ids), _ROW.action == "open"
    )
    rows = ledger.ask(query.order_by(_ROW.number))
    taken = {row["incident_id"] for row in rows if row["state"] in ("sent", "waiting")}
    return {
        row["incident_id"]: row["problem"]
        for row in rows
        if row["state"] == "refused" and row["incident_id"] not in taken
    }


def sent_of(ledger: Ledger, ids: Sequence[str]) -> dict[str, int]:
    """Return how many messages about each incident channels took."""
    found: dict[str, int] = {}
    for first in range(0, len(ids), _AT_ONCE):
        some = _ROW.incident_id.in_(ids[first : first + _AT_ONCE])
        query = select(_ROW.incident_id, func.count().label("sent")).where(
            some, _ROW.state == "sent"
        )
        rows = ledger.ask(query.group_by(_ROW.incident_id))
        found |= {row["incident_id"]: row["sent"] for row in rows}
    return found


def messages_of(ledger: Ledger, incident_id: str) -> list[Row]:
    """Return the messages about an incident, in order."""
    query = select(outbox).where(_ROW.incident_id == incident_id)
    return [_read(row) for row in ledger.ask(query.order_by(_ROW.number))]


def next_due(ledger: Ledger) -> dict[str, datetime]:
    """Return when each channel has its next message."""
    query = select(_ROW.channel, func.min(_ROW.next_at).label("due")).where(_ROW.ended_at.is_(None))
    found = ledger.ask(query.group_by(_ROW.channel))
    return {row["channel"]: datetime.fromisoformat(row["due"]) for row in found}


def oldest_critical(ledger: Ledger, now: datetime) -> datetime | None:
    """Return since when the oldest critical message is due and was not sent."""
    query = select(func.min(_ROW.due_at).label("due")).where(
        _ROW.ended_at.is_(None), _ROW.is_critical, _ROW.due_at <= as_text(now)
    )
    (row,) = ledger.ask(query)
    return datetime.fromisoformat(row["due"]) if row["due"] else None


def shown(connection: Connection, subjects: Iterable[str], channel: str) -> list[Shown]:
    """Return where a channel shows incidents or storms."""
    wanted, found = sorted(subjects), []
    for first in range(0, len(wanted), _AT_ONCE):
        some = shown_in.c.subject.in_(wanted[first : first + _AT_ONCE])
        query = select(shown_in).where(some, shown_in.c.channel == channel)
        found += [Shown(**row) for row in connection.execute(query).mappings()]
    return found


def members(connection: Connection, storm: str, channel: str) -> set[str]:
    """Return the incidents that a storm shows."""
    query = select(shown_in.c.subject).where(
        shown_in.c.storm == storm, shown_in.c.channel == channel
    )
    return set(connection.execute(query).scalars())


def show(ledger: Ledger, connection: Connection, places: Sequence[Shown]) -> None:
    """Note where incidents are shown now."""
    if places:
        connection.execute(ledger.upsert(shown_in), [asdict(one) for one in places])


def open_references(ledger: Ledger, channel: str) -> dict[str, str]:
    """Return the references of incidents that a channel shows as open."""
    query = select(shown_in).where(
        shown_in.c.channel == channel, shown_in.c.is_open, shown_in.c.reference != ""
    )
    return {row["subject"]: row["reference"] for row in ledger.ask(query)}


def _texts(one: Row) -> dict[str, Any]:
    row = asdict(one)
    del row["number"]
    return {n: as_text(v) if isinstance(v, datetime) else v for n, v in row.items()}


def _read(row: Any) -> Row:
    times = {n: datetime.fromisoformat(row[n]) for n in _TIMES if row[n]}
    return Row(**{**row, **times})
