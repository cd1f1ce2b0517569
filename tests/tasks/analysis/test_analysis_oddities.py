"""What is odd about a training: each oddity is found, and its plain twin is not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.analysis.oddities import oddities
from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.core.snapshots import Repeat, Snapshot, Watched
from tasks.core.training import PrivacyTerms, Round, TrainingRun

pytestmark = pytest.mark.promise("Training: odd behaviour is reported and never quarantined")

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TERMS = PrivacyTerms(1e-5, 0.5, 2.0, epsilon_budget=8.0, epsilon_remaining=None)


def a_round(number: int, **changed: Any) -> Round:
    plain = Round(number, START + number * MINUTE, 30.0, 1.0, 0.5, 0.1 * number, None)
    return replace(plain, **changed)


def a_run(*rounds: Round, **changed: Any) -> TrainingRun:
    plain = TrainingRun(
        "run-a", rounds or tuple(map(a_round, (1, 2, 3))), 10, TERMS, "lake: history"
    )
    return replace(plain, **changed)


def a_snapshot(minute: int = 5, **changed: Any) -> Snapshot:
    plain = Snapshot(
        time=START + minute * MINUTE, run_id="run-a", current_round=3, total_rounds=10,
        active_clients=2.0, accuracy=0.5, total_clients=4.0, participating_clients=2.0,
        participation_ratio=0.5, epsilon_remaining=6.0, epsilon_budget=8.0, budget_utilization=0.25,
    )  # fmt: skip
    return replace(plain, **changed)


def found(*runs: TrainingRun, snapshots: tuple[Snapshot, ...] = ()) -> list[tuple[str, str]]:
    return [(f.kind, f.severity.value) for f in oddities(Watched(runs, snapshots))]


def only(watched: Watched) -> Finding:
    (finding,) = oddities(watched)
    return finding


def test_a_plain_training_has_nothing_odd() -> None:
    assert found(a_run(), snapshots=(a_snapshot(),)) == []
    assert oddities(Watched()) == []
    # what was not reported is compared with nothing
    bare = Snapshot(time=START + 5 * MINUTE)
    assert found(a_run(a_round(1, epsilon=None)), snapshots=(bare, bare)) == []


def test_a_counter_that_goes_back() -> None:
    back = (a_snapshot(5, current_round=3), a_snapshot(6, current_round=2, accuracy=None))
    kinds = found(a_run(a_round(1), a_round(2)), snapshots=back)
    assert kinds == [("counter_went_back", "warning")]
    # another run has a counter of its own
    other = (a_snapshot(5, run_id="run-b", current_round=9), a_snapshot(6))
    assert found(a_run(), snapshots=other) == []


def test_rounds_that_are_missing_are_counted() -> None:
    finding = only(Watched((a_run(a_round(1), a_round(4), a_round(6)),)))
    assert (finding.kind, finding.severity) == ("rounds_missing", Severity.WARNING)
    assert finding.evidence["rounds"] == [2, 3, 5]
    assert finding.estimate == 3.0
    assert finding.sentence == (
        "3 rounds of run-a up to round 6 are missing (2 to 3, 5): its history does not have them."
    )


@pytest.mark.promise("Training: rounds that no poll saw are counted")
def test_without_a_history_rounds_between_polls_are_missing() -> None:
    seen = (a_round(2, started=None, epsilon=None), a_round(9, started=None, epsilon=None))
    finding = only(Watched((a_run(*seen, source="lake: progress"),)))
    assert finding.severity is Severity.INFO
    assert finding.estimate == 7.0
    assert "offers no history" in finding.sentence


def test_a_run_that_counts_from_0_is_whole() -> None:
    assert found(a_run(*map(a_round, (0, 1, 2)))) == []


def test_a_round_that_ran_twice() -> None:
    repeat = Repeat("run-a", 2, (START, START + MINUTE))
    finding = only(Watched((a_run(),), repeats=(repeat,)))
    assert finding.kind == "rounds_repeated"
    assert finding.sentence.startswith("1 round of run-a (2) ran more than once")
    other = replace(repeat, run_id="run-b")
    assert oddities(Watched((a_run(),), repeats=(other,))) == []


def test_rounds_out_of_order() -> None:
    early = a_round(2, started=START)
    assert found(a_run(a_round(1), early)) == [("rounds_out_of_order", "warning")]


def test_epsilon_that_comes_back() -> None:
    assert found(a_run(a_round(1, epsilon=0.2), a_round(2, epsilon=0.1))) == [
        ("epsilon_grew", "high")
    ]
    grew = (a_snapshot(4), a_snapshot(5, epsilon_remaining=7.0, budget_utilization=0.125))
    assert found(a_run(), snapshots=grew) == [("epsilon_grew", "high")]
    # of two runs each has its own budget
    anew = (a_snapshot(4, run_id="run-b", epsilon_remaining=1.0), a_snapshot(5))
    assert found(a_run(), snapshots=anew) == []


def test_epsilon_beyond_the_budget() -> None:
    assert found(a_run(a_round(1, epsilon=8.5))) == [("epsilon_overspent", "high")]
    assert found(a_run(a_round(1, epsilon=8.0))) == []
    below = a_snapshot(epsilon_remaining=-1.0, budget_utilization=1.125)
    assert found(a_run(), snapshots=(below,)) == [("epsilon_overspent", "high")]


@pytest.mark.parametrize(
    "changed",
    [
        {"active_clients": 5.0},
        {"participating_clients": 5.0, "participation_ratio": None},
        {"participation_ratio": 0.6},
        {"epsilon_remaining": 9.0, "budget_utilization": None},
        {"budget_utilization": 0.5},
        {"current_round": 4},
        {"current_round": 2},
        {"accuracy": 0.6},
    ],
    ids=str,
)
def test_totals_that_disagree(changed: dict[str, Any]) -> None:
    finding = only(Watched((a_run(),), (a_snapshot(**changed),)))
    assert (finding.kind, finding.severity) == ("totals_disagree", Severity.WARNING)
    assert finding.evidence["time"] == "2026-01-01T00:05:00Z"


@pytest.mark.parametrize(
    "changed",
    [
        # two digits of a share
        {"total_clients": 3.0, "participation_ratio": 0.67},
        # a service that stops at nothing left
        {"epsilon_remaining": 0.0, "budget_utilization": 1.2},
        {"total_clients": 0.0, "active_clients": 0.0, "participating_clients": 0.0},
    ],
    ids=str,
)
def test_totals_that_agree_well_enough(changed: dict[str, Any]) -> None:
    assert oddities(Watched((a_run(),), (a_snapshot(**changed),))) == []


def test_a_round_that_ended_between_two_requests_is_no_disagreement() -> None:
    # the third round ended at 00:03:30, after the snapshot's slot
    snapshot = a_snapshot(3, current_round=2)
    assert found(a_run(), snapshots=(snapshot,)) == []


def test_more_rounds_than_planned() -> None:
    assert found(a_run(total_rounds=2)) == [("totals_disagree", "warning")]


def test_a_run_that_was_cut_off_by_another() -> None:
    later = a_run(run_id="run-b")
    cut = only(Watched((a_run(), later)))
    assert (cut.kind, cut.severity) == ("run_began", Severity.WARNING)
    assert cut.sentence == ("The run run-b began after run-a had got to round 3 of 10 planned.")


@pytest.mark.parametrize(
    ("numbers", "is_whole"), [((1, 2, 3), True), ((0, 1, 2), True), ((0, 1), False)], ids=str
)
def test_a_run_that_came_to_its_end_was_not_cut(numbers: tuple[int, ...], is_whole: bool) -> None:
    before = a_run(*map(a_round, numbers), total_rounds=3)
    began = only(Watched((before, a_run(run_id="run-b"))))
    assert began.severity is (Severity.INFO if is_whole else Severity.WARNING)
    assert began.sentence.endswith("the last of 3 planned." if is_whole else "1 of 3 planned.")


def test_the_worst_comes_first() -> None:
    bad = a_run(a_round(1, epsilon=9.0), a_round(3, epsilon=9.5))
    assert found(bad) == [("epsilon_overspent", "high"), ("rounds_missing", "warning")]


def test_seconds_beyond_any_calendar_break_nothing() -> None:
    assert found(a_run(a_round(1, seconds=1e300)), snapshots=(a_snapshot(current_round=1),)) == []
