"""What a threshold's source shows of it: queries of Prometheus, or a field in the lake."""

from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from tasks.analysis.rules.firing import Alert, replay
from tasks.analysis.rules.judge import Labels, Observed, labels_key
from tasks.analysis.rules.promql import absence, condition
from tasks.core.catalogue import Catalogue
from tasks.core.measurement import Measurement
from tasks.core.thresholds import COMPARISONS, NO_DATA, Condition, Threshold
from tasks.core.window import Window, ceil, floor
from tasks.lake.tables import Lake
from tasks.sources.prometheus_rules import RulesClient

# how far back the beginning of a breach is looked for
LOOK_BACK = timedelta(days=1)
# Prometheus takes a value for the present one so long
VALID = timedelta(minutes=5)
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
    rows = _field(lake.read(measurement, environment, window), measurement, threshold)
    newest = rows["time"].max() if len(rows) else at - back
    silence = threshold.no_data_after or RECENT
    if at - newest > max(silence, RECENT):
        return Observed(window.start, at, measurement.step, is_absent=True)
    if threshold.condition is not None:
        rows = _where(rows, threshold.condition, catalogue, lake, environment, window)
    now = ceil(newest.to_pydatetime(), measurement.step)
    breaches, values, applies = {}, {}, False
    for key, series in rows.groupby(list(measurement.tags) or "environment", dropna=False):
        labels = _labels(measurement, key)
        breaches[labels] = _breaches(threshold, series, measurement.step, now)
        last = series.iloc[-1]
        if now - last["time"] < _valid(measurement.step):
            values[labels] = float(last["value"])
            applies = applies or bool(last["applies"])
    return Observed(window.start, now, measurement.step, breaches, values, applies)


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


def _breaches(
    threshold: Threshold, series: pd.DataFrame, step: timedelta, now: datetime
) -> list[datetime]:
    """Return the multiples of the step at which the series's newest value broke the limit."""
    found: list[datetime] = []
    times = series["time"].dt.to_pydatetime()
    first = [ceil(time, step) for time in times]
    until = [*first[1:], now + step]
    for i, (value, applies) in enumerate(zip(series["value"], series["applies"], strict=True)):
        if applies and threshold.breaks(value):
            stop = min(until[i], times[i] + _valid(step))
            found += [first[i] + n * step for n in range(-((first[i] - stop) // step))]
    return found


def _labels(measurement: Measurement, key: Any) -> Labels:
    texts = key if isinstance(key, tuple) else (key,)
    pairs = zip(measurement.tags, texts, strict=False)
    return labels_key({tag: str(text) for tag, text in pairs if not pd.isna(text)})
