"""Combination of the sources of a forecast, with calibrated shares and width.

The shares of the sources and the width of the result are learned from the past runs themselves:
each of some of them is forecast from the others, as if it were this one, at the same round.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.analysis import posterior
from tasks.analysis.curve import Curve, Floats, Ints
from tasks.analysis.families import ANY_END, PLANNED_ENDS, End, ParametricShapes
from tasks.analysis.gains import Gains
from tasks.analysis.observed import Observed, observe
from tasks.analysis.similar import FINAL_ROUNDS, HistoryShapes, PastRun

CALIBRATORS = 12
"""Past runs that are forecast from the others."""
CALIBRATION_DRAWS = 150
LEVEL = 0.8
PRIOR_SHARES = 0.5
"""Runs that each source's even share counts for."""
PRIOR_WIDTHS = 5.0
"""Runs that the default width counts for."""
MOST_NARROWED, MOST_WIDENED = 0.6, 2.5
LEAST_WIDTH = 0.002
LEAST_PART = 0.3
LEAST_HALF = 1e-6
"""Half an interval is at least so wide."""
PRIOR_ENDS = 4.0
"""Past runs that the default asymptote counts for."""
LEAST_SD_OF_ENDS, WIDER_ENDS = 0.05, 1.2
EXPECTATION_STEPS = 30
SEEN = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
BELOW = (1.0, 1.15, 1.2, 1.1, 1.0, 0.75)
ABOVE = (1.2, 1.35, 1.3, 1.25, 0.85, 0.55)
"""How much wider than the families say, below and above the median, at these shares of the rounds
seen: what made 80 % intervals hold 80 % of 1,900 synthetic curves of the training seeds, surprises
included, missing as often on either side; at 70 and 90 % these asked for less, but no family is true.
"""
LEAN = (0.3, 0.2, 0.15, 0.0, 0.0, 0.0)
"""How far the median moves up, as a share of the way to the upper bound of the 80 % interval, at these
shares of the rounds seen: what took most off the CRPS of 500 synthetic curves of the training seeds
while no more than six in ten of them end below the median. Where much is open, families end too low."""


@dataclass(frozen=True)
class Mix:
    """Shares of families, of past runs as shapes and of the regression over them,
    with sum 1, and the factor on the width of the whole."""

    shares: tuple[float, float, float]
    widening: float

    @property
    def of_history(self) -> float:
        """Return the part that rests on past runs."""
        return self.shares[1] + self.shares[2]


ALONE = Mix((1.0, 0.0, 0.0), 1.0)


@dataclass(frozen=True, eq=False)
class _Trial:
    """One past run forecast from the others: its true end, and draws from each
    source (None from a source without a forecast)."""

    end: float
    draws: tuple[Floats | None, Floats | None, Floats | None]


def default_widening(observed: Observed, x: Floats) -> tuple[Floats, Floats]:
    """Return factors on the width at x, below and above the median, by families."""
    below, above = (np.interp(observed.now / x, SEEN, wider) for wider in (BELOW, ABOVE))
    return np.asarray(below), np.asarray(above)


def widened(levels: Floats, below: Floats | float, above: Floats | float) -> Floats:
    """Spread draws (draws, x) about their median by the factors, within 0 to 1."""
    away = levels - np.median(levels, axis=0)
    spread = np.where(away < 0.0, below * away, above * away)
    return np.asarray(np.clip(levels - away + spread, 0.0, 1.0))


def leaned(levels: Floats, lean: Floats) -> Floats:
    """Move draws (draws, x) up: the median by `lean` towards the upper 80 % bound.

    Draws at or beyond the bounds do not move, those between in proportion.
    """
    low, middle, high = np.quantile(levels, [0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2], axis=0)
    above, below = np.maximum(high - middle, LEAST_HALF), np.maximum(middle - low, LEAST_HALF)
    away = levels - middle
    near = 1.0 - np.where(away < 0.0, -away / below, away / above)
    return np.asarray(levels + lean * (high - middle) * np.maximum(near, 0.0))


