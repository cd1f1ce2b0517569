import numpy as np
import pytest

from tasks.analysis import mixture
from tasks.analysis.curve import from_arrays
from tasks.analysis.gains import LEAST_RUNS, figures, gains
from tasks.analysis.observed import observe
from tasks.analysis.similar import PastRun, past_run


def run(name: str, values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> PastRun:
    made = past_run(from_arrays(name, np.arange(1, len(values) + 1), values))
    assert made is not None
    return made


def rising(end: float, rounds: int, seed: int) -> PastRun:
    """The steeper the start, the higher the end."""
    noise = 0.005 * np.random.default_rng(seed).normal(size=rounds)
    return run(str(seed), end * (1.0 - np.exp(-np.arange(1, rounds + 1) / (0.2 * rounds))) + noise)


PAST = [rising(end, 40 + 20 * (n % 3), n) for n, end in enumerate(np.linspace(0.4, 0.9, 20))]


def test_a_steep_beginning_gains_more() -> None:
    beginning = rising(0.8, 60, 99)
    seen = run("seen", beginning.values[:12])

    found = gains(seen, PAST, 12.0, 60.0)

    assert found is not None
    assert found.mean == pytest.approx(beginning.values[-5:].mean(), abs=0.04)
    assert np.sqrt(found.variance) < 0.05
    assert set(found.past) == set(PAST)


def test_each_past_run_is_predicted_without_itself() -> None:
    outlier = run("outlier", np.linspace(0.1, 0.2, 60))
    seen = run("seen", rising(0.8, 60, 99).values[:12])

    found = gains(seen, [*PAST, outlier], 12.0, 60.0)

    assert found is not None
    errors = {one.name: abs(error) for one, (error, _) in found.past.items()}
    assert errors["outlier"] > np.median(list(errors.values()))


def test_few_past_runs_or_of_another_length_tell_nothing() -> None:
    seen = run("seen", rising(0.8, 60, 99).values[:12])

    assert gains(seen, PAST[: LEAST_RUNS - 1], 12.0, 60.0) is None
    assert gains(seen, PAST, 12.0, 1000.0) is None


def test_the_figures_of_a_line() -> None:
    level, slope, start, half, noise, length = figures(np.linspace(0.0, 0.9, 10), 50.0)

    assert (level, start, half) == (pytest.approx(0.7), pytest.approx(0.1), pytest.approx(0.5))
    assert slope == pytest.approx(1.0)
    assert np.exp(noise) == pytest.approx(0.002)
    assert np.exp(length) == pytest.approx(50.0)


def test_drawn_gains_end_where_the_regression_says() -> None:
    seen = rising(0.8, 60, 99).values[:12]
    observed = observe(from_arrays("seen", np.arange(1, 13), seen))
    found = gains(run("seen", seen), PAST, 12.0, 60.0)
    assert observed is not None
    assert found is not None
    base = np.tile(np.linspace(0.5, 0.6, 48), (2000, 1))
    base += 0.01 * np.random.default_rng(0).normal(size=(2000, 1))

    drawn = mixture.gained_levels(
        found, base, observed, np.arange(13.0, 61.0), np.random.default_rng(0)
    )

    assert np.median(drawn[:, -1]) == pytest.approx(found.mean, abs=0.005)
    assert abs(np.median(drawn[:, 0]) - 0.5) < 0.03
