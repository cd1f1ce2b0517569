from typing import Any

import numpy as np
import pytest

from tasks.analysis import mixture
from tasks.analysis.curve import Floats, from_arrays
from tasks.analysis.gains import LEAST_RUNS, Gains, figures, gains
from tasks.analysis.observed import observe
from tasks.analysis.similar import PastRun, past_run


def run(name: str, values: Any) -> PastRun:
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


SEEN, ROUNDS = 12, 60
FIGURES = ("level", "slope", "start", "half", "noise", "length")
RAMP, RIPPLE = np.linspace(-0.5, 0.5, SEEN), np.tile([1.0, -1.0], SEEN // 2)
TYPICAL = {"level": 0.4, "slope": 0.1, "start": 0.4, "half": 0.05, "noise": -4.0}
MOVED = {"level": 0.2, "slope": 0.5, "start": 0.2, "half": 0.2, "noise": 0.7}


def beginning(n: int, figure: str, wanted: float | None) -> Floats:
    """The first rounds of the n-th run, bent until that figure is as wanted; all others vary."""
    level, slope, bend, rough = np.random.default_rng(n).uniform(-1.0, 1.0, size=4)
    smooth = 0.4 + 0.1 * level + (0.1 + 0.1 * slope) * RAMP + 0.3 * bend * RAMP**2
    ripple = np.exp(-4.0 + 0.7 * rough) - 0.002
    if wanted is None:
        return np.asarray(smooth + ripple / 1.6 * RIPPLE)
    if figure == "noise":
        unit = np.exp(figures(smooth + RIPPLE, ROUNDS)[4]) - 0.002
        return np.asarray(smooth + (np.exp(wanted) - 0.002) / unit * RIPPLE)
    values, place = smooth + ripple / 1.6 * RIPPLE, FIGURES.index(figure)
    way = RAMP if figure in ("slope", "half") else np.ones(SEEN)
    missing = wanted - figures(values, ROUNDS)[place]
    return np.asarray(values + way * missing / figures(way, ROUNDS)[place])


def past_like(figure: str, spread: float = 0.0, rounds: int = ROUNDS) -> list[PastRun]:
    """Past runs that all have that figure, up to the spread, and gain the more the higher they are."""
    found = []
    for n in range(30):
        wanted = None if figure == "length" else TYPICAL[figure] + spread * (-1) ** n
        values = beginning(n, figure, wanted)
        end = values[-5:].mean() * 1.2 + 0.03 * np.random.default_rng(n).normal()
        rest = np.linspace(values[-1], end, rounds - SEEN - 4)
        found.append(run(f"past {n}", [*values, *rest, *[end] * 4]))
    return found


def asked(figure: str, past: list[PastRun], share: float) -> Gains:
    """The forecast of a run whose figure is away from theirs by that share of a real difference."""
    x_end = ROUNDS * (2.0**share if figure == "length" else 1.0)
    wanted = None if figure == "length" else TYPICAL[figure] + share * MOVED[figure]
    found = gains(run("seen", beginning(99, figure, wanted)), past, SEEN * x_end / ROUNDS, x_end)
    assert found is not None
    return found


@pytest.mark.parametrize("spread", [0.0, 1e-12])
@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_that_never_varied_widens_the_forecast_and_moves_it_little(
    figure: str, spread: float
) -> None:
    past = past_like(figure, spread)
    same, near, far = (asked(figure, past, share) for share in (0.0, 0.02, 1.0))
    sd, sd_near, sd_far = (float(np.sqrt(one.variance)) for one in (same, near, far))

    assert sd_near == pytest.approx(sd, rel=0.05)
    assert near.mean == pytest.approx(same.mean, abs=0.02)
    assert 1.05 * sd < sd_far < 6.0 * sd
    assert 0.0 < far.mean < 1.0


@pytest.mark.parametrize("figure", FIGURES)
def test_the_histories_above_vary_in_all_figures_but_that_one(figure: str) -> None:
    rows = np.stack([figures(one.values[:SEEN], one.x[-1]) for one in past_like(figure)])
    spreads = dict(zip(FIGURES, rows.std(axis=0), strict=True))

    assert {name for name, sd in spreads.items() if sd < 1e-9} == {figure, "length"}


def test_a_figure_that_varied_is_asked_in_its_own_spread() -> None:
    varied = [*past_like("length"), *past_like("length", rounds=2 * ROUNDS)]
    seen = run("seen", beginning(99, "length", None))
    alike = gains(seen, past_like("length"), float(SEEN), 2.0 * ROUNDS)
    known = gains(seen, varied, float(SEEN), 2.0 * ROUNDS)

    assert alike is not None
    assert known is not None
    assert known.variance < alike.variance
