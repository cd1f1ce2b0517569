"""Incidents against a small model: whatever arrives, gets lost or is repeated, in whatever order."""

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tasks.alerts.incidents import acknowledge, reconcile, silence, take, tick
from tasks.core.incidents import (
    Acknowledgement,
    ActiveAlert,
    Incident,
    IncidentEvent,
    Muted,
    Notice,
    Silence,
    Snapshot,
    Timing,
)
from tasks.core.window import Window
from tasks.ledger.incidents import events_of, incidents_in, open_incidents
from tasks.ledger.ledger import Ledger
from tests.support.incident_samples import NOW, firing

NAMES = st.sampled_from(["a", "b"])
MINUTE = timedelta(minutes=1)
TIMING = Timing()
BEGIN = NOW - timedelta(days=1)


class Alerts(RuleBasedStateMachine):
    """The model is what Alertmanager holds: an alert by name, since when, and what mutes it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.url = f"sqlite:///{Path(self.folder.name) / 'ledger.db'}"
        self.ledger = Ledger(self.url)
        self.now = NOW
        self.holds: dict[str, tuple[datetime, Muted]] = {}
        self.sent: list[Notice] = []
        self.is_known = True

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    @initialize()
    def first_look(self) -> None:
        self.look()

    def notice(self, name: str, since: datetime, ended: datetime | None = None) -> Notice:
        minutes = (since - NOW).total_seconds() / 60
        received = (self.now - NOW).total_seconds() / 60
        return firing(minutes, received=received, name=name, fingerprint=name * 16, ends_at=ended)

    def deliver(self, notice: Notice, is_lost: bool) -> None:
        self.sent.append(notice)
        if is_lost:
            self.is_known = False
        else:
            take(self.ledger, [notice], TIMING)

    @rule(name=NAMES, is_lost=st.booleans())
    def fire(self, name: str, is_lost: bool) -> None:
        if name not in self.holds:
            # no alert begins again in the instant of its end
            self.now += timedelta(seconds=1)
            self.holds[name] = (self.now, "")
            self.deliver(self.notice(name, self.now), is_lost)

    @rule(name=NAMES, is_lost=st.booleans(), later=st.integers(0, 5))
    def end(self, name: str, is_lost: bool, later: int) -> None:
        if name in self.holds:
            since, _ = self.holds.pop(name)
            # it may be reported with another start than the beginning had
            start = min(since + timedelta(seconds=later), self.now)
            self.deliver(self.notice(name, start, self.now), is_lost)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """An old notice arrives again; one of an epoch that is over changes nothing."""
        notice = data.draw(st.sampled_from(self.sent))
        before = self.open()
        take(self.ledger, [notice], TIMING)
        if self.is_known:
            assert self.open().keys() == before.keys()

    @rule(name=NAMES, muted=st.sampled_from(["", "silenced", "inhibited"]))
    def mute(self, name: str, muted: Muted) -> None:
        if name in self.holds:
            self.holds[name] = (self.holds[name][0], muted)

    @rule(name=NAMES)
    def acknowledge(self, name: str) -> None:
        if one := self.open().get(name):
            given = Acknowledgement("ann", self.now, self.now + timedelta(hours=1))
            acknowledge(self.ledger, one.id, given)
            assert self.open()[name].fires == one.fires

    @rule(name=NAMES, hours=st.sampled_from([0, 1, 30]))
    def silence(self, name: str, hours: int) -> None:
        """A silence of ours, or with none its end, neither closes nor opens."""
        if one := self.open().get(name):
            until = self.now + timedelta(hours=hours)
            given = Silence("ann", self.now, until) if hours else None
            silence(self.ledger, one.id, given, self.now, "ann")
            after = self.open()[name]
            assert (after.fires, after.silence) == (one.fires, given)

    @rule(minutes=st.integers(1, 20), up=st.booleans())
    def wait(self, minutes: int, up: bool) -> None:
        before = self.open()
        for _ in range(minutes):
            self.now += MINUTE
            tick(self.ledger, TIMING, self.now, is_source_up=up)
        if not up:
            assert self.open().keys() == before.keys()

    @rule(hours=st.sampled_from([-2, -1, 1, 3]))
    def clock_jumps(self, hours: int) -> None:
        """A clock that is wrong for one tick closes nothing by itself."""
        before = {name for name, one in self.open().items() if one.quiet_since is None}
        tick(self.ledger, TIMING, self.now + timedelta(hours=hours), is_source_up=True)
        assert before <= self.open().keys()

    @rule()
    def restart(self) -> None:
        before = self.open()
        self.ledger.close()
        self.ledger = Ledger(self.url)
        assert self.open() == before

    @rule()
    def reconciled(self) -> None:
        self.look()
        assert {name for name, one in self.open().items() if one.fires} == set(self.holds)
        for name, (_, muted) in self.holds.items():
            assert self.open()[name].muted == muted
        self.is_known = True

    def look(self) -> None:
        alerts = tuple(
            ActiveAlert(self.notice(name, since), muted)
            for name, (since, muted) in self.holds.items()
        )
        snapshot = Snapshot("production", self.now, BEGIN, True, alerts)
        reconcile(self.ledger, snapshot, TIMING)

    def open(self) -> dict[str, Incident]:
        return {one.newest.name: one for one in open_incidents(self.ledger)}

    @invariant()
    def one_open_incident_an_alert(self) -> None:
        every = open_incidents(self.ledger)
        assert len({one.key for one in every}) == len(every)

    @invariant()
    def each_opening_has_one_end_or_is_open(self) -> None:
        window = Window(BEGIN, self.now + timedelta(days=1))
        for one in incidents_in(self.ledger, window):
            balance = 0
            for event in events_of(self.ledger, one.id):
                balance += _weight(event)
                assert balance in (0, 1)
            assert balance == one.is_open


def _weight(event: IncidentEvent) -> int:
    return {"opened": 1, "adopted": 1, "reopened": 1, "resolved": -1}.get(event.change, 0)


class TestAlerts(Alerts.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
