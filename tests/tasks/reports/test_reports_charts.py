from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.batch import empty_frame
from tasks.core.quarantine import Reason, no_records, records
from tasks.core.severity import Severity
from tasks.core.window import Window
from tasks.reports.charts import (
    PANEL_VERTICES,
    TREND_BUCKETS,
    Limit,
    Mark,
    Panel,
    downsample,
    panels_of,
    time_ticks,
    trend_of,
)
from tasks.reports.records import Event, Limits
from tasks.reports.series import Floats, table_of
from tests.support.report_samples import HOUR, field, frame_of, measurement, times

SPAN = 1000


@given(
    st.lists(
        st.tuples(st.integers(0, SPAN - 1), st.floats(-1e9, 1e9)),
        max_size=200,
        unique_by=lambda point: point[0],
    ),
    st.integers(1, 30),
)
def test_thinning_keeps_every_extreme(points: list[tuple[int, float]], buckets: int) -> None:
    points.sort()
    at = np.array([time for time, _ in points], dtype="int64")
    values = np.array([value for _, value in points], dtype="float64")
    kept = downsample(at, values, 0, SPAN, buckets)
    assert np.array_equal(kept, np.unique(kept))
    assert len(kept) <= max(2 * buckets + 2, 0)
    if len(at) <= 2 * buckets:
        assert len(kept) == len(at)
        return
    assert kept[0] == 0
    assert kept[-1] == len(at) - 1
    bucket = at * buckets // SPAN
    for one in np.unique(bucket):
        mine, left = values[bucket == one], values[kept][bucket[kept] == one]
        assert left.min() == mine.min()
        assert left.max() == mine.max()


def test_thinning_keeps_the_one_spike() -> None:
    values = np.zeros(100)
    values[41] = 9.0
    kept = downsample(np.arange(100), values, 0, 100, 4)
    assert list(kept) == [0, 25, 41, 50, 75, 99]


def panel(
    values: list[float], unit: str = "", limits: Limits | None = None, step: float = 15.0
) -> Panel:
    entry = measurement("m", {"v": field(unit)})
    frame = frame_of(entry, {"time": times(len(values), step), "v": values})
    (one,) = panels_of(entry, table_of(frame, entry), no_records(), limits or {}, HOUR)
    return one


def points(x: Floats, y: Floats) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True) if not np.isnan(a)]


def test_values_are_drawn_in_the_unit_that_fits() -> None:
    one = panel([0.25, 0.5], "seconds")
    assert one.scale.symbol == "ms"
    assert points(one.traces[0].x, one.traces[0].y) == [(0.0, 250.0), (15.0, 500.0)]


def test_one_spike_does_not_change_the_unit() -> None:
    assert panel([0.1] * 20 + [30.0], "seconds").scale.symbol == "ms"


def test_few_samples_are_marked() -> None:
    one = panel([3.0])
    assert points(*one.traces[0].dots) == [(0.0, 3.0)]
    assert one.y_range == pytest.approx((2.7, 3.3))


def test_many_samples_are_a_line_without_marks() -> None:
    assert points(*panel([float(index) for index in range(60)]).traces[0].dots) == []


def test_a_hole_cuts_the_line_and_what_stands_alone_is_marked() -> None:
    values = [1.0] * 40 + [np.nan] * 10 + [5.0] + [np.nan] * 10 + [1.0] * 20
    (trace,) = panel(values).traces
    assert np.flatnonzero(np.isnan(trace.x)).tolist() == [40, 42, 63]
    assert points(*trace.dots) == [(750.0, 5.0)]


def test_a_series_sampled_more_rarely_than_the_step_is_one_line() -> None:
    (trace,) = panel([float(index) for index in range(60)], step=60.0).traces
    assert np.flatnonzero(np.isnan(trace.x)).tolist() == [60]


def test_limits_within_reach_are_drawn() -> None:
    one = panel([0.5, 0.9], "ratio", {"v": (0.4, 1.0)})
    assert one.limits == (Limit(40.0, "≥ 40 %", True), Limit(100.0, "≤ 100 %", False))
    assert one.y_range[0] < 40.0
    assert one.y_range[1] > 100.0


@pytest.mark.parametrize("limits", [{"v": (-1e6, 1e6)}, {"v": (None, None)}, {"other": (0.0, 1.0)}])
def test_limits_out_of_reach_are_not_drawn(limits: Limits) -> None:
    assert panel([0.5, 0.9], "", limits).limits == ()


def test_a_limit_of_zero_below_everything_says_nothing() -> None:
    one = panel([0.1, 0.9], "", {"v": (0.0, 1.0)})
    assert [limit.label for limit in one.limits] == ["≤ 1"]
    assert one.y_range[0] == 0.0


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.0, 0.0], 0.0, 1.0),
        ([-2.0, -2.0], -2.2, -1.8),
        ([86_400_000.0, 86_400_512.0], 86.4 * 0.9, 86.4 * 1.1),
        ([1.0, 10.0], 0.0, 10.63),
        ([9.0, 10.0], 8.93, 10.07),
    ],
)
def test_the_axis_fits_the_values(values: list[float], low: float, high: float) -> None:
    assert panel(values).y_range == pytest.approx((low, high), rel=1e-4)


