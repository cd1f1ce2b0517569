"""The remaining time: exact where rounds take the same, honest where they do not."""

import numpy as np
import pytest

from tasks.analysis.remaining_time import RemainingTime, duration, remaining_time
from tasks.core.training import Round


def rounds(*seconds: float | None) -> tuple[Round, ...]:
    return tuple(Round(n, None, s, None, None, None, None) for n, s in enumerate(seconds, start=1))


def of(seconds: "list[float | None] | np.ndarray", left: int | None = 10) -> RemainingTime:
    return remaining_time(rounds(*seconds), left)


def test_even_rounds_are_counted_out() -> None:
    found = of([30.0] * 8, 10)
    assert found.remaining is not None
    assert (found.remaining.estimate, found.remaining.low, found.remaining.high) == (300, 300, 300)
    assert found.sentence == "A round takes 30 s; the 10 left take 5 min."
    assert found.is_changing is False


def test_uneven_rounds_have_an_interval() -> None:
    found = of([20.0, 30.0, 40.0, 30.0, 20.0, 40.0, 30.0, 30.0], 10)
    assert found.remaining is not None
    assert found.remaining.low < 290.0 < found.remaining.estimate < 310.0 < found.remaining.high
    assert found.a_round is not None
    assert found.a_round.estimate == 30.0


def test_no_round_left_takes_no_time() -> None:
    found = of([30.0] * 8, 0)
    assert found.remaining is not None
    assert found.remaining.high == 0.0
    assert found.sentence == "A round takes 30 s."


@pytest.mark.parametrize(
    ("seconds", "counted", "odd"),
    [
        ([], 0, 0),
        ([30.0] * 4, 4, 0),
        ([None] * 20, 0, 0),
        ([30.0, 30.0, 30.0, 30.0, float("nan"), -1.0, float("inf"), 1e300], 4, 4),
    ],
    ids=["nothing", "four", "not reported", "odd"],
)
def test_without_seconds_it_says_why_not(
    seconds: list[float | None], counted: int, odd: int
) -> None:
    found = of(seconds)
    assert (found.remaining, found.a_round, found.trend) == (None, None, None)
    assert (found.n, found.odd) == (counted, odd)
    assert found.why_not == (f"5 rounds with their seconds are needed, there are {counted}",)


def test_without_a_plan_only_the_rounds_are_reported() -> None:
    found = of([30.0] * 8, None)
    assert found.remaining is None
    assert found.a_round is not None
    assert found.why_not == ("the remaining time needs the planned rounds",)


def test_odd_seconds_do_not_count() -> None:
    found = of([30.0] * 8 + [float("nan"), -5.0, float("inf"), None], 10)
    assert found.remaining is not None
    assert (found.remaining.estimate, found.n, found.odd) == (300.0, 8, 3)


def test_a_trend_is_noticed_and_goes_on() -> None:
    rng = np.random.default_rng(0)
    steady = 30.0 + rng.normal(size=30)
    slowing = steady + np.arange(30.0)
    found, even = of(slowing, 10), of(steady, 10)
    assert found.is_changing
    assert found.trend is not None
    assert found.trend.estimate == pytest.approx(1.0, abs=0.1)
    assert "longer than the one before" in found.sentence
    assert found.remaining is not None
    # 60 and up for ten rounds, the trend damped
    assert 620.0 < found.remaining.estimate < 660.0
    assert not even.is_changing


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(150):
        seconds = rng.lognormal(3.0, 0.5, size=60)
        found = of(seconds[:20], 40).remaining
        assert found is not None
        held += found.low <= seconds[20:].sum() <= found.high
    assert 0.70 <= held / 150 <= 0.90


def test_time_to_the_target() -> None:
    even = rounds(*[30.0] * 8)
    found = remaining_time(even, 10, 0.8, np.array([4.0, 5.0, 6.0]))
    assert found.to_target is not None
    assert (found.to_target.low, found.to_target.estimate, found.to_target.high) == (120, 150, 180)
    there = remaining_time(even, 10, 0.8, np.array([0.0])).to_target
    assert there is not None
    assert there.high == 0.0


def test_a_target_that_may_be_missed_has_no_time() -> None:
    draws = np.array([4.0, 5.0, np.inf])
    found = remaining_time(rounds(*[30.0] * 8), 10, 0.8, draws)
    assert found.to_target is None
    assert found.why_not == ("the time to the target has no upper end: the target may be missed",)
    # one in twenty that never gets there leaves the interval closed
    hardly_ever = np.append(np.full(999, np.inf), 5.0)
    assert remaining_time(rounds(*[30.0] * 8), 10, 0.8, hardly_ever).to_target is None
    rarely = np.append(np.full(19, 5.0), np.inf)
    assert remaining_time(rounds(*[30.0] * 8), 10, 0.8, rarely).to_target is not None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.25, "0.25 s"), (45.0, "45 s"), (300.0, "5 min"), (9000.0, "2.5 h"), (259200.0, "3 days")],
)
def test_durations_read_like_a_clock(seconds: float, words: str) -> None:
    assert duration(seconds) == words
