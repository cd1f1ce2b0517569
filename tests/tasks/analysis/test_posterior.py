import numpy as np
import pytest

from tasks.analysis import posterior
from tasks.analysis.curve import from_arrays
from tasks.analysis.families import (
    FAMILIES,
    HALFWAY,
    PLANNED_ENDS,
    RATES,
    Family,
    ParametricShapes,
)
from tasks.analysis.observed import MOST_POINTS, observe, window_of
from tasks.analysis.state import state_of


def exponential(rounds: int, tau: float = 20.0) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return 0.9 - 0.8 * np.exp(-np.arange(rounds) / tau)


@pytest.mark.parametrize(
    ("count", "window"), [(3, 8), (8, 8), (80, 8), (81, 9), (100, 10), (101, 11)]
)
def test_now_is_the_last_eight_rounds_or_a_tenth(count: int, window: int) -> None:
    assert window_of(count) == window


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_gap_starts_at_one_and_never_grows(family: posterior.Shapes) -> None:
    gaps = family.evaluate(np.arange(1.0, 200.0), 50.0)  # type: ignore[attr-defined]

    assert gaps[:, 0] == pytest.approx(1.0)
    assert np.all(np.diff(gaps, axis=1) <= 1e-12)
    assert np.all(gaps >= 0.0)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_half_of_the_gap_is_closed_halfway(family: Family) -> None:
    halfway = family.halfway(50.0)

    gaps = family.evaluate(np.concatenate([[1e-9], halfway]), 50.0)

    assert np.diagonal(gaps[:, 1:]) == pytest.approx(gaps[:, 0] / 2.0, rel=1e-3)


def test_with_a_plan_shapes_that_learn_within_it_weigh_more() -> None:
    shapes, free = ParametricShapes(20.0, planned=200.0), ParametricShapes(20.0)
    power = slice(1, 1 + len(RATES))
    halfway = FAMILIES[0].halfway(20.0)[: len(RATES)]

    likeliest = halfway[np.argmax(shapes.log_prior[power])]

    assert np.ptp(free.log_prior[power]) == 0.0
    assert 0.5 * HALFWAY * 200.0 < likeliest < 2.0 * HALFWAY * 200.0
    assert np.exp(shapes.log_prior[1:]).sum() == pytest.approx(len(FAMILIES))


def test_each_belief_about_the_end_has_all_shapes() -> None:
    one, two = ParametricShapes(20.0, planned=200.0), ParametricShapes(20.0, PLANNED_ENDS, 200.0)
    x = np.array([1.0, 20.0, 200.0])

    assert len(two.log_prior) == 2 * len(one.log_prior)
    assert np.exp(two.log_prior).sum() == pytest.approx(np.exp(one.log_prior).sum())
    assert two.at(x)[0][[0, one.count]].tolist() == [[0.0] * 3] * 2
    assert two.end()[1].sum() == 2.0
    assert set(two.centre[0]) == {end.mean for end in PLANNED_ENDS}


def test_a_long_curve_is_made_small_without_losing_its_mean() -> None:
    values = exponential(1000)

    observed = observe(from_arrays("run", np.arange(1000), values))

    assert observed is not None
    assert len(observed.x) <= MOST_POINTS
    assert observed.size.sum() == 1000
    assert observed.y @ observed.size == pytest.approx(values.sum(), rel=1e-6)
    assert observed.now == 1000


def test_a_curve_without_values_is_not_observed() -> None:
    assert observe(from_arrays("run", np.arange(3), np.full(3, np.nan))) is None


def test_draws_pass_through_what_was_seen() -> None:
    seen = exponential(40)
    observed = observe(from_arrays("run", np.arange(1, 41), seen))
    assert observed is not None
    rng = np.random.default_rng(0)

    fitted = posterior.fit(observed, ParametricShapes(observed.now), rng)
    drawn = posterior.draw(fitted, np.array([20.0, 40.0, 60.0]), 500, rng)

    assert fitted.weights.sum() == pytest.approx(1.0)
    assert drawn.levels[:, :2].mean(axis=0) == pytest.approx(seen[[19, 39]], abs=0.003)
    assert drawn.levels[:, 2].mean() == pytest.approx(exponential(60)[-1], abs=0.02)
    assert drawn.levels[:, 2].std() > drawn.levels[:, 1].std()


def test_the_state_of_a_known_curve() -> None:
    state = state_of(from_arrays("run", np.arange(1, 81), exponential(80)), 8)

    assert state is not None
    slope = 0.8 / 20.0 * np.exp(-75.5 / 20.0)
    assert state.trend.estimate == pytest.approx(slope, rel=0.1)
    assert state.level.estimate == pytest.approx(exponential(80)[-1], abs=0.003)
    # the exact curve lies between the time constants of the grid
    assert state.asymptote.estimate == pytest.approx(0.9, abs=0.005)
    assert state.asymptote.low - 0.002 <= 0.9 <= state.asymptote.high


def test_a_curve_without_values_has_no_state() -> None:
    assert state_of(from_arrays("run", np.arange(9), np.full(9, np.nan)), 8) is None
