"""Learn a limit from history: what few days went beyond for as long as the rule demands."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR

import numpy as np

from tasks.analysis.rules.backtest import DAY
from tasks.core.evaluations import Chunk, Evaluations, Labels
from tasks.core.thresholds import Threshold
from tasks.core.units import outward
from tasks.core.window import micros

# a new day goes beyond the limit with a probability of at most one in so many
DAYS_A_BREACH = 15


@dataclass(frozen=True)
class Learned:
    """A limit that at most `reached` of the days reached; without one, the reason."""

    rule: str
    days: int = 0
    reached: int = 0
    limit: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        """Return it as a sentence."""
        return self.reason or f"{self.reached} of {self.days} days reached {self.limit:g}"


def learn(
    threshold: Threshold, chunks: Iterable[Chunk], interval: timedelta, stop: datetime
) -> Learned:
    """Propose a limit by the furthest level of each day, which are taken as independent.

    The level of a day is the furthest one that a series kept up for the rule's `for`, so that a
    limit there would have fired. Of n days and a day to come each is equally likely the worst one,
    hence it reaches the kth worst level with the probability k / (n + 1) whatever the distribution
    (an order statistic). k is the largest with at most one in 15: one incident in a month does not
    set the limit. Rounded outwards to three digits.
    """
    name = threshold.id
    if threshold.comparison is None or threshold.comparison in ("==", "!="):
        return Learned(name, reason="it has no limit above or below which it fires")
    sign = -1 if threshold.comparison.startswith("<") else 1
    levels = _Levels(1 - (-threshold.for_ // interval), interval, sign, stop)
    for chunk in chunks:
        for labels, part in chunk.items():
            levels.take(labels, part)
    worst = sorted(levels.by_day.values(), reverse=True)
    days, reached = len(worst), (len(worst) + 1) // DAYS_A_BREACH
    if not reached:
        return Learned(
            name, days, reason=f"{days} days with values, {DAYS_A_BREACH - 1} are needed"
        )
    if worst[0] == worst[-1]:
        return Learned(name, days, reason=f"the worst of each day is {sign * worst[0]:g}")
    limit = outward(sign * worst[reached - 1], ROUND_CEILING if sign > 0 else ROUND_FLOOR)
    return Learned(name, days, reached, limit)


@dataclass
class _Levels:
    """Each day's furthest level that a series kept up for `width` evaluations in a row."""

    width: int
    interval: timedelta
    sign: int
    stop: datetime
    by_day: dict[int, float] = field(default_factory=dict)
    ends: dict[Labels, Evaluations] = field(default_factory=dict)

    def take(self, labels: Labels, more: Evaluations) -> None:
        """Take the next evaluations of a series; the last ones before may begin a row."""
        if labels in self.ends:
            pairs = zip(self.ends[labels], more, strict=True)
            more = Evaluations(*(np.concatenate(pair) for pair in pairs))
        is_number = np.isfinite(more.values)
        times, values = more.times[is_number], self.sign * more.values[is_number]
        # the last ones of a row that is not complete
        rest = slice(max(len(times) - self.width + 1, 0), None)
        self.ends[labels] = Evaluations(times[rest], self.sign * values[rest])
        if len(times) < self.width:
            return
        last, first = times[self.width - 1 :], times[: len(times) - self.width + 1]
        is_row = last - first == (self.width - 1) * (self.interval // timedelta.resolution)
        rows = np.lib.stride_tricks.sliding_window_view(values, self.width)
        days, levels = (micros(self.stop) - last) // DAY, rows.min(axis=1)
        for day in np.unique(days[is_row]).tolist():
            level = float(levels[is_row & (days == day)].max())
            self.by_day[day] = max(self.by_day.get(day, level), level)
