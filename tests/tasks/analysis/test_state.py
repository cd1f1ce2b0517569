from typing import Any

import numpy as np
import pytest

from tasks.analysis.curve import Curve, from_arrays
from tasks.analysis.observed import window_of
from tasks.analysis.state import State, state_of


def state(values: Any) -> State:
    curve = from_arrays("run", np.arange(1, len(values) + 1), np.asarray(values))
    found = state_of(curve, window_of(len(values)))
    assert found is not None
    return found


def remembering(count: int, memory: float, seed: int) -> Any:
    """Noise of variance 1 whose values resemble the one before."""
    shocks = np.random.default_rng(seed).normal(size=count)
    made = np.zeros(count)
    for index in range(count):
        before = made[index - 1] if index else 0.0
        made[index] = memory * before + np.sqrt(1.0 - memory**2) * shocks[index]
    return made


def saturating(count: int, tau: float) -> Any:
    return 0.9 - 0.8 * np.exp(-np.arange(count) / tau)


def test_a_run_that_was_done_long_ago_is_flat_with_nothing_left() -> None:
    noise = 0.005 * np.random.default_rng(3).normal(size=200)

    said = state(saturating(200, 4.0) + noise)

    assert said.level.estimate == pytest.approx(0.9, abs=0.004)
    assert np.mean(np.abs(said.trends) < 0.0005) > 0.9
    assert np.mean(said.gaps < 0.01) > 0.9


def test_a_run_on_its_way_is_neither() -> None:
    noise = 0.005 * np.random.default_rng(3).normal(size=60)

    said = state(saturating(60, 40.0) + noise)

    assert np.mean(said.trends > 0.0005) > 0.95
    assert np.mean(said.gaps > 0.02) > 0.95


def test_noise_that_lingers_leaves_the_level_less_sure() -> None:
    fresh = state(0.8 + 0.01 * remembering(300, 0.0, 2))
    lingering = state(0.8 + 0.01 * remembering(300, 0.8, 2))

    widths = [one.level.high - one.level.low for one in (fresh, lingering)]
    assert widths[1] > 1.5 * widths[0]


def test_the_size_of_white_noise_is_reported() -> None:
    said = state(0.8 + 0.02 * remembering(300, 0.0, 5))

    assert said.noise_sd == pytest.approx(0.02, rel=0.4)


def test_without_a_value_there_is_no_state() -> None:
    nothing = np.full(9, np.nan)

    assert (
        state_of(Curve("run", "accuracy", np.arange(9), nothing, np.zeros(9, dtype=bool)), 8)
        is None
    )
