"""Uptime of a check: shares of time, of one function for bars and percentages."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tasks.core.health import Interval, State

# less of the time observed is no whole figure
WHOLE = 0.95


@dataclass(frozen=True)
class Uptime:
    """Shares of a range of time, weighted by time; None when nothing was observed of it.

    `raw` is of all observed time, `without_maintenance` of that outside of maintenance. Degraded
    counts as up. `shares` is of each shown state, no_data included, and adds up to 1.
    """

    raw: float | None
    without_maintenance: float | None
    maintenance_minutes: float
    observed: float
    shares: dict[State, float]

    @property
    def is_partial(self) -> bool:
        """Return whether too little of the time was observed."""
        return self.observed < WHOLE


def uptime(intervals: Sequence[Interval], start: datetime, stop: datetime) -> Uptime:
    """Return the uptime of one check in [start, stop); times between intervals have no data."""
    shown: dict[State, float] = dict.fromkeys(("up", "degraded", "down", "maintenance"), 0.0)
    good = observed = planned_good = planned = maintenance = 0.0
    for one in intervals:
        seconds = (min(one.until, stop) - max(one.start, start)).total_seconds()
        if seconds <= 0:
            continue
        is_seen, is_good = one.state != "no_data", one.state in ("up", "degraded")
        good, observed = good + is_good * seconds, observed + is_seen * seconds
        if one.maintenance:
            maintenance += seconds
            planned_good, planned = planned_good + is_good * seconds, planned + is_seen * seconds
        if one.shown != "no_data":
            shown[one.shown] += seconds
    length = (stop - start).total_seconds()
    shares = {state: seconds / length for state, seconds in shown.items()}
    return Uptime(
        raw=_share(good, observed),
        without_maintenance=_share(good - planned_good, observed - planned),
        maintenance_minutes=maintenance / 60,
        observed=observed / length,
        shares={**shares, "no_data": max(0.0, 1 - sum(shares.values()))},
    )


def bars(intervals: Sequence[Interval], edges: Sequence[datetime]) -> Iterator[Uptime]:
    """Yield the uptime between each two edges; intervals are one check's, oldest first."""
    starts, untils = [one.start for one in intervals], [one.until for one in intervals]
    for start, stop in pairwise(edges):
        near = intervals[bisect_right(untils, start) : bisect_left(starts, stop)]
        yield uptime(near, start, stop)


def day_edges(now: datetime, days: int) -> list[datetime]:
    """Return the midnights of the last days in the zone of `now`, today's included, and `now`.

    A day on which the clocks change has 23 or 25 hours.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    midnights = [midnight - timedelta(days=days - 1 - day) for day in range(days)]
    return [*(edge.astimezone(UTC) for edge in midnights), now.astimezone(UTC)]


def _share(part: float, whole: float) -> float | None:
    # what remains of a difference of sums is no time
    return part / whole if whole > 1e-6 else None
