"""Charts of a measurement: one panel a field, drawn by tasks.reports.drawing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np
import pandas as pd

from tasks.core.batch import time_micros
from tasks.core.measurement import Measurement
from tasks.core.units import EPOCH, LATEST_EPOCH, Scale, in_scale, scale_for
from tasks.core.window import Window, micros
from tasks.reports.records import Event, EventKind, Limits
from tasks.reports.series import COLOURS, Floats, Integers, Series, Table, bucket_means

PLOT_PIXELS = 384  # width of a panel's plot in its own units
FEWEST_BUCKETS = 4
PANEL_VERTICES = 30_000
MARKED_UP_TO = 24  # samples of a line that still show as points
HOLE = 3  # a line is cut where samples are farther apart than this many steps
TREND_BUCKETS = 48
_REACH = 1.0  # spans of the data, within which other values stretch the axis
_FLAT = 1e-4  # of its height: a smaller span is drawn as a flat line


@dataclass(frozen=True)
class Trace:
    """A polyline, cut at NaN, and its marked points; `colour` None is the default."""

    x: Floats
    y: Floats
    colour: int | None
    dots: tuple[Floats, Floats]


@dataclass(frozen=True)
class Limit:
    """A suite's limit at `y`: values belong above a lower one, below an upper one."""

    y: float
    label: str
    lower: bool


@dataclass(frozen=True)
class Mark:
    """An event from x to `stop`."""

    kind: EventKind
    x: float
    stop: float


@dataclass(frozen=True)
class Panel:
    """One field over the window: x in seconds since its start, y in the scale's unit.

    `crosses` are quarantined numbers; `beyond` those too far out, moved to the axis's end.
    """

    field: str
    window: Window
    scale: Scale
    traces: tuple[Trace, ...]
    limits: tuple[Limit, ...]
    crosses: tuple[Floats, Floats]
    beyond: tuple[Floats, Floats]
    y_range: tuple[float, float]
    marks: tuple[Mark, ...] = ()
    zone: tzinfo = UTC


def downsample(times: Integers, values: Floats, start: int, stop: int, buckets: int) -> Integers:
    """Choose positions: the least and greatest value of each bucket, and both ends.

    All of them when there are not more than twice the buckets. times ascend; values are finite.
    """
    size = len(times)
    if size <= 2 * buckets:
        return np.arange(size)
    bucket = (times - start) * buckets // max(stop - start, 1)
    edges = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    counts = np.diff(edges, append=size)
    kept = np.zeros(size, dtype=bool)
    kept[[0, -1]] = True
    for extreme in (np.minimum, np.maximum):
        hits = np.flatnonzero(values == np.repeat(extreme.reduceat(values, edges), counts))
        kept[hits[np.diff(bucket[hits], prepend=bucket[0] - 1) != 0]] = True
    return np.flatnonzero(kept)


def panels_of(
    measurement: Measurement,
    table: Table,
    quarantine: pd.DataFrame,
    limits: Limits,
    window: Window,
    vertices: int = PANEL_VERTICES,
    events: Sequence[Event] = (),
    zone: tzinfo = UTC,
) -> tuple[Panel, ...]:
    """Build a panel of each field with a number, in about so many vertices."""
    panels = [
        _panel(measurement, table, name, quarantine, limits, window, vertices)
        for name in table.fields
    ]
    marks = tuple(
        Mark(event.kind, *(max(0.0, (t - window.start).total_seconds()) for t in times))
        for event in events
        if (times := (event.start, event.stop))[1] > window.start
    )
    return tuple(replace(panel, marks=marks, zone=zone) for panel in panels if panel is not None)


def _panel(
    measurement: Measurement,
    table: Table,
    name: str,
    quarantine: pd.DataFrame,
    limits: Limits,
    window: Window,
    vertices: int,
) -> Panel | None:
    values = table.fields[name]
    finite = values[~np.isnan(values)]
    marks = quarantine[(quarantine["field"] == name) & quarantine["number"].notna()]
    numbers = marks["number"].to_numpy(dtype="float64")
    reference = finite if len(finite) else numbers
    if not len(reference):
        return None
    scale = scale_for(measurement.fields[name].unit, _typical(reference))
    reach = _reach(reference / scale.divisor)
    drawn = _limits(limits.get(name, (None, None)), scale, reach)
    near, far = _crosses(time_micros(marks), numbers / scale.divisor, window, reach)
    tops = np.concatenate([reference / scale.divisor, near[1], [limit.y for limit in drawn]])
    # half an hour around moments
    low, high = float(tops.min()) - 1800, float(tops.max()) + 1800
    y_range = (low, high) if scale == EPOCH else _padded(tops)
    return Panel(
        field=name,
        window=window,
        scale=scale,
        traces=_traces(measurement, table, values / scale.divisor, window, vertices),
        # one at the start of the axis, such as zero, adds nothing
        limits=tuple(limit for limit in drawn if limit.y != y_range[0]),
        crosses=near,
        beyond=(far[0], np.clip(far[1], *y_range)),
        y_range=y_range,
    )


def _typical(values: Floats) -> float:
    """Return the magnitude for the unit, which one spike must not change."""
    return float(np.quantile(np.abs(values), 0.9))


def _reach(values: Floats) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 0.5 * abs(high), 1e-12) * _REACH
    return low - span, high + span


def _limits(
    pair: tuple[float | None, float | None], scale: Scale, reach: tuple[float, float]
) -> tuple[Limit, ...]:
    limits = [
        Limit(y, f"{'≥' if lower else '≤'} {in_scale(value, scale)} {scale.symbol}".strip(), lower)
        for value, lower in zip(pair, (True, False), strict=True)
        if value is not None and reach[0] <= (y := value / scale.divisor) <= reach[1]
    ]
    return tuple(limits)


