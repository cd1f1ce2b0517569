"""Onsets of collapses and divergences, as they would have been found live.

A plain rule on drops fires at every swing of an early, healthy run. Here a fall counts only below a
level that was held: ten rounds in which the level itself moved by no more than the fall that is
looked for. A fall that has just begun is looked for in the last rounds beside those before them, as a
step (moving sums: Eichinger and Kirch, "A MOSUM procedure for the estimation of multiple random change
points", Bernoulli 2018) and as a slope after a level (the likelihood ratio of a broken line: Kim and
Siegmund, "The likelihood ratio test for a change-point in simple linear regression", Biometrika 1989),
in units of the noise up to the round before it.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tasks.analysis.curve import Bools, Curve, Floats, Ints
from tasks.analysis.noise import MAD_TO_SD, second_differences
from tasks.analysis.settings import COLLAPSE_DROP, COLLAPSE_NOISE, HELD_ROUNDS

Break = Literal["collapse", "divergence"]

NOISE_ROUNDS = 40
NOISE_STEP = 4  # rounds between two estimates of the noise
LAGS = (5, 10)  # rounds of second differences that reveal lasting noise
WITHIN_ONE_SD = 0.8413  # share of the normal distribution below one standard deviation
LEAST_NOISE = 1e-4
LATEST = 3  # a single bad round is not a collapse: the median of three must be down
SPANS = ((3, 5), (5, 5), (8, 5), (3, 10), (5, 10), (8, 10), (12, 10), (16, 10))
"""The last rounds, and the rounds before them that they are compared with: few of a level that rose
just before, many of a level that falls slowly."""
LONGEST_SPAN = max(last for last, _ in SPANS)
CHANCE = 1.1e-4
"""Chance of one comparison to be beyond noise without a fall: 4.5 standard deviations once 40 rounds
estimate the noise, more for fewer."""
ROUNDS_A_DEGREE = 2
"""Second differences overlap: so many of them have the information of one independent value."""
LEAST_FALL = 0.01  # a divergence takes at least this much off the level
CALM_ROUNDS = 5  # so many good rounds end a broken stretch
REMEMBERED = 512
"""Past runs whose collapses are cached, since each forecast needs the same ones."""


@dataclass(frozen=True)
class Onset:
    """One break. Rounds are the curve's own numbers.

    began is the first round of the fall, found the round at which it could be reported, ended the first
    round at which it was over, the run back at the level or on its way (None while it lasts); held is
    the level that was lost, lowest the least value since, noise_sd the noise before it was found.
    """

    kind: Break
    began: int
    found: int
    ended: int | None
    held: float
    lowest: float
    noise_sd: float


def onsets(curve: Curve) -> tuple[Onset, ...]:
    """Return every break, in order; each is found from the rounds up to `found` alone."""
    finite = np.flatnonzero(np.isfinite(curve.values))
    y = curve.values[finite]
    if len(y) <= HELD_ROUNDS:
        return ()
    held = held_levels(y)
    fallen = held - _latest(y) > _limit(y)
    broken = fallen | _sinking(y) | (curve.lost[finite] & np.isfinite(held))
    return tuple(_onset(curve, finite, stretch, fallen, held) for stretch in _stretches(broken))


@lru_cache(maxsize=REMEMBERED)
def collapsed_once(curve: Curve) -> bool:
    """Return whether the run ever collapsed; quick for the many that never fell far."""
    y = curve.values[np.isfinite(curve.values)]
    if len(y) <= HELD_ROUNDS:
        return False
    latest = _latest(y)
    if np.max(np.maximum.accumulate(latest) - latest) <= COLLAPSE_DROP:
        return False
    return any(onset.kind == "collapse" for onset in onsets(curve))


def running_noise(y: Floats) -> Floats:
    """Return the noise's standard deviation in the last 40 rounds up to each one.

    It is the largest of those at lags 1, 5 and 10, so that noise with a memory is not underestimated.

    Over long lags a learning curve bends, and bends down: its second differences lean to the negative
    for that alone. So only the upper side of them counts there (a semivariance, by the quantile that
    lies one standard deviation above 0).
    """
    lingering = [_running_quantile(_second(y, lag), len(y), WITHIN_ONE_SD) for lag in LAGS]
    return np.asarray(np.max([_white_noise(y), *lingering], axis=0, initial=LEAST_NOISE))


def _white_noise(y: Floats) -> Floats:
    """Return the noise of single rounds, by the median absolute second difference."""
    return MAD_TO_SD * _running_quantile(np.abs(_second(y, 1)), len(y), 0.5)


def _second(y: Floats, lag: int) -> Floats:
    return np.asarray(second_differences(y, lag) / np.sqrt(6.0))


def _running_quantile(second: Floats, rounds: int, share: float) -> Floats:
    """Return that quantile of the last 40 second differences by round; 0 below three."""
    before = rounds - len(second)
    known = np.arange(before + 2, rounds, NOISE_STEP)
    found = np.zeros(rounds)
    if not len(known):
        return found
    padded = np.concatenate([np.full(NOISE_ROUNDS - 1 + before, np.nan), second])
    # sorting puts unknown values last
    windows = np.sort(sliding_window_view(padded, NOISE_ROUNDS)[known], axis=1)
    last = np.minimum(known - before, NOISE_ROUNDS - 1)
    rows, place = np.arange(len(known)), share * last
    below = place.astype(np.int64)
    above = np.minimum(below + 1, last)
    part = place - below
    quantiles = (1.0 - part) * windows[rows, below] + part * windows[rows, above]
    found[known[0] :] = np.repeat(quantiles, NOISE_STEP)[: rounds - known[0]]
    return found


def _limit(y: Floats) -> Floats:
    return np.asarray(np.maximum(COLLAPSE_DROP, COLLAPSE_NOISE * _white_noise(y)))


def _latest(y: Floats) -> Floats:
    """Return the median of the last three values up to each one."""
    padded = np.concatenate([np.full(LATEST - 1, y[0]), y])
    return np.asarray(np.median(sliding_window_view(padded, LATEST), axis=1))


def held_levels(y: Floats) -> Floats:
    """Return the highest level held for ten rounds before each round, else -inf.

    All ten are at or above it, and within the band that counts as a fall.
    """
    # a lone spike neither makes nor breaks a level; the median of three is known a round later
    around = np.median(sliding_window_view(np.pad(y, 1, mode="edge"), LATEST), axis=1)
    windows = sliding_window_view(around, HELD_ROUNDS)
    lowest, highest = windows.min(axis=1), windows.max(axis=1)
    steady = highest - lowest <= _limit(y)[HELD_ROUNDS - 1 :]
    best = np.maximum.accumulate(np.where(steady, lowest, -np.inf))
    return np.concatenate([np.full(HELD_ROUNDS, -np.inf), best[:-1]])


def _sinking(y: Floats) -> Bools:
    """Return whether the last rounds are beyond noise below the calm ones before."""
    noise, limit, latest = running_noise(y), _limit(y), _latest(y)
    least = _least_fall(noise)
    found = np.zeros(len(y), dtype=bool)
    for last, earlier in SPANS:
        at = np.arange(max(HELD_ROUNDS, earlier) + last, len(y) + 1)
        if not len(at):
            continue
        both = sliding_window_view(y, earlier + last)[at - last - earlier]
        before, now = both[:, :earlier].mean(axis=1), both[:, earlier:].mean(axis=1)
        calm = np.ptp(both[:, :earlier], axis=1) <= limit[at - 1]
        going = y[at - 1] <= now + noise[at - 1]
        # one bad round pulls a mean or a slope down, but not the median of three
        most = before - latest[at - 1]
        for shape in (np.ones(last), np.arange(1.0, last + 1.0) / last):
            fall, scatter = _fall(both, shape)
            fall = np.minimum(fall, most)
            beyond = fall > np.maximum(scatter * least[at - last - 1], LEAST_FALL)
            found[at - 1] |= calm & going & beyond
    return found


def _fall(values: Floats, shape: Floats) -> tuple[Floats, float]:
    """Return each row's fall from its beginning, and its deviation at a noise of 1.

    By least squares: the last rounds fall in that shape (1 at the end), those before are level.
    """
    pattern = np.concatenate([np.zeros(values.shape[1] - len(shape)), shape])
    pattern = pattern - pattern.mean()
    size = float(pattern @ pattern)
    return np.asarray(-(values @ pattern) / size), size**-0.5


def _least_fall(noise: Floats) -> Floats:
    """Return the least significant fall, at a scatter of 1, by Student's t."""
    from scipy.special import stdtrit

    known = np.clip(np.arange(len(noise)) - 1, 1, NOISE_ROUNDS)
    return np.asarray(noise * stdtrit(known / ROUNDS_A_DEGREE, 1.0 - CHANCE))


