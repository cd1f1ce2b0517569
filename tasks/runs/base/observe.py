"""What a threshold's source shows of it: queries of Prometheus, or a field in the lake."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from tasks.analysis.rules.firing import Alert, replay
from tasks.analysis.rules.judge import Observed
from tasks.analysis.rules.promql import absence, condition
from tasks.core.catalogue import Catalogue
from tasks.core.evaluations import Chunk, Evaluations, Integers, Labels
from tasks.core.measurement import Measurement
from tasks.core.thresholds import COMPARISONS, NEVER, NO_DATA, Threshold
from tasks.core.window import Window, ceil, floor
from tasks.lake.tables import Lake
from tasks.sources.prometheus_rules import RulesClient
from tasks.sources.wide_frame import Grid

# how far back the beginning of a breach is looked for
LOOK_BACK = timedelta(days=1)
# Prometheus takes a value for the present one so long
VALID = timedelta(minutes=5)
# most that is read of the lake at once
DAY = timedelta(days=1)
# landed data of an hourly run may be so old
RECENT = timedelta(hours=2)


def _window(threshold: Threshold, at: datetime) -> Window:
    held = threshold.for_ + threshold.keep_firing_for + (threshold.no_data_after or NEVER)
    return Window(at - LOOK_BACK - held, at + timedelta.resolution)


def in_prometheus(
    threshold: Threshold, client: RulesClient, at: datetime, interval: timedelta
) -> Observed:
    """Query Prometheus as it would evaluate the rule, whether or not it has the rule."""
    at, what = floor(at, interval), f"rule {threshold.id}"
    window = _window(threshold, at)
    is_absent = False
    if threshold.no_data_after is not None:
        alert = Alert(threshold.no_data_after, NEVER, interval)
        query = absence(threshold)
        for moments in client.moments(query, window, interval, f"{what}{NO_DATA}").values():
            replay(alert, moments, window.stop)
        is_absent = alert.state == "firing"
    return Observed(
        start=window.start,
        at=at,
        interval=interval,
        breaches=client.moments(condition(threshold), window, interval, what),
        values=client.now(threshold.expr or "", at, what),
        applies=threshold.when is None or bool(client.now(threshold.when, at, what)),
        is_absent=is_absent,
    )


def in_lake(
    threshold: Threshold, catalogue: Catalogue, lake: Lake, environment: str, at: datetime
) -> Observed:
    """Read the field's landed rows, and evaluate them at the multiples of the measurement's step.

    The lake is as late as its last run: the newest row of the measurement is the present.
    """
    measurement, window = catalogue[threshold.of_field[0]], _window(threshold, at)
    rows = _rows(threshold, measurement, lake, environment, window)
    newest = rows["time"].max()
    if rows.empty or at - newest > max(threshold.no_data_after or NEVER, RECENT):
        return Observed(window.start, at, measurement.step, is_absent=True)
    step, now = measurement.step, ceil(newest.to_pydatetime(), measurement.step)
    grid = Grid.of(Window(window.start, now + timedelta.resolution), step).micros
    breaches, values, applies = {}, {}, False
    for labels, series in _series(rows, measurement):
        breaches[labels] = threshold.breaches(_evaluated(series, grid, step)).moments
        last = series.iloc[-1]
        if now - last["time"] < _valid(step):
            values[labels] = float(last["value"])
            applies = applies or bool(last["applies"])
    return Observed(window.start, now, step, breaches, values, applies)


def history_in_lake(
    threshold: Threshold, measurement: Measurement, lake: Lake, environment: str, window: Window
) -> Iterator[tuple[Chunk, Evaluations]]:
    """Yield, day by day, the field's evaluations where it applies, and those without any value."""
    step = measurement.step
    for day in window.cells(DAY):
        grid = Grid.of(Window(max(day.start, window.start), min(day.stop, window.stop)), step)
        if grid.slots:
            read = Window(grid.first - _valid(step), grid.last + timedelta.resolution)
            rows = _rows(threshold, measurement, lake, environment, read)
            series = _series(rows, measurement)
            chunk = {labels: _evaluated(one, grid.micros, step) for labels, one in series}
            yield chunk, _absent(rows, grid.micros, step)


def landed_until(
    threshold: Threshold, measurement: Measurement, lake: Lake, environment: str, stop: datetime
) -> datetime:
    """Return the end of the field's last evaluation; `stop` itself when its data are not recent."""
    rows = _rows(threshold, measurement, lake, environment, Window(stop - RECENT, stop))
    if rows.empty:
        return stop
    last = ceil(rows["time"].max().to_pydatetime(), measurement.step)
    return min(stop, last + timedelta.resolution)


def _rows(
    threshold: Threshold, measurement: Measurement, lake: Lake, environment: str, window: Window
) -> pd.DataFrame:
    """Read the rows with the field's value, and whether the threshold applies to them."""
    _, field = threshold.of_field
    rows = lake.read(measurement, environment, window)
    rows = rows[rows[field].notna()].sort_values("time")
    return rows.assign(value=rows[field].astype("float64"), applies=_applies(threshold, rows))


def _applies(threshold: Threshold, rows: pd.DataFrame) -> Any:
    when = threshold.condition
    if when is None:
        return True
    holds: Any = COMPARISONS[when.comparison](rows[when.field].astype("Float64"), when.value)
    return holds.fillna(False).astype(bool)


def _series(rows: pd.DataFrame, measurement: Measurement) -> Iterator[tuple[Labels, pd.DataFrame]]:
    tags = list(measurement.tags)
    for key, series in rows.groupby(tags or ["environment"], dropna=False, observed=True):
        pairs = zip(tags, key, strict=False)
        yield tuple(sorted((tag, str(text)) for tag, text in pairs if not pd.isna(text))), series


def _evaluated(series: pd.DataFrame, grid: Integers, step: timedelta) -> Evaluations:
    """Return the newest value at each moment at which there is one, and the threshold applies."""
    times = _micros(series)
    newest = np.searchsorted(times, grid, side="right") - 1
    is_valid = (newest >= 0) & (grid - times[newest] < _valid(step) // timedelta.resolution)
    is_valid &= series["applies"].to_numpy(bool)[newest]
    return Evaluations(grid[is_valid], series["value"].to_numpy()[newest[is_valid]])


def _absent(rows: pd.DataFrame, grid: Integers, step: timedelta) -> Evaluations:
    """Return the moments at which no value came since the one before."""
    length = step // timedelta.resolution
    absent = grid[~np.isin(grid, -(-_micros(rows) // length) * length)]
    return Evaluations(absent, np.ones(len(absent)))


def _micros(rows: pd.DataFrame) -> Integers:
    times: Integers = rows["time"].to_numpy("datetime64[us]").astype("int64")
    return times


def _valid(step: timedelta) -> timedelta:
    return max(VALID, 2 * step)
