"""Remaining time of a run, from the seconds of its rounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.analysis.curve import Floats, Ints
from tasks.analysis.interval import Interval
from tasks.analysis.robust import normal_quantile, quantile_interval, student_quantile, theil_sen
from tasks.core.training import Round

LEAST_ROUNDS = 5
LEAST_RECENT, MOST_RECENT = 40, 400
RECENT_SHARE = 0.3
MOST_SECONDS = 1e9
"""No round takes thirty years."""
DRAWS = 2000
MOST_SUMMED = 200
"""So many rounds are drawn one by one; the sum of more is normal."""
NEGLIGIBLE = 0.01
PASSAGES, THINNED = 50, 50
"""So many first passages are tried, each with every so-manieth draw of the seconds."""
SURE = 0.95
SEED = 0


@dataclass(frozen=True)
class RemainingTime:
    """Remaining wall time of the run.

    remaining and to_target are seconds from the end of the last round seen; a_round is the spread of
    one round's seconds (median and central interval of the recent ones), trend the seconds that a
    round takes longer than the one before, None when unknown. rounds_left is how many are to come, n
    how many rounds the numbers rest on, odd how many reported seconds are impossible. why_not has the
    need of each missing number.
    """

    sentence: str
    remaining: Interval | None
    to_target: Interval | None
    a_round: Interval | None
    trend: Interval | None
    is_changing: bool
    rounds_left: int | None
    n: int
    odd: int
    why_not: tuple[str, ...]


def remaining_time(
    rounds: Sequence[Round],
    rounds_left: int | None,
    level: float = 0.8,
    to_target: Floats | None = None,
) -> RemainingTime:
    """Estimate the remaining time with rounds_left to go (None: no known plan).

    to_target are draws of further rounds until the target, Inf for never. Seconds that are missing,
    negative or not finite do not count.
    """
    raw = np.array([np.nan if r.seconds is None else r.seconds for r in rounds], dtype=np.float64)
    usable = np.isfinite(raw) & (raw >= 0.0) & (raw <= MOST_SECONDS)
    odd = sum(1 for r in rounds if r.seconds is not None) - int(usable.sum())
    numbers = np.array([r.round for r in rounds], dtype=np.float64)[usable]
    seconds = raw[usable]
    if len(seconds) < LEAST_ROUNDS:
        return _unknown(len(seconds), odd, rounds_left)
    window = min(MOST_RECENT, max(LEAST_RECENT, int(np.ceil(RECENT_SHARE * len(seconds)))))
    model = _Model(numbers[-window:], seconds[-window:], level)
    why_not: tuple[str, ...] = ()
    why_not += () if rounds_left is not None else ("the remaining time needs the planned rounds",)
    remaining = None if rounds_left is None else model.interval(max(0, rounds_left))
    reaching = _until(model, to_target, level)
    if to_target is not None and reaching is None:
        why_not += ("the time to the target has no upper end: the target may be missed",)
    sentence = _sentence(model, remaining, rounds_left)
    return RemainingTime(
        sentence, remaining, reaching, quantile_interval(model.seconds, level), model.trend,
        model.is_changing, rounds_left, len(seconds), odd, why_not,
    )  # fmt: skip


class _Model:
    """Seconds of the rounds to come.

    Where a trend is beyond chance (Theil-Sen, see tasks.analysis.robust) it goes on, damped, so
    that it adds no more than it would over as many rounds as it was seen (Gardner and McKenzie,
    "Forecasting trends in time series", Management Science 1985). The rest is drawn by the moving
    block bootstrap (Künsch, "The jackknife and the bootstrap for general stationary observations",
    Annals of Statistics 1989; Efron and Tibshirani, "An introduction to the bootstrap" 1993): once
    for what is not known of the distribution, and out of that for the rounds to come.
    """

    def __init__(self, numbers: Floats, seconds: Floats, level: float) -> None:
        self.seconds, self.level = seconds, level
        self.trend = theil_sen(numbers, seconds, SURE)
        # over all rounds seen it takes or saves a hundredth of a round at least
        least = NEGLIGIBLE * float(np.median(seconds)) / len(seconds)
        self.is_changing = (
            self.trend is not None
            and not (self.trend.low <= 0.0 <= self.trend.high)
            and abs(self.trend.estimate) >= least
        )
        slope = self.trend.estimate if self.trend is not None and self.is_changing else 0.0
        self.levelled = seconds + slope * (numbers[-1] - numbers)
        self.span = float(numbers[-1] - numbers[0] + 1)
        rng = np.random.default_rng(SEED)
        self.normal = rng.normal(size=(2, DRAWS))
        self.samples = self.levelled[_blocks(len(seconds), rng)]
        self.picks = rng.integers(0, len(seconds), size=(DRAWS, MOST_SUMMED))

    def sums(self, count: int) -> Floats:
        """Return draws of the seconds that so many further rounds take together."""
        if count == 0:
            return np.zeros(DRAWS)
        means, spreads = self.samples.mean(axis=1), self.samples.std(axis=1)
        if count <= MOST_SUMMED:
            ahead = np.take_along_axis(self.samples, self.picks[:, :count], axis=1).sum(axis=1)
        else:
            ahead = count * means + np.sqrt(count) * spreads * self.normal[0]
        return np.maximum(self._widened(ahead) + self._drift(count), 0.0)

    def _widened(self, sums: Floats) -> Floats:
        # a resample of few rounds varies too little: Student's t, and n / (n - 1)
        count = len(self.seconds)
        factor = student_quantile(self.level, count - 1) / normal_quantile(self.level)
        middle = np.median(sums)
        return np.asarray(middle + factor * np.sqrt(count / (count - 1)) * (sums - middle))

    def _drift(self, count: int) -> Floats:
        if self.trend is None or not self.is_changing:
            return np.zeros(DRAWS)
        sd = (self.trend.high - self.trend.low) / (2.0 * normal_quantile(SURE))
        slopes = self.trend.estimate + sd * self.normal[1]
        steps = np.arange(1.0, count + 1.0)
        damped = self.span * (1.0 - np.exp(-steps / self.span))
        return np.asarray(slopes * damped.sum())

    def interval(self, count: int) -> Interval:
        return quantile_interval(self.sums(count), self.level)


def _blocks(count: int, rng: np.random.Generator) -> Ints:
    """Return indices of resamples in circular blocks of n ** (1/3): (DRAWS, count)."""
    size = max(1, round(count ** (1.0 / 3.0)))
    blocks = -(-count // size)
    starts = rng.integers(0, count, size=(DRAWS, blocks, 1))
    whole = (starts + np.arange(size)).reshape(DRAWS, -1) % count
    return np.asarray(whole[:, :count])


def _until(model: _Model, further: Floats | None, level: float) -> Interval | None:
    """Return seconds until the target, with rounds and seconds both drawn.

    None when the interval has no upper end, since too many draws never get there.
    """
    if further is None:
        return None
    counts = np.quantile(further, np.linspace(0.01, 0.99, PASSAGES), method="inverted_cdf")
    finite = counts[np.isfinite(counts)]
    if not len(finite):
        return None
    draws = np.concatenate([model.sums(int(count))[::THINNED] for count in finite])
    never = np.full((len(counts) - len(finite)) * len(model.sums(0)[::THINNED]), np.inf)
    shares = [0.5 - level / 2, 0.5, 0.5 + level / 2]
    low, middle, high = np.quantile(np.concatenate([draws, never]), shares, method="inverted_cdf")
    return Interval(float(middle), float(low), float(high), level) if np.isfinite(high) else None


def _unknown(count: int, odd: int, left: int | None) -> RemainingTime:
    reason = f"{LEAST_ROUNDS} rounds with their seconds are needed, there are {count}"
    sentence = f"The remaining time is unknown: {reason}."
    return RemainingTime(sentence, None, None, None, None, False, left, count, odd, (reason,))


def _sentence(model: _Model, remaining: Interval | None, left: int | None) -> str:
    median = float(np.median(model.seconds))
    text = f"A round takes {duration(median)}"
    if remaining is not None and left is not None and left > 0:
        text += f"; the {left} left take {duration(remaining.estimate)}"
        if duration(remaining.low) != duration(remaining.high):
            text += f" ({duration(remaining.low)} to {duration(remaining.high)})"
    if model.trend is not None and model.is_changing and left != 0:
        word = "longer" if model.trend.estimate > 0 else "shorter"
        text += f"; each takes {duration(abs(model.trend.estimate))} {word} than the one before"
    return text + "."


def duration(seconds: float) -> str:
    """Format seconds in a clock's units: 0.3 s, 45 s, 12 min, 3.5 h, 2.1 days."""
    for limit, unit, name in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 86400.0:.3g} days"