def _crosses(
    times: Integers, numbers: Floats, window: Window, reach: tuple[float, float]
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return quarantined numbers within reach, thinned, and those beyond."""
    order = np.argsort(times, kind="stable")
    times, numbers = times[order], np.nan_to_num(numbers[order])
    start, stop = micros(window.start), micros(window.stop)
    kept = downsample(times, numbers, start, stop, PLOT_PIXELS)
    x, y = (times[kept] - start) / 1e6, numbers[kept]
    near = (y >= reach[0]) & (y <= reach[1])
    return (x[near], y[near]), (x[~near], y[~near])


def _padded(values: Floats) -> tuple[float, float]:
    """Return the axis around the values, from zero when they are near it."""
    low, high = float(values.min()), float(values.max())
    if high - low <= _FLAT * max(abs(low), abs(high)):
        room = abs(low) * 0.1 or 1.0
        return (0.0 if low == 0 else low - room), high + room
    room = 0.07 * (high - low)
    near_zero = 0 <= low < 0.4 * high
    return (0.0 if near_zero else low - room), high + room


def _traces(
    measurement: Measurement, table: Table, values: Floats, window: Window, vertices: int
) -> tuple[Trace, ...]:
    """Build the traces, coloured ones last, so that they lie on top."""
    rest = [one for one in table.series if one not in table.shown]
    share = vertices // 2 if rest else vertices
    each = share // max(len(table.shown), 1)
    lines = [_thinned(table, one, values, window, measurement.step, each) for one in table.shown]
    traces = [_trace([line], colour) for colour, line in enumerate(lines)]
    if rest:
        each = share // len(rest)
        grey = [_thinned(table, one, values, window, measurement.step, each) for one in rest]
        traces.insert(0, _trace(grey, None))
    return tuple(trace for trace in traces if not np.isnan(trace.x).all())


def _thinned(
    table: Table, one: Series, values: Floats, window: Window, step: timedelta, vertices: int
) -> tuple[Floats, Floats]:
    """Thin a series to about this many points, with NaN in holes and at the end."""
    times, numbers = table.times[one.start : one.stop], values[one.start : one.stop]
    there = ~np.isnan(numbers)
    times, numbers = times[there], numbers[there]
    start, stop = micros(window.start), micros(window.stop)
    buckets = min(PLOT_PIXELS, max(vertices // 2, FEWEST_BUCKETS))
    kept = downsample(times, numbers, start, stop, buckets)
    distances = np.diff(times)
    usual = max(
        step / timedelta(microseconds=1), float(np.median(distances)) if len(distances) else 0
    )
    before_holes = np.flatnonzero(distances > HOLE * usual)
    cuts = np.unique([*np.searchsorted(kept, before_holes, side="right"), len(kept)])
    x = np.insert((times[kept] - start) / 1e6, cuts, np.nan)
    return x, np.insert(numbers[kept], cuts, np.nan)


def _trace(lines: Sequence[tuple[Floats, Floats]], colour: int | None) -> Trace:
    x, y = (np.concatenate(parts) for parts in zip(*lines, strict=True))
    there = ~np.isnan(x)
    longest = max(np.count_nonzero(~np.isnan(line[0])) for line in lines)
    # among many lines, points would hide their own line
    is_crowded = longest > MARKED_UP_TO or len(lines) > COLOURS
    neighbours = np.concatenate([[False], there, [False]]) & is_crowded
    dots = there & ~neighbours[:-2] & ~neighbours[2:]
    return Trace(x, y, colour, (x[dots], y[dots]))


def trend_of(times: Integers, values: Floats, window: Window) -> Floats:
    """Return the means of TREND_BUCKETS equal parts of the window, NaN without values."""
    trend: Floats = bucket_means(times, values, window, TREND_BUCKETS, [len(times)])[0]
    return trend


def value_ticks(panel: Panel) -> list[tuple[float, str]]:
    """Choose round values within the axis, with their texts; of an epoch round moments."""
    from matplotlib.ticker import MaxNLocator

    low, high = sorted(panel.y_range)
    # not beside extremes, which stand for an unknown time
    if panel.scale == EPOCH and low >= 0 and high < LATEST_EPOCH:
        ends = Window(datetime.fromtimestamp(low, UTC), datetime.fromtimestamp(high, UTC))
        return [(low + at, text) for at, text in time_ticks(ends, 4)]
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [(at, f"{at + 0.0:,.6g}") for at in np.asarray(ticks) if low <= at <= high]


def time_ticks(window: Window, most: int = 6, zone: tzinfo = UTC) -> list[tuple[float, str]]:
    """Choose round moments in the zone: seconds since the window's start, and text."""
    step = next((s for s in _STEPS if window.length <= s * most), _STEPS[-1] * 10)
    seconds = int(step.total_seconds())
    ahead = int((window.start.astimezone(zone).utcoffset() or timedelta()).total_seconds())
    first = -int(-(window.start.timestamp() + ahead) // seconds) * seconds - ahead
    moments = range(first, int(window.stop.timestamp()) + 1, seconds)
    return [
        (m - window.start.timestamp(), _clock(datetime.fromtimestamp(m, zone), step))
        for m in moments
    ]


_STEPS = [
    timedelta(seconds=s)
    for s in (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
] + [timedelta(days=d) for d in (1, 2, 7, 14, 28, 56, 112, 364)]


def _clock(moment: datetime, step: timedelta) -> str:
    if moment.hour == moment.minute == moment.second == 0:
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M:%S}" if step < timedelta(minutes=1) else f"{moment:%H:%M}"
