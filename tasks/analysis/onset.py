"""When a run broke: the onsets of collapses and divergences, as they would have been found live.

A plain rule on drops fires at every swing of an early, healthy run. Here a fall counts only below a
level that was held: ten rounds in which the level itself moved by no more than the fall that is
looked for. Fall and noise are compared over a few rounds at a time (moving sums: Eichinger and
Kirch, "A MOSUM procedure for the estimation of multiple random change points", Bernoulli 2018), with
the noise by robust second differences up to the same round.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tasks.analysis.curve import Bools, Curve, Floats, Ints
from tasks.analysis.noise import LAG, MAD_TO_SD
from tasks.analysis.settings import VerdictSettings

Break = Literal["collapse", "divergence"]

NOISE_ROUNDS = 40
NOISE_STEP = 4
"""The noise is estimated anew every so many rounds."""
LEAST_NOISE = 1e-4
LATEST = 3
"""A single bad round is no collapse: the median of three must be down."""
SPANS = ((3, 5), (5, 5), (8, 5), (3, 10), (5, 10), (8, 10), (12, 10))
"""The last rounds whose mean is compared, and the rounds before them that it is compared with: few
of a level that rose just before, many of a level that falls slowly."""
LONGEST_SPAN = max(last for last, _ in SPANS)
BEYOND_NOISE = 4.5
LEAST_FALL = 0.01
"""A divergence takes at least this much off the level."""
CALM_ROUNDS = 5
"""So many good rounds end a broken stretch."""


@dataclass(frozen=True)
class Onset:
    """One break. Rounds are the curve's own numbers.

    began is the first round of the fall, found the round at which it could be told, ended the first
    round back at the level (None while it lasts); held is the level that was lost, lowest the least
    value since, noise_sd the noise before the fall was found.
    """

    kind: Break
    began: int
    found: int
    ended: int | None
    held: float
    lowest: float
    noise_sd: float


def onsets(curve: Curve, settings: VerdictSettings | None = None) -> tuple[Onset, ...]:
    """Every break, in order; each is told from the rounds up to `found` alone."""
    settings = settings or VerdictSettings()
    finite = np.flatnonzero(np.isfinite(curve.values))
    y = curve.values[finite]
    if len(y) <= settings.held_rounds:
        return ()
    held, fallen = _collapsed(y, settings)
    sinking = _sinking(y, settings)
    lost = curve.lost[finite]
    return tuple(
        _onset(curve, finite, (first, last), fallen, held)
        for first, last in _stretches(fallen | sinking | (lost & _any_held(held)))
    )


def collapsed_once(curve: Curve, settings: VerdictSettings | None = None) -> bool:
    """Whether the run ever collapsed; quick for the many that never fell far."""
    settings = settings or VerdictSettings()
    y = curve.values[np.isfinite(curve.values)]
    if len(y) <= settings.held_rounds:
        return False
    latest = _latest(y)
    if np.max(np.maximum.accumulate(latest) - latest) <= settings.collapse_drop:
        return False
    return any(onset.kind == "collapse" for onset in onsets(curve, settings))


def running_noise(y: Floats) -> Floats:
    """Standard deviation of the noise, from the last rounds up to each one; the larger of those at
    lags 1 and 5, so that noise with a memory is not taken for small."""
    both = np.maximum(_running_noise(y, 1), _running_noise(y, LAG))
    return np.asarray(np.maximum(both, LEAST_NOISE))


def _running_noise(y: Floats, lag: int) -> Floats:
    if len(y) < 2 * lag + 3:
        return np.zeros(len(y))
    second = np.abs(y[2 * lag :] - 2.0 * y[lag:-lag] + y[: -2 * lag]) / np.sqrt(6.0)
    padded = np.concatenate([np.full(NOISE_ROUNDS - 1 + 2 * lag, np.nan), second])
    known = np.arange(2 * lag + 2, len(y), NOISE_STEP)
    # sorting puts what is not known last
    windows = np.sort(sliding_window_view(padded, NOISE_ROUNDS)[known], axis=1)
    count = np.minimum(known - 2 * lag + 1, NOISE_ROUNDS)
    rows = np.arange(len(known))
    medians = 0.5 * (windows[rows, (count - 1) // 2] + windows[rows, count // 2])
    sd = np.zeros(len(y))
    sd[known[0] :] = MAD_TO_SD * np.repeat(medians, NOISE_STEP)[: len(y) - known[0]]
    return sd


def _any_held(held: Floats) -> Bools:
    return np.isfinite(held)


def _limit(y: Floats, settings: VerdictSettings) -> Floats:
    noise = settings.collapse_noise * _running_noise(y, 1)
    return np.asarray(np.maximum(settings.collapse_drop, noise))


def _latest(y: Floats) -> Floats:
    """Median of the last three values up to each one."""
    padded = np.concatenate([np.full(LATEST - 1, y[0]), y])
    return np.asarray(np.median(sliding_window_view(padded, LATEST), axis=1))


def held_levels(y: Floats, settings: VerdictSettings) -> Floats:
    """The highest level held for ten rounds in a row before each round, -inf where there is none:
    all ten are at or above it, and within the band that counts as a fall."""
    rounds = settings.held_rounds
    # a lone spike neither makes nor breaks a level; the median of three is known a round later
    around = np.median(sliding_window_view(np.pad(y, 1, mode="edge"), LATEST), axis=1)
    windows = sliding_window_view(around, rounds)
    lowest, highest = windows.min(axis=1), windows.max(axis=1)
    steady = highest - lowest <= _limit(y, settings)[rounds - 1 :]
    levels = np.concatenate([np.full(rounds - 1, -np.inf), np.where(steady, lowest, -np.inf)])
    best = np.maximum.accumulate(levels)
    return np.concatenate([[-np.inf], best[:-1]])


def _collapsed(y: Floats, settings: VerdictSettings) -> tuple[Floats, Bools]:
    """The held level at each round, and whether the latest rounds are too far below it."""
    held = held_levels(y, settings)
    return held, held - _latest(y) > _limit(y, settings)


def _sinking(y: Floats, settings: VerdictSettings) -> Bools:
    """Whether the last few rounds are beyond noise below the calm rounds before them."""
    noise, limit, latest = running_noise(y), _limit(y, settings), _latest(y)
    sums = np.concatenate([[0.0], np.cumsum(y)])
    found = np.zeros(len(y), dtype=bool)
    for last, earlier in SPANS:
        at = np.arange(settings.held_rounds + last, len(y) + 1)
        if not len(at):
            continue
        now = (sums[at] - sums[at - last]) / last
        before = (sums[at - last] - sums[at - last - earlier]) / earlier
        calm = np.ptp(sliding_window_view(y, earlier)[at - last - earlier], axis=1) <= limit[at - 1]
        scatter = noise[at - last - 1] * np.sqrt(1.0 / last + 1.0 / earlier)
        # one bad round pulls a mean down, but not the median of three
        fall = before - np.maximum(now, latest[at - 1])
        going = y[at - 1] <= now + noise[at - 1]
        found[at - 1] |= calm & going & (fall > np.maximum(BEYOND_NOISE * scatter, LEAST_FALL))
    return found


def _stretches(broken: Bools) -> list[tuple[int, int | None]]:
    """First index of each broken stretch, and the index at which it was over (None: it lasts)."""
    found: list[tuple[int, int | None]] = []
    index = 0
    flagged = np.flatnonzero(broken)
    while len(flagged) and index < len(broken):
        later = flagged[flagged >= index]
        if not len(later):
            break
        first = last = int(later[0])
        for one in later[1:]:
            if one - last > CALM_ROUNDS:
                break
            last = int(one)
        over = last + 1 if len(broken) - last > CALM_ROUNDS else None
        found.append((first, over))
        index = last + 1
    return found


def _onset(
    curve: Curve,
    finite: Ints,
    stretch: tuple[int, int | None],
    fallen: Bools,
    held: Floats,
) -> Onset:
    first, over = stretch
    y = curve.values[finite]
    began = _began(y, first)
    collapse = bool(fallen[first : over if over is not None else len(y)].any())
    level = held[first] if np.isfinite(held[first]) else y[max(0, began - 1)]
    return Onset(
        "collapse" if collapse else "divergence",
        int(curve.rounds[finite[began]]),
        int(curve.rounds[finite[first]]),
        None if over is None else int(curve.rounds[finite[over]]),
        float(level),
        float(y[began : over if over is not None else len(y)].min(initial=y[first])),
        float(max(LEAST_NOISE, _running_noise(y, 1)[first])),
    )


def _began(y: Floats, found: int) -> int:
    """The round after the last one that was as high as the ten rounds before the fall."""
    reach = LONGEST_SPAN + 2
    start = max(0, found - reach)
    before = np.median(y[max(0, start - 10) : start + 1])
    high = np.flatnonzero(y[start:found] >= before)
    return min(found, start + int(high[-1]) + 1) if len(high) else start
