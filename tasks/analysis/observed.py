"""Reduction of a curve for the model: points, noise, and a shape's discrepancy."""

from dataclasses import dataclass

import numpy as np

from tasks.analysis import noise
from tasks.analysis.curve import Bools, Curve, Floats, Ints
from tasks.analysis.noise import MEMORY, Noise

MOST_POINTS = 64
EARLY_POINTS, LATE_POINTS = 30, 24
LEAST_RECENT = 40
FLOOR = 0.5  # the least scale of the discrepancy, in standard deviations of the noise
FADE = 1.0  # the discrepancy's variance falls as 1 / rounds ** FADE from now on


def window_of(count: int) -> int:
    """Return how many last rounds count as now: at least 8, and 10 % of those seen."""
    return max(8, int(np.ceil(0.1 * count - 1e-9)))


@dataclass(frozen=True, eq=False)
class Observed:
    """A curve's finite values, reduced to at most some 60 points.

    x counts rounds from 1 at the curve's first one; y are means of `size` rounds each, noise_matrix
    is the covariance of their noise; now is the x of the last round, noise that of the last rounds.
    variance is the discrepancy's variance of unit scale, accumulated up to each x, `present` its
    increment for each unit of log x at now; wander is the variance of what comes and goes over about
    `lasting` rounds.
    """

    x: Floats
    y: Floats
    size: Floats
    noise_matrix: Floats
    noise: Noise
    now: float
    variance: Floats
    present: float
    wander: float
    lasting: float

    def accumulated(self, x: Floats) -> Floats:
        """Return the discrepancy's variance of unit scale up to x, past and future."""
        past = np.interp(np.log(x), np.log(self.x), self.variance)
        ahead = (np.maximum(x, self.now) / self.now) ** -FADE
        return np.asarray(past + self.present * (1.0 - ahead) / FADE)

    def wandered(self, x: Floats) -> Floats:
        """Return the variance of what has come and gone since now, at x after it."""
        return np.asarray(self.wander * (1.0 - np.exp(-(x - self.now) / self.lasting)))


def observe(curve: Curve) -> Observed | None:
    """Reduce a curve; None when no round has a finite value."""
    finite = np.isfinite(curve.values)
    if not finite.any():
        return None
    x = (curve.rounds[finite] - curve.rounds[0] + 1).astype(np.float64)
    raw = curve.values[finite]
    window = window_of(len(raw))
    clean = noise.without_spikes(raw)
    recent = noise.estimate(clean[-max(LEAST_RECENT, 2 * window) :])
    overall = noise.estimate(clean)
    starts = _starts(len(raw), window)
    size = np.diff(np.append(starts, len(raw))).astype(np.float64)
    points_x = np.add.reduceat(x, starts) / size
    points_y = np.add.reduceat(clean, starts) / size
    late = starts >= len(raw) - 2 * window
    matrix = _noise_matrix(points_x, size, late, recent, overall)
    variance, present = _discrepancy(points_x, points_y, recent)
    wander, lasting = noise.wander(clean, recent)
    about = (matrix, recent, float(x[-1]), variance, present)
    return Observed(points_x, points_y, size, *about, wander, lasting)


def _starts(count: int, window: int) -> Ints:
    """Return each point's first round: even in log rounds, then in the last rounds."""
    if count <= MOST_POINTS:
        return np.arange(count)
    border = max(count - 2 * window, 1)
    early = np.exp(np.linspace(0.0, np.log(border), EARLY_POINTS)) - 1.0
    late = np.linspace(border, count, LATE_POINTS, endpoint=False)
    return np.asarray(np.unique(np.concatenate([early, late]).astype(np.int64)))


def _noise_matrix(x: Floats, size: Floats, late: Bools, now: Noise, all_: Noise) -> Floats:
    # early rounds are often noisier and never trusted more than the late ones
    white = np.where(late, now.white, max(now.white, all_.white)) / size
    slow = np.where(late, now.slow, max(now.slow, all_.slow)) * noise.slow_share(size)
    between = MEMORY ** np.abs(np.subtract.outer(x, x))
    matrix = np.outer(np.sqrt(slow), np.sqrt(slow)) * between
    return np.asarray(matrix + np.diag(white + noise.LEAST_VARIANCE))


def _discrepancy(x: Floats, y: Floats, now: Noise) -> tuple[Floats, float]:
    """Return accumulated variance at each x, and its density now, at unit scale.

    No family is exact. Its error is a random walk in log rounds (Kennedy and O'Hagan,
    "Bayesian calibration of computer models", JRSS B 2001, for a discrepancy beside a model) whose
    steps are in proportion to what was left to gain: large in the early rounds, small in the late
    ones, never below half the noise.
    """
    padded = np.pad(y, 1, mode="edge")
    smooth = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    level = np.median(smooth[-3:])
    half = np.interp(x[-1] / 2.0, x, smooth)
    present = (level - half) ** 2 + (FLOOR * now.sd) ** 2
    left = np.maximum.accumulate(np.abs(level - smooth)[::-1])[::-1]
    density = left**2 + present
    steps = 0.5 * (density[1:] + density[:-1]) * np.diff(np.log(x))
    return np.concatenate([[0.0], np.cumsum(steps)]), float(present)
