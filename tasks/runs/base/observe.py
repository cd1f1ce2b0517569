"""What a threshold's source shows of it: queries of Prometheus, or a field in the lake."""

from datetime import datetime, timedelta
from math import isfinite
from typing import Any

import pandas as pd

from tasks.analysis.rules.firing import Alert, replay
from tasks.analysis.rules.judge import Labels, Observed
from tasks.analysis.rules.promql import absence, condition
from tasks.core.catalogue import Catalogue
from tasks.core.measurement import Measurement
from tasks.core.thresholds import COMPARISONS, NEVER, NO_DATA, Threshold
from tasks.core.window import Window, ceil, floor
from tasks.lake.tables import Lake
from tasks.sources.prometheus_rules import RulesClient

# how far back the beginning of a breach is looked for
LOOK_BACK = timedelta(days=1)
# Prometheus takes a value for the present one so long
VALID = timedelta(minutes=5)
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
        # a quotient of an idle service is NaN
        values={k: v for k, v in client.now(threshold.expr or "", at, what).items() if isfinite(v)},
        applies=threshold.when is None or bool(client.now(threshold.when, at, what)),
        is_absent=is_absent,
    )


def in_lake(
    threshold: Threshold, catalogue: Catalogue, lake: Lake, environment: str, at: datetime
) -> Observed:
    """Read the field's landed rows, and evaluate them at the multiples of the measurement's step.

    The lake is as late as its last run: the newest row of the measurement is the present.
    """
    name, field = threshold.of_field
    measurement, window = catalogue[name], _window(threshold, at)
    rows = lake.read(measurement, environment, window)
    rows = rows[rows[field].notna()]
    newest = rows["time"].max()
    if rows.empty or at - newest > max(threshold.no_data_after or NEVER, RECENT):
        return Observed(window.start, at, measurement.step, is_absent=True)
    rows = rows.assign(value=rows[field].astype("float64"), applies=_applies(threshold, rows))
    step, now = measurement.step, ceil(newest.to_pydatetime(), measurement.step)
    valid = max(VALID, 2 * step)
    breaches, values, applies = {}, {}, False
    tags = list(measurement.tags) or ["environment"]
    for key, series in rows.groupby(tags, dropna=False, observed=True):
        labels, last = _labels(measurement, key), series.iloc[-1]
        breaches[labels] = _breaches(threshold, series.sort_values("time"), step, valid, now)
        if now - last["time"] < valid:
            values[labels] = float(last["value"])
            applies = applies or bool(last["applies"])
    return Observed(window.start, now, step, breaches, values, applies)


def _applies(threshold: Threshold, rows: pd.DataFrame) -> Any:
    when = threshold.condition
    if when is None:
        return True
    holds: Any = COMPARISONS[when.comparison](rows[when.field].astype("Float64"), when.value)
    return holds.fillna(False).astype(bool)


def _breaches(
    threshold: Threshold, series: pd.DataFrame, step: timedelta, valid: timedelta, now: datetime
) -> list[datetime]:
    """Return the multiples of the step at which the series's newest value broke the limit."""
    found: list[datetime] = []
    times = [time.to_pydatetime() for time in series["time"]]
    first = [ceil(time, step) for time in times]
    until = [*first[1:], now + step]
    for i, (value, applies) in enumerate(zip(series["value"], series["applies"], strict=True)):
        if applies and threshold.breaks(value):
            stop = min(until[i], times[i] + valid)
            found += [first[i] + n * step for n in range(-((first[i] - stop) // step))]
    return found


def _labels(measurement: Measurement, key: tuple[Any, ...]) -> Labels:
    pairs = zip(measurement.tags, key, strict=False)
    return tuple(sorted((tag, str(text)) for tag, text in pairs if not pd.isna(text)))