def likely_end(runs: Sequence[PastRun], x_end: float) -> End:
    """Return the prior asymptote by past runs' ends, drawn to the default while few.

    This is empirical Bayes (Efron, "Large-scale inference" 2010, chapter 1).
    """
    ends = np.array([run.level_at(x_end) for run in runs])
    mean, sd = ANY_END.mean, ANY_END.sd
    known = len(ends) / (len(ends) + PRIOR_ENDS)
    variance = known * np.var(ends) + (1.0 - known) * (sd**2 + (np.mean(ends) - mean) ** 2)
    centre = known * np.mean(ends) + (1.0 - known) * mean
    return End(float(centre), float(max(LEAST_SD_OF_ENDS, WIDER_ENDS * np.sqrt(variance))))


def parametric_levels(
    observed: Observed,
    x: Floats,
    count: int,
    rng: np.random.Generator,
    ends: Sequence[End] = PLANNED_ENDS,
) -> Floats:
    """Return draws of the level at future x by families; `ends` is the prior end."""
    shapes = ParametricShapes(observed.now, ends, float(x[-1]))
    fitted = posterior.fit(observed, shapes, rng)
    drawn = posterior.draw(fitted, np.concatenate([[observed.now], x]), count, rng)
    levels = widened(drawn.levels[:, 1:], *default_widening(observed, x))
    levels = leaned(levels, np.interp(observed.now / x, SEEN, LEAN))
    wandered = np.sqrt(observed.wandered(x)) * rng.normal(size=(count, 1))
    return np.asarray(np.clip(levels + wandered, 0.0, 1.0))


def history_levels(
    observed: Observed, runs: Sequence[PastRun], x: Floats, count: int, rng: np.random.Generator
) -> Floats:
    """Return draws of the level at x, all ahead of now, from past runs alone."""
    shapes = HistoryShapes(runs, observed.now, float(x[-1]))
    fitted = posterior.fit(observed, shapes, rng)
    drawn = posterior.draw(fitted, np.concatenate([[observed.now], x]), count, rng)
    return np.clip(drawn.levels[:, 1:], 0.0, 1.0)


def gained_levels(
    found: Gains, base: Floats, observed: Observed, x: Floats, rng: np.random.Generator
) -> Floats:
    """Return draws of the level at x that end as in the regression.

    Those of `base` are each moved by the change of their end, in proportion to log rounds.
    """
    scatter = observed.noise.of_mean(float(FINAL_ROUNDS))
    # the levels that it learned from were noisy, and that noise is added again later
    sd = np.sqrt(max(found.variance - scatter, LEAST_PART * found.variance))
    wanted = np.sort(found.mean + sd * rng.normal(size=len(base)))
    rank = np.argsort(np.argsort(base[:, -1], kind="stable"), kind="stable")
    way = np.log(x / observed.now) / np.log(x[-1] / observed.now)
    return np.asarray(np.clip(base + (wanted[rank] - base[:, -1])[:, None] * way, 0.0, 1.0))


def learn(
    runs: Sequence[PastRun], found: Gains | None, now: float, x_end: float, rng: np.random.Generator
) -> Mix:
    """Learn shares and width from the most similar past runs, each left out in turn."""
    trials = [
        trial
        for run in runs[:CALIBRATORS]
        if (trial := _try(run, runs, found, (now, x_end), rng)) is not None
    ]
    able = (True, bool(runs), found is not None)
    shares = _shares(trials, able)
    return Mix(shares, _widening(trials, shares))


