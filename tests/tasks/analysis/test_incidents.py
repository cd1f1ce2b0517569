"""The state machine of incidents: orders, repetitions, flips, and time that passes."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations, product

import pytest

from tasks.analysis.incidents import acknowledge, close, lose, mute, pass_time, silence, take
from tasks.core.incidents import (
    Acknowledgement,
    Incident,
    IncidentEvent,
    Notice,
    Silence,
    Timing,
)
from tests.support.incident_samples import NOW, ended, firing

MINUTE = timedelta(minutes=1)
TIMING = Timing()


def taken(
    notices: Iterable[Notice], timing: Timing = TIMING
) -> tuple[Incident | None, list[IncidentEvent]]:
    known, events = None, []
    for notice in notices:
        known, new = take(known, notice, timing)
        events += new
    return known, events


def changes(events: Sequence[IncidentEvent]) -> list[str]:
    return [event.change for event in events]


def waited(
    incident: Incident, minutes: int, *, up: bool = True
) -> tuple[Incident, list[IncidentEvent]]:
    """The incident after so many ticks of a minute."""
    events: list[IncidentEvent] = []
    for n in range(1, minutes + 1):
        now = NOW + timedelta(hours=1) + n * MINUTE
        incident, new = pass_time(incident, TIMING, now, MINUTE, is_source_up=up)
        events += new
    return incident, events


# three epochs with their ends; the last end has another start than its beginning
SIX = [firing(0), ended(0, 1), firing(10), ended(10, 11), firing(20), ended(20.1, 21)]


@pytest.mark.promise(
    "Alerts: the same notices in any order, and any of them repeated, give the same state"
)
@pytest.mark.parametrize("number", range(1, 7))
def test_neither_order_nor_repetition_matters(number: int) -> None:
    for chosen in product([False, True], repeat=6):
        notices = [one for one, is_in in zip(SIX, chosen, strict=True) if is_in]
        if len(notices) != number:
            continue
        last = max(notices, key=lambda one: (one.starts_at, one.ends_at is not None))
        fires = last.ends_at is None
        for order in permutations(notices):
            for repeated in ((), order[:1], order[-1:], order):
                known, _ = taken((*order, *repeated))
                assert known is not None
                assert (known.fires, known.starts_at) == (fires, last.starts_at)


def test_a_restart_of_the_alert_within_the_hold_is_one_incident() -> None:
    known, events = taken([firing(0), ended(0, 1), firing(3), ended(3, 4)])
    assert changes(events) == ["opened"]
    assert known is not None
    known, events = waited(known, 4)
    assert (known.is_open, events) == (True, [])
    known, events = waited(known, 1)
    assert (known.is_open, changes(events), known.reason) == (False, ["resolved"], "resolved")


def test_an_end_with_a_later_start_than_the_beginning_ends_it() -> None:
    known, _ = taken([firing(0), ended(0.07, 2)])
    assert known is not None
    assert not waited(known, 5)[0].is_open


@pytest.mark.parametrize("minutes", [1, 2, 4])
def test_twenty_flips_are_one_message_of_each_kind(minutes: int) -> None:
    notices = [
        one
        for n in range(20)
        for one in (firing(n * minutes), ended(n * minutes, n * minutes + minutes / 2))
    ]
    known, events = taken(notices)
    assert known is not None
    known, later = waited(known, 30)
    assert changes([*events, *later]) == ["opened", "flapping", "resolved"]
    # its twin: few flips do not flap
    assert "flapping" not in changes(taken(notices[:6])[1])


def test_what_returns_is_the_same_incident_and_what_returns_late_is_a_new_one() -> None:
    known, _ = taken([firing(0), ended(0, 1)])
    assert known is not None
    known, _ = waited(known, 5)
    soon = firing(70)
    again, events = take(known, soon, TIMING)
    assert (again.id, again.is_open, changes(events)) == (known.id, True, ["reopened"])
    late, events = take(known, firing(180), TIMING)
    assert (late.returned_from, changes(events)) == (known.id, ["opened"])
    assert late.id != known.id
    # a repeat of what has ended is nothing
    assert take(known, firing(0), TIMING) == (known, ())


def test_what_was_closed_by_hand_stays_closed_while_its_alert_fires_on() -> None:
    known, _ = taken([firing(0)])
    assert known is not None
    closed, events = close(known, NOW + MINUTE, "by hand", "ann", "known")
    assert (changes(events), events[0].by) == (["resolved"], "ann")
    assert take(closed, firing(0, received=2), TIMING) == (closed, ())
    assert take(closed, firing(3), TIMING).incident.is_open


def test_what_is_gone_is_open_again_when_it_is_held_again() -> None:
    known, _ = taken([firing(0)])
    assert known is not None
    lost, _ = lose(known, NOW + MINUTE)
    assert take(lost, firing(0, received=2), TIMING).incident.quiet_since is None
    gone, events = waited(lost, 5)
    assert (changes(events), gone.reason) == (["resolved"], "gone")
    assert take(gone, firing(0, received=70), TIMING).incident.is_open


def test_quiet_counts_only_while_the_source_is_up() -> None:
    known, _ = taken([firing(0), ended(0, 1)])
    assert known is not None
    assert waited(known, 60, up=False)[0].is_open
    assert not waited(known, 60, up=True)[0].is_open


def test_a_rule_that_is_evaluated_seldom_is_held_for_four_evaluations() -> None:
    known, _ = taken([firing(0, every=900), ended(0, 1, every=900)])
    assert known is not None
    assert waited(known, 59)[0].is_open
    assert not waited(known, 60)[0].is_open


def test_a_severity_that_changes_is_named() -> None:
    known, events = taken([firing(0, "warning"), firing(0, "critical", received=1)])
    assert (changes(events), events[1].before, events[1].after) == (
        ["opened", "worsened"], "warning", "critical",
    )  # fmt: skip
    assert known is not None
    # an older notice that comes late changes nothing
    assert take(known, firing(0, "warning"), TIMING).events == ()


def test_an_acknowledgement_expires_and_changes_no_state() -> None:
    known, _ = taken([firing(0)])
    assert known is not None
    given = Acknowledgement("ann", NOW, NOW + timedelta(hours=1, minutes=3))
    known, events = acknowledge(known, given)
    assert (known.is_open, changes(events)) == (True, ["acknowledged"])
    assert acknowledge(known, given).events == ()
    known, events = waited(known, 2)
    assert events == []
    known, events = waited(known, 3)
    assert (changes(events), known.acknowledged) == (["unacknowledged"], None)
    closed, _ = close(known, NOW, "by hand")
    assert acknowledge(closed, given).incident == closed


def test_a_silent_source_makes_it_stale_once() -> None:
    known, _ = taken([firing(0)])
    assert known is not None
    late = NOW + timedelta(hours=24)
    stale, events = pass_time(known, TIMING, late, MINUTE, is_source_up=True)
    assert changes(events) == ["stale"]
    assert pass_time(stale, TIMING, late + MINUTE, MINUTE, is_source_up=True).events == ()
    assert not take(stale, firing(0, received=60 * 24), TIMING).incident.is_stale


def test_what_is_silenced_is_noted_once() -> None:
    known, _ = taken([firing(0)])
    assert known is not None
    muted, events = mute(known, "silenced", NOW)
    assert (muted.muted, changes(events)) == ("silenced", ["silenced"])
    assert mute(muted, "silenced", NOW).events == ()
    assert changes(mute(muted, "", NOW).events) == ["unmuted"]
    # an end arrives all the same
    assert take(muted, ended(0, 1), TIMING).incident.quiet_since is not None


def test_a_silence_ends_by_itself_and_by_hand() -> None:
    known, _ = taken([firing(0)])
    assert known is not None
    given = Silence("ann", NOW, NOW + timedelta(hours=1, minutes=3), "known")
    quiet, events = silence(known, given, NOW)
    assert (quiet.is_muted, quiet.is_open, changes(events)) == (True, True, ["silenced"])
    assert (events[0].by, events[0].why, events[0].after) == (
        "ann", "known", "2026-12-01T10:03:00+00:00",
    )  # fmt: skip
    still, events = waited(quiet, 2)
    assert (still.is_muted, events) == (True, [])
    over, events = waited(quiet, 3)
    assert (over.is_muted, changes(events)) == (False, ["unmuted"])
    ended_, events = silence(quiet, None, NOW, "bob", "fixed")
    assert (ended_.is_muted, changes(events), events[0].by) == (False, ["unmuted"], "bob")
    assert silence(ended_, None, NOW).events == ()


@pytest.mark.parametrize(("minutes", "is_muted"), [(20, True), (60, True), (300, False)])
def test_a_silence_is_of_later_incidents_of_the_alert_too(minutes: int, is_muted: bool) -> None:
    """One that is open again, a new one, and one after the silence's end."""
    known, _ = taken([firing(0)])
    assert known is not None
    quiet, _ = silence(known, Silence("ann", NOW, NOW + timedelta(hours=4)), NOW)
    closed, _ = close(take(quiet, ended(0, 1), TIMING).incident, NOW + MINUTE, "resolved")
    later, _ = take(closed, firing(minutes), TIMING)
    assert (later.is_open, later.is_muted) == (True, is_muted)


def test_an_end_of_what_was_never_seen_opens_nothing() -> None:
    known, events = taken([ended(0, 1), firing(0)])
    assert known is not None
    assert (known.is_open, events) == (False, [])
    later, events = take(known, firing(5), TIMING)
    assert (later.is_open, later.returned_from, changes(events)) == (True, "", ["opened"])


def test_times_are_of_the_notices() -> None:
    known, _ = taken([firing(0)])
    assert known is not None
    assert known.opened_at == datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
