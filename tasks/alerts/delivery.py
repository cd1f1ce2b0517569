"""Deliver the outbox: one worker a channel, each message claimed, sent, and ended.

What an incident has become since its message was planned is looked up in the transaction that
claims the message: what was acknowledged does not escalate, and what ended is not opened.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from threading import Event
from typing import NamedTuple
from uuid import uuid4

from sqlalchemy import Connection

from tasks.alerts.decisions import Decision, decide, heads, split
from tasks.alerts.incidents import Plan, take
from tasks.alerts.planning import CHANNEL_KIND, CHANNEL_LABEL, expanded
from tasks.alerts.wording import Links, message_of, storm_message
from tasks.analysis.incidents import event
from tasks.core.errors import FedvitalsError, Terminal, Transient, defect
from tasks.core.finding import fingerprint_of
from tasks.core.incidents import Action, AlertMessage, Incident, Notice
from tasks.core.ports import AlertChannel
from tasks.core.routes import Routes
from tasks.core.severity import Severity
from tasks.ledger import incidents as kept
from tasks.ledger import outbox
from tasks.ledger.ledger import Ledger
from tasks.ledger.outbox import Row, Shown

logger = logging.getLogger("fedvitals")
# a storm takes in what opens within it of its last message, which comes no sooner than the second
_STORM_LASTS, _STORM_EVERY = timedelta(minutes=5), timedelta(seconds=10)
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=5)
# an end that is refused is tried for so long
_ENDS_FOR = timedelta(days=1)
# a channel that fails so often, which takes some minutes, is an incident
_MANY_TRIES = 6
_QUIET_AGAIN = timedelta(minutes=1)


class Parcel(NamedTuple):
    """Messages that are sent as one, with the reference of what is shown."""

    rows: list[Row]
    message: AlertMessage
    reference: str
    storm: str = ""


@dataclass(frozen=True)
class Sender:
    """All that sending needs: the ledger, routes, channels, and who plans what follows.

    `repeating` are the channels that show a repeated message twice.
    """

    ledger: Ledger
    routes: Routes
    channels: Mapping[str, AlertChannel]
    plan: Plan
    repeating: frozenset[str] = frozenset()
    zone: tzinfo = UTC
    links: Mapping[str, Links] = field(default_factory=dict)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    stopped: Event = field(default_factory=Event)

    def drain(self, channel: str) -> int:
        """Send what is due to a channel, one after the other; return how many were sent.

        Raises LedgerUnavailable.
        """
        sent = 0
        if channel not in self.channels:
            self._leave(channel, self.clock())
        while channel in self.channels and not self.stopped.is_set():
            parcel = self.ledger.patiently(partial(self._claim, channel=channel, now=self.clock()))
            if parcel is None or (done := self._send(channel, parcel)) is None:
                break
            sent += done
        return sent

    def drain_all(self, seconds: float) -> int:
        """Drain all channels side by side, for so long at most; a hanging one holds up no other."""
        names = {*self.channels, *outbox.next_due(self.ledger)}
        pool = ThreadPoolExecutor(max(1, len(names)))
        done, _ = wait([pool.submit(self.drain, name) for name in names], timeout=seconds)
        self.stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
        return sum(one.result() for one in done)

    def _leave(self, channel: str, now: datetime) -> None:
        """Give the messages of a channel that is configured no more to the next ones."""

        def do(connection: Connection) -> None:
            kept.in_turn(connection)
            rows = outbox.waiting(connection, channel)
            outbox.end(connection, rows, "refused", now, problem="it is not configured any more")
            outbox.add(connection, self._elsewhere(connection, rows, now))

        self.ledger.patiently(do)

    def _claim(self, connection: Connection, channel: str, now: datetime) -> Parcel | None:
        kept.in_turn(connection)
        while first := heads(outbox.waiting(connection, channel, now), now):
            incidents = kept.of_ids(connection, {row.incident_id for row in first})
            places = {one.subject: one for one in outbox.shown(connection, incidents, channel)}
            chosen = [
                (row, decide(row, incidents.get(row.incident_id), places.get(row.incident_id)))
                for row in first
            ]
            dropped = [row for row, what in chosen if what == "cancel"]
            outbox.end(connection, dropped, "cancelled", now)
            self._show_unsure(connection, channel, dropped)
            for row in (row for row, what in chosen if what == "later"):
                due = now + _QUIET_AGAIN
                outbox.put_off(connection, [row], due, row.problem, is_unsure=row.is_unsure)
            ready = [(row, what) for row, what in chosen if what not in ("cancel", "later")]
            if ready or not dropped:
                return self._parcel(connection, channel, ready, incidents, places, now)
        return None

    def _parcel(
        self,
        connection: Connection,
        channel: str,
        ready: Sequence[tuple[Row, Decision]],
        incidents: Mapping[str, Incident],
        places: Mapping[str, Shown],
        now: datetime,
    ) -> Parcel | None:
        for is_critical in (True, False):
            lane = [one for one in ready if one[0].is_critical is is_critical]
            if not lane:
                continue
            single, crowd = split(connection, channel, lane, places, now)
            if single:
                return self._single(connection, *single[0], incidents, places, now)
            if crowd and (parcel := self._storm(connection, channel, crowd, places, now)):
                return parcel
        return None

    def _single(
        self,
        connection: Connection,
        row: Row,
        action: Decision,
        incidents: Mapping[str, Incident],
        places: Mapping[str, Shown],
        now: datetime,
    ) -> Parcel:
        incident, place = incidents[row.incident_id], places.get(row.incident_id)
        assert action != "cancel"
        assert action != "later"
        links = self.links.get(incident.newest.environment, ())
        message = message_of(incident, row, action, self.routes, now, self.zone, links)
        is_repeat = row.is_unsure and row.channel in self.repeating
        if row.change == "escalated" and not row.tries:
            channels = f"step {row.step}: {row.channel}"
            kept.keep(self.ledger, connection, (), [event(incident, now, "escalated", channels)])
        (leased,) = outbox.lease(connection, [row], now + outbox.LEASE)
        reference = place.reference if place else ""
        return Parcel([leased], replace(message, is_repeat=is_repeat), reference)

    def _storm(
        self,
        connection: Connection,
        channel: str,
        crowd: Sequence[Row],
        places: Mapping[str, Shown],
        now: datetime,
    ) -> Parcel | None:
        """Return one message about many, unless the last one was sent just now."""
        sent = outbox.sent_since(
            connection, channel, now - _STORM_LASTS, is_critical=crowd[0].is_critical
        )
        newest = max((one for one in sent if one.storm), key=lambda one: one.last, default=None)
        if newest is not None and now - newest.last < _STORM_EVERY:
            outbox.delay(connection, crowd, newest.last + _STORM_EVERY)
            return None
        # what a try may have shown already keeps its key
        of = [places[r.incident_id].storm if r.action == "resolve" else r.storm for r in crowd]
        begun = next((one for one in of if one), "")
        storm = begun or (newest.storm if newest else uuid4().hex[:16])
        rows = [row for row, its in zip(crowd, of, strict=True) if its in ("", storm)]
        members = {*outbox.members(connection, storm, channel), *(r.incident_id for r in rows)}
        every = list(kept.of_ids(connection, members).values())
        shown = outbox.shown(connection, [storm], channel)
        action: Action = "update" if shown else "open"
        if not any(one.is_open for one in every):
            action = "resolve"
        message = storm_message(storm, every, action, now)
        is_repeat = any(row.is_unsure for row in rows) and channel in self.repeating
        leased = outbox.lease(connection, rows, now + outbox.LEASE, storm)
        reference = shown[0].reference if shown else ""
        return Parcel(leased, replace(message, is_repeat=is_repeat), reference, storm)

    def _send(self, channel: str, parcel: Parcel) -> int | None:
        """Return how many messages were sent; None when the channel is to be left alone."""
        try:
            reference = self.channels[channel].send(parcel.message, parcel.reference)
        except Transient as error:
            self._put_off(channel, parcel, error, self.clock())
            return None
        except Terminal as error:
            self._refuse(channel, parcel, _problem(error), self.clock())
            return 0
        # a defect of one channel must not end its worker: the next one gets the message
        except Exception as error:
            logger.exception("%s: unexpected error", channel)
            rows = [replace(row, is_unsure=True) for row in parcel.rows]
            self._refuse(channel, parcel._replace(rows=rows), defect(error), self.clock())
            return 0
        now = self.clock()
        self.ledger.patiently(lambda c: self._sent(c, channel, parcel, reference, now))
        self._report_channel(channel, None, now)
        return len(parcel.rows)

    def _sent(
        self, connection: Connection, channel: str, parcel: Parcel, reference: str, now: datetime
    ) -> None:
        kept.in_turn(connection)
        rows = outbox.owned(connection, parcel.rows)
        if not rows:
            return
        is_open = parcel.message.action != "resolve"
        outbox.end(connection, rows, "sent", now, storm=parcel.storm)
        places = [Shown(parcel.message.incident_id, channel, reference, "", is_open)]
        if parcel.storm:
            places += (
                Shown(row.incident_id, channel, "", parcel.storm, row.action != "resolve")
                for row in rows
            )
        outbox.show(self.ledger, connection, places)

    def _show_unsure(
        self, connection: Connection, channel: str, rows: Iterable[Row], storm: str = ""
    ) -> None:
        """Count openings that may have arrived as shown, so that their end is sent."""
        unsure = {row.incident_id for row in rows if row.action == "open" and row.is_unsure}
        known = {one.subject for one in outbox.shown(connection, unsure, channel) if one.is_open}
        places = [Shown(one, channel, "", storm) for one in sorted(unsure - known)]
        places += [Shown(storm, channel, "")] if storm and unsure else []
        outbox.show(self.ledger, connection, places)

    def _put_off(self, channel: str, parcel: Parcel, error: Transient, now: datetime) -> None:
        asked = error.facts.get("retry_after")
        tries = parcel.rows[0].tries
        wait_for = min(_FIRST_WAIT * 2 ** min(tries - 1, 10), _LONGEST_WAIT)
        due = now + (timedelta(seconds=float(asked)) if asked is not None else wait_for)
        # what an earlier try may have shown, this answer does not take back
        was_unsure = any(row.is_unsure for row in parcel.rows)
        is_unsure = not error.facts.get("is_answered") or was_unsure
        text = _problem(error)
        logger.warning("%s: a message about %s waits: %s", channel, parcel.message.name, text)

        # twice without an answer it may be there twice: the next channel has it, if there is one
        is_answered = error.facts.get("is_answered")
        is_twice = was_unsure and not is_answered and channel in self.repeating

        def do(connection: Connection) -> bool:
            kept.in_turn(connection)
            rows = outbox.owned(connection, parcel.rows)
            mine = parcel._replace(rows=rows)
            if is_twice and self._moved(connection, channel, mine, text, now):
                return True
            outbox.put_off(connection, rows, due, text, is_unsure=is_unsure)
            if asked is not None:
                outbox.pause(connection, channel, due)
            return False

        is_moved = self.ledger.patiently(do)
        if tries >= _MANY_TRIES or (is_moved and parcel.message.kind != CHANNEL_KIND):
            self._report_channel(channel, text, now)

    def _moved(
        self, connection: Connection, channel: str, parcel: Parcel, problem: str, now: datetime
    ) -> bool:
        """Give messages that a channel may show twice to the next one; return whether there is one."""
        spare = list(self._elsewhere(connection, parcel.rows, now))
        if spare:
            outbox.end(connection, parcel.rows, "refused", now, problem=problem)
            self._show_unsure(connection, channel, parcel.rows, parcel.storm)
            outbox.add(connection, spare)
        return bool(spare)

    def _refuse(self, channel: str, parcel: Parcel, text: str, now: datetime) -> None:
        logger.error("%s: a message about %s is refused: %s", channel, parcel.message.name, text)

        def do(connection: Connection) -> None:
            kept.in_turn(connection)
            rows = outbox.owned(connection, parcel.rows)
            # what is shown as open stays so until an end is taken: the reason may be put right
            ends = [r for r in rows if r.action == "resolve" and now - r.due_at < _ENDS_FOR]
            others = [row for row in rows if row not in ends]
            outbox.put_off(connection, ends, now + _LONGEST_WAIT, text, is_unsure=False)
            outbox.end(connection, others, "refused", now, problem=text)
            self._show_unsure(connection, channel, others, parcel.storm)
            outbox.add(connection, self._elsewhere(connection, others, now))

        self.ledger.patiently(do)
        if parcel.message.kind != CHANNEL_KIND:
            self._report_channel(channel, text, now)

    def _elsewhere(
        self, connection: Connection, rows: Iterable[Row], now: datetime
    ) -> Iterable[Row]:
        """Yield the messages again, for the next channel of their route."""
        rows = [row for row in rows if row.action == "open"]
        incidents = kept.of_ids(connection, {row.incident_id for row in rows})
        for row in rows:
            _, route = self.routes.route_of(incidents[row.incident_id])
            tried = outbox.channels_tried(connection, row)
            spare = [one for one in expanded(route.fallback, self.channels) if one not in tried]
            for name in spare[:1]:
                yield replace(
                    row, number=0, channel=name, due_at=now, next_at=now,
                    tries=0, is_unsure=False, leased_until=None, storm="", why=f"{row.channel} refused it",
                )  # fmt: skip

    def _report_channel(self, channel: str, problem: str | None, now: datetime) -> None:
        """Open or end the incident about a channel that fails."""
        name = f"{channel} takes no messages"
        environment = self.routes.default_environment
        fingerprint = fingerprint_of(CHANNEL_KIND, f"{environment} {channel}")
        key = (environment, fingerprint)
        known = self.ledger.patiently(lambda c: kept.newest_of(c, [key])).get(key)
        is_open = known is not None and known.is_open
        if problem is None and not (is_open and known is not None and known.fires):
            return
        starts_at = known.starts_at if known is not None and is_open else now
        notice = Notice(
            fingerprint=fingerprint,
            environment=environment,
            name=name,
            kind=CHANNEL_KIND,
            severity=Severity.HIGH,
            origin="finding",
            starts_at=starts_at,
            received_at=now,
            sentence=f"{name}: {problem}" if problem else f"{channel} takes messages again",
            ends_at=None if problem else now,
            labels={CHANNEL_LABEL: channel},
        )
        take(self.ledger, [notice], self.routes.timing, self.plan)


def _problem(error: FedvitalsError) -> str:
    return str(error.facts.get("problem") or error)
