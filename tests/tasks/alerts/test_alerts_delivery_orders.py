"""Random changes and answers of channels: what people see keeps its order, and comes to its end."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks.alerts.incidents import acknowledge
from tasks.core.errors import ChannelRefused, ChannelUnavailable
from tasks.core.incidents import Acknowledgement, AlertMessage, Timing
from tasks.core.routes import Routes
from tasks.core.window import Window
from tasks.ledger.incidents import events_in, events_of, incident
from tasks.ledger.ledger import Ledger
from tasks.ledger.outbox import next_due
from tests.support.fakes.alert_channel import FakeChannel
from tests.support.incident_samples import NOW, ended, firing
from tests.tasks.alerts.conftest import ROUTES, Desk

NAMES = ("pagerduty", "slack", "email")
ALERTS = ("a", "b")
ANSWERS = ("ok", "429", "503", "403", "lost")
TIMING = Timing(
    evaluations=1, resolve_hold=timedelta(minutes=1), reopen_window=timedelta(minutes=3)
)
FACTS = {"channel": "any", "url": "http://any", "problem": "no"}
REFUSED = ChannelRefused(**FACTS, status=403, fix="none")


def unavailable(*, is_answered: bool, retry_after: float | None = None) -> ChannelUnavailable:
    return ChannelUnavailable(**FACTS, retry_after=retry_after, is_answered=is_answered)


@dataclass
class Effect:
    """A message as people see it, and what its incident was when it came."""

    message: AlertMessage
    was_open: bool
    was_acknowledged: bool


@dataclass
class Scripted(FakeChannel):
    """Answers by a list, then takes all; keeps a ledger of effects, and of what it answered."""

    script: list[str] = field(default_factory=list)
    look: Callable[[AlertMessage], tuple[bool, bool]] = lambda _: (True, False)
    effects: list[Effect] = field(default_factory=list)
    given_answers: list[tuple[str, str]] = field(default_factory=list)

    def send(self, message: AlertMessage, reference: str) -> str:
        # the incident about a channel has its own tests
        kind = self.script.pop(0) if self.script and message.kind == "alert" else "ok"
        self.given_answers.append((message.incident_id, kind))
        if kind == "403" and message.action == "open":
            raise REFUSED
        # an end that is refused for good stays as it was: no other channel shows the incident there
        if kind in ("429", "503", "403"):
            raise unavailable(is_answered=True, retry_after=30 if kind == "429" else None)
        self.effects.append(Effect(message, *self.look(message)))
        if kind == "lost":
            raise unavailable(is_answered=False)
        return reference or f"{self.name}-{message.incident_id}"


@contextmanager
def a_desk(scripts: dict[str, list[str]]) -> Iterator[tuple[Desk, dict[str, Scripted]]]:
    with closing(Ledger("sqlite:///:memory:")) as ledger:
        routes = Routes(TIMING, ROUTES, (), "production")

        def look(message: AlertMessage) -> tuple[bool, bool]:
            (found,) = incident(ledger, message.incident_id)
            return found.is_open, found.acknowledged is not None

        channels = {
            name: Scripted(name, script=list(scripts.get(name, [])), look=look) for name in NAMES
        }
        yield Desk(ledger, dict(channels), routes), channels


def do(desk: Desk, what: str, alert: str, minutes: int) -> None:
    facts: dict[str, Any] = {"fingerprint": alert * 16, "name": alert}
    at = (desk.now - NOW) / timedelta(minutes=1)
    if what == "fire":
        desk.take(firing(at, **facts))
    elif what == "end":
        desk.take(ended(at, at, **facts))
    elif what == "acknowledge":
        for one in desk.open():
            if one.newest.name == alert:
                given = Acknowledgement("ann", desk.now, desk.now + timedelta(minutes=20))
                acknowledge(desk.ledger, one.id, given, desk.plan)
                desk.deliver()
    # most of the time at once: each tick costs
    desk.now += timedelta(minutes=max(0, minutes - 4))
    desk.wait(min(minutes, 4))


def finish(desk: Desk, channels: dict[str, Scripted]) -> None:
    """End all alerts with channels that take all, until nothing waits."""
    for channel in channels.values():
        channel.script.clear()
    for alert in ALERTS:
        do(desk, "end", alert, 0)
    desk.wait(6)
    # that a channel takes messages again shows with its next one
    assert [one for one in desk.open() if one.newest.kind == "alert"] == []
    # steps of the escalation that were ahead
    desk.now += timedelta(minutes=20)
    desk.deliver()
    assert next_due(desk.ledger) == {}


def check_order(name: str, effects: list[Effect]) -> None:
    """I3, I4: open, then anything, then resolve; a second time only marked, or as an epoch."""
    is_open, before = False, None
    for effect in effects:
        message = effect.message
        if message.action == "open":
            is_second = is_open and name != "pagerduty"
            assert not is_second or message.is_repeat, f"{name}: a double that is not marked"
        else:
            same = before is not None and before.action == message.action
            assert is_open or (same and message.action == "resolve"), f"{name}: {message.action}"
        is_open, before = message.action != "resolve", message
    assert not is_open, f"{name}: opened, never resolved"


def check(desk: Desk, channels: dict[str, Scripted]) -> None:
    for name, channel in channels.items():
        alerts = (e.message for e in channel.effects if e.message.kind == "alert")
        ids = {message.incident_id for message in alerts}
        for one in ids:
            effects = [e for e in channel.effects if e.message.incident_id == one]
            check_order(name, effects)
            # I3: no more than what changed, but for repeats
            shown = Counter(e.message.action for e in effects if not e.message.is_repeat)
            lost = [kind for about, kind in channel.given_answers if (about, kind) == (one, "lost")]
            changes = [e.change for e in events_of(desk.ledger, one)]
            assert sum(shown.values()) <= len(changes) + len(lost)
            # I6
            for effect in effects:
                if effect.message.history.endswith("of the escalation"):
                    is_due = effect.was_open and not effect.was_acknowledged
                    assert is_due or effect.message.is_repeat, "escalated after its end"


STEP = st.tuples(
    st.sampled_from(["fire", "fire", "end", "acknowledge", "wait"]),
    st.sampled_from(ALERTS),
    st.sampled_from([0, 1, 4, 15]),
)
SCRIPTS = st.fixed_dictionaries(
    {name: st.lists(st.sampled_from(ANSWERS), max_size=6) for name in NAMES}
)
FIRE, ACKNOWLEDGE = ("fire", "a", 15), ("acknowledge", "a", 0)


@pytest.mark.promise(
    "Alerts: on each channel an incident opens before it resolves, and what is shown as open is "
    "resolved, whatever the channel answers"
)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=1, max_size=8), SCRIPTS)
@example([FIRE, ACKNOWLEDGE, ("end", "a", 4)], {"email": ["lost"]})
@example([("fire", "a", 1), ("end", "a", 4)], {"slack": ["lost", "429"]})
@example([("fire", "a", 1), ("end", "a", 4)], {"slack": ["lost", "403"]})
@example([("fire", "a", 15)], {"slack": ["403"], "email": ["429", "429", "429", "lost"]})
@example([("fire", "a", 0), ("end", "a", 4)], {"pagerduty": ["503", "lost"], "slack": ["403"]})
def test_what_people_see_keeps_its_order(
    steps: list[tuple[str, str, int]], scripts: dict[str, list[str]]
) -> None:
    with a_desk(scripts) as (desk, channels):
        for step in steps:
            do(desk, *step)
        finish(desk, channels)
        check(desk, channels)


@settings(max_examples=10, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=8))
def test_channels_that_take_all_show_each_incident_once(steps: list[tuple[str, str, int]]) -> None:
    with a_desk({}) as (desk, channels):
        for step in steps:
            do(desk, *step)
        finish(desk, channels)
        check(desk, channels)
        seen = [
            Counter((e.message.incident_id, e.message.action) for e in channels[name].effects)
            for name in ("pagerduty", "slack")
        ]
        assert seen[0] == seen[1]
        assert not any(e.message.is_repeat for c in channels.values() for e in c.effects)
        opens = sum(n for (_, action), n in seen[0].items() if action == "open")
        assert opens == sum(n for (_, action), n in seen[0].items() if action == "resolve")
        changes = events_in(desk.ledger, Window(NOW, NOW + timedelta(days=1)))
        assert opens == sum(one.change in ("opened", "reopened") for one in changes)


@pytest.mark.parametrize(
    ("actions", "problem"),
    [
        (["resolve"], "resolve"),
        (["open"], "never resolved"),
        (["open", "open", "resolve"], "not marked"),
    ],
)
def test_the_check_sees_what_is_wrong(actions: list[str], problem: str) -> None:
    with a_desk({}) as (desk, channels):
        do(desk, "fire", "a", 0)
        (sent,) = (e.message for e in channels["slack"].effects)
    wrong = [Effect(_with(sent, action), True, False) for action in actions]
    with pytest.raises(AssertionError, match=problem):
        check_order("slack", wrong)


def _with(message: AlertMessage, action: str) -> AlertMessage:
    return replace(message, action=action)  # type: ignore[arg-type]
