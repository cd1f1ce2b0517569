"""What was noise, what either side saw in shadow, and what a digest says."""

from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from tasks.alerts.digest import digest, message_of
from tasks.alerts.noise import noise
from tasks.alerts.shadow import compare
from tasks.analysis.incidents import event
from tasks.core.alert_report import BudgetLine, LimitLine, Review, SilenceLine
from tasks.core.incidents import Acknowledgement, Change, Incident, IncidentEvent, Timing
from tasks.core.routes import Routes
from tasks.core.window import Window
from tests.support.incident_samples import NOW, firing
from tests.tasks.alerts.conftest import ROUTES

WEEK = Window(NOW - timedelta(days=1), NOW + timedelta(days=6))
MINUTE = timedelta(minutes=1)
SHADOW = Routes(Timing(), ROUTES, (), "production", shadow=True)


def incident(number: int, minutes: float, lasted: float | None, **facts: str) -> Incident:
    """One that began then; `lasted` minutes, None: it is open."""
    notice = replace(firing(minutes), **{"kind": "alert", **facts})  # type: ignore[arg-type]
    opened = notice.received_at
    one = Incident(f"{number:016x}", notice, opened, opened, opened)
    if lasted is None:
        return one
    end = opened + lasted * MINUTE
    # it is closed after five minutes of quiet
    return replace(one, quiet_since=end, closed_at=end + 5 * MINUTE, reason="resolved")


def changed(one: Incident, change: Change, after: str = "") -> IncidentEvent:
    return event(one, one.opened_at, change, after)


def test_noise_is_what_ended_soon_and_nobody_acted_on() -> None:
    short = [incident(n, 60 * n, lasted) for n, lasted in enumerate((1, 2, 3, 4, 14))]
    handled, long_, open_ = incident(6, 1, 3), incident(7, 2, 16), incident(8, 3, None)
    flapped = changed(short[0], "flapping")
    events = [changed(handled, "acknowledged"), flapped]
    sent = {short[0].id: 2, handled.id: 3}
    (line,) = noise([*short, handled, long_, open_], events, sent, WEEK).alerts
    assert (line.fired, line.noise, line.acted_on, line.flapping) == (8, 5, 1, 1)
    assert (line.messages, line.median_minutes) == (5, 3.0)
    # four of the five ended within 4 minutes, so a `for` longer by 5 would have kept them away
    assert line.longer_for == "5m"


def test_the_noisiest_is_first_and_little_noise_gives_no_advice() -> None:
    loud = [incident(n, n, 1, name="Loud") for n in range(2)]
    calm = incident(9, 5, 30, name="Calm")
    before = replace(incident(10, -3000, 1), newest=replace(firing(-3000), name="Before"))
    lines = noise([calm, *loud, before], [], {}, WEEK).alerts
    assert [(one.alert, one.noise, one.longer_for) for one in lines] == [
        ("Loud", 2, None), ("Calm", 0, None),
    ]  # fmt: skip
    by_hand = [changed(one, "resolved", "by hand") for one in loud]
    assert {one.noise for one in noise([*loud, calm], by_hand, {}, WEEK).alerts} == {0}


def test_shadow_pairs_what_both_had_and_names_what_one_alone_had() -> None:
    ours = incident(1, 10, 20, name="stalled", kind="rule")
    theirs = incident(2, 12, 20, name="TrainingStuck")
    # the same alert half a day later, and one of another environment at that time
    missed = incident(3, 700, 5, name="DiskFull")
    alone = incident(4, 300, None, name="loss", kind="slo", environment="staging")
    elsewhere = incident(5, 310, 5, name="Loss")
    every = [ours, theirs, missed, alone, elsewhere]
    found = compare(every, [changed(ours, "opened"), changed(alone, "opened")], SHADOW, WEEK)
    assert [(o.fedvitals, o.team, o.lead_seconds) for o in found.both] == [
        ("stalled", "TrainingStuck", 120.0),
    ]  # fmt: skip
    assert [one.fedvitals for one in found.only_fedvitals] == ["loss"]
    assert {one.team for one in found.only_team} == {"DiskFull", "Loss"}
    # critical of the default environment pages; that of another one is a message in Slack
    assert (found.is_on, found.openings) == (True, {"slack": 2, "pagerduty": 1})


@pytest.mark.parametrize(("gap", "is_same"), [(14, True), (16, False)])
def test_shadow_allows_a_quarter_of_an_hour(gap: int, is_same: bool) -> None:
    ours = incident(1, 0, 5, name="a", kind="rule")
    theirs = incident(2, 5 + gap, 5, name="b")
    assert bool(compare([ours, theirs], [], SHADOW, WEEK).both) is is_same


def test_a_digest_says_what_is_open_and_what_happened() -> None:
    given = Acknowledgement("ann", NOW, NOW + timedelta(hours=2))
    open_ = replace(incident(1, 0, None, name="Open"), acknowledged=given)
    short, before = incident(2, 1, 2, name="Short"), incident(3, -5000, 3, name="Before")
    events = [changed(open_, "acknowledged"), changed(open_, "escalated")]
    found = digest([open_, short, before], events, {open_.id: "no_service"}, WEEK)
    assert [(one.alert, one.undelivered) for one in found.open] == [("Open", "no_service")]
    assert (found.fired, found.noise) == ({"Open": 1, "Short": 1}, {"Short": 1})
    assert (found.acted_on, found.escalated, found.undelivered) == ({"Open": 1}, 1, 1)
    message = message_of(found, "production", UTC)
    assert message.title == "Digest of alerts: 1 open incident, 2 fired"
    assert message.failed == ("critical production: Open, ann until 1 Dec 11:00",)


def test_a_digest_with_a_review_names_each_finding_of_it() -> None:
    until = NOW + timedelta(days=60)
    silence = SilenceLine(
        where="Alertmanager", environment="production", what="alertname=Loss", by="ann",
        until=until, why="",
    )  # fmt: skip
    spent = BudgetLine(environment="production", slo="latency", left_ratio=0.1, state="ok")
    review = Review(
        never_fired=("gpu_heat",),
        never_acted_on=("Loud",),
        budgets_unused=(spent.model_copy(update={"slo": "freshness", "left_ratio": 0.95}),),
        limits=(LimitLine(rule="loss", limit=2, learned=1.4, fires=1),),
        silences_without_end=(silence,),
    )
    more = {"silences_that_end": (silence,), "budgets": (spent,), "review": review}
    found = digest([], [], {}, WEEK).model_copy(update=more)
    assert message_of(found, "production", UTC).failed == (
        "Silences that end: production alertname=Loss until 30 Jan 09:00 by ann",
        "Budgets below 25 %: production latency: 10 %",
        "Never fired: gpu_heat",
        "Fired, never acted on: Loud",
        "SLOs with over 90 % of their budget left: production freshness: 95 %",
        "Limits that history sets elsewhere: loss: 2, learned 1.4 (1 firing)",
        "Silences of more than 30 days: production alertname=Loss until 30 Jan 09:00 by ann",
    )
