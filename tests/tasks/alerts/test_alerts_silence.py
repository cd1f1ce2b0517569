"""A silence stops what opens and escalates, and never an end."""

from datetime import timedelta

import pytest

from tasks.alerts.incidents import reconcile, silence
from tasks.core.incidents import ActiveAlert, Muted, Silence, Snapshot
from tests.support.incident_samples import NOW, ended, firing
from tests.tasks.alerts.conftest import Desk

OPEN, RESOLVE = ("TrainingStalled", "open"), ("TrainingStalled", "resolve")


def silenced(desk: Desk, hours: float = 1) -> None:
    (one,) = desk.open()
    given = Silence("ann", desk.now, desk.now + timedelta(hours=hours))
    silence(desk.ledger, one.id, given, desk.now, "ann", desk.plan)


@pytest.mark.promise(
    "Alerts: a silence stops what opens and escalates; what was opened is resolved all the same"
)
def test_what_is_silenced_does_not_escalate_and_is_resolved(desk: Desk) -> None:
    desk.take(firing(0))
    silenced(desk)
    desk.wait(20)
    assert (desk.shown("pagerduty"), desk.shown("email")) == ([OPEN], [])
    desk.take(ended(0, 21))
    desk.wait(6)
    assert (desk.shown("pagerduty"), desk.open()) == ([OPEN, RESOLVE], [])


def test_one_that_is_not_silenced_escalates(desk: Desk) -> None:
    desk.take(firing(0))
    desk.wait(20)
    assert desk.shown("email") == [OPEN]


def test_the_end_of_a_silence_opens_what_began_in_it_and_escalates_from_then_on(
    desk: Desk,
) -> None:
    desk.take(firing(0))
    silenced(desk)
    desk.take(ended(0, 1))
    desk.wait(6)
    desk.take(firing(47))
    assert desk.shown("slack") == [OPEN, RESOLVE]
    desk.wait(10)
    assert (desk.shown("slack"), desk.shown("email")) == ([OPEN, RESOLVE], [])
    desk.wait(5)
    assert (desk.shown("slack"), desk.shown("email")) == ([OPEN, RESOLVE, OPEN], [])
    desk.wait(9)
    assert desk.shown("email") == []
    desk.wait(5)
    assert desk.shown("email") == [OPEN]


def test_what_is_quiet_at_the_end_of_a_silence_is_opened_only_if_it_fires_again(
    desk: Desk,
) -> None:
    desk.take(firing(0))
    silenced(desk, 0.25)
    desk.take(ended(0, 1))
    desk.wait(6)
    # it returns, and must be quiet for half an hour
    desk.take(firing(10))
    desk.take(ended(10, 11))
    desk.wait(10)
    assert (len(desk.open()), desk.shown("slack")) == (1, [OPEN, RESOLVE])
    desk.take(firing(22))
    desk.wait(2)
    assert desk.shown("slack") == [OPEN, RESOLVE, OPEN]


def test_a_silence_that_nothing_needs_sends_nothing(desk: Desk) -> None:
    desk.take(firing(0))
    silenced(desk)
    (one,) = desk.open()
    silence(desk.ledger, one.id, None, NOW, "ann", desk.plan)
    desk.deliver()
    assert desk.shown("slack") == [OPEN]


def look(desk: Desk, *held: ActiveAlert) -> None:
    """Take what Alertmanager holds."""
    began = NOW - timedelta(days=1)
    snapshot = Snapshot("production", desk.now, began, True, held)
    reconcile(desk.ledger, snapshot, desk.routes.timing, desk.plan)
    desk.deliver()


@pytest.mark.parametrize("muted", ["silenced", "inhibited"])
def test_what_alertmanager_mutes_does_not_open_or_escalate_and_is_resolved(
    desk: Desk, muted: Muted
) -> None:
    look(desk)
    new = firing(1, fingerprint="b" * 16, name="New")
    desk.take(firing(0))
    look(desk, ActiveAlert(firing(0), muted), ActiveAlert(new, muted))
    desk.wait(20)
    assert (desk.shown("pagerduty"), desk.shown("slack"), desk.shown("email")) == (
        [OPEN],
        [OPEN],
        [],
    )
    # Alertmanager says nothing of the end of what it mutes
    look(desk)
    desk.wait(6)
    assert (desk.shown("pagerduty"), desk.shown("slack")) == ([OPEN, RESOLVE], [OPEN, RESOLVE])
    assert desk.open() == []


def test_what_alertmanager_mutes_no_more_is_opened(desk: Desk) -> None:
    look(desk)
    look(desk, ActiveAlert(firing(0), "silenced"))
    assert desk.shown("slack") == []
    look(desk, ActiveAlert(firing(0)))
    assert desk.shown("slack") == [OPEN]
