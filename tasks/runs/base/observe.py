"""What a threshold's source shows of it: queries of Prometheus, or a field in the lake."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from tasks.analysis.rules.firing import Alert, replay
from tasks.analysis.rules.judge import Observed, labels_key
from tasks.analysis.rules.promql import absence, condition
from tasks.core.catalogue import Catalogue
from tasks.core.evaluations import Chunk, Evaluations, Integers, Labels
from tasks.core.measurement import Measurement
from tasks.core.thresholds import COMPARISONS, NO_DATA, Condition, Threshold
from tasks.core.window import Window, ceil, floor, micros
from tasks.lake.tables import Lake
from tasks.sources.prometheus_rules import RulesClient
from tasks.sources.wide_frame import Grid

# how far back the beginning of a breach is looked for
LOOK_BACK = timedelta(days=1)
# Prometheus takes a value for the present one so long
VALID = timedelta(minutes=5)
# most that is read from the lake in one go
DAY = timedelta(days=1)
# landed data of an hourly run may be so old
RECENT = timedelta(hours=2)


def in_prometheus(
    threshold: Threshold, client: RulesClient, at: datetime, interval: timedelta
) -> Observed:
    """Query Prometheus as it would evaluate the rule, whether or not it has the rule."""
    at, what = floor(at, interval), f"rule {threshold.id}"
    start = at - max(LOOK_BACK, threshold.no_data_after or LOOK_BACK) - threshold.for_
    start -= threshold.keep_firing_for
    window = Window(start, at + timedelta.resolution)
    return Observed(
        start=start,
        at=at,
        interval=interval,
        breaches=client.moments(condition(threshold), window, interval, what),
        values=client.now(threshold.expr or "", at, what),
        applies=threshold.when is None or bool(client.now(threshold.when, at, what)),
        is_absent=threshold.no_data_after is not None
        and _is_absent(threshold, threshold.no_data_after, client, window, interval),
    )


def _is_absent(
    threshold: Threshold,
    length: timedelta,
    client: RulesClient,
    window: Window,
    interval: timedelta,
) -> bool:
    what = f"rule {threshold.id}{NO_DATA}"
    alert = Alert(length, timedelta(0), interval)
    for moments in client.moments(absence(threshold), window, interval, what).values():
        replay(alert, moments, window.stop)
    return alert.state == "firing"


def in_lake(
    threshold: Threshold, catalogue: Catalogue, lake: Lake, environment: str, at: datetime
) -> Observed:
    """Read the field's landed rows, and evaluate them at the multiples of the measurement's step.

    The lake is as late as its last run: the newest row of the measurement is the present.
    """
    measurement = catalogue[threshold.of_field.measurement]
    back = LOOK_BACK + threshold.for_ + threshold.keep_firing_for
    window = Window(at - back, at + timedelta.resolution)
    rows = _rows(threshold, catalogue, lake, environment, window)
    newest = rows["time"].max() if len(rows) else at - back
    silence = threshold.no_data_after or RECENT
    if at - newest > max(silence, RECENT):
        return Observed(window.start, at, measurement.step, is_absent=True)
    now = ceil(newest.to_pydatetime(), measurement.step)
    grid = Grid.of(Window(window.start, now + timedelta.resolution), measurement.step).micros
    breaches, values, applies = {}, {}, False
    for labels, series in _series(rows, measurement):
        breaches[labels] = threshold.breaches(_evaluated(series, grid, measurement.step)).moments
        last = series.iloc[-1]
        if now - last["time"] < _valid(measurement.step):
            values[labels] = float(last["value"])
            applies = applies or bool(last["applies"])
    return Observed(window.start, now, measurement.step, breaches, values, applies)


def history_in_lake(
    threshold: Threshold, catalogue: Catalogue, lake: Lake, environment: str, window: Window
) -> Iterator[tuple[Chunk, Evaluations]]:
    """Yield, day by day, the field's evaluations where it applies, and those without any value."""
    measurement = catalogue[threshold.of_field.measurement]
    step, when = measurement.step, threshold.condition
    steps = [step, *([catalogue[when.field.measurement].step] if when else [])]
    for day in window.cells(DAY):
        grid = Grid.of(Window(max(day.start, window.start), min(day.stop, window.stop)), step)
        if not grid.slots:
            continue
        # a value is valid beyond the day's end, and so is that of its condition
        read = Window(grid.first - sum(map(_valid, steps), timedelta(0)), day.stop)
        rows = _rows(threshold, catalogue, lake, environment, read)
        series = {
            labels: _evaluated(one, grid.micros, step) for labels, one in _series(rows, measurement)
        }
        yield series, _absent(rows, grid.micros, step)


