"""Where a curve is now: level, trend and what is left to gain, each with its interval."""

from dataclasses import dataclass

import numpy as np

from tasks.analysis import posterior
from tasks.analysis.curve import Curve, Floats
from tasks.analysis.families import ParametricShapes
from tasks.analysis.interval import Interval
from tasks.analysis.observed import observe

DRAWS = 400
LEVEL = 0.8
SEED = 0
MOST_MARKS = 16
LEAST_SD = 1e-9


@dataclass(frozen=True, eq=False)
class State:
    """Level and asymptote on the scale 0 to 1, trend a round over the window; the draws behind
    them (gaps are asymptote less level), and the noise's standard deviation."""

    level: Interval
    trend: Interval
    asymptote: Interval
    trends: Floats
    gaps: Floats
    noise_sd: float


def state_of(curve: Curve, window: int) -> State | None:
    """The state by the families of learning curves; None when no round has a value.

    The noise-free curve is drawn at the last `window` rounds, so the trend rests on the whole curve
    where that helps and on the window alone where no family fits (the discrepancy takes over).
    """
    observed = observe(curve)
    if observed is None:
        return None
    rng = np.random.default_rng(SEED)
    x = _marks(curve, window)
    fitted = posterior.fit(observed, ParametricShapes(observed.now), rng)
    drawn = posterior.draw(fitted, x, DRAWS, rng)
    levels = drawn.levels[:, -1]
    trends = _slopes(x, drawn.levels)
    ends = np.clip(drawn.ends, 0.0, 1.0)
    return State(
        _interval(levels),
        _interval(trends),
        _interval(ends),
        trends,
        ends - levels,
        observed.noise.sd,
    )


def _marks(curve: Curve, window: int) -> Floats:
    """At most 16 of the last rounds with a value, counted from 1 at the first round."""
    finite = np.flatnonzero(np.isfinite(curve.values))[-window:]
    x = (curve.rounds[finite] - curve.rounds[0] + 1).astype(np.float64)
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_MARKS)).astype(np.int64))
    return np.asarray(x[keep])


def _slopes(x: Floats, levels: Floats) -> Floats:
    """Least-squares slope of each draw."""
    if len(x) < 2:
        return np.zeros(len(levels))
    centred = x - x.mean()
    return np.asarray(levels @ centred / (centred @ centred))


def _interval(draws: Floats) -> Interval:
    low, middle, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2])
    return Interval(float(middle), float(low), float(high), LEVEL)
