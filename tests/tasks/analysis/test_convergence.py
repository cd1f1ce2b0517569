import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.analysis.convergence import Verdict, judge
from tasks.analysis.curve import Curve, Floats, curve_of, from_arrays
from tasks.core.severity import Severity
from tasks.core.training import Round, TrainingRun


def curve(values: Any, loss: Any = None, start: int = 1) -> Curve:
    reported = np.asarray(values, dtype=np.float64)
    rounds = np.arange(start, start + len(reported))
    losses = None if loss is None else np.asarray(loss, dtype=np.float64)
    return from_arrays("run", rounds, reported, losses)


def verdict(values: Any, loss: Any = None) -> Verdict:
    return judge(curve(values, loss))


def saturating(end: float, rounds: int = 60, tau: float = 10.0) -> "np.ndarray[Any, Any]":
    return 0.1 + (end - 0.1) * (1.0 - np.exp(-np.arange(rounds) / tau))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0.1] * 7, "too_short"),
        ([0.1] * 8, "converged"),
        (0.1 + 0.01 * np.arange(20), "improving"),
        (0.1 + 0.0006 * np.arange(40), "improving"),
        (0.8 - 0.0004 * np.arange(20), "converged"),
        (0.8 - 0.002 * np.arange(20), "diverging"),
        ([0.8] * 20 + [0.69] * 3, "collapsed"),
        ([0.8] * 20 + [0.71] * 3, "diverging"),
        ([0.8] * 10 + [0.1] * 5, "collapsed"),
        ([0.8] * 9 + [0.1] * 5, "diverging"),
        (0.8 + 0.05 * np.sin(2 * np.pi * np.arange(48) / 6), "oscillating"),
        (saturating(0.8), "converged"),
    ],
    ids=[
        "seven rounds",
        "eight rounds",
        "steep",
        "just above flat",
        "a fall that is flat",
        "a fall that is not",
        "0.11 below a level held",
        "0.09 below it",
        "held for ten rounds",
        "held for nine",
        "a wave",
        "saturated",
    ],
)
def test_a_short_series_has_its_verdict(values: Any, kind: str) -> None:
    assert verdict(values).kind == kind


def falling_again(rounds_down: int) -> Any:
    rise = saturating(0.85, 32)
    fall = rise[-1] - 0.011 * np.arange(1, rounds_down + 1)
    rng = np.random.default_rng(5)
    return np.concatenate([rise, fall]) + 0.005 * rng.normal(size=32 + rounds_down)


@pytest.mark.parametrize("rounds_down", [5, 6, 7, 8, 9])
def test_a_run_is_not_called_converged_while_it_falls(rounds_down: int) -> None:
    said = verdict(falling_again(rounds_down))

    assert said.kind == "diverging"
    assert said.trend is not None
    assert said.trend.estimate < -0.003


def test_a_run_that_has_not_begun_to_fall_is_not_diverging() -> None:
    assert verdict(falling_again(0)).kind == "improving"


def test_too_short_says_what_is_needed() -> None:
    assert verdict([0.1, 0.2]).sentence == "Too short to judge: 2 rounds seen, 8 are needed."


def test_a_run_without_any_value_is_not_judged() -> None:
    said = verdict([np.nan] * 10)

    assert (said.kind, said.level) == ("too_short", None)
    assert said.sentence == "Nothing to judge: none of the 10 rounds has a value."


def test_a_collapse_names_the_round() -> None:
    said = verdict([0.8] * 20 + [0.1] * 3)

    assert (said.kind, said.onset_round, said.found_round) == ("collapsed", 21, 22)
    assert said.sentence == (
        "Collapsed: fell from 80.0 % to 10.0 % at round 21 and has not come back."
    )
    assert said.evidence["fall"] == pytest.approx(0.7)
    assert said.finding().severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("losses", "sentence"),
    [
        (2.0 - 0.05 * np.arange(20), r"Improving by 0\.05 a round \(.*\); now at 1\.05\."),
        (
            np.append(np.full(20, 0.5), np.full(4, 1.9)),
            r"Collapsed: rose from 0\.5 to 1\.9 at round 21 and has not come back\.",
        ),
        (0.5 + 0.1 * np.arange(16), r"Diverging: the loss rises by 0\.1 a round\."),
        (
            0.25 + 2.0 * np.exp(-np.arange(60) / 4.0),
            r"Converged at 0\.25: flat, with 0 left to gain\.",
        ),
    ],
)
def test_of_a_loss_the_sentence_tells_losses(losses: Any, sentence: str) -> None:
    numbers = np.arange(1, len(losses) + 1)
    first = np.append(2.0, losses[1:])
    said = judge(from_arrays("run", numbers, None, np.asarray(first, dtype=np.float64)))
    assert re.match(sentence, said.sentence), said.sentence


def test_one_bad_round_is_no_collapse() -> None:
    assert verdict([0.8] * 20 + [0.1] + [0.8] * 10).kind == "converged"


def test_a_loss_that_is_lost_is_a_divergence() -> None:
    said = verdict([0.8] * 20, [0.1] * 18 + [np.nan, np.inf])

    assert (said.kind, said.onset_round) == ("diverging", 19)
    assert said.sentence == "Diverging: the loss is not a finite number since round 19."