def _try(
    run: PastRun,
    runs: Sequence[PastRun],
    found: Gains | None,
    span: tuple[float, float],
    rng: np.random.Generator,
) -> _Trial | None:
    now, x_end = span
    others = [other for other in runs if other is not run]
    observed = observe(_until(run.curve, now))
    if not others or observed is None or observed.now >= x_end:
        return None
    x, end = np.array([x_end]), run.level_at(x_end)
    # noise of the mean of the last five, as in the end that is compared
    scatter = np.sqrt(observed.noise.of_mean(float(FINAL_ROUNDS)))
    likely = (likely_end(others, x_end),)
    parametric = parametric_levels(observed, x, CALIBRATION_DRAWS, rng, likely)[:, 0]
    history = history_levels(observed, others, x, CALIBRATION_DRAWS, rng)[:, 0]
    noise = scatter * rng.normal(size=(2, CALIBRATION_DRAWS))
    gained = None
    if found is not None and run in found.past:
        error, variance = found.past[run]
        gained = end + error + np.sqrt(variance) * rng.normal(size=CALIBRATION_DRAWS)
    return _Trial(end, (parametric + noise[0], history + noise[1], gained))


def _until(curve: Curve, now: float) -> Curve:
    x = curve.rounds - curve.rounds[0] + 1
    return curve.until(int(np.searchsorted(x, now, side="right")))


def _shares(trials: Sequence[_Trial], able: tuple[bool, ...]) -> tuple[float, float, float]:
    """Return the shares of the sources that make the ends of the trials likeliest.

    By expectation and maximisation (stacking of predictive distributions: Yao, Vehtari, Simpson and
    Gelman, Bayesian Analysis 2018), with even shares as prior; 0 for a source without a forecast.
    """
    prior = np.array(able, dtype=np.float64)
    shares = prior / prior.sum()
    densities = np.array(
        [
            [0.0 if draws is None else _density(draws, trial.end) for draws in trial.draws]
            for trial in trials
        ]
    ).reshape(len(trials), len(able))
    for _ in range(EXPECTATION_STEPS):
        claims = shares * densities
        claimed = (claims / np.maximum(claims.sum(axis=1, keepdims=True), 1e-300)).sum(axis=0)
        shares = claimed * prior + PRIOR_SHARES * prior
        shares = shares / shares.sum()
    return float(shares[0]), float(shares[1]), float(shares[2])


def _density(draws: Floats, value: float) -> float:
    low, high = np.quantile(draws, [0.1, 0.9])
    width = max(LEAST_WIDTH, 0.25 * (high - low))
    # the least density keeps one surprise from deciding everything
    return float(np.exp(-0.5 * ((draws - value) / width) ** 2).mean() / width + 1e-3)


def _widening(trials: Sequence[_Trial], shares: tuple[float, ...]) -> float:
    """Return the factor that makes the trials' 80 % intervals hold 80 %.

    Split conformal prediction with scaled residuals (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman,
    JASA 2018), drawn towards 1 as long as the trials are few.
    """
    if not trials:
        return 1.0
    scores = np.array([_score(mixed(trial.draws, shares), trial.end) for trial in trials])
    rank = min(1.0, LEVEL * (len(scores) + 1) / len(scores))
    needed = float(np.clip(np.quantile(scores, rank), MOST_NARROWED**2, MOST_WIDENED**2))
    drawn = len(scores) * np.log(needed) / (len(scores) + PRIOR_WIDTHS)
    return float(np.clip(np.exp(drawn), MOST_NARROWED, MOST_WIDENED))


def _score(draws: Floats, end: float) -> float:
    """Return the end's distance from the median, in halves of the 80 % interval there."""
    low, middle, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2])
    half = high - middle if end > middle else middle - low
    return float(abs(end - middle) / max(half, LEAST_HALF))


def mixed(draws: Sequence[Floats | None], shares: Sequence[float]) -> Floats:
    """Mix equally many draws of each source by share; one without draws is left out.

    The draws of a source may be ordered, so they are taken evenly.
    """
    given = [(one, share) for one, share in zip(draws, shares, strict=True) if one is not None]
    total = sum(share for _, share in given)
    count = len(given[0][0])
    parts = [one[_evenly(count, round(count * share / total))] for one, share in given]
    return np.concatenate(parts)


def _evenly(count: int, wanted: int) -> Ints:
    places = (np.arange(wanted) + 0.5) * count / max(wanted, 1)
    return np.asarray(places, dtype=np.int64)
