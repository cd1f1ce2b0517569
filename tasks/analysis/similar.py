"""The service's own past runs as shapes of this run's future.

A past run h says: level(x) = p + q (h(x) - h(now)), with p near where h stood at this round (or less
near: both are tried) and q near 1. Runs whose beginning fits weigh more, by their evidence. This is
forecasting by analogues (Lorenz, "Atmospheric predictability as revealed by naturally occurring
analogues", J. Atmos. Sci. 1969), and of learning curves by earlier ones (Chandrashekaran and Lane,
"Speeding up hyper-parameter optimization by extrapolation of learning curves using previous builds",
ECML PKDD 2017), put on the same footing as the parametric families.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from tasks.analysis import noise
from tasks.analysis.curve import Bools, Curve, Floats

MOST_RUNS = 60
REMEMBERED = 512  # curves whose past run is kept, since verdict and forecast ask for the same ones
LEAST_POINTS = 3
LEAST_HALF, SMOOTHING = 2, 0.06
"""Half the width of the local lines: at least 2 rounds, and this share of the rounds so far."""
LEVEL_SPREADS = (0.02, 0.15)
GAIN_SPREAD = 0.25
FINAL_ROUNDS = 5


@dataclass(frozen=True, eq=False)
class PastRun:
    """A finished run without holes or spikes: x from 1, raw values and smoothed ones."""

    name: str
    curve: Curve
    x: Floats
    values: Floats
    smooth: Floats

    def level_at(self, x: float) -> float:
        """Return the mean of the five rounds up to x; before the first value, that value."""
        last = max(1, int(np.searchsorted(self.x, x, side="right")))
        return float(self.values[max(0, last - FINAL_ROUNDS) : last].mean())

    @cached_property
    def each_round(self) -> Floats:
        """Return the smoothed values at x = 1, 2, … to its end, holes bridged."""
        return np.interp(np.arange(1.0, self.x[-1] + 1.0), self.x, self.smooth)


@lru_cache(maxsize=REMEMBERED)
def past_run(curve: Curve) -> PastRun | None:
    """Convert a curve; None when too few rounds have a finite value."""
    finite = np.isfinite(curve.values)
    if int(finite.sum()) < LEAST_POINTS:
        return None
    x = (curve.rounds[finite] - curve.rounds[0] + 1).astype(np.float64)
    values = curve.values[finite]
    return PastRun(curve.name, curve, x, values, _smooth(x, noise.without_spikes(values)))


def _smooth(x: Floats, values: Floats) -> Floats:
    """Smooth by local lines over a width that grows, as learning slows down.

    By Cleveland, "Robust locally weighted regression and smoothing scatterplots", JASA 1979, with
    equal weights: a trend is not bent, not even at the ends.
    """
    half = np.maximum(LEAST_HALF, np.floor(SMOOTHING * x)).astype(np.int64)
    index = np.arange(len(x))
    first, last = np.maximum(index - half, 0), np.minimum(index + half, len(x) - 1) + 1
    # centred, so that long runs lose no digits
    places = index - index.mean()
    parts = (places, places**2, values, places * values)
    sums = [np.concatenate([[0.0], np.cumsum(one)]) for one in parts]
    count = last - first
    mean_x, square, mean_y, product = ((one[last] - one[first]) / count for one in sums)
    slope = (product - mean_x * mean_y) / np.maximum(square - mean_x**2, 1e-12)
    return np.asarray(mean_y + slope * (places - mean_x))


def choose(curve: Curve, history: Sequence[Curve], x_end: float | None) -> list[PastRun]:
    """Return at most MOST_RUNS past runs of this metric, most similar first.

    They got as far as x_end (any, without one). Similar: small mean distance at the rounds seen.
    """
    runs = (past_run(one) for one in history if one.metric == curve.metric)
    far = -np.inf if x_end is None else x_end
    known = [run for run in runs if run is not None and run.x[-1] >= far]
    mine = past_run(curve)
    return known[:MOST_RUNS] if mine is None else nearest(mine, known, far)


def nearest(mine: PastRun, runs: Sequence[PastRun], x_end: float) -> list[PastRun]:
    """Return those that got as far as x_end, most similar first, at most MOST_RUNS."""
    fit = [run for run in runs if run.x[-1] >= x_end]
    return sorted(fit, key=lambda run: distance(mine, run))[:MOST_RUNS]


def distance(one: PastRun, other: PastRun) -> float:
    """Return the mean absolute distance of smoothed curves, late rounds weighing more."""
    theirs = np.interp(one.x, other.x, other.smooth)
    return float(np.average(np.abs(theirs - one.smooth), weights=one.x))


class HistoryShapes:
    """Past runs as shapes: u is 1, v is the run's gain since now; each run twice,
    with its level taken seriously and not."""

    def __init__(self, runs: Sequence[PastRun], now: float, x_end: float) -> None:
        """x_end is the plan's end, beyond which nothing is known."""
        self.runs, self.now, self.x_end = runs, now, x_end
        # one more round, so that a level at the end has a neighbour
        length = int(np.ceil(x_end)) + 1
        cut = [run.each_round[:length] for run in runs]
        padded = [np.pad(one, (0, length - len(one)), mode="edge") for one in cut]
        self.table = np.stack(padded)
        self.levels = np.tile(self._values(np.array([now]))[:, 0], len(LEVEL_SPREADS))
        self.log_prior: Floats = np.full(len(self.levels), -np.log(len(self.levels)))
        self.centre = np.stack([self.levels, np.ones(len(self.levels))])
        spreads = np.repeat(LEVEL_SPREADS, len(runs))
        self.spread = np.stack([spreads, np.full(len(spreads), GAIN_SPREAD)])

    def _values(self, x: Floats) -> Floats:
        """Interpolate linearly between rounds; shape (runs, x)."""
        places = np.clip(x - 1.0, 0.0, self.table.shape[1] - 2.0)
        before = places.astype(np.int64)
        part = places - before
        return np.asarray((1.0 - part) * self.table[:, before] + part * self.table[:, before + 1])

    def at(self, x: Floats) -> tuple[Floats, Floats]:
        """Return u and v, each of shape (J, x)."""
        values = np.tile(self._values(x), (len(LEVEL_SPREADS), 1))
        return np.ones_like(values), values - self.levels[:, None]

    def end(self) -> tuple[Floats, Floats]:
        """Return u and v at the plan's end."""
        u, v = self.at(np.array([self.x_end]))
        return u[:, 0], v[:, 0]

    def allowed(self, p: Floats, q: Floats) -> Bools:
        """Allow everything but a run turned upside down."""
        return np.asarray((q > 0.0) & np.isfinite(p))
