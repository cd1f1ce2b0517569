"""The present state of a curve: level, trend and remaining gain, with intervals."""

from dataclasses import dataclass, replace

import numpy as np

from tasks.analysis import noise, posterior
from tasks.analysis.curve import Bools, Curve, Floats
from tasks.analysis.families import ParametricShapes
from tasks.analysis.interval import Interval
from tasks.analysis.observed import LEAST_RECENT, Observed, observe
from tasks.analysis.robust import quantile_interval

DRAWS = 400
LEVEL = 0.8
SEED = 0
MOST_MARKS = 16
GRIDS = (1.0, 0.3)
"""Time constants of the shapes, in units of those of the forecast: a second grid between and below
the first one's. A run that was done long ago had short ones."""
LEAST_FOR_MEMORY = 20
MEMORY_SD = 1.78
"""Standard deviation of the logarithm of the ratio of the noise at two lags when there is no memory,
times the root of the rounds (simulated)."""
SURE_OF_MEMORY = 3.0  # noise is held to linger when chance makes it look so in one of some 700 runs


@dataclass(frozen=True, eq=False)
class State:
    """Level and asymptote on the scale 0 to 1, trend a round over the window; the
    draws behind them (gaps are asymptote less level), and the noise's standard deviation."""

    level: Interval
    trend: Interval
    asymptote: Interval
    trends: Floats
    gaps: Floats
    noise_sd: float


def state_of(curve: Curve, window: int) -> State | None:
    """Estimate the state by the families of learning curves; None without any value.

    The curve is drawn at the last `window` rounds, on which the trend rests alone where no family
    fits.
    """
    observed = observe(curve)
    if observed is None:
        return None
    values = noise.without_spikes(curve.values[np.isfinite(curve.values)])
    if not _lingers(values):
        observed = _with_white_noise(observed, values, window)
    rng = np.random.default_rng(SEED)
    x = _marks(curve, window)
    fitted = posterior.fit(observed, _Shapes(observed.now), rng)
    drawn = posterior.draw(fitted, x, DRAWS, rng)
    levels = drawn.levels[:, -1]
    trends = _slopes(x, drawn.levels)
    ends = np.clip(drawn.ends, 0.0, 1.0)
    level, trend, asymptote = (quantile_interval(each, LEVEL) for each in (levels, trends, ends))
    return State(level, trend, asymptote, trends, ends - levels, observed.noise.sd)


class _Shapes:
    """The shapes of all families on every grid of time constants."""

    def __init__(self, seen: float) -> None:
        self.grids = [ParametricShapes(grid * seen) for grid in GRIDS]
        self.log_prior: Floats = np.concatenate([grid.log_prior for grid in self.grids])
        self.centre: Floats = np.concatenate([grid.centre for grid in self.grids], axis=1)
        self.spread: Floats = np.concatenate([grid.spread for grid in self.grids], axis=1)

    def at(self, x: Floats) -> tuple[Floats, Floats]:
        u, v = zip(*(grid.at(x) for grid in self.grids), strict=True)
        return np.concatenate(u), np.concatenate(v)

    def end(self) -> tuple[Floats, Floats]:
        u, v = zip(*(grid.end() for grid in self.grids), strict=True)
        return np.concatenate(u), np.concatenate(v)

    def allowed(self, p: Floats, q: Floats) -> Bools:
        count = len(self.grids)
        parts = zip(self.grids, np.split(p, count), np.split(q, count), strict=True)
        return np.concatenate([grid.allowed(own_p, own_q) for grid, own_p, own_q in parts])


def _roughness(values: Floats, lag: int) -> float:
    """Return white noise's standard deviation by second differences at that lag."""
    sd = (
        noise.MAD_TO_SD
        * float(np.median(np.abs(noise.second_differences(values, lag))))
        / np.sqrt(6.0)
    )
    return float(max(sd, np.sqrt(noise.LEAST_VARIANCE)))


def _lingers(values: Floats) -> bool:
    """Return whether the later half's noise at the longer lag exceeds chance."""
    late = values[-max(LEAST_RECENT, len(values) // 2) :]
    if len(late) < LEAST_FOR_MEMORY:
        return False
    ratio = np.log(_roughness(late, noise.LAG) / _roughness(late, 1))
    return bool(ratio > SURE_OF_MEMORY * MEMORY_SD / np.sqrt(len(late)))


def _with_white_noise(observed: Observed, values: Floats, window: int) -> Observed:
    """Replace the noise by white noise; early rounds weigh no more than late ones."""
    if len(values) < 3:
        return observed
    recent = values[-max(LEAST_RECENT, 2 * window) :]
    now = max(_roughness(recent, 1) ** 2, observed.noise.white)
    early = max(now, _roughness(values, 1) ** 2)
    late = np.cumsum(observed.size) - observed.size >= len(values) - 2 * window
    variances = np.where(late, now, early) / observed.size + noise.LEAST_VARIANCE
    return replace(observed, noise=noise.Noise(now, 0.0), noise_matrix=np.diag(variances))


def _marks(curve: Curve, window: int) -> Floats:
    """Return at most 16 of the last rounds with a value, counted from the first."""
    finite = np.flatnonzero(np.isfinite(curve.values))[-window:]
    x = (curve.rounds[finite] - curve.rounds[0] + 1).astype(np.float64)
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_MARKS)).astype(np.int64))
    return np.asarray(x[keep])


def _slopes(x: Floats, levels: Floats) -> Floats:
    if len(x) < 2:
        return np.zeros(len(levels))
    centred = x - x.mean()
    return np.asarray(levels @ centred / (centred @ centred))
