import numpy as np
import pytest

from tasks.analysis.noise import (
    MEMORY,
    UNKNOWN,
    Noise,
    estimate,
    slow_share,
    wander,
    without_spikes,
)


def test_white_noise_is_white() -> None:
    values = 0.5 + 0.02 * np.random.default_rng(0).normal(size=2000)

    noise = estimate(values)

    assert noise.sd == pytest.approx(0.02, rel=0.1)
    assert noise.slow < 0.2 * noise.white


def test_noise_with_a_memory_is_slow() -> None:
    rng = np.random.default_rng(0)
    values = np.zeros(4000)
    for index in range(1, 4000):
        values[index] = MEMORY * values[index - 1] + 0.02 * np.sqrt(1 - MEMORY**2) * rng.normal()

    noise = estimate(values)

    assert noise.sd == pytest.approx(0.02, rel=0.15)
    assert noise.slow > 3 * noise.white


def test_a_trend_is_no_noise() -> None:
    assert estimate(0.01 * np.arange(50)).sd < 2e-4


def test_jumps_do_not_bend_it() -> None:
    values = 0.5 + 0.01 * np.random.default_rng(0).normal(size=200)
    values[::20] += 0.4

    assert estimate(values).sd < 0.02


def test_of_few_values_nothing_is_known() -> None:
    assert estimate(np.array([0.1, 0.2, 0.3, 0.4])) == Noise(UNKNOWN**2, 0.0)


def test_the_mean_of_five_has_a_fifth_of_the_white_variance() -> None:
    assert Noise(0.05, 0.0).of_mean(5) == pytest.approx(0.01)


def test_the_mean_of_the_slow_part_is_that_of_its_correlations() -> None:
    lags = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))

    assert slow_share(np.array([1.0, 5.0])) == pytest.approx([1.0, (MEMORY**lags).mean()])


def test_a_lone_spike_is_put_right_and_a_step_is_not() -> None:
    spike = np.full(20, 0.8)
    spike[9] = 0.1
    step = np.array([0.2] * 10 + [0.8] * 10)

    assert without_spikes(spike).tolist() == [0.8] * 20
    assert without_spikes(step).tolist() == step.tolist()


def test_the_last_value_is_never_touched() -> None:
    assert without_spikes(np.array([0.8] * 19 + [0.1]))[-1] == 0.1


def test_values_within_one_step_are_as_noisy_as_rounding_makes_them() -> None:
    values = np.full(60, 0.55)
    values[[20, 40]] = 0.6

    assert estimate(values).sd == pytest.approx(0.05 / np.sqrt(12.0))
    assert estimate(np.full(60, 0.55)).sd == pytest.approx(1e-4)


def test_a_gap_of_the_curve_is_no_step_of_the_metric() -> None:
    jump = np.repeat([0.1, 0.8], 30)

    assert estimate(jump).sd == pytest.approx(1e-4)


def test_a_level_that_comes_and_goes_is_reported_from_noise_and_trend() -> None:
    rng = np.random.default_rng(0)
    rounds = np.arange(800)
    white = 0.0002 * rng.normal(size=800)
    trend = 0.99 - 0.9 * np.exp(-rounds / 80.0)
    slow = 0.002 * np.sin(2.0 * np.pi * rounds / 90.0)

    still, moving = (
        wander(values, estimate(values)) for values in (trend + white, trend + slow + white)
    )

    assert np.sqrt(still[0]) < 0.0002
    assert 0.0005 < np.sqrt(moving[0]) < 0.004
    assert moving[1] == 50.0


def test_a_short_run_has_not_wandered() -> None:
    values = np.linspace(0.1, 0.9, 79)

    assert wander(values, estimate(values)) == (0.0, 1.0)
