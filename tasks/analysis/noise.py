"""Noise of a curve: its size, its duration, and outliers.

Everything is robust, since the curves that matter most have spikes, jumps and holes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tasks.analysis.curve import Floats

MAD_TO_SD = 1.4826
LEAST_VARIANCE = 1e-8
UNKNOWN = 0.03
MEMORY = 0.7  # correlation of the slow part from one round to the next
LAG = 5
ENOUGH_FOR_THE_SLOW_PART = 20
MOST_DISTINCT = 0.75  # values of which more than this share differ come in no steps that matter
WIDEST_STEP = 0.05  # a wider gap between values is no step of an accuracy, but of the curve
WANDER_LAGS, MEAN_OF = 16, 5
OUTLIER = 4.0
REACH = 3


@dataclass(frozen=True)
class Noise:
    """Variances: white noise, and a slow part that fades by MEMORY a round."""

    white: float
    slow: float

    @property
    def sd(self) -> float:
        """Return the standard deviation of one round's value about the level."""
        return float(np.sqrt(self.white + self.slow))

    def of_mean(self, count: float) -> float:
        """Return the variance of the mean of so many successive rounds about the level."""
        return self.white / count + self.slow * float(slow_share(np.array([count]))[0])


def estimate(values: Floats) -> Noise:
    """Estimate the noise of ordered values, by second differences at lags 1 and 5.

    Second differences take out level and trend (Gasser, Sroka and Jennen-Steinmetz, "Residual
    variance and residual pattern in nonlinear regression", Biometrika 1986); their median absolute
    deviation resists outliers (Rousseeuw and Croux, JASA 1993). White noise has the same variance
    at both lags, a first-order autoregressive part a larger one at the longer lag, and the two
    equations are solved for the two parts.
    """
    near = _second_difference_variance(values, 1)
    if near is None:
        return Noise(UNKNOWN**2, 0.0)
    slow, near_slow, far_slow = 0.0, _slow_gain(1), _slow_gain(LAG)
    far = _second_difference_variance(values, LAG)
    if far is not None and len(values) >= ENOUGH_FOR_THE_SLOW_PART:
        slow = min(max(0.0, (far - near) / (far_slow - near_slow)), near / near_slow)
    white = (near - near_slow * slow) / 6.0
    return Noise(max(white, LEAST_VARIANCE, _step(values) ** 2 / 12.0), slow)


def _step(values: Floats) -> float:
    """Return the step that the values come in, 0 when none is seen.

    Rounding to it has a variance of step²/12 (Sheppard's correction), which no difference shows where
    the values stay within one step.
    """
    distinct = np.unique(values)
    # values that vary freely hardly ever repeat
    if not 1 < len(distinct) <= MOST_DISTINCT * len(values):
        return 0.0
    step = float(np.diff(distinct).min())
    return step if step <= WIDEST_STEP else 0.0


def wander(values: Floats, noise: Noise) -> tuple[float, float]:
    """Return the later half's variance of lasting deviations, and their rounds.

    They last longer than the slow part; 0 below 80 values.

    Third differences at that lag of means of five are free of a curved trend; any excess over
    the noise is a part of the level that comes and goes (structure functions of higher
    order: Yaglom, "Correlation theory of processes with random stationary nth increments" 1955).
    """
    lag = len(values) // WANDER_LAGS
    if lag < MEAN_OF:
        return 0.0, 1.0
    sums = np.cumsum(np.concatenate([[0.0], values[len(values) // 2 :]]))
    means = (sums[MEAN_OF:] - sums[:-MEAN_OF]) / MEAN_OF
    first, second, third, last = (means[k * lag : len(means) - (3 - k) * lag] for k in range(4))
    differences = last - 3.0 * third + 3.0 * second - first
    variance = (MAD_TO_SD * np.median(np.abs(differences))) ** 2
    return float(max(0.0, variance / 20.0 - noise.of_mean(MEAN_OF))), float(lag)


def _second_difference_variance(values: Floats, lag: int) -> float | None:
    if len(values) < 2 * lag + 3:
        return None
    return float((MAD_TO_SD * np.median(np.abs(second_differences(values, lag)))) ** 2)


def second_differences(values: Floats, lag: int) -> Floats:
    """Return second differences at that lag; of white noise, 6 times its variance."""
    return np.asarray(values[2 * lag :] - 2.0 * values[lag:-lag] + values[: -2 * lag])


def _slow_gain(lag: int) -> float:
    """Return an autoregressive series' variance of a second difference, at variance 1."""
    return float(6.0 - 8.0 * MEMORY**lag + 2.0 * MEMORY ** (2 * lag))


def slow_share(counts: Floats) -> Floats:
    """Return the variance of the mean of so many rounds of the slow part."""
    total = counts * (1.0 - MEMORY**2) - 2.0 * MEMORY * (1.0 - MEMORY**counts)
    return np.asarray(total / (counts * (1.0 - MEMORY)) ** 2)


def without_spikes(values: Floats) -> Floats:
    """Put lone outliers, but never the last value, on the median of seven around them.

    By Hampel, "The influence curve and its role in robust estimation", JASA 1974.
    """
    if len(values) <= 2 * REACH:
        return values
    around = sliding_window_view(np.pad(values, REACH, mode="reflect"), 2 * REACH + 1)
    medians = np.median(around, axis=1)
    spread = MAD_TO_SD * np.median(np.abs(around - medians[:, None]), axis=1)
    limit = OUTLIER * np.maximum(spread, estimate(values).sd)
    outlying = np.abs(values - medians) > limit
    outlying[-1] = False
    return np.where(outlying, medians, values)
