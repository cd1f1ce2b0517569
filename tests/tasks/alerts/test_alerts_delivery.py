"""From a notice to what people see: routes, escalation, refusals, repeats, storms."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection

from tasks.alerts.incidents import acknowledge
from tasks.core.errors import ChannelRefused, ChannelUnavailable
from tasks.core.incidents import Acknowledgement, AlertMessage
from tasks.core.window import Window
from tasks.ledger import outbox
from tasks.ledger.incidents import events_of, forget_incidents, incidents_in
from tasks.ledger.ledger import Ledger
from tasks.ledger.outbox import (
    LEASE,
    Row,
    messages_of,
    next_due,
    oldest_critical,
    refused_openings,
)
from tests.support.incident_samples import NOW, ended, firing
from tests.tasks.alerts.conftest import Desk

DAYS = Window(NOW - timedelta(days=1), NOW + timedelta(days=1))
STALLED = "TrainingStalled"
AWAY = ChannelUnavailable(channel="slack", url="http://s", problem="no answer", retry_after=None)
CLOSED = ChannelUnavailable(
    channel="slack", url="http://s", problem="refused", retry_after=None, is_answered=True
)
BUSY = ChannelUnavailable(
    channel="slack", url="http://s", problem="HTTP 429", retry_after=30, is_answered=True
)
REFUSED = ChannelRefused(
    channel="slack", url="http://s", status=403, problem="no_service", fix="Make a new one"
)


def once(error: Exception):  # type: ignore[no-untyped-def]
    """An answer that fails once."""
    left = [error]
    return lambda message: left.pop() if left else None


def about_alerts(message: AlertMessage) -> bool:
    return message.kind != "channel"


def test_an_incident_is_opened_and_resolved_in_each_channel_of_its_route(desk: Desk) -> None:
    desk.take(firing(0))
    desk.take(ended(0, 2))
    assert desk.shown("pagerduty") == desk.shown("slack") == [(STALLED, "open")]
    desk.wait(6)
    both = [(STALLED, "open"), (STALLED, "resolve")]
    assert desk.shown("pagerduty") == desk.shown("slack") == both
    assert desk.shown("email") == []
    assert desk.open() == []
    assert desk.channels["slack"].seen[1].title.startswith("[RESOLVED] production: ")


def test_another_environment_pages_nobody(desk: Desk) -> None:
    desk.take(firing(0, environment="staging"))
    assert (desk.shown("pagerduty"), desk.shown("slack")) == ([], [(STALLED, "open")])


@pytest.mark.promise("Alerts: what is not acknowledged escalates, what is acknowledged does not")
def test_what_nobody_acknowledges_escalates(desk: Desk) -> None:
    desk.take(firing(0))
    desk.wait(14)
    assert desk.shown("email") == []
    facts = dict(desk.channels["slack"].seen[0].facts)
    assert facts["If not acknowledged"] == "09:15 email"
    desk.wait(1)
    assert desk.shown("email") == [(STALLED, "open")]
    (incident,) = desk.open()
    assert [one.change for one in events_of(desk.ledger, incident.id)] == ["opened", "escalated"]
    desk.take(ended(0, 20))
    desk.wait(6)
    assert desk.shown("email") == [(STALLED, "open"), (STALLED, "resolve")]


def test_what_is_acknowledged_at_the_last_moment_does_not_escalate(desk: Desk) -> None:
    desk.take(firing(0))
    desk.wait(14)
    (incident,) = desk.open()
    given = Acknowledgement("ann", desk.now, desk.now + timedelta(hours=1), "on it")
    acknowledge(desk.ledger, incident.id, given, desk.plan)
    desk.wait(3)
    assert desk.shown("email") == []
    assert desk.shown("pagerduty") == [(STALLED, "open"), (STALLED, "acknowledge")]
    assert "acknowledged by ann" in desk.channels["slack"].seen[-1].history
    # it expires with a reminder
    desk.wait(61)
    assert desk.shown("slack")[-1] == (STALLED, "update")


def test_what_ended_does_not_escalate(desk: Desk) -> None:
    desk.take(firing(0))
    desk.take(ended(0, 13))
    desk.wait(30)
    assert desk.shown("email") == []


def test_an_opening_that_was_not_sent_before_the_end_is_not_sent(desk: Desk) -> None:
    desk.channels["slack"].answer = lambda message: BUSY if about_alerts(message) else None
    desk.take(firing(0), ended(0, 0.5))
    desk.wait(7)
    desk.channels["slack"].answer = lambda message: None
    desk.wait(2)
    assert desk.shown("slack") == []
    (page, _) = desk.shown("pagerduty")
    assert page == (STALLED, "open")
    desk.wait(10)
    assert next_due(desk.ledger) == {}


def test_a_channel_that_asks_to_wait_is_obeyed(desk: Desk) -> None:
    desk.channels["slack"].answer = once(BUSY)
    desk.take(firing(0))
    assert desk.shown("slack") == []
    desk.now += timedelta(seconds=29)
    desk.deliver()
    assert desk.shown("slack") == []
    desk.now += timedelta(seconds=1)
    desk.deliver()
    assert desk.shown("slack") == [(STALLED, "open")]
    # what was refused for now has not arrived
    assert not desk.channels["slack"].seen[0].is_repeat


@pytest.mark.parametrize(("answer", "tries"), [(BUSY, 1), (AWAY, 2), (REFUSED, 5)])
def test_a_channel_is_asked_no_more_than_it_wants(
    answer: Exception, tries: int, desk: Desk
) -> None:
    asked: list[str] = []

    def fails(message: AlertMessage) -> Exception | None:
        asked.extend([message.name] if about_alerts(message) else [])
        return answer if about_alerts(message) else None

    desk.channels["slack"].answer = fails
    desk.take(*(firing(0, "high", fingerprint=f"{n:016x}", name=f"a{n}") for n in range(5)))
    desk.now += timedelta(seconds=4)
    desk.deliver()
    # another one is tried next; the others may not be what it cannot take
    assert len(asked) == len(set(asked)) == tries
    desk.channels["slack"].answer = lambda message: None
    desk.now += timedelta(seconds=26)
    desk.deliver()
    assert len(desk.shown("slack")) == (0 if answer is REFUSED else 5)


def test_the_wait_begins_when_a_channel_that_hung_has_failed(desk: Desk) -> None:
    def hangs(message: AlertMessage) -> Exception | None:
        desk.now += timedelta(minutes=1)
        return AWAY

    desk.channels["slack"].answer = hangs
    desk.take(firing(0, "high"))
    assert next_due(desk.ledger)["slack"] > desk.now


@pytest.mark.promise("Alerts: a message that may have arrived is sent again, marked as a repeat")
def test_an_answer_that_is_lost_gives_a_repeat_that_says_so(desk: Desk) -> None:
    desk.channels["slack"].loses = once(AWAY)
    desk.channels["pagerduty"].loses = once(AWAY)
    desk.take(firing(0))
    desk.wait(1)
    assert [one.is_repeat for one in desk.channels["slack"].seen] == [False, True]
    # a service with a key of ours shows it once
    assert [one.is_repeat for one in desk.channels["pagerduty"].seen] == [False, False]


@pytest.mark.promise("Alerts: what a channel refuses for good goes to the next one of its route")
def test_what_is_refused_goes_to_the_next_channel(desk: Desk) -> None:
    desk.channels["slack"].answer = lambda message: REFUSED
    desk.take(firing(0, "high"))
    assert desk.shown("slack") == []
    names = [name for name, _ in desk.shown("email")]
    assert sorted(names) == sorted([STALLED, "slack takes no messages"])
    assert refused_openings(desk.ledger, [one.id for one in desk.open()]) == {}
    desk.channels["slack"].answer = lambda message: None
    desk.take(firing(1, "high", fingerprint="e" * 16, name="Other"))
    desk.wait(7)
    assert ("slack takes no messages", "resolve") in desk.shown("email")


def test_a_defect_of_a_channel_ends_no_worker(desk: Desk) -> None:
    desk.channels["slack"].loses = lambda message: KeyError("blocks")
    desk.take(firing(0, "high"))
    assert (STALLED, "open") in desk.shown("email")
    (about,) = [one for one in desk.open() if one.newest.kind == "channel"]
    assert "unexpected KeyError" in about.newest.sentence
    desk.channels["slack"].loses = lambda message: None
    desk.take(ended(0, 1, "high"))
    desk.wait(7)
    # it had arrived after all
    assert desk.shown("slack") == [(STALLED, "open"), (STALLED, "resolve")]


def test_what_all_refuse_is_undelivered(desk: Desk) -> None:
    for channel in desk.channels.values():
        channel.answer = lambda message: REFUSED
    desk.take(firing(0, "high"))
    incidents = {one.newest.name: one.id for one in desk.open()}
    assert incidents.keys() == {STALLED, "slack takes no messages", "email takes no messages"}
    undelivered = refused_openings(desk.ledger, list(incidents.values()))
    assert undelivered[incidents[STALLED]] == "no_service"
    desk.deliver()
    assert next_due(desk.ledger) == {}


def test_a_channel_that_does_not_answer_for_minutes_is_an_incident(desk: Desk) -> None:
    desk.channels["slack"].answer = lambda message: CLOSED
    desk.take(firing(0))
    desk.wait(2)
    assert desk.shown("email") == []
    desk.wait(8)
    assert ("slack takes no messages", "open") in desk.shown("email")
    assert oldest_critical(desk.ledger, desk.now) is not None
    desk.channels["slack"].answer = lambda message: None
    desk.wait(15)
    assert desk.shown("slack") == [(STALLED, "open")]
    assert ("slack takes no messages", "resolve") in desk.shown("email")
    assert oldest_critical(desk.ledger, desk.now) is None


def test_a_channel_that_is_not_configured_any_more_gives_to_the_next(desk: Desk) -> None:
    desk.channels["slack"].answer = lambda message: AWAY
    desk.take(firing(0, "high"))
    del desk.channels["slack"]
    desk.sender.drain("slack")
    desk.wait(1)
    assert desk.shown("email") == [(STALLED, "open")]


def test_a_message_whose_sender_died_is_taken_over_once_its_lease_ends(desk: Desk) -> None:
    class DiedError(BaseException):
        """The process ends here."""

    def dies(_: AlertMessage) -> None:
        raise DiedError

    desk.channels["slack"].answer = dies
    with pytest.raises(DiedError):
        desk.take(firing(0))
    desk.channels["slack"].answer = lambda message: None
    desk.deliver()
    assert desk.shown("slack") == []
    desk.now += LEASE
    desk.deliver()
    assert [one.is_repeat for one in desk.channels["slack"].seen] == [True]


@pytest.mark.promise("Alerts: who wakes after his lease ends no message that another has taken")
@pytest.mark.parametrize("error", [None, AWAY, BUSY, REFUSED, KeyError("blocks")])
def test_who_wakes_after_his_lease_leaves_the_message_alone(
    desk: Desk, error: Exception | None
) -> None:
    other: list[Row] = []

    def sleeps(message: AlertMessage) -> Exception | None:
        if message.kind == "channel" or other:
            return None
        desk.now += LEASE + timedelta(seconds=1)
        # another one takes it, and has not ended
        other.extend(lease(desk.ledger, desk.now))
        return error

    desk.channels["slack"].answer = sleeps
    desk.take(firing(0, "high"))
    (taken,) = other
    (row,) = messages_of(desk.ledger, taken.incident_id)
    assert (row.state, row.leased_until, row.tries) == ("waiting", taken.leased_until, 2)
    # nor is it sent elsewhere
    assert (STALLED, "open") not in desk.shown("email")
    # when that one ended in nothing, it is sent as a repeat
    desk.now += LEASE
    desk.deliver()
    assert desk.channels["slack"].seen[-1].is_repeat
    (row,) = messages_of(desk.ledger, taken.incident_id)
    assert row.state == "sent"


def test_who_wakes_after_his_lease_ends_what_nobody_has_taken(desk: Desk) -> None:
    def sleeps(_: AlertMessage) -> None:
        desk.now += LEASE + timedelta(seconds=1)

    desk.channels["slack"].answer = sleeps
    desk.take(firing(0, "high"))
    (incident,) = desk.open()
    assert [one.state for one in messages_of(desk.ledger, incident.id)] == ["sent"]


def lease(ledger: Ledger, now: datetime) -> list[Row]:
    """Take what waits for Slack, as another worker does."""

    def do(connection: Connection) -> list[Row]:
        return outbox.lease(connection, outbox.waiting(connection, "slack"), now + LEASE)

    return ledger.patiently(do)


@pytest.mark.promise("Alerts: more than 10 openings a minute are one message, which is updated")
def test_a_storm_is_one_message(desk: Desk) -> None:
    many = [firing(0, "high", fingerprint=f"{n:016x}", name=f"a{n}") for n in range(300)]
    desk.take(*many)
    assert desk.shown("slack") == [("storm", "open")]
    assert desk.channels["slack"].seen[0].title == "[HIGH] production: 300 alerts at once"
    desk.take(firing(1, "high", fingerprint="e" * 16, name="late"))
    desk.wait(1)
    assert desk.shown("slack") == [("storm", "open"), ("storm", "update")]
    assert "301 open" in desk.channels["slack"].seen[1].sentence
    # a critical one is shown by itself
    desk.take(firing(2, name="grave", fingerprint="c" * 16))
    assert desk.shown("slack")[-1] == desk.shown("pagerduty")[-1] == ("grave", "open")
    ends = [ended(0, 3, "high", fingerprint=one.fingerprint, name=one.name) for one in many]
    desk.take(*ends, ended(1, 3, "high", fingerprint="e" * 16, name="late"))
    desk.wait(8)
    assert desk.shown("slack")[-1] == ("storm", "resolve")
    assert len(desk.shown("slack")) <= 6
    assert [one.newest.name for one in desk.open()] == ["grave"]


def test_what_comes_amid_a_storm_is_looked_at_when_its_message_is_due(desk: Desk) -> None:
    desk.take(*(firing(0, "high", fingerprint=f"{n:016x}", name=f"a{n}") for n in range(30)))
    late = [firing(0.1, "high", fingerprint=f"{n:016x}", name=f"b{n}") for n in range(50, 60)]
    desk.take(*late)
    assert next_due(desk.ledger)["slack"] == NOW + timedelta(seconds=10)
    desk.now = NOW + timedelta(seconds=9)
    desk.deliver()
    assert desk.shown("slack") == [("storm", "open")]
    desk.now = NOW + timedelta(seconds=10)
    desk.deliver()
    assert desk.shown("slack") == [("storm", "open"), ("storm", "update")]


def test_a_storm_whose_answer_is_lost_keeps_its_key(desk: Desk) -> None:
    pages = desk.channels["pagerduty"]
    many = [firing(0, fingerprint=f"{n:016x}", name=f"a{n}") for n in range(13)]
    pages.loses = lambda message: AWAY if message.kind == "storm" else None
    desk.take(*many)
    pages.loses = lambda message: None
    # by then ten may be shown each again
    desk.now += timedelta(minutes=2)
    desk.take(firing(2, fingerprint="e" * 16, name="late"))
    storms = [one.incident_id for one in pages.seen if one.kind == "storm"]
    assert (len(storms), len(set(storms))) == (2, 1)
    assert [one.action for one in pages.seen].count("open") == 10 + 2 + 1
    desk.take(*(ended(0, 3, fingerprint=one.fingerprint) for one in many))
    desk.wait(8)
    last = {one.incident_id: one.action for one in pages.seen}
    assert list(last.values()).count("open") == 1


def test_a_storm_that_is_refused_after_a_lost_answer_ends_in_one_message(desk: Desk) -> None:
    many = [firing(0, "high", fingerprint=f"{n:016x}", name=f"a{n}") for n in range(30)]
    slack = desk.channels["slack"]
    slack.loses = once(AWAY)
    desk.take(*many)
    slack.answer = lambda message: REFUSED if message.action == "open" else None
    desk.wait(1)
    slack.answer = lambda message: None
    desk.take(*(ended(0, 2, "high", fingerprint=one.fingerprint) for one in many))
    desk.wait(8)
    assert [one for one in desk.shown("slack") if one[0] == "storm"] == [
        ("storm", "open"), ("storm", "resolve"),
    ]  # fmt: skip
    assert len(desk.shown("slack")) == 2


def test_ten_in_a_minute_are_shown_each(desk: Desk) -> None:
    desk.take(*(firing(0, "high", fingerprint=f"{n:016x}", name=f"a{n}") for n in range(10)))
    assert [action for _, action in desk.shown("slack")] == ["open"] * 10


def test_a_storm_of_critical_ones_pages_the_first_ten(desk: Desk) -> None:
    desk.take(*(firing(0, fingerprint=f"{n:016x}", name=f"a{n}") for n in range(50)))
    shown = desk.shown("pagerduty")
    assert [name for name, _ in shown].count("storm") == 1
    assert len(shown) == 11


def test_messages_of_one_incident_keep_their_order(desk: Desk) -> None:
    desk.channels["slack"].answer = once(BUSY)
    desk.take(firing(0, "high"))
    desk.take(firing(0, "warning", received=0.1))
    assert desk.shown("slack") == []
    desk.wait(1)
    assert desk.shown("slack") == [(STALLED, "open"), (STALLED, "update")]
    (incident,) = desk.open()
    assert {one.state for one in messages_of(desk.ledger, incident.id)} == {"sent"}


def test_what_was_closed_400_days_ago_is_forgotten_and_what_is_open_is_not(desk: Desk) -> None:
    desk.take(firing(0, "high"), firing(0, "high", name="Open", fingerprint="b" * 16))
    desk.take(ended(0, 1, "high"))
    desk.wait(6)
    closed = next(one for one in incidents_in(desk.ledger, DAYS) if not one.is_open)
    forget_incidents(desk.ledger, NOW + timedelta(days=399))
    assert len(incidents_in(desk.ledger, DAYS)) == 2
    forget_incidents(desk.ledger, NOW + timedelta(days=401))
    assert [one.newest.name for one in incidents_in(desk.ledger, DAYS)] == ["Open"]
    assert events_of(desk.ledger, closed.id) == []
    assert messages_of(desk.ledger, closed.id) == []


@pytest.mark.promise(
    "Alerts: a message whose answers get lost is shown twice at most where a channel cannot be asked"
)
def test_a_message_whose_answers_get_lost_goes_to_the_next_channel(desk: Desk) -> None:
    slack = desk.channels["slack"]
    slack.loses = lambda message: AWAY
    desk.take(firing(0))
    desk.wait(10)
    shown = [one for one in slack.seen if about_alerts(one)]
    assert [(one.action, one.is_repeat) for one in shown] == [("open", False), ("open", True)]
    assert desk.shown("email")[0] == (STALLED, "open")
    # what may be shown there is ended there
    slack.loses = lambda message: None
    desk.take(ended(0, 11))
    desk.wait(6)
    assert [one for one in desk.shown("slack") if one == (STALLED, "resolve")]


def test_without_a_next_channel_it_is_tried_again(desk: Desk) -> None:
    del desk.channels["email"]
    slack = desk.channels["slack"]
    slack.loses = lambda message: AWAY
    desk.take(firing(0))
    desk.wait(10)
    assert len([one for one in slack.seen if about_alerts(one)]) > 2


def test_what_never_arrived_is_sent_again_and_goes_nowhere_else(desk: Desk) -> None:
    desk.channels["slack"].answer = lambda message: CLOSED
    desk.take(firing(0))
    desk.wait(1)
    desk.channels["slack"].answer = lambda message: None
    desk.wait(5)
    (shown,) = (one for one in desk.channels["slack"].seen if about_alerts(one))
    assert not shown.is_repeat
    assert desk.shown("email") == []