def newest_in_lake(
    threshold: Threshold, catalogue: Catalogue, lake: Lake, environment: str, at: datetime
) -> datetime:
    """Return the end of the field's newest evaluation before `at`; `at` itself without recent data."""
    rows = _rows(threshold, catalogue, lake, environment, Window(at - RECENT, at))
    if not len(rows):
        return at
    step = catalogue[threshold.of_field.measurement].step
    return min(at, ceil(rows["time"].max().to_pydatetime(), step) + timedelta.resolution)


def _rows(
    threshold: Threshold, catalogue: Catalogue, lake: Lake, environment: str, window: Window
) -> pd.DataFrame:
    measurement = catalogue[threshold.of_field.measurement]
    rows = _field(lake.read(measurement, environment, window), measurement, threshold)
    if threshold.condition is None:
        return rows
    return _where(rows, threshold.condition, catalogue, lake, environment, window)


def _series(rows: pd.DataFrame, measurement: Measurement) -> Iterator[tuple[Labels, pd.DataFrame]]:
    for key, series in rows.groupby(list(measurement.tags) or "environment", dropna=False):
        yield _labels(measurement, key), series


def _evaluated(series: pd.DataFrame, grid: Integers, step: timedelta) -> Evaluations:
    """Return the value of a series at those moments at which it has one, and applies."""
    times = _micros(series["time"])
    newest = np.searchsorted(times, grid, side="right") - 1
    is_valid = (newest >= 0) & (grid - times[newest] < _valid(step) // timedelta.resolution)
    is_valid &= series["applies"].to_numpy(bool)[newest]
    return Evaluations(grid[is_valid], series["value"].to_numpy("float64")[newest[is_valid]])


def _absent(rows: pd.DataFrame, grid: Integers, step: timedelta) -> Evaluations:
    """Return those moments since the one before which there is no value."""
    length = step // timedelta.resolution
    absent = grid[~np.isin(grid, -(-_micros(rows["time"]) // length) * length)]
    return Evaluations(absent, np.ones(len(absent)))


def _micros(times: "pd.Series[Any]") -> Integers:
    return times.to_numpy("datetime64[us]").astype("int64")


def _valid(step: timedelta) -> timedelta:
    return max(VALID, 2 * step)


def _field(frame: pd.DataFrame, measurement: Measurement, threshold: Threshold) -> pd.DataFrame:
    """Return time, tags, value and whether the threshold applies, by series and time."""
    rows = frame[["time", "environment", *measurement.tags]].copy()
    rows["value"] = frame[threshold.of_field.field].astype("Float64")
    rows["applies"] = True
    for tag in measurement.tags:
        rows[tag] = rows[tag].astype(object)
    return rows[rows["value"].notna()].sort_values("time", ignore_index=True)


def _where(
    rows: pd.DataFrame,
    when: Condition,
    catalogue: Catalogue,
    lake: Lake,
    environment: str,
    window: Window,
) -> pd.DataFrame:
    """Set whether the condition held at each row: by the value of that time, of the same tags."""
    measurement = catalogue[when.field.measurement]
    frame = lake.read(measurement, environment, window)
    tags = [tag for tag in measurement.tags if tag in rows.columns]
    other = frame[["time", *tags]].copy()
    other["holds"] = frame[when.field.field].astype("Float64")
    other = other[other["holds"].notna()].sort_values("time", ignore_index=True)
    other["holds"] = COMPARISONS[when.comparison](other["holds"], when.value)
    for tag in tags:
        other[tag] = other[tag].astype(object)
    joined = pd.merge_asof(
        rows, other, on="time", by=tags or None, tolerance=pd.Timedelta(_valid(measurement.step))
    )
    return rows.assign(applies=joined["holds"].fillna(False).astype(bool))


def _labels(measurement: Measurement, key: Any) -> Labels:
    texts = key if isinstance(key, tuple) else (key,)
    pairs = zip(measurement.tags, texts, strict=False)
    return labels_key({tag: str(text) for tag, text in pairs if not pd.isna(text)})
