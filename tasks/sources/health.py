"""What the checker saw, from the ledger, as measurements of any window."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tasks.core.batch import Batch, build_frame, check_series, columns_of, empty_frame
from tasks.core.health import HostSample, Interval, Sample
from tasks.core.health_measurements import CHECKS, HOURS
from tasks.core.measurement import Measurement
from tasks.core.ports import History
from tasks.core.window import Window, floor

_HOUR = timedelta(hours=1)
_UP: Mapping[str, float | None] = {"up": 1.0, "degraded": 0.5, "down": 0.0, "no_data": None}
_COUNTED = (*_UP, "maintenance")
Row = dict[str, Any]


@dataclass(frozen=True)
class Recorded:
    """What the ledger has of an environment's window."""

    samples: Callable[[str, Window], list[Sample]]
    intervals: Callable[[str, Window], list[Interval]]
    hosts: Callable[[str, Window], list[HostSample]]


class HealthSource:
    """Reads samples, states and figures of hosts that the checker recorded."""

    name = "health"
    history: History = "range"

    def __init__(self, recorded: Recorded, cell: timedelta) -> None:
        """`cell`: states are added up by it when it is shorter than an hour."""
        self._recorded, self._grid = recorded, min(cell, _HOUR)

    def close(self) -> None:
        """Nothing is open."""

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Return the rows of the window; raise SeriesExceeded for too many checks."""
        rows: Iterable[Row]
        if measurement.name == CHECKS:
            rows = map(_check_row, self._recorded.samples(environment, window))
        elif measurement.name == HOURS:
            rows = _hour_rows(self._recorded.intervals(environment, window), window, self._grid)
        else:
            rows = map(_host_row, self._recorded.hosts(environment, window))
        frame = _frame(measurement, environment, list(rows))
        check_series(frame, measurement, window)
        return Batch(measurement, environment, window, frame)


def _frame(measurement: Measurement, environment: str, rows: list[Row]) -> Any:
    if not rows:
        return empty_frame(measurement)
    full = [{"environment": environment, **row} for row in rows]
    names = columns_of(measurement)
    return build_frame(measurement, {name: [row[name] for row in full] for name in names})


def _check_row(sample: Sample) -> Row:
    return {
        "time": sample.at,
        "check": sample.check,
        "observed_ratio": float(not sample.excused),
        "up_ratio": _UP[sample.state],
        "response_time_seconds": sample.seconds,
        "status_code": sample.status_code,
        "certificate_days": sample.certificate_days,
    }


def _host_row(sample: HostSample) -> Row:
    return {
        "time": sample.at,
        "cpu_usage_ratio": sample.cpu_ratio,
        "memory_usage_ratio": sample.memory_ratio,
        "disk_usage_ratio": sample.disk_ratio,
        "load_1m": sample.load_1m,
    }


def _hour_rows(intervals: Iterable[Interval], window: Window, grid: timedelta) -> Iterator[Row]:
    """Yield the seconds of each state by check and hour."""
    sums: dict[tuple[str, datetime], dict[str, float]] = {}
    for one in intervals:
        start = max(one.start, window.start)
        stop = min(one.until, window.stop)
        while start < stop:
            hour = floor(start, grid)
            end = min(hour + grid, stop)
            empty = dict.fromkeys(_COUNTED, 0.0)
            counts = sums.setdefault((one.check, hour), empty)
            seconds = (end - start).total_seconds()
            counts[one.state] += seconds
            counts["maintenance"] += seconds if one.maintenance else 0.0
            start = end
    for (check, hour), counts in sums.items():
        yield {
            "time": hour,
            "check": check,
            **{f"{name}_seconds": seconds for name, seconds in counts.items()},
        }
