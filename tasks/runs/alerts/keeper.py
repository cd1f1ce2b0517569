"""What happens to incidents when nothing arrives: time, Alertmanager, acknowledgements, delivery."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from pydantic import ValidationError

from tasks.alerts.adoption import adopt, summary_of
from tasks.alerts.drill import sent_to
from tasks.alerts.incidents import acknowledge, reconcile, tick
from tasks.alerts.notices import Identify, SentAlert, hidden, hidden_labels, of_alert
from tasks.alerts.planning import expanded
from tasks.channels.heartbeat import Heartbeat
from tasks.core.alert_services import HEARTBEAT
from tasks.core.errors import FedvitalsError, defect
from tasks.core.incidents import ActiveAlert, Notice, ShownIncident, Snapshot
from tasks.core.message import Message
from tasks.core.ports import AlertChannel
from tasks.core.services import Environment
from tasks.core.thresholds import WATCHDOG
from tasks.ledger import outbox
from tasks.ledger.held_findings import all_held
from tasks.ledger.incidents import is_first_look, note_intake, of_ids, open_incidents
from tasks.runs.base.alerts import DRAIN_SECONDS, EVERY, HOURLY, Desk
from tasks.sources.alertmanager import Alertmanager, HeldAlert
from tasks.sources.prometheus_rules import RulesClient

logger = logging.getLogger("fedvitals")
TICK_SECONDS = 10.0
_RECONCILE, _MINUTE = timedelta(seconds=30), timedelta(minutes=1)
# the dead man's heartbeat stops without a watchdog for so long, or with a page that waits so long
_WATCHDOG_LASTS, _PAGE_WAITS = timedelta(minutes=5), timedelta(minutes=2)
_IDLE_SECONDS = 1.0


class Clock:
    """The time, going on evenly from when it was first read: a clock that is set moves nothing."""

    def __init__(self) -> None:
        self._began, self._since = datetime.now(UTC), time.monotonic()

    def __call__(self) -> datetime:
        """Return the time in UTC."""
        return self._began + timedelta(seconds=time.monotonic() - self._since)


class Keeper:
    """Keeps incidents up to date in one thread, and sends messages in one thread a channel."""

    def __init__(self, desk: Desk, identify: Identify, notify: Callable[[str], None]) -> None:
        """`notify` is called with what an operator of the intake should know, once."""
        self._desk, self._identify, self._notify = desk, identify, notify
        self._clock = Clock()
        self._stopping, self._soon = threading.Event(), threading.Event()
        self._mail = threading.Condition()
        self._mails = 0
        self._watchdog_at: datetime | None = None
        self._done_at: dict[str, datetime] = {}
        self._said: dict[str, str] = {}
        self._is_source_up = True
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to keep and to send."""
        names = [*self._desk.sender.channels]
        self._threads = [
            threading.Thread(target=one, daemon=True) for one in (self._run, self._ask)
        ]
        self._threads += [
            threading.Thread(target=self._send, args=(name,), daemon=True) for name in names
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """End after what is under way; a channel that hangs is left behind."""
        self._stopping.set()
        self._desk.sender.stopped.set()
        self._soon.set()
        self.changed()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def once(self) -> list[str]:
        """Do all that is due now, and send what follows; return what failed."""
        for what, do in (("the ledger", self.keep), ("acknowledgements", self.acknowledge)):
            self._try(what, do)
        self._try("messages", partial(self._desk.sender.drain_all, DRAIN_SECONDS))
        return [f"{what}: {text}" for what, text in self._said.items()]

    def changed(self) -> None:
        """Wake those that send."""
        with self._mail:
            self._mails += 1
            self._mail.notify_all()

    def reconcile_soon(self) -> None:
        """Ask Alertmanager at once."""
        self._done_at.pop("reconcile", None)
        self._soon.set()

    def without_watchdog(self, notices: Iterable[Notice]) -> list[Notice]:
        """Return the notices but for those of the watchdog, whose time is noted."""
        found = list(notices)
        if any(one.name == WATCHDOG and one.ends_at is None for one in found):
            self._watchdog_at = self._clock()
        return [one for one in found if one.name != WATCHDOG]

    def keep(self) -> None:
        """Do what is due now; raise LedgerUnavailable."""
        now, desk = self._clock(), self._desk
        if self._threads:
            note_intake(desk.ledger, now)
        adopted = self._adopt(now)
        if self._is_due("reconcile", now, _RECONCILE):
            self._is_source_up = all([self._reconcile(one, adopted) for one in self._watched()])
        if adopted:
            self._say_adopted(adopted, now)
        timing, is_up = desk.routes.timing, self._is_source_up
        tick(desk.ledger, timing, now, desk.plan, is_source_up=is_up)
        if self._is_due("minutely", now, _MINUTE):
            self._post_held()
            # a run may find that the intake is dead
            if self._threads:
                self._beat(now)
        unknown = set(outbox.next_due(desk.ledger)) - set(desk.sender.channels)
        for name in unknown:
            desk.sender.drain(name)
        self.changed()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._soon.clear()
            self._try("the ledger", self.keep)
            self._soon.wait(TICK_SECONDS)

    def _ask(self) -> None:
        """Take acknowledgements beside all else, since a channel may hang."""
        while not self._stopping.wait(_MINUTE.total_seconds()):
            self._try("acknowledgements", self.acknowledge)

    def _send(self, channel: str) -> None:
        seen = -1
        while not self._stopping.is_set():
            with self._mail:
                self._mail.wait_for(partial(self._has_mail, seen), _IDLE_SECONDS)
                seen = self._mails
            self._try(f"messages to {channel}", partial(self._desk.sender.drain, channel))

    def _has_mail(self, seen: int) -> bool:
        return self._mails != seen

    def _try(self, what: str, do: Callable[[], object]) -> bool:
        """Do it, and report a failure when it begins, and its end."""
        try:
            do()
        except FedvitalsError as error:
            self._fail(what, str(error))
            return False
        # a defect in one part must not end the others; of a run it makes the run partial
        except Exception as error:
            logger.exception("%s: unexpected error", what)
            self._fail(what, defect(error))
            return False
        if self._said.pop(what, None) is not None:
            self._notify(f"{what}: well again")
        return True

    def _fail(self, what: str, text: str) -> None:
        if self._said.get(what) != text:
            self._said[what] = text
            self._notify(f"{what}: {text}")

    def _is_due(self, what: str, now: datetime, every: timedelta) -> bool:
        last = self._done_at.get(what)
        if last is not None and now - last < every:
            return False
        self._done_at[what] = now
        return True

    def _watched(self) -> Iterator[Environment]:
        for one in self._desk.settings.environments.values():
            if "alertmanager" in one.services:
                yield one

    def _adopt(self, now: datetime) -> list[str]:
        """Take over what channels show as open, once a ledger; return the incidents' ids."""
        ledger, shown = self._desk.ledger, dict[str, list[ShownIncident]]()
        if not ledger.patiently(lambda c: is_first_look(ledger, c, "")):
            return []
        for name, channel in self._desk.sender.channels.items():

            def ask(name: str = name, channel: AlertChannel = channel) -> None:
                shown[name] = list(channel.shown())

            self._try(f"open incidents of {name}", ask)
        return [one.incident_id for one in adopt(ledger, shown, now)]

    def _say_adopted(self, ids: Sequence[str], now: datetime) -> None:
        """Send one message about what was taken over, where digests go."""
        desk = self._desk
        incidents = [*desk.ledger.patiently(lambda c: of_ids(c, ids)).values()]
        message = summary_of(incidents, desk.settings.default_environment, now)
        names = expanded(desk.routes.digest, desk.sender.channels)
        for one in sent_to(desk.sender.channels, names, message):
            if not one.ok:
                self._notify(f"what was taken over is not said in {one.channel}: {one.detail}")

    def _reconcile(self, environment: Environment, adopted: list[str]) -> bool:
        """Make incidents what Alertmanager holds; return whether their source is up."""
        desk = self._desk
        seen: list[bool] = []

        def do() -> None:
            snapshot = self._snapshot(environment)
            seen.append(snapshot.is_source_up)
            events = reconcile(desk.ledger, snapshot, desk.routes.timing, desk.plan)
            adopted.extend(one.incident_id for one in events if one.change == "adopted")

        return self._try(f"Alertmanager of {environment.name}", do) and all(seen)

    def _snapshot(self, environment: Environment) -> Snapshot:
        with closing(Alertmanager(environment.services["alertmanager"])) as client:
            started, alerts = client.started_at(), client.alerts()
        firing, is_up = self._firing(environment)
        now = self._clock()
        read = (self._active(one, environment.name, now) for one in alerts)
        active = tuple(one for one in read if one is not None)
        watchdog = [one.notice for one in active]
        named = {id(one) for one in self.without_watchdog(watchdog)}
        kept = tuple(one for one in active if id(one.notice) in named)
        others = frozenset(one.name for one in self._watched() if one is not environment)
        return Snapshot(environment.name, now, started, is_up, kept, firing, others)

    def _firing(self, environment: Environment) -> tuple[tuple[dict[str, str], ...], bool]:
        """Return what fires in the environment's Prometheus, and whether it answers."""
        service = environment.services.get("prometheus")
        if service is None:
            return (), True
        found: list[dict[str, str]] = []

        def do() -> None:
            with closing(RulesClient(service)) as client:
                found.extend(client.firing())

        is_up, desk = self._try(f"Prometheus of {environment.name}", do), self._desk
        return tuple(hidden_labels(one, desk.tags, desk.name_client) for one in found), is_up

    def _active(self, held: HeldAlert, environment: str, now: datetime) -> ActiveAlert | None:
        try:
            alert = SentAlert.model_validate({**(held.model_extra or {}), "endsAt": _NEVER})
        except ValidationError:
            return None
        read = of_alert(alert, environment, self._identify, now)
        if read is None or not read.fingerprint:
            return None
        (notice,) = hidden([read], self._desk.tags, self._desk.name_client)
        status = held.status
        if status.silenced_by:
            return ActiveAlert(notice, "silenced")
        return ActiveAlert(notice, "inhibited" if status.inhibited_by else "")

    def _post_held(self) -> None:
        """Post what runs found again, so that it does not end in Alertmanager before its next run."""
        for flow, notice in all_held(self._desk.ledger):
            environment = self._desk.settings.environments.get(notice.environment)
            if environment is not None and "alertmanager" in environment.services:
                self._desk.forward(environment, [notice], EVERY.get(flow, HOURLY))

    def acknowledge(self) -> None:
        """Take acknowledgements made in channels, which may hang; raise LedgerUnavailable."""
        ledger = self._desk.ledger
        waiting = {one.id for one in open_incidents(ledger) if one.acknowledged is None}
        for name, channel in self._desk.sender.channels.items():
            references = outbox.open_references(ledger, name)
            mine = {key: text for key, text in references.items() if key in waiting}
            if mine:
                ask = partial(self._acknowledge_from, channel, mine)
                self._try(f"acknowledgements in {name}", ask)

    def _acknowledge_from(self, channel: AlertChannel, shown: Mapping[str, str]) -> None:
        """Take acknowledgements made in a channel, but for those that are over already."""
        lasts, now = self._desk.routes.timing.acknowledged_for, self._clock()
        for key, given in channel.acknowledged(shown).items():
            until = given.at + lasts
            if until > now:
                acknowledge(self._desk.ledger, key, replace(given, until=until), self._desk.plan)

    def _beat(self, now: datetime) -> None:
        """Say that pages would arrive, unless one waits or no watchdog came."""
        url = self._desk.settings.alerts.heartbeat_url
        if url is None or self._watchdog_at is None or now - self._watchdog_at > _WATCHDOG_LASTS:
            return
        oldest = outbox.oldest_critical(self._desk.ledger, now)
        if oldest is not None and now - oldest > _PAGE_WAITS:
            return

        def do() -> None:
            with closing(Heartbeat(url, HEARTBEAT)) as heartbeat:
                heartbeat.send(Message(run_id="", time=now, text=""))

        self._try("the heartbeat", do)


_NEVER = datetime(1, 1, 1, tzinfo=UTC)
