"""Series of a frame, and statistics of a series or a field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import canonical, time_micros
from tasks.core.measurement import Measurement
from tasks.core.outside import shortened
from tasks.core.window import Window, micros
from tasks.reports.oddness import Floats as Floats
from tasks.reports.oddness import Oddness, oddness_of

Integers = np.ndarray[Any, np.dtype[np.int64]]

NAMED = 6  # series distinguished when there are more than COLOURS
COLOURS = 8


@dataclass(frozen=True)
class Series:
    """One combination of tags, and its rows [start, stop) of the frame."""

    tags: Mapping[str, str | None]
    start: int
    stop: int


@dataclass(frozen=True)
class Table:
    """The rows of a measurement by series and time; NaN where a field has no value.

    `times` are microseconds since the epoch; `shown` the series with a colour, in that order;
    `oddness` has one entry a series, none of no more than COLOURS.
    """

    times: Integers
    fields: Mapping[str, Floats]
    series: tuple[Series, ...]
    shown: tuple[Series, ...]
    oddness: tuple[Oddness, ...] = ()


def table_of(frame: pd.DataFrame, measurement: Measurement) -> Table:
    """Convert a frame in the layout of a Batch, in any order, to a table."""
    ordered = canonical(frame, measurement)
    series = _split(ordered, measurement.tags)
    fields = {
        name: ordered[name].to_numpy(dtype="float64", na_value=np.nan)
        for name, spec in measurement.fields.items()
        if spec.type != "string"
    }
    times = time_micros(ordered)
    if len(series) <= COLOURS:
        return Table(times, fields, series, series)
    oddness = oddness_of(fields, [one.stop - one.start for one in series])
    shown = _named(series, fields, measurement, oddness)
    return Table(times, fields, series, shown, oddness)


def _split(frame: pd.DataFrame, tags: Sequence[str]) -> tuple[Series, ...]:
    if frame.empty:
        return ()
    changes = np.zeros(len(frame), dtype=bool)
    changes[0] = True
    for tag in tags:
        codes = frame[tag].cat.codes.to_numpy()
        changes[1:] |= codes[1:] != codes[:-1]
    edges = [*np.flatnonzero(changes).tolist(), len(frame)]
    firsts = frame[list(tags)].iloc[edges[:-1]].astype("object")
    named = [
        {tag: None if pd.isna(value) else str(value) for tag, value in zip(tags, row, strict=True)}
        for row in firsts.itertuples(index=False)
    ]
    return tuple(Series(tags, *span) for tags, span in zip(named, pairwise(edges), strict=True))


def _named(
    series: tuple[Series, ...],
    fields: Mapping[str, Floats],
    measurement: Measurement,
    oddness: tuple[Oddness, ...],
) -> tuple[Series, ...]:
    """Choose NAMED series: outliers, then the most extreme by field."""
    rankings = [
        _ranking(series, values, measurement.fields[name].better) for name, values in fields.items()
    ]
    odd = [index for index, one in enumerate(oddness) if one.stands_out]
    odd.sort(key=lambda index: -oddness[index].score)
    turns = chain.from_iterable(zip(*rankings, strict=True))
    chosen = list(dict.fromkeys([*odd, *turns]))[:NAMED]
    return tuple(series[index] for index in sorted(chosen))


def _ranking(series: tuple[Series, ...], values: Floats, better: str) -> list[int]:
    """Return indexes of the series by worst value, or distance, most extreme first."""
    if better == "higher":
        distance = -values
    elif better == "lower" or np.isnan(values).all():
        distance = values
    else:
        distance = np.abs(values - np.nanmedian(values))
    starts = [one.start for one in series]
    worst = np.fmax.reduceat(distance, starts)
    return [int(i) for i in np.argsort(np.where(np.isnan(worst), np.inf, -worst), kind="stable")]


def statistics(times: Integers, values: Floats) -> dict[str, float | int | None]:
    """Return n, min, mean, max and last: the mean of the values at the newest time."""
    there = ~np.isnan(values)
    times, values = times[there], values[there]
    if not len(values):
        return {"n": 0, "min": None, "mean": None, "max": None, "last": None}
    return {
        "n": len(values),
        "min": float(values.min()),
        "mean": float(values.mean()),
        "max": float(values.max()),
        "last": float(values[times == times.max()].mean()),
    }


def bucket_means(
    times: Integers, values: Floats, window: Window, buckets: int, lengths: Sequence[int]
) -> Floats:
    """Average the series in equal parts of the window, shape (series, buckets)."""
    start, stop = micros(window.start), micros(window.stop)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    there = ~np.isnan(values) & (times >= start) & (times < stop)
    bucket = (times[there] - start) * buckets // (stop - start)
    cells, size = rows[there] * buckets + bucket, len(lengths) * buckets
    sums = np.bincount(cells, values[there], minlength=size)
    counts = np.bincount(cells, minlength=size)
    means = np.full(size, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means.reshape(len(lengths), buckets)


def labels(table: Table, series: Sequence[Series] = ()) -> tuple[str, list[str]]:
    """Name the series (by default the shown ones) by the tags that differ."""
    if not table.series:
        return "", []
    tags = list(table.series[0].tags)
    telling = [tag for tag in tags if len({one.tags[tag] for one in table.series}) > 1]
    names = telling or tags[:1]
    named = series or table.shown
    texts = [" · ".join(shortened(one.tags[tag] or "–") for tag in names) for one in named]
    return " · ".join(names) or "series", [text or "all" for text in texts]
