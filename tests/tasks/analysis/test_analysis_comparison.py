"""Runs compared: exact differences, and undecided where it is."""

import numpy as np
import pytest

from tasks.analysis.comparison import Compared, Comparison, compare_runs, compare_two
from tasks.analysis.curve import Curve
from tasks.analysis.forecast import Forecast, NoForecast
from tests.support.drawn_runs import a_curve, a_loss_curve, drawn

NONE = NoForecast("no plan")
LEARNING = 0.9 * (1.0 - np.exp(-np.arange(1, 41) / 8.0))


def a_run(name: str, curve: Curve, ahead: Forecast | NoForecast = NONE) -> Compared:
    return Compared(name, curve, ahead)


def noisy(gap: float, seed: int, count: int = 40, sd: float = 0.005) -> Curve:
    rng = np.random.default_rng(seed)
    return a_curve(list(np.clip(LEARNING[:count] - gap + sd * rng.normal(size=count), 0.0, 1.0)))


def two(first: Compared, second: Compared) -> Comparison:
    return compare_two(first, second)


def test_a_constant_difference_is_that_difference() -> None:
    found = two(a_run("a", a_curve(list(LEARNING))), a_run("b", a_curve(list(LEARNING - 0.05))))
    assert found.level is not None
    assert found.level.estimate == pytest.approx(0.05)
    assert (found.better, found.basis, found.round, found.n) == ("a", "paired rounds", 40, 8)
    assert found.sentence.startswith("a is better: at round 40 a is 5 pp ")


def test_a_run_is_no_better_than_itself() -> None:
    same = a_curve(list(LEARNING))
    found = two(a_run("a", same), a_run("b", same))
    assert found.better is None
    assert found.sentence == "a and b are the same run: every round has the same value."


def test_noise_is_not_taken_for_a_difference() -> None:
    decided = [
        two(a_run("a", noisy(0.0, 2 * s)), a_run("b", noisy(0.0, 2 * s + 1))).better
        for s in range(100)
    ]
    assert sum(one is not None for one in decided) <= 10


def test_a_difference_beyond_noise_is_found() -> None:
    decided = [
        two(a_run("a", noisy(0.03, 2 * s)), a_run("b", noisy(0.0, 2 * s + 1))).better
        for s in range(50)
    ]
    assert decided == ["b"] * 50


def test_runs_are_compared_at_the_same_round() -> None:
    # the longer run is ahead at its end, and behind at round 20
    short, long = a_curve(list(LEARNING[:20])), a_curve(list(LEARNING - 0.04))
    found = two(a_run("short", short), a_run("long", long))
    assert (found.round, found.better) == (20, "short")
    assert found.level is not None
    assert found.level.estimate == pytest.approx(0.04)


def test_rounds_that_do_not_match_are_not_paired() -> None:
    odd = a_curve([0.5] * 40)
    even = Curve("b", "accuracy", odd.rounds[1::2], np.full(20, 0.4), odd.lost[1::2])
    thin = Curve("a", "accuracy", odd.rounds[::2], np.full(20, 0.5), odd.lost[::2])
    found = two(a_run("a", thin), a_run("b", even))
    assert (found.basis, found.better) == ("last rounds", "a")
    assert found.level is not None
    assert found.level.estimate == pytest.approx(0.1)


def test_the_forecast_decides_where_it_can() -> None:
    here, there = a_curve(list(LEARNING)), a_curve(list(LEARNING - 0.05))
    ahead = [drawn([[level]] * 50, last_round=40) for level in (0.80, 0.85)]
    found = two(a_run("a", here, ahead[0]), a_run("b", there, ahead[1]))
    # now a is sure to be ahead, in the end b is
    assert found.final is not None
    assert found.final.estimate == pytest.approx(-0.05)
    assert found.better is None
    agreed = two(a_run("a", here, ahead[1]), a_run("b", there, ahead[0]))
    assert agreed.better == "a"
    unsure = drawn([[0.7], [0.8], [0.9]] * 20, last_round=40)
    assert two(a_run("a", here, unsure), a_run("b", there, unsure)).better is None


def test_a_finished_run_ends_where_it_is_and_not_surer_than_its_noise() -> None:
    one, other = noisy(0.0, 1), noisy(0.0, 2)
    ends = [drawn([[], []], now=float(c.values[-5:].mean()), last_round=40) for c in (one, other)]
    found = two(a_run("a", one, ends[0]), a_run("b", other, ends[1]))
    assert found.final is not None
    assert found.final.low < 0.0 < found.final.high


def test_a_lower_loss_is_better_in_its_own_unit() -> None:
    losses = 2.0 * np.exp(-np.arange(40) / 10.0) + 0.5
    found = two(
        a_run("a", a_loss_curve(list(losses))), a_run("b", a_loss_curve(list(losses + 0.2)))
    )
    assert found.better == "a"
    assert found.level is not None
    assert found.level.estimate == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("curve", "word"),
    [
        (
            a_loss_curve([2.0 - 0.01 * n for n in range(40)]),
            "one has accuracy and the other only loss",
        ),
        (a_curve([0.1, 0.2, 0.3]), "at least 5 rounds"),
        (a_curve([]), "at least 5 rounds"),
        (a_curve([float("nan")] * 40), "at least 5 rounds"),
    ],
    ids=["loss", "three rounds", "none", "NaN"],
)
def test_what_cannot_be_compared_is_undecided(curve: Curve, word: str) -> None:
    found = two(a_run("a", a_curve(list(LEARNING))), a_run("b", curve))
    assert (found.better, found.level) == (None, None)
    assert word in found.why_not[0]


def test_of_several_each_is_compared_with_the_best() -> None:
    runs = [
        a_run(name, noisy(gap, seed))
        for seed, (name, gap) in enumerate([("a", 0.1), ("b", 0.0), ("c", 0.05)])
    ]
    found = compare_runs(runs)
    assert [(one.first, one.second, one.better) for one in found] == [
        ("b", "a", "b"),
        ("b", "c", "b"),
    ]


def test_one_run_has_nothing_to_be_compared_with() -> None:
    assert compare_runs([a_run("a", noisy(0.0, 1))]) == ()
    assert compare_runs([]) == ()
