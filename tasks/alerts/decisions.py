"""What is to be sent of messages that wait: now, later, not at all, or with others in one."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection

from tasks.core.incidents import Action, Incident
from tasks.ledger import outbox
from tasks.ledger.outbox import Row, Shown

# so many openings of a channel in a minute are shown each; more are one message
STORM = 10
_MINUTE = timedelta(minutes=1)
Decision = Action | Literal["cancel", "later"]


def heads(rows: Sequence[Row], now: datetime) -> list[Row]:
    """Return the first message of each incident that may be sent now."""
    found: list[Row] = []
    seen: set[str] = set()
    for row in rows:
        # a step ahead keeps nothing from being sent
        if row.incident_id in seen or (row.change == "escalated" and row.due_at > now):
            continue
        seen.add(row.incident_id)
        is_leased = row.leased_until is not None and row.leased_until > now
        if row.next_at <= now and not is_leased:
            found.append(row)
    return found


def decide(row: Row, incident: Incident | None, place: Shown | None) -> Decision:
    """Return what is to be sent now, or cancel, or later."""
    is_shown = place is not None and place.is_open
    if incident is None:
        return "cancel"
    if row.action == "resolve":
        return "resolve" if is_shown else "cancel"
    if row.change == "escalated":
        if not incident.is_open or incident.acknowledged is not None or incident.is_muted:
            return "cancel"
        if not incident.fires:
            return "later"
        return "update" if is_shown else "open"
    if not incident.is_open:
        # a try that may have arrived is brought to its end
        return "open" if row.action == "open" and row.is_unsure and not is_shown else "cancel"
    if row.action == "open":
        return _decide_opening(row, incident, is_shown)
    # a storm shows its number alone
    is_single = place is not None and is_shown and not place.storm
    return row.action if is_single else "cancel"


def _decide_opening(row: Row, incident: Incident, is_shown: bool) -> Decision:
    if is_shown:
        return "update" if row.change == "worsened" and not incident.is_muted else "cancel"
    # what may have arrived is brought to its end
    if row.is_unsure:
        return "open"
    if incident.is_muted:
        return "cancel"
    return "later" if row.change == "unmuted" and not incident.fires else "open"


def split(
    connection: Connection,
    channel: str,
    lane: Sequence[tuple[Row, Decision]],
    places: Mapping[str, Shown],
    now: datetime,
) -> tuple[list[tuple[Row, Decision]], list[Row]]:
    """Return messages to send singly, and those that are too many."""
    is_critical = lane[0][0].is_critical
    sent = outbox.sent_since(connection, channel, now - _MINUTE, is_critical=is_critical)
    opened = [one for one in sent if one.action == "open"]
    opening = [row for row, action in lane if action == "open"]
    room = max(0, STORM - sum(one.number for one in opened if not one.storm))
    in_storm = any(one.storm for one in opened)
    fits = len(opening) <= room and not in_storm
    # the first critical ones are shown each, whatever follows
    most = len(opening) if fits else room if is_critical else 0
    # what may be shown in a storm stays in it
    crowded = [row for number, row in enumerate(opening) if number >= most or row.storm]
    crowded += [
        row
        for row, action in lane
        if action == "resolve" and row.incident_id in places and places[row.incident_id].storm
    ]
    numbers = {row.number for row in crowded}
    return [one for one in lane if one[0].number not in numbers], crowded
