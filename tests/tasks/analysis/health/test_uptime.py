"""Uptime is weighted by time, names maintenance and what was not observed, and bars add up to it."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.analysis.health.uptime import Uptime, bars, day_edges, uptime
from tasks.core.health import Interval, State

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = 24 * HOUR


def intervals(*parts: tuple[str, float]) -> list[Interval]:
    """Adjacent intervals of so many hours; a state in capitals is in maintenance."""
    found: list[Interval] = []
    at = START
    for state, hours in parts:
        until = at + hours * HOUR
        name: State = state.lower()  # type: ignore[assignment]
        found.append(Interval("production", "/health", name, at, until, "", state.isupper()))
        at = until
    return found


def day(*parts: tuple[str, float]) -> Uptime:
    return uptime(intervals(*parts), START, START + DAY)


@pytest.mark.parametrize(
    ("parts", "raw", "without", "minutes", "observed"),
    [
        ([("up", 24)], 1, 1, 0, 1),
        ([("down", 24)], 0, 0, 0, 1),
        # by time: one long outage weighs more than many short good times
        ([("up", 1), ("down", 6), ("up", 1), ("down", 6), ("up", 10)], 0.5, 0.5, 0, 1),
        ([("up", 18), ("degraded", 6)], 1, 1, 0, 1),
        # planned: never subtracted silently
        ([("up", 12), ("DOWN", 12)], 0.5, 1, 720, 1),
        ([("UP", 12), ("down", 12)], 0.5, 0, 720, 1),
        # what was not observed moves no uptime
        ([("up", 6), ("no_data", 12), ("down", 6)], 0.5, 0.5, 0, 0.5),
        ([("no_data", 24)], None, None, 0, 0),
        ([("DOWN", 24)], 0, None, 1440, 1),
        ([("NO_DATA", 24)], None, None, 1440, 0),
        ([], None, None, 0, 0),
        # beyond the range
        ([("up", 12), ("down", 48)], 0.5, 0.5, 0, 1),
    ],
)
def test_three_named_numbers_beside_the_share_observed(
    parts: list[tuple[str, float]],
    raw: float | None,
    without: float | None,
    minutes: float,
    observed: float,
) -> None:
    found = day(*parts)

    assert (found.raw, found.without_maintenance) == (raw, without)
    assert (found.maintenance_minutes, found.observed) == (minutes, observed)


@pytest.mark.parametrize(("hours", "is_partial"), [(22.7, True), (22.9, False)])
def test_less_than_95_percent_observed_is_partial(hours: float, is_partial: bool) -> None:
    assert day(("up", hours)).is_partial is is_partial


STATES = st.sampled_from(["up", "down", "degraded", "no_data", "UP", "DOWN", "DEGRADED", "NO_DATA"])


@pytest.mark.promise("Health: bars and percentages of uptime agree")
@given(st.lists(st.tuples(STATES, st.integers(1, 40)), max_size=12))
def test_bars_add_up_to_the_percentages(parts: list[tuple[str, int]]) -> None:
    found = intervals(*parts)
    edges = [START + number * DAY for number in range(8)]
    each = list(bars(found, edges))
    whole = uptime(found, edges[0], edges[-1])

    assert sum(bar.observed for bar in each) / 7 == pytest.approx(whole.observed)
    assert sum(bar.maintenance_minutes for bar in each) == pytest.approx(whole.maintenance_minutes)
    good = sum((bar.raw or 0) * bar.observed for bar in each) / 7
    assert good == pytest.approx((whole.raw or 0) * whole.observed)
    for bar in (*each, whole):
        assert sum(bar.shares.values()) == pytest.approx(1)
        assert min(bar.shares.values()) >= 0


def test_days_are_those_of_the_zone_also_when_the_clocks_change() -> None:
    now = datetime(2026, 3, 30, 9, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    edges = day_edges(now, 3)

    lengths = [(stop - start) / HOUR for start, stop in pairwise(edges)]
    assert lengths == [24, 23, 9.5]
    assert edges[-1] == now