def test_a_loss_that_was_lost_once_is_over() -> None:
    assert verdict([0.8] * 20, [0.1] * 10 + [np.nan] + [0.1] * 9).kind == "converged"


def test_a_run_that_was_never_finite_diverges() -> None:
    rounds = tuple(Round(n, None, None, float("nan"), None, None, None) for n in range(1, 11))
    run = TrainingRun("run", rounds, None, None, "file")

    said = judge(curve_of(run))

    assert (said.kind, said.onset_round) == ("diverging", 1)


def test_a_run_that_fell_and_came_back_is_judged_by_now() -> None:
    fall = [0.2] * 4
    back = 0.8 - 0.6 * np.exp(-np.arange(40) / 4)

    said = verdict(np.concatenate([saturating(0.8, 40, 6.0), fall, back]))

    assert said.kind == "converged"
    assert said.sentence.endswith("It fell at round 41 and came back.")
    assert [one["began"] for one in said.evidence["falls"]] == [41]


def test_flat_with_more_to_gain_is_improving_slowly() -> None:
    said = verdict(0.5 + 0.0004 * np.arange(40))

    assert (said.kind, said.evidence["slowly"]) == ("improving", True)
    assert said.evidence["gap"] > 0.01


def test_a_flat_run_below_similar_ones_is_on_a_plateau() -> None:
    past = [from_arrays(f"past {n}", np.arange(1, 61), saturating(0.9)) for n in range(3)]

    said = judge(curve(saturating(0.8)), history=past)

    assert said.kind == "plateau"
    assert said.evidence["similar_runs"] == ["past 0", "past 1", "past 2"]
    assert said.evidence["similar_reached"] == pytest.approx(0.898, abs=0.002)


def test_a_flat_run_as_good_as_similar_ones_is_not() -> None:
    past = [from_arrays("past", np.arange(1, 61), saturating(0.815))]

    assert judge(curve(saturating(0.8)), history=past).kind == "converged"


def test_noise_that_grows_is_an_oscillation() -> None:
    rng = np.random.default_rng(0)
    size = np.where(np.arange(48) < 36, 0.003, 0.03)

    said = verdict(0.8 + size * rng.normal(size=48))

    assert said.kind == "oscillating"
    assert said.evidence["spread_ratio"] >= 3.0


def test_the_trend_is_that_of_the_last_rounds() -> None:
    said = verdict(0.1 + 0.01 * np.arange(30))

    assert said.trend is not None
    assert said.trend.estimate == pytest.approx(0.01, rel=0.01)
    assert said.evidence["window_rounds"] == 8


def test_the_finding_carries_the_trend() -> None:
    said = verdict(0.1 + 0.01 * np.arange(30))
    finding = said.finding()

    assert (finding.kind, finding.n, finding.level) == ("convergence", 30, 0.8)
    assert finding.evidence["verdict"] == "improving"


unit = st.floats(0.0, 1.0, width=32)
gaps = st.sampled_from([float("nan"), float("inf")])


@settings(max_examples=60, deadline=None)
@given(st.lists(unit | gaps, max_size=60), st.lists(unit | gaps, max_size=60))
def test_any_series_has_a_verdict(values: list[float], losses: list[float]) -> None:
    count = min(len(values), len(losses))

    said = verdict(values[:count], losses[:count])

    assert said.rounds == count
    assert said.sentence
    for interval in (said.trend, said.level, said.asymptote):
        assert interval is None or interval.low <= interval.estimate <= interval.high


@settings(max_examples=30, deadline=None)
@given(st.lists(unit, min_size=8, max_size=40), st.integers(0, 10_000))
def test_the_verdict_does_not_depend_on_where_the_count_starts(
    values: list[float], start: int
) -> None:
    here, there = judge(curve(values)), judge(curve(values, start=start))

    assert here.kind == there.kind
    assert here.trend == there.trend


def every(distance: int, values: Floats) -> Curve:
    """These values, and rounds without one between them."""
    rounds = np.arange(1, distance * len(values) + 1)
    sparse = np.full(len(rounds), np.nan)
    sparse[distance - 1 :: distance] = values
    return from_arrays("run", rounds, sparse)


@pytest.mark.promise("Training: a metric that ends before its run is never improving")
@pytest.mark.parametrize(
    ("distance", "missing", "kind"),
    [(1, 2, "improving"), (1, 3, "too_short"), (5, 9, "improving"), (5, 20, "too_short")],
)
def test_values_that_end_before_the_run(distance: int, missing: int, kind: str) -> None:
    curve = every(distance, np.linspace(0.1, 0.8, 20))
    rounds = np.arange(1, len(curve) + missing + 1)
    longer = from_arrays("run", rounds, np.append(curve.values, np.full(missing, np.nan)))

    assert judge(longer).kind == kind


def test_a_wave_of_values_far_apart_is_as_long_in_rounds() -> None:
    values = 0.5 + 0.1 * np.sin(np.arange(64) * 2 * np.pi / 8)
    near, far = judge(every(1, values)), judge(every(10, values))

    assert (near.kind, far.kind) == ("oscillating", "oscillating")
    assert near.evidence["period_rounds"] == pytest.approx(8, abs=0.5)
    assert far.evidence["period_rounds"] == pytest.approx(10 * near.evidence["period_rounds"])
