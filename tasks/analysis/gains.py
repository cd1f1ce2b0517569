"""Gains of past runs with a similar beginning, by regression.

Each past run, cut at the same share of its rounds as this one is at, gives six figures of its
beginning (level, trend, start, gain of the second half, noise, length) and what it gained from there
to its end. A Gaussian process on these figures, with a linear and a smooth part, predicts the gain of
this run (Rasmussen and Williams, "Gaussian processes for machine learning" 2006: 2.2 and 5.4.1;
leave-one-out predictions in closed form: 5.4.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.analysis.curve import Floats
from tasks.analysis.similar import FINAL_ROUNDS, PastRun

LEAST_RUNS, MOST_RUNS = 10, 250
LEAST_POINTS = 3
SCALES = (1.0, 2.0, 4.0, 8.0)
"""Lengths over which the smooth part changes, in standard deviations of the figures."""
NOISES = (0.03, 0.1, 0.3, 1.0)
"""Variance unexplained by the figures, relative to that of the smooth part."""
LINEAR = 0.3
MOST_TIMES_LONGER = 3.0
LEAST_NOISE = 0.002
LEAST_SPREADS = np.array([0.05, 0.15, 0.05, 0.05, 0.25, np.log(1.4)])
"""The least standard deviation of each figure that counts: that between seeds of one setting, and a
length 1.4 times that of the past runs. Below it the past does not show the figure's effect."""
UNSEEN_EFFECT = 0.02
"""Variance that one such deviation of a figure which never varied adds, in units of the mean squared
gain: with it 80 % intervals held 74 to 92 % of own runs of other lengths, and of synthetic histories of
one setting 70 to 97 % of plans half to three times as long (45 to 72 % without)."""


@dataclass(frozen=True, eq=False)
class Gains:
    """The predicted final level, mean and variance, and each past run's error
    of the mean and variance in a forecast without itself."""

    mean: float
    variance: float
    past: dict[PastRun, tuple[float, float]]


def gains(mine: PastRun, runs: Sequence[PastRun], now: float, x_end: float) -> Gains | None:
    """Predict the final level; None below ten past runs of comparable length."""
    share = now / x_end
    rows: list[Floats] = []
    gained: list[float] = []
    used: list[PastRun] = []
    for run in runs[:MOST_RUNS]:
        count = int(np.searchsorted(run.x, share * run.x[-1] + 1e-9, side="right"))
        longer = run.x[-1] / x_end
        if count < LEAST_POINTS or not 1 / MOST_TIMES_LONGER <= longer <= MOST_TIMES_LONGER:
            continue
        rows.append(figures(run.values[:count], run.x[-1]))
        gained.append(run.level_at(run.x[-1]) - rows[-1][0])
        used.append(run)
    if len(rows) < LEAST_RUNS:
        return None
    asked = figures(mine.values, x_end)
    mean, variance, errors, variances = _best(np.stack(rows), np.array(gained), asked)
    past = {
        run: (float(error), float(own))
        for run, error, own in zip(used, errors, variances, strict=True)
    }
    return Gains(float(asked[0] + mean), variance, past)


def figures(values: Floats, length: float) -> Floats:
    """Return the figures of a beginning of at least three values.

    These are level, trend of the last third, start, gain of the second half over the first, log noise
    and log length.
    """
    count = len(values)
    last = values[-max(LEAST_POINTS, count // 3) :]
    places = (np.arange(len(last)) - (len(last) - 1) / 2.0) / count
    slope = float(last @ places / (places @ places))
    rough = float(np.std(np.diff(values, n=2)) / np.sqrt(6.0)) if count > LEAST_POINTS else 0.0
    return np.array(
        [
            values[-FINAL_ROUNDS:].mean(),
            slope,
            values[:LEAST_POINTS].mean(),
            values[count // 2 :].mean() - values[: count // 2].mean(),
            np.log(rough + LEAST_NOISE),
            np.log(length),
        ]
    )


def _best(rows: Floats, gained: Floats, asked: Floats) -> tuple[float, float, Floats, Floats]:
    """Return mean and variance at `asked`, leave-one-out errors and variances.

    Scale and noise have the highest evidence.
    """
    centre, varied = rows.mean(axis=0), rows.std(axis=0)
    spread = np.maximum(varied, LEAST_SPREADS)
    known, new = (rows - centre) / spread, (asked - centre) / spread
    apart = ((known[:, None] - known[None]) ** 2).sum(axis=2)
    tried = [
        _process(known, apart, gained, new, scale, noise) for scale in SCALES for noise in NOISES
    ]
    mean, variance, errors, variances = max(tried, key=lambda one: one[0])[1]
    unseen = float((1.0 - (varied / spread) ** 2) @ new**2)
    variance += UNSEEN_EFFECT * unseen * float((gained**2).mean())
    return mean, variance, errors, variances


def _process(
    known: Floats, apart: Floats, gained: Floats, new: Floats, scale: float, noise: float
) -> tuple[float, tuple[float, float, Floats, Floats]]:
    """Return log evidence (with the best amplitude), and the predictions."""
    count, mean = len(gained), float(gained.mean())
    covariance = np.exp(-0.5 * apart / scale**2) + LINEAR * known @ known.T
    covariance[np.diag_indices(count)] += noise
    factor = np.linalg.cholesky(covariance)
    inverse = np.linalg.inv(covariance)
    weights = inverse @ (gained - mean)
    amplitude = max(float((gained - mean) @ weights) / count, 1e-8)
    evidence = -0.5 * count * np.log(amplitude) - float(np.log(np.diag(factor)).sum())
    to_new = np.exp(-0.5 * ((known - new) ** 2).sum(axis=1) / scale**2) + LINEAR * known @ new
    left = 1.0 + noise + LINEAR * float(new @ new) - float(to_new @ inverse @ to_new)
    own = np.diag(inverse)
    predictions = (
        mean + float(to_new @ weights),
        amplitude * max(left, noise),
        np.asarray(-weights / own),
        np.asarray(amplitude / own),
    )
    return evidence, predictions
