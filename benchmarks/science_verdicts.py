"""Rate of right verdicts, and of late and false breaks.

Truth is by the definitions of the verdicts, applied to the noise-free curve with the known noise
and asymptote; a break begins where they first say collapsed or diverging.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from benchmarks.science_pool import Each, one_by_one
from benchmarks.science_synthetic import Synthetic, make
from tasks.analysis import settings
from tasks.analysis.convergence import judge
from tasks.analysis.curve import Floats
from tasks.analysis.observed import window_of
from tasks.analysis.onset import Onset, onsets

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
MISLEADING_GAP = 0.02
LATE = 5
HEALTHY = ("growth", "late", "jump", "constant")
BROKEN = ("collapse", "divergence")
SHOWN = (("collapsed",), ("diverging",))
BEYOND = 2.0
CLEAR_PERIODS = 4.0


@dataclass(frozen=True)
class Judged:
    """A verdict beside the truth; possible has more than one kind in open cases.

    A tempting curve has more than 0.02 to gain, or falls, so that converged would mislead."""

    kind: str
    share: float
    possible: tuple[str, ...]
    said: str
    tempting: bool

    @property
    def right(self) -> bool:
        """Return whether the verdict is a possible one."""
        return self.said in self.possible

    @property
    def misled(self) -> bool:
        """Return whether converged was said of a tempting curve."""
        return self.tempting and self.said == "converged"


def judged(curve: Synthetic, share: float) -> Judged:
    """Return the verdict on the first `share` of the rounds."""
    count = max(3, round(share * len(curve.clean)))
    possible = truth(curve, count)
    said = judge(curve.curve.until(count)).kind
    gap = curve.asymptote[count - 1] - curve.clean[count - 1]
    tempting = bool(gap > MISLEADING_GAP or possible == ("diverging",))
    return Judged(curve.kind, share, possible, said, tempting)


def truth(curve: Synthetic, count: int) -> tuple[str, ...]:
    """Return the possible verdicts on the first `count` rounds.

    A wave of which fewer than four periods were seen may be called oscillating or not. A fall that is not beyond noise (its slope within two standard errors of the least-squares slope
    of the window) may be called diverging or what it would be called if it were flat.
    """
    if count < settings.LEAST_ROUNDS:
        return ("too_short",)
    clean, sigma = curve.clean[:count], float(curve.sigma[count - 1])
    window = window_of(count)
    limit = max(settings.COLLAPSE_DROP, settings.COLLAPSE_NOISE * sigma)
    if _held(clean, settings.HELD_ROUNDS, limit) - clean[-1] > limit:
        return ("collapsed",)
    slope = _slope(clean[-window:])
    error = sigma / np.sqrt(window * (window**2 - 1) / 12.0)
    if slope < -settings.FLAT_TREND - BEYOND * error:
        return ("diverging",)
    rest = _rising_or_flat(curve, count, slope)
    maybe = ("diverging",) if slope < -settings.FLAT_TREND else ()
    periods = np.count_nonzero(np.diff(np.sign(curve.wave[:count]))) / 2.0
    if periods >= CLEAR_PERIODS:
        return (*maybe, "oscillating")
    return (*maybe, "oscillating", rest) if periods > 0 else (*maybe, rest)


def _rising_or_flat(curve: Synthetic, count: int, slope: float) -> str:
    if slope > settings.FLAT_TREND:
        return "improving"
    gap = curve.asymptote[count - 1] - curve.clean[count - 1]
    return "converged" if gap <= settings.CONVERGED_GAP else "improving"


def _held(clean: Floats, rounds: int, limit: float) -> float:
    """Return the highest level kept by ten rounds before the last one, within the limit."""
    if len(clean) <= rounds:
        return -np.inf
    windows = np.lib.stride_tricks.sliding_window_view(clean[:-1], rounds)
    lowest = windows.min(axis=1)
    steady = windows.max(axis=1) - lowest <= limit
    return float(lowest[steady].max(initial=-np.inf))


def _slope(values: Floats) -> float:
    x = np.arange(len(values)) - (len(values) - 1) / 2.0
    return float(values @ x / (x @ x))


def verdicts(first_seed: int, count: int, noise: float, each: Each = one_by_one) -> list[Judged]:
    """Return all verdicts on `count` synthetic curves at that noise."""
    seeds = range(first_seed, first_seed + count)
    return list(chain.from_iterable(each(partial(_verdicts_of, noise=noise), seeds)))


def _verdicts_of(seed: int, noise: float) -> list[Judged]:
    curve = make(seed, noise)
    return [judged(curve, share) for share in SHARES]


@dataclass(frozen=True)
class Breaks:
    """Delays of found breaks that show five rounds before the end, in rounds since
    they show (infinite when missed), and false onsets among so many healthy rounds."""

    late: tuple[float, ...]
    false: int
    healthy_rounds: int

    @property
    def in_time(self) -> float:
        """Return the share found at most five rounds late."""
        return float(np.mean(np.array(self.late) <= LATE))

    @property
    def false_per_1000(self) -> float:
        """Return false onsets a thousand healthy rounds."""
        return 1000.0 * self.false / max(1, self.healthy_rounds)


def breaks(first_seed: int, count: int, noise: float) -> Breaks:
    """Find breaks in `count` synthetic curves; rounds before a break are healthy."""
    late: list[float] = []
    false = healthy = 0
    for index in range(count):
        curve = make(first_seed + index, noise)
        if curve.kind not in (*HEALTHY, *BROKEN):
            continue
        found = onsets(curve.curve)
        sound = len(curve.clean) if curve.onset is None else curve.onset - 1
        false += sum(one.found <= sound for one in found)
        healthy += sound
        shows = first_shown(curve)
        if shows is not None and shows + LATE <= len(curve.clean):
            late.append(_late(curve, shows, found))
    return Breaks(tuple(late), false, healthy)


def first_shown(curve: Synthetic) -> int | None:
    """Return the first round where the noise-free curve is broken by definition."""
    if curve.onset is None:
        return None
    rounds = range(curve.onset, len(curve.clean) + 1)
    return next((at for at in rounds if truth(curve, at) in SHOWN), None)


def _late(curve: Synthetic, shows: int, found: Sequence[Onset]) -> float:
    """Return the rounds from the first at which the break shows to that of the report."""
    assert curve.onset is not None
    of_it = [one.found for one in found if one.ended is None or one.ended > curve.onset]
    return float(max(0, of_it[0] - shows)) if of_it else float("inf")
