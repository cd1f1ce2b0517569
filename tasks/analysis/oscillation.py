"""Oscillation of a curve: more than in its calmest third, or with a period."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tasks.analysis.curve import Floats, Ints

LEAST_SPREAD = 0.002  # swings smaller than three times this are negligible
LEAST_AMPLITUDE = 0.005
BOTH_WAYS = 1.0  # a swing goes up and down by at least so many times the spread
MOST_ROUNDS = 96
LEAST_ROUNDS = 16
LOWEST_FREQUENCY = 4  # slower waves cannot be distinguished from the trend
ABOVE_SLOWER = 4.0
"""A wave's power is so many times that of the next slower ones; of a bent trend it falls steadily."""
APART, NEIGHBOURS = 2, 6
"""A peak is this many frequencies wide on each side, and is measured by so many beyond."""
LEAST_POWER = 1e-12
CHANCE = 1e-5
RATIO_CHANCE = 1e-4


@dataclass(frozen=True)
class Swing:
    """spread is the standard deviation about the trend of the last rounds.

    ratio is that to the calmest third's (None with too few rounds), by_chance the ratio that noise of
    one size has once in 10,000; period in rounds and amplitude are those of a found wave, or None."""

    spread: float
    ratio: float | None
    by_chance: float
    period: float | None
    amplitude: float | None

    def every(self, distances: Ints) -> "Swing":
        """Return the swing of values that are so many rounds apart."""
        if self.period is None or not len(distances):
            return self
        return replace(self, period=self.period * float(np.median(distances)))


def swing_of(values: Floats, window: int) -> Swing:
    """Measure the swing of finite values without spikes, about quadratic trends."""
    ratio = None
    spreads = _spreads(values, window)
    if len(values) >= 3 * window:
        thirds = np.array_split(np.arange(len(spreads)), 3)
        calmest = min(float(np.median(spreads[third])) for third in thirds)
        if _swings(values[-window:]) >= BOTH_WAYS * spreads[-1]:
            ratio = float(spreads[-1] / max(calmest, LEAST_SPREAD))
    recent = values[-max(MOST_ROUNDS, 2 * window) :]
    period, amplitude = _wave(recent)
    if amplitude is not None and _swings(recent) < amplitude:
        period, amplitude = None, None
    spread = float(spreads[-1]) if len(spreads) else 0.0
    return Swing(spread, ratio, _ratio_by_chance(window, len(values) // 3), period, amplitude)


def _swings(values: Floats) -> float:
    """Return the lesser of the largest rise and the largest fall; of a step up, hardly any."""
    rise = np.max(values - np.minimum.accumulate(values))
    fall = np.max(np.maximum.accumulate(values) - values)
    return float(min(rise, fall))


def _ratio_by_chance(window: int, third: int) -> float:
    """Return the ratio of two deviations of noise that chance exceeds in 1 of 10,000.

    Over so many rounds each, less the three of their trends: Fisher's F distribution.
    """
    from scipy.special import fdtri

    return float(np.sqrt(fdtri(max(window - 3, 1), max(third - 3, 1), 1.0 - RATIO_CHANCE)))


def _spreads(values: Floats, window: int) -> Floats:
    """Return the standard deviation about a quadratic fit of each window."""
    if len(values) < window or window <= 3:
        return np.empty(0)
    x = np.linspace(-1.0, 1.0, window)
    basis, _ = np.linalg.qr(np.vander(x, 3))
    # a few hundred windows suffice
    step = max(1, (len(values) - window) // 300)
    windows = sliding_window_view(values, window)[::-1][::step][::-1]
    inside = windows @ basis
    left = (windows**2).sum(axis=1) - (inside**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(left, 0.0) / (window - 3)))


def _wave(values: Floats) -> tuple[float | None, float | None]:
    """Return period and amplitude of a wave that noise does not explain.

    The highest peak of the periodogram (of the cubic's residuals, under a Hann window) against the
    median power of its neighbours: of noise, power is exponentially distributed about its local
    level (Brockwell and Davis, "Time series: theory and methods" 1991, 10.3), and the chance is
    that of the highest of all frequencies (Fisher, "Tests of significance in harmonic analysis",
    Proc. R. Soc. A 1929).
    """
    count = len(values)
    if count < LEAST_ROUNDS:
        return None, None
    x = np.linspace(-1.0, 1.0, count)
    residuals = values - np.polynomial.Polynomial.fit(x, values, 3)(x)
    taper = np.hanning(count)
    power = np.abs(np.fft.rfft(residuals * taper)) ** 2
    candidates = range(LOWEST_FREQUENCY, len(power) - 1)
    excess = np.array([_excess(power, peak) for peak in candidates])
    peak = LOWEST_FREQUENCY + int(np.argmax(excess))
    amplitude = float(2.0 * np.sqrt(power[peak]) / taper.sum())
    chance = len(candidates) * np.exp(-excess.max())
    if amplitude < LEAST_AMPLITUDE or chance > CHANCE:
        return None, None
    return count / peak, amplitude


def _excess(power: Floats, peak: int) -> float:
    """Return a peak's power in units of its neighbours' level; 0 on a bent trend."""
    slower = power[max(1, peak - 1 - APART) : peak - 1].max()
    if power[peak] < ABOVE_SLOWER * slower:
        return 0.0
    below = power[max(1, peak - APART - NEIGHBOURS) : max(1, peak - APART)]
    above = power[peak + APART + 1 : peak + APART + 1 + NEIGHBOURS]
    # few neighbours may all be low by chance: the whole spectrum is the least level
    around = np.concatenate([below, above, power[-1:]])
    median = max(np.median(around, keepdims=False), np.median(power[LOWEST_FREQUENCY:]))
    level = float(median) / np.log(2.0)
    return float(power[peak] / max(level, LEAST_POWER))
