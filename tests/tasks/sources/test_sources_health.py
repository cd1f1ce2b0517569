"""What the checker recorded, as rows of a window."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.core.errors import SeriesExceeded
from tasks.core.health import HostSample, Interval, Sample
from tasks.core.health_measurements import CHECKS, HOST, HOURS, health_measurements
from tasks.core.window import Window
from tasks.sources.health import HealthSource, Recorded

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
ENTRIES = {entry.name: entry for entry in health_measurements()}
GOOD = Sample("production", "/x", START, "healthy", 0.25, 200, certificate_days=9.5)


def extract(
    name: str,
    window: Window,
    samples: Sequence[Sample] = (),
    intervals: Sequence[Interval] = (),
    hosts: Sequence[HostSample] = (),
    cell: timedelta = HOUR,
) -> list[dict[str, Any]]:
    recorded = Recorded(lambda *_: list(samples), lambda *_: list(intervals), lambda *_: list(hosts))  # fmt: skip
    batch = HealthSource(recorded, cell).extract(ENTRIES[name], "production", window)
    return [{k: v for k, v in row.items() if v == v} for row in batch.frame.to_dict("records")]


WHOLE = Window(START, START + 3 * HOUR)


def test_a_sample_is_a_row() -> None:
    bad = replace(GOOD, check="/y", status="error", seconds=None, status_code=None)
    unseen = replace(bad, check="/z", excused=True, certificate_days=None)
    first, second, third = extract(CHECKS, WHOLE, [GOOD, bad, unseen])

    assert first == {
        "time": START, "environment": "production", "check": "/x", "observed_ratio": 1.0, "up_ratio": 1.0,
        "response_time_seconds": 0.25, "status_code": 200.0, "certificate_days": 9.5,
    }  # fmt: skip
    assert (second["up_ratio"], "status_code" in second) == (0.0, False)
    assert (third["observed_ratio"], "up_ratio" in third) == (0.0, False)


def test_states_are_added_up_by_hour_within_the_window() -> None:
    up = Interval("production", "/x", "up", START - HOUR, START + 90 * MINUTE)
    down = Interval("production", "/x", "down", up.until, up.until + 10 * MINUTE, "", True)
    rows = extract(HOURS, Window(START, START + 2 * HOUR), intervals=[up, down])

    assert [row["time"] for row in rows] == [START, START + HOUR]
    assert [row["up_seconds"] for row in rows] == [3600.0, 1800.0]
    assert [row["down_seconds"] for row in rows] == [0.0, 600.0]
    assert [row["maintenance_seconds"] for row in rows] == [0.0, 600.0]


@pytest.mark.parametrize(("minutes", "rows"), [(15, 4), (60, 1), (360, 1)])
def test_states_follow_cells_that_are_shorter_than_an_hour(minutes: int, rows: int) -> None:
    up = Interval("production", "/x", "up", START, START + HOUR)
    assert len(extract(HOURS, WHOLE, intervals=[up], cell=minutes * MINUTE)) == rows


def test_a_machine_is_a_row_and_nothing_is_none() -> None:
    (row,) = extract(HOST, WHOLE, hosts=[HostSample("production", START, 0.5, 0.25, 0.75, 1.5)])
    assert (row["cpu_usage_ratio"], row["load_1m"]) == (0.5, 1.5)
    assert extract(HOST, WHOLE) == []


def test_too_many_checks_are_refused() -> None:
    with pytest.raises(SeriesExceeded):
        extract(CHECKS, WHOLE, [replace(GOOD, check=f"/{number}") for number in range(2001)])
