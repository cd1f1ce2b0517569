"""Points of a service for metrics: landed rows by metric, series and step."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import time_micros
from tasks.core.measurement import Measurement
from tasks.core.metric_services import Metric, MetricsTuning

Integers = np.ndarray[Any, np.dtype[np.intp]]
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Point:
    """The values of one series in one step.

    `time` is the step's start in seconds since 1970, `values` are in the metric's unit, `rows` are
    their positions in the frame, and `field` is their column there. `unit` is the catalogue's, empty
    when the values are scaled.
    """

    cell: int
    metric: Metric
    field: str
    labels: Labels
    time: int
    values: np.ndarray[Any, np.dtype[np.float64]]
    rows: Integers
    unit: str = ""
    description: str = ""

    @property
    def series(self) -> tuple[str, Labels]:
        """What the service counts as one series."""
        return self.metric.name, self.labels

    @property
    def value(self) -> float:
        """The values as one number."""
        if self.metric.reduce == "last":
            return float(self.values[-1])
        return float(self.values.max() if self.metric.reduce == "max" else self.values.mean())


def points_of(
    frame: pd.DataFrame,
    cells: Integers,
    taken: np.ndarray[Any, np.dtype[np.bool_]],
    measurement: Measurement,
    tuning: MetricsTuning,
) -> list[Point]:
    """Return the points of the taken rows, by time; `cells` numbers the cell of each row."""
    points: list[Point] = []
    steps = time_micros(frame) // _micros(tuning.step) * _micros(tuning.step) // 1_000_000
    series, labels = _series(frame, measurement, tuning.tags)
    for field, metric in tuning.metrics_of(measurement).items():
        values = frame[field].to_numpy(dtype="float64", na_value=np.nan) * metric.scale
        rows = np.flatnonzero(taken & np.isfinite(values))
        spec = measurement.fields[field]
        unit = spec.unit if metric.scale == 1 else ""
        for group in _groups(rows, cells, steps, series):
            first = group[0]
            points.append(
                Point(
                    int(cells[first]), metric, field, labels[int(series[first])],
                    int(steps[first]), values[group], group, unit, spec.description,
                )
            )  # fmt: skip
    return sorted(points, key=lambda point: point.time)


def _groups(rows: Integers, *keys: Integers) -> Iterator[Integers]:
    """Yield the rows with equal keys, each group by position, so by time."""
    if not len(rows):
        return
    order = rows[np.lexsort([key[rows] for key in reversed(keys)])]
    parted = np.zeros(len(order) - 1, dtype=bool)
    for key in keys:
        parted |= np.diff(key[order]) != 0
    yield from np.split(order, np.flatnonzero(parted) + 1)


def _series(
    frame: pd.DataFrame, measurement: Measurement, tags: Mapping[str, str]
) -> tuple[Integers, list[Labels]]:
    """Number the label set of each row; tags that are not sent make no difference."""
    sent = [tag for tag in measurement.all_tags if tag in tags]
    codes = np.zeros(len(frame), dtype=np.intp)
    for tag in sent:
        codes = codes * (len(frame[tag].cat.categories) + 1) + frame[tag].cat.codes.to_numpy() + 1
    _, firsts, numbers = np.unique(codes, return_index=True, return_inverse=True)
    columns = [frame[tag].iloc[firsts].astype("object").tolist() for tag in sent]
    rows = zip(*columns, strict=True) if columns else [()] * len(firsts)
    labels = [
        tuple((tags[t], str(v)) for t, v in zip(sent, row, strict=True) if not pd.isna(v))
        for row in rows
    ]
    return numbers.astype(np.intp), labels


def _micros(length: timedelta) -> int:
    return length // timedelta(microseconds=1)
