"""The benchmark of the privacy race: contests, scores, bins, and the picture."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.science_forecasts import Run
from benchmarks.science_race import (
    Call,
    Contest,
    bins,
    calls,
    draw,
    levels,
    own_contests,
    score,
    scores,
    synthetic_contests,
    table,
)
from benchmarks.science_synthetic import TRAINING_SEED
from tasks.analysis.curve import from_arrays
from tasks.core.training import PrivacyTerms

EARLY_SEED = TRAINING_SEED + 60_000
RISING = np.concatenate([np.linspace(0.1, 0.9, 21), np.full(19, 0.9)])


def contest(target: float, budget: float) -> Contest:
    curve = from_arrays("run", np.arange(1, len(RISING) + 1), RISING)
    terms = PrivacyTerms(None, None, None, budget, None)
    return Contest(Run("run", curve), 0.1 * np.arange(1.0, len(RISING) + 1), terms, target)


def test_the_level_is_the_mean_of_the_last_five_rounds() -> None:
    curve = from_arrays("run", np.arange(1, 8), np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]))

    assert levels(curve) == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("target", "budget", "won"),
    [(0.5, 1.35, True), (0.5, 1.25, False), (0.95, 9.0, False), (0.5, 9.0, True)],
    ids=["in time", "a round late", "never", "a budget that lasts"],
)
def test_a_contest_has_an_end(target: float, budget: float, won: bool) -> None:
    # the level is 0.5 at the thirteenth round
    assert contest(target, budget).won is won


def test_a_contest_is_called_while_it_is_open() -> None:
    found = calls([contest(0.5, 9.0)])

    assert [(call.share, call.won) for call in found] == [(0.1, True), (0.2, True), (0.3, True)]
    assert all(0.0 <= call.chance <= 1.0 for call in found)


@pytest.mark.slow
def test_a_seed_makes_the_same_contests() -> None:
    first, again = synthetic_contests(EARLY_SEED, 4)[:2], synthetic_contests(EARLY_SEED, 4)[:2]

    assert [one.target for one in first] == [one.target for one in again]
    assert all((np.diff(one.epsilon) >= 0.0).all() for one in first)
    assert [one.terms.noise_multiplier is None for one in first] == [False, True]


def test_own_runs_race_with_the_epsilon_they_reported() -> None:
    found = own_contests(every=60)

    assert len(found) == 4
    assert all(len(one.epsilon) == len(one.run.curve) for one in found)
    assert all(one.epsilon[0] <= (one.terms.epsilon_budget or 0.0) for one in found)


def test_the_score_of_the_base_rate_is_that_of_who_knows_only_it() -> None:
    said = score([Call(0.1, 0.5, True), Call(0.1, 0.5, False)])

    assert (said.won, said.brier, said.base, said.ratio) == (0.5, 0.25, 0.25, 1.0)


def test_sure_and_right_scores_nothing_and_sure_and_wrong_four_times_the_base() -> None:
    right = [Call(0.1, 1.0, True), Call(0.2, 0.0, False)]
    wrong = [Call(0.1, 0.0, True), Call(0.2, 1.0, False)]

    assert score(right).ratio == 0.0
    assert score(wrong).ratio == 4.0
    assert np.isnan(score(right[:1]).ratio)
    assert list(scores(right)) == ["10%", "20%", "all"]


def test_bins_count_and_leave_out_what_was_never_said() -> None:
    made = bins([Call(0.1, 0.05, False), Call(0.1, 0.95, True), Call(0.1, 1.0, True)])

    assert [(one.calls, one.won) for one in made] == [(1, 0.0), (2, 1.0)]
    assert made[1].chance == pytest.approx(0.975)
    assert all(one.low <= one.won <= one.high for one in made)


def test_figures_become_a_table_and_a_picture(tmp_path: Path) -> None:
    one = {"calls": 2, "won": 0.5, "brier": 0.1, "base": 0.25, "ratio": 0.4}
    reported = {"calls": 2, "chance": 0.4, "won": 0.5, "low": 0.2, "high": 0.8}
    figures = {"a set": {"scores": {"all": one}, "bins": [reported]}}

    draw(figures, tmp_path / "race.png")

    assert "| all | 2 | 50.0% | 0.100 | 0.250 | 0.40 |" in table(figures)
    assert "| 40% | 2 | 50% | 20% to 80% |" in table(figures)
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_race_beats_the_base_rate() -> None:
    found = calls(synthetic_contests(EARLY_SEED, 60))

    # some 150 calls of 60 races: looser than what docs/science.md promises
    assert len(found) >= 80
    assert score(found).ratio <= 0.85
