"""The two sources of knowledge, put together and made honest.

The share of the past runs and the width of the result are learned from the past runs themselves:
each of some of them is forecast from the others, as if it were this one, at the same round.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.analysis import posterior
from tasks.analysis.curve import Curve, Floats, Ints
from tasks.analysis.families import LIKELY_END, ParametricShapes
from tasks.analysis.observed import Observed, observe
from tasks.analysis.similar import HistoryShapes, PastRun

CALIBRATORS = 12
"""Past runs that are forecast from the others."""
CALIBRATION_DRAWS = 150
LEVEL = 0.8
PRIOR_SHARES = 0.5
"""Runs that the even share of the two sources counts for."""
PRIOR_WIDTHS = 5.0
"""Runs that the default width counts for."""
MOST_NARROWED, MOST_WIDENED = 0.6, 2.5
LEAST_WIDTH = 0.002
PRIOR_ENDS = 4.0
"""Past runs that the default asymptote counts for."""
LEAST_SD_OF_ENDS, WIDER_ENDS = 0.05, 1.2
EXPECTATION_STEPS = 30
SEEN = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
WIDER = (1.5, 1.5, 1.4, 1.25, 0.92, 0.75)
"""How much wider than the families say, at these shares of the rounds seen: what made 80 % intervals
hold 80 % of 700 synthetic curves of the training seeds, surprises included."""


@dataclass(frozen=True)
class Mix:
    """share of the past runs (0 to 1), and the factor on the width of the whole."""

    share: float
    widening: float


@dataclass(frozen=True, eq=False)
class _Trial:
    """One past run forecast from the others: how its end was, and draws from each source."""

    end: float
    parametric: Floats
    history: Floats


def default_widening(observed: Observed, x: Floats) -> Floats:
    """The factor on the width at x when nothing but the families is known."""
    return np.asarray(np.interp(observed.now / x, SEEN, WIDER))


def widened(levels: Floats, factor: Floats | float) -> Floats:
    """Draws (draws, x), spread about their median by the factor, within 0 to 1."""
    middle = np.median(levels, axis=0)
    return np.asarray(np.clip(middle + factor * (levels - middle), 0.0, 1.0))


def likely_end(runs: Sequence[PastRun], x_end: float) -> tuple[float, float]:
    """Mean and standard deviation of the asymptote by where past runs ended, for the prior (empirical
    Bayes: Efron, "Large-scale inference" 2010, chapter 1), drawn to the default while they are few.
    """
    ends = np.array([run.level_at(x_end) for run in runs])
    mean, sd = LIKELY_END
    known = len(ends) / (len(ends) + PRIOR_ENDS)
    variance = known * np.var(ends) + (1.0 - known) * (sd**2 + (np.mean(ends) - mean) ** 2)
    centre = known * np.mean(ends) + (1.0 - known) * mean
    return float(centre), float(max(LEAST_SD_OF_ENDS, WIDER_ENDS * np.sqrt(variance)))


def parametric_levels(
    observed: Observed,
    x: Floats,
    count: int,
    rng: np.random.Generator,
    end: tuple[float, float] = LIKELY_END,
) -> Floats:
    """Draws of the level at x, all ahead of now, from the families alone; `end` as in
    ParametricShapes."""
    fitted = posterior.fit(observed, ParametricShapes(observed.now, end), rng)
    drawn = posterior.draw(fitted, np.concatenate([[observed.now], x]), count, rng)
    return widened(drawn.levels[:, 1:], default_widening(observed, x))


def history_levels(
    observed: Observed, runs: Sequence[PastRun], x: Floats, count: int, rng: np.random.Generator
) -> Floats:
    """Draws of the level at x, all ahead of now, from past runs alone."""
    shapes = HistoryShapes(runs, observed.now, float(x[-1]))
    fitted = posterior.fit(observed, shapes, rng)
    drawn = posterior.draw(fitted, np.concatenate([[observed.now], x]), count, rng)
    return np.clip(drawn.levels[:, 1:], 0.0, 1.0)


def learn(runs: Sequence[PastRun], now: float, x_end: float, rng: np.random.Generator) -> Mix:
    """Share and width from the most similar past runs, each forecast without itself."""
    trials = [
        trial
        for run in runs[:CALIBRATORS]
        if (trial := _try(run, runs, now, x_end, rng)) is not None
    ]
    share = _share(trials)
    return Mix(share, _widening(trials, share))


def _try(
    run: PastRun, runs: Sequence[PastRun], now: float, x_end: float, rng: np.random.Generator
) -> _Trial | None:
    others = [other for other in runs if other is not run]
    observed = observe(_until(run.curve, now))
    if not others or observed is None or observed.now >= x_end:
        return None
    x = np.array([x_end])
    # noise of the mean of the last five, as in the end that is compared
    scatter = np.sqrt(observed.noise.of_mean(5.0))
    end = likely_end(others, x_end)
    parametric = parametric_levels(observed, x, CALIBRATION_DRAWS, rng, end)[:, 0]
    history = history_levels(observed, others, x, CALIBRATION_DRAWS, rng)[:, 0]
    return _Trial(
        run.level_at(x_end),
        parametric + scatter * rng.normal(size=CALIBRATION_DRAWS),
        history + scatter * rng.normal(size=CALIBRATION_DRAWS),
    )


def _until(curve: Curve, now: float) -> Curve:
    x = curve.rounds - curve.rounds[0] + 1
    return curve.until(int(np.searchsorted(x, now, side="right")))


def _share(trials: Sequence[_Trial]) -> float:
    """The share of the past runs that makes the ends of the trials likeliest, by expectation and
    maximisation (stacking of predictive distributions: Yao, Vehtari, Simpson and Gelman, Bayesian
    Analysis 2018), with an even share as prior."""
    by_history = np.array([_density(trial.history, trial.end) for trial in trials])
    by_families = np.array([_density(trial.parametric, trial.end) for trial in trials])
    share = 0.5
    for _ in range(EXPECTATION_STEPS):
        whole = share * by_history + (1.0 - share) * by_families
        claimed = float(np.sum(share * by_history / whole))
        share = (claimed + PRIOR_SHARES) / (len(trials) + 2.0 * PRIOR_SHARES)
    return share


def _density(draws: Floats, value: float) -> float:
    low, high = np.quantile(draws, [0.1, 0.9])
    width = max(LEAST_WIDTH, 0.25 * (high - low))
    # the least density keeps one surprise from deciding everything
    return float(np.exp(-0.5 * ((draws - value) / width) ** 2).mean() / width + 1e-3)


def _widening(trials: Sequence[_Trial], share: float) -> float:
    """The factor that makes the trials' 80 % intervals hold 80 % (split conformal prediction with
    scaled residuals: Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, JASA 2018), drawn towards 1
    as long as the trials are few."""
    if not trials:
        return 1.0
    scores = np.array([_score(mixed(t.history, t.parametric, share), t.end) for t in trials])
    rank = min(1.0, LEVEL * (len(scores) + 1) / len(scores))
    needed = float(np.clip(np.quantile(scores, rank), MOST_NARROWED**2, MOST_WIDENED**2))
    drawn = len(scores) * np.log(needed) / (len(scores) + PRIOR_WIDTHS)
    return float(np.clip(np.exp(drawn), MOST_NARROWED, MOST_WIDENED))


def _score(draws: Floats, end: float) -> float:
    """How far the end is from the median, in halves of the 80 % interval on that side."""
    low, middle, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2])
    half = high - middle if end > middle else middle - low
    return float(abs(end - middle) / max(half, 1e-6))


def mixed(history: Floats, parametric: Floats, share: float) -> Floats:
    """Of equally many draws of each source, the share of the one and the rest of the other. The
    draws of a source come ordered, so they are taken evenly, not from the front."""
    count = len(parametric)
    first = round(share * count)
    return np.concatenate(
        [history[_evenly(count, first)], parametric[_evenly(count, count - first)]]
    )


def _evenly(count: int, wanted: int) -> Ints:
    places = (np.arange(wanted) + 0.5) * count / max(wanted, 1)
    return np.asarray(places, dtype=np.int64)
