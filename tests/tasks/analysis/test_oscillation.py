import numpy as np
import pytest

from tasks.analysis.curve import Floats
from tasks.analysis.oscillation import swing_of


def noise(rounds: int, sd: float, seed: int = 0) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return sd * np.random.default_rng(seed).normal(size=rounds)


def test_a_wave_has_its_period_and_amplitude() -> None:
    wave = 0.04 * np.sin(2 * np.pi * np.arange(60) / 6)

    swing = swing_of(0.8 + wave + noise(60, 0.01), 8)

    assert swing.period == pytest.approx(6.0, rel=0.05)
    assert swing.amplitude == pytest.approx(0.04, rel=0.25)


def test_a_wave_on_a_rising_curve_is_found() -> None:
    x = np.arange(80)
    rise = 0.9 - 0.6 * np.exp(-x / 15)

    assert swing_of(rise + 0.03 * np.sin(2 * np.pi * x / 5), 8).period == pytest.approx(5, rel=0.05)


def test_a_rising_curve_is_no_wave() -> None:
    for tau in (2, 5, 10, 30):
        assert swing_of(0.9 - 0.8 * np.exp(-np.arange(60) / tau), 8).period is None


def test_noise_is_no_wave() -> None:
    found = [swing_of(0.8 + noise(80, 0.02, seed), 8).period for seed in range(100)]

    assert sum(period is not None for period in found) <= 1


def test_a_wave_smaller_than_anyone_cares_for_is_none() -> None:
    assert swing_of(0.8 + 0.002 * np.sin(np.arange(60)), 8).period is None


def test_the_ratio_is_that_to_the_calmest_third() -> None:
    sd = np.where(np.arange(90) < 80, 0.005, 0.05)

    swing = swing_of(0.8 + noise(90, 1.0) * sd, 8)

    assert swing.ratio is not None
    assert 3.0 < swing.ratio < 20.0


def test_few_rounds_have_no_calmest_third() -> None:
    assert swing_of(0.8 + noise(20, 0.01), 8).ratio is None


def test_a_ratio_that_chance_makes_takes_more_the_fewer_rounds_there_are() -> None:
    few, many = swing_of(0.8 + noise(24, 0.01), 8), swing_of(0.8 + noise(120, 0.01), 12)

    # square roots of the F quantiles at 1 - 1e-4 for (5, 5) and (9, 37) degrees of freedom
    assert few.by_chance == pytest.approx(8.77, abs=0.5)
    assert many.by_chance == pytest.approx(2.32, abs=0.1)


def test_four_periods_in_twenty_rounds_are_a_wave() -> None:
    wave = 0.05 * np.sin(2 * np.pi * np.arange(20) / 5)

    assert swing_of(0.8 + wave + noise(20, 0.005), 8).period == pytest.approx(5, rel=0.05)


def test_noise_of_twenty_rounds_is_none() -> None:
    found = [swing_of(0.8 + noise(20, 0.02, seed), 8).period for seed in range(200)]

    assert sum(period is not None for period in found) <= 1


@pytest.mark.promise("Training: a curve that only rises is never oscillating")
@pytest.mark.parametrize(
    ("values", "oscillates"),
    [
        # one step up after a calm start, steps up again and again, and swings of that size
        (np.append(np.linspace(0.1, 0.115, 16), np.linspace(0.3, 0.308, 8)), False),
        (np.repeat(np.linspace(0.1, 0.9, 8), 4), False),
        (np.append(np.full(24, 0.5), [0.5, 0.6, 0.4, 0.6, 0.4, 0.6, 0.4, 0.6]), True),
    ],
)
def test_swings_of_both_signs_are_needed(values: Floats, oscillates: bool) -> None:
    swing = swing_of(values, 8)

    rough = swing.ratio is not None and swing.ratio >= max(3.0, swing.by_chance)
    assert (rough or swing.period is not None) is oscillates
