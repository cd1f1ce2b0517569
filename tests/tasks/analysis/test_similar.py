from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.analysis import mixture
from tasks.analysis.curve import Curve, from_arrays
from tasks.analysis.observed import observe
from tasks.analysis.similar import HistoryShapes, choose, past_run


def curve(name: str, values: Any, start: int = 1) -> Curve:
    reported = np.asarray(values, dtype=np.float64)
    return from_arrays(name, np.arange(start, start + len(reported)), reported)


def rising(rounds: int, end: float) -> Any:
    return end * (1.0 - np.exp(-np.arange(1, rounds + 1) / 8.0))


def test_the_nearest_runs_come_first_and_short_ones_not_at_all() -> None:
    history = [
        curve("far", rising(60, 0.5)),
        curve("near", rising(60, 0.88)),
        curve("short", rising(40, 0.9)),
    ]

    chosen = choose(curve("now", rising(20, 0.9)), history, 60.0)

    assert [run.name for run in chosen] == ["near", "far"]


def test_runs_of_another_metric_are_no_history() -> None:
    losses = from_arrays("loss", np.arange(1, 61), None, np.linspace(2.0, 1.0, 60))

    assert choose(curve("now", rising(20, 0.9)), [losses], 60.0) == []


def test_smoothing_keeps_a_line_straight() -> None:
    run = past_run(curve("line", np.linspace(0.0, 0.9, 91)))

    assert run is not None
    assert run.smooth == pytest.approx(np.linspace(0.0, 0.9, 91))
    assert run.level_at(91.0) == pytest.approx(0.88)


def test_a_run_of_two_rounds_is_no_past_run() -> None:
    assert past_run(curve("tiny", [0.1, 0.2])) is None


def test_a_past_run_says_what_it_gained_since() -> None:
    runs = choose(curve("now", rising(20, 0.9)), [curve("past", rising(60, 0.9))], 60.0)

    shapes = HistoryShapes(runs, 20.0, 60.0)
    u, v = shapes.at(np.array([20.0, 60.0]))

    assert u.tolist() == [[1.0, 1.0]] * 2
    assert v[:, 0].tolist() == [0.0, 0.0]
    assert v[0, 1] == pytest.approx(rising(60, 0.9)[-1] - rising(20, 0.9)[-1], abs=0.01)


def test_between_rounds_and_over_holes_a_past_run_is_on_the_line() -> None:
    values = rising(60, 0.9)
    values[[0, 1, 20, 21, 22]] = np.nan
    (run,) = choose(curve("now", rising(20, 0.9)), [curve("past", values)], 60.0)
    asked = np.array([1.0, 2.5, 20.25, 22.0, 41.5, 59.5, 60.0])

    _, gained = HistoryShapes([run], 20.0, 60.0).at(asked)

    known = np.interp(np.append(asked, 20.0), run.x, run.smooth)
    assert gained[0] == pytest.approx(known[:-1] - known[-1])


def test_the_share_goes_to_the_source_that_was_right() -> None:
    # late risers: no family sees the rise coming, the past does
    late = [
        np.where(np.arange(60) < 30, 0.1, 0.1 + 0.02 * (np.arange(60) - 30) * (1 + n / 40))
        for n in range(12)
    ]
    now = curve("now", late[0][:25])
    runs = choose(now, [curve(str(n), one) for n, one in enumerate(late)], 60.0)

    mix = mixture.learn(runs, None, 25.0, 60.0, np.random.default_rng(0))

    assert mix.of_history > 0.7
    assert mix.shares[2] == 0.0


def test_without_trials_the_share_is_even_and_the_width_is_kept() -> None:
    runs = choose(curve("now", rising(20, 0.9)), [curve("past", rising(60, 0.9))], 60.0)

    mix = mixture.learn(runs, None, 20.0, 60.0, np.random.default_rng(0))

    assert mix == mixture.Mix((0.5, 0.5, 0.0), 1.0)


def test_widened_draws_keep_their_median() -> None:
    draws = np.random.default_rng(0).uniform(0.4, 0.6, size=(999, 2))

    wide = mixture.widened(draws, 1.5, 1.5)
    lower = mixture.widened(draws, 1.5, 1.0)

    assert np.median(wide, axis=0) == pytest.approx(np.median(draws, axis=0))
    assert wide.std() == pytest.approx(1.5 * draws.std(), rel=0.02)
    assert lower.min(axis=0) == pytest.approx(wide.min(axis=0))
    assert lower.max(axis=0) == pytest.approx(draws.max(axis=0))


def test_draws_lean_up_between_their_bounds_alone() -> None:
    draws = np.sort(np.random.default_rng(0).normal(0.5, 0.1, (1000, 1)), axis=0)
    before = np.quantile(draws, [0.1, 0.5, 0.9])

    after = np.quantile(mixture.leaned(draws, np.array([0.3])), [0.1, 0.5, 0.9])

    assert after[[0, 2]] == pytest.approx(before[[0, 2]], abs=1e-3)
    assert after[1] - before[1] == pytest.approx(0.3 * (before[2] - before[1]), rel=0.02)


@given(
    st.lists(st.floats(0.0, 1.0), min_size=3, max_size=40),
    st.floats(0.0, 0.5),
)
def test_leaning_keeps_the_order_and_the_range(values: list[float], lean: float) -> None:
    draws = np.sort(np.array(values))[:, None]

    leaned = mixture.leaned(draws, np.array([lean]))

    assert np.all(np.diff(leaned[:, 0]) >= -1e-9)
    assert draws.min() <= leaned.min() <= leaned.max() <= draws.max() + mixture.LEAST_HALF


def test_without_a_lean_draws_stay_as_they_are() -> None:
    draws = np.random.default_rng(1).normal(0.5, 0.1, (100, 3))

    assert np.array_equal(mixture.leaned(draws, np.zeros(3)), draws)


def test_mixed_draws_come_from_all_over_both() -> None:
    mixed = mixture.mixed((np.arange(1000.0, 1100.0), np.arange(100.0), None), (0.75, 0.25, 0.0))

    assert len(mixed) == 100
    assert np.count_nonzero(mixed < 500) == 25
    assert mixed.min() < 10
    assert mixed.max() > 1090


def test_the_default_width_follows_the_share_seen() -> None:
    observed = observe(curve("now", rising(20, 0.9)))
    assert observed is not None

    below, above = mixture.default_widening(observed, np.array([200.0, 40.0, 20.0]))

    for factors, known in ((below, mixture.BELOW), (above, mixture.ABOVE)):
        assert factors == pytest.approx([known[0], known[3], known[5]])


def test_a_past_run_whose_first_value_comes_late_is_no_stumbling_block() -> None:
    late = rising(60, 0.9)
    late[:50] = np.nan
    runs = choose(curve("now", rising(20, 0.9)), [curve("late", late)] * 3, 40.0)

    assert runs[0].level_at(40.0) == pytest.approx(late[50])
    assert np.isfinite(mixture.learn(runs, None, 20.0, 40.0, np.random.default_rng(0)).shares).all()


def test_a_run_opposite_to_all_past_ones_is_still_forecast() -> None:
    falling = observe(curve("now", np.linspace(0.9, 0.1, 20)))
    runs = choose(curve("now", rising(20, 0.9)), [curve("past", np.linspace(0, 1, 60))], 60.0)
    assert falling is not None

    levels = mixture.history_levels(
        falling, runs, np.array([30.0, 60.0]), 100, np.random.default_rng(0)
    )

    assert np.isfinite(levels).all()
