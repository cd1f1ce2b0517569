from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tasks.alerts.delivery import Sender
from tasks.alerts.incidents import take, tick
from tasks.alerts.planning import planner
from tasks.core.incidents import Incident, IncidentEvent, Notice, Timing
from tasks.core.routes import Escalation, Route, Routes
from tasks.core.severity import Severity
from tasks.ledger.incidents import open_incidents
from tasks.ledger.ledger import Ledger
from tests.support.fakes.alert_channel import FakeChannel
from tests.support.incident_samples import NOW

ROUTES = {
    "page": Route(
        severities=(Severity.CRITICAL,),
        environments="default",
        channels=("pagerduty", "slack"),
        fallback=("email",),
        escalation=(Escalation(after=timedelta(minutes=15), channels=("email",)),),
    ),
    "rest": Route(channels=("slack",), fallback=("email",)),
}


@dataclass
class Desk:
    """A ledger with channels, and a clock that is set by hand."""

    ledger: Ledger
    channels: dict[str, FakeChannel]
    routes: Routes = field(
        default_factory=lambda: Routes(Timing(), ROUTES, ("slack",), "production")
    )
    now: datetime = NOW

    @property
    def plan(self):  # type: ignore[no-untyped-def]
        return planner(self.routes, self.channels)

    @property
    def sender(self) -> Sender:
        repeating = frozenset({"slack", "email"})
        channels = dict(self.channels)
        return Sender(
            self.ledger, self.routes, channels, self.plan, repeating, clock=lambda: self.now
        )

    def take(self, *notices: Notice) -> list[IncidentEvent]:
        """Take notices, and deliver what follows."""
        self.now = max(self.now, *(one.received_at for one in notices))
        events = take(self.ledger, notices, self.routes.timing, self.plan)
        self.deliver()
        return events

    def deliver(self) -> None:
        sender = self.sender
        for name in [*self.channels]:
            sender.drain(name)

    def wait(self, minutes: float, *, up: bool = True) -> list[IncidentEvent]:
        """Let time pass, in ticks of a minute at most."""
        events: list[IncidentEvent] = []
        left = timedelta(minutes=minutes)
        while left > timedelta():
            step = min(left, timedelta(minutes=1))
            left -= step
            self.now += step
            events += tick(self.ledger, self.routes.timing, self.now, self.plan, is_source_up=up)
            self.deliver()
        return events

    def shown(self, channel: str) -> list[tuple[str, str]]:
        return self.channels[channel].actions

    def open(self) -> list[Incident]:
        return open_incidents(self.ledger)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    names = ("pagerduty", "slack", "email")
    yield Desk(ledger, {name: FakeChannel(name) for name in names})
    ledger.close()