def test_quarantined_numbers_are_crosses_at_their_time_and_those_far_out_lie_at_the_end() -> None:
    entry = measurement("m", {"v": field("celsius")})
    frame = frame_of(entry, {"time": times(4), "v": [40.0, 60.0, 70.0, 8500.0]})
    reason = Reason("suite", "value", "c", "between", Severity.CRITICAL, "≤ 65", "too hot")
    held = records(frame, entry, np.array([2, 3]), ["v"], reason)
    good = frame.assign(v=frame["v"].where(frame["v"] < 65))
    (one,) = panels_of(entry, table_of(good, entry), held, {}, HOUR)
    assert points(*one.crosses) == [(30.0, 70.0)]
    assert points(*one.beyond) == [(45.0, one.y_range[1])]
    assert one.y_range[1] == pytest.approx(72.1)


def test_events_are_marked_on_every_panel_in_seconds_since_the_start() -> None:
    entry = measurement("m", {"v": field(), "w": field()})
    frame = frame_of(entry, {"time": times(2), "v": [1.0, 2.0], "w": [1.0, 2.0]})
    half = HOUR.start + HOUR.length / 2
    events = [
        Event("no_data", HOUR.start, half, "none"),
        Event("catalogue", half, HOUR.stop, "new"),
    ]
    found = panels_of(entry, table_of(frame, entry), no_records(), {}, HOUR, events=events)
    marks = (Mark("no_data", 0.0, 1800.0), Mark("catalogue", 1800.0, 3600.0))
    assert [one.marks for one in found] == [marks, marks]


def test_a_field_with_nothing_but_quarantine_is_drawn() -> None:
    entry = measurement("m", {"v": field(), "w": field()})
    frame = frame_of(entry, {"time": times(1), "v": [-1.0]})
    reason = Reason("suite", "value", "c", "between", Severity.CRITICAL, "≥ 0", "negative")
    held = records(frame, entry, np.array([0]), ["v"], reason)
    (one,) = panels_of(entry, table_of(empty_frame(entry), entry), held, {}, HOUR)
    assert (one.field, one.traces) == ("v", ())
    assert points(*one.crosses) == [(0.0, -1.0)]


def test_no_data_has_no_panel() -> None:
    entry = measurement("m", {"v": field()})
    assert panels_of(entry, table_of(empty_frame(entry), entry), no_records(), {}, HOUR) == ()


def test_a_day_of_many_series_stays_within_its_points_and_keeps_the_spike() -> None:
    entry = measurement("m", {"v": field(better="lower")}, ("client",))
    clients, count = 100, 5760
    values = np.zeros(clients * count)
    values[7 * count + 3000] = 50.0
    values[:] += np.random.default_rng(0).random(values.size)
    frame = frame_of(
        entry,
        {
            "time": times(count) * clients,
            "client": np.repeat([f"c{index:03}" for index in range(clients)], count),
            "v": values,
        },
    )
    day = Window(HOUR.start, HOUR.start + timedelta(days=1))
    (one,) = panels_of(entry, table_of(frame, entry), no_records(), {}, day)
    assert sum(len(trace.x) for trace in one.traces) < 1.1 * PANEL_VERTICES
    assert max(np.nanmax(trace.y) for trace in one.traces) == values.max()
    assert [trace.colour for trace in one.traces] == [None, 0, 1, 2, 3, 4, 5]


def test_a_trend_is_the_mean_of_each_part() -> None:
    size = 60_000_000 * 60 // TREND_BUCKETS
    start = int(HOUR.start.timestamp()) * 1_000_000
    at = np.array([start, start + 1, start + size, start + 2 * size])
    means = trend_of(at, np.array([1.0, 3.0, np.nan, 5.0]), HOUR)
    assert means[:3].tolist() == pytest.approx([2.0, np.nan, 5.0], nan_ok=True)
    assert np.isnan(means[3:]).all()


@pytest.mark.parametrize(
    ("length", "texts"),
    [
        (timedelta(seconds=30), ["23:00:00", "23:00:05", "23:00:10", "23:00:15", "23:00:20",
                                 "23:00:25", "23:00:30"]),
        (timedelta(hours=2), ["23:00", "23:30", "1 Feb", "00:30", "01:00"]),
        (timedelta(days=3), ["1 Feb", "12:00", "2 Feb", "12:00", "3 Feb", "12:00"]),
        (timedelta(days=20), ["5 Feb", "12 Feb", "19 Feb"]),
    ],
)  # fmt: skip
def test_ticks_stand_at_round_times(length: timedelta, texts: list[str]) -> None:
    start = datetime(2026, 1, 31, 23, tzinfo=UTC)
    ticks = time_ticks(Window(start, start + length))
    assert [text for _, text in ticks] == texts
    assert all(0 <= at <= length.total_seconds() for at, _ in ticks)


def test_ticks_are_round_in_the_zone_of_the_reader() -> None:
    start = datetime(2026, 1, 31, 23, tzinfo=UTC)
    window = Window(start, start + timedelta(hours=3))

    ticks = time_ticks(window, zone=ZoneInfo("Asia/Kolkata"))

    assert ticks[:2] == [(0.0, "04:30"), (1800.0, "05:00")]
    assert time_ticks(window)[0] == (0.0, "23:00")