def _stretches(broken: Bools) -> list[tuple[int, int | None]]:
    """Return the first index of each broken stretch, and its end (None: it lasts)."""
    flagged = np.flatnonzero(broken)
    if not len(flagged):
        return []
    stretches = np.split(flagged, np.flatnonzero(np.diff(flagged) > CALM_ROUNDS) + 1)
    ends = [(int(stretch[0]), int(stretch[-1])) for stretch in stretches]
    return [(a, b + 1 if len(broken) - b > CALM_ROUNDS else None) for a, b in ends]


def _onset(
    curve: Curve, finite: Ints, stretch: tuple[int, int | None], fallen: Bools, held: Floats
) -> Onset:
    first, over = stretch
    y = curve.values[finite]
    began = _began(y, first)
    level = held[first] if np.isfinite(held[first]) else y[max(0, began - 1)]
    return Onset(
        "collapse" if fallen[first:over].any() else "divergence",
        int(curve.rounds[finite[began]]),
        int(curve.rounds[finite[first]]),
        None if over is None else int(curve.rounds[finite[over]]),
        float(level),
        float(y[began:over].min(initial=y[first])),
        float(max(LEAST_NOISE, _white_noise(y)[first])),
    )


def _began(y: Floats, found: int) -> int:
    """Return the round after the last one that was as high as the ten before the fall."""
    start = max(0, found - (LONGEST_SPAN + 2))
    before = np.median(y[max(0, start - 10) : start + 1])
    high = np.flatnonzero(y[start:found] >= before)
    return min(found, start + int(high[-1]) + 1) if len(high) else start
