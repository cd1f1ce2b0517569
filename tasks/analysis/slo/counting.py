"""Events of an SLO counted from samples, without the recording rules of Prometheus."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.analysis.slo.slo_rules import BRIDGED

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Events:
    """Events of each step up to `at`, and the bad ones; `seen`: the indicator had a value."""

    at: datetime
    step: timedelta
    total: Floats
    bad: Floats
    seen: Flags
    # of them in maintenance
    planned_total: Floats = field(default_factory=lambda: np.zeros(0))
    planned_bad: Floats = field(default_factory=lambda: np.zeros(0))

    def planned(self, window: timedelta) -> tuple[float, float]:
        """Return the bad events and all events of the last window in maintenance."""
        steps = max(1, window // self.step)
        return float(self.planned_bad[-steps:].sum()), float(self.planned_total[-steps:].sum())

    def sums(self, window: timedelta) -> tuple[float, float]:
        """Return the bad events and all events of the last window."""
        steps = max(1, window // self.step)
        return float(self.bad[-steps:].sum()), float(self.total[-steps:].sum())

    @property
    def since(self) -> datetime | None:
        """Return the beginning of the first step with a value."""
        steps = np.flatnonzero(self.seen)
        return self.at - (len(self.seen) - int(steps[0])) * self.step if len(steps) else None

    def is_missing(self, length: timedelta) -> bool:
        """Return whether the indicator had no value in the last steps of this length."""
        return not self.seen[-max(1, length // self.step) :].any()


def growth(values: Floats, is_known: Flags, step: timedelta) -> tuple[Floats, Flags]:
    """Return what a counter counted in each step, and whether that can be said of it.

    values: at the end of each step, NaN without one. is_known: whether its target was scraped then, so
    that a first value in the next step counts.
    """
    index = np.arange(len(values))
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, index))
    before = np.concatenate([[-1], last[:-1]])
    has_before = (before >= 0) & (index - before <= BRIDGED // step)
    old = np.where(has_before, values[before], 0.0)
    is_first = np.concatenate([[False], is_known[:-1]]) & ~has_before
    is_counted = ~np.isnan(values) & (has_before | is_first)
    grown = np.where(values >= old, values - old, values)
    return np.where(is_counted, grown, 0.0), is_counted


def counted(
    series: Iterable[tuple[Any, Floats]], scraped: dict[Any, Flags], length: int, step: timedelta
) -> tuple[Floats, Flags]:
    """Return what all series counted in each step; each comes with its target."""
    total, seen = np.zeros(length), np.zeros(length, dtype=bool)
    never = np.zeros(length, dtype=bool)
    for target, values in series:
        grown, is_counted = growth(values, scraped.get(target, never), step)
        total += grown
        seen |= is_counted
    return total, seen
