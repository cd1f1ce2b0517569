"""The batch: one measurement of one environment over a window, as a wide frame."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.core.errors import SeriesExceeded
from tasks.core.measurement import FieldType, Measurement
from tasks.core.quarantine import no_records
from tasks.core.window import Cell, Window, iso, micros

# Arrow's own pools keep freed memory; work in chunks frees as much as it takes
pa.set_memory_pool(pa.system_memory_pool())

TIME_TYPE = "datetime64[us, UTC]"
# cached by layout: building one costs as much as a frame with rows
_EMPTY_FRAMES: dict[object, pd.DataFrame] = {}
_NO_TEXT = pd.CategoricalDtype(pd.Index([], dtype="str"))
PANDAS_TYPES: dict[FieldType, str] = {
    "float": "float64",
    "int": "Int64",
    "string": "str",
    "bool": "boolean",
}
ARROW_TYPES: dict[FieldType, pa.DataType] = {
    "float": pa.float64(),
    "int": pa.int64(),
    "string": pa.string(),
    "bool": pa.bool_(),
}


@dataclass(frozen=True)
class Batch:
    """Rows of one measurement and environment.

    `frame` has a fresh RangeIndex and exactly the columns `columns_of(measurement)`: `time`
    (datetime64[us, UTC]), the tags (category, environment first; null where a series lacks one), the
    fields (types of the catalogue; null where there is no value). It is never changed in place.
    `dropped` counts the values that a source left out by rule (nan, inf, native_histogram).
    `rejected` are quarantine records of values that no column of the frame can hold; only a source
    without history has them, since no digest is made of them.
    `unmeasured` are fields that cannot have a value yet, such as a rate at its first scrape.
    """

    measurement: Measurement
    environment: str
    window: Window
    frame: pd.DataFrame
    dropped: Mapping[str, int] = field(default_factory=dict)
    rejected: pd.DataFrame = field(default_factory=no_records)
    warnings: tuple[str, ...] = ()
    not_served: tuple[str, ...] = ()
    unmeasured: frozenset[str] = frozenset()

    @property
    def values(self) -> int:
        """Return the number of values (non-null field cells) in the frame."""
        return count_values(self.frame, self.measurement)

    @property
    def rejected_values(self) -> int:
        """Return the number of values that no column could hold."""
        return int(self.rejected["field"].notna().sum())

    @property
    def dropped_values(self) -> int:
        """Return the number of values left out by rule."""
        return sum(self.dropped.values())

    def with_frame(self, frame: pd.DataFrame) -> "Batch":
        """Return the batch with other rows, on a fresh RangeIndex."""
        return replace(self, frame=frame.reset_index(drop=True))


def columns_of(measurement: Measurement) -> list[str]:
    """Return the columns of a batch, in order."""
    return ["time", *measurement.all_tags, *measurement.fields]


def count_values(frame: pd.DataFrame, measurement: Measurement) -> int:
    """Count the non-null field cells of the frame."""
    return int(frame[list(measurement.fields)].notna().to_numpy().sum())


def check_series(frame: pd.DataFrame, measurement: Measurement, window: Window) -> None:
    """Raise SeriesExceeded when the frame has more series than the measurement may."""
    if len(frame) > measurement.max_series:
        keys = set(zip(*(frame[tag].cat.codes for tag in measurement.tags), strict=True))
        if len(keys) > measurement.max_series:
            raise series_exceeded(keys, measurement, window)


def series_exceeded(
    keys: Collection[tuple[Any, ...]], measurement: Measurement, window: Window
) -> SeriesExceeded:
    """Build the error for series with these tags, counted over the window."""
    counts = [len(set(values)) for values in zip(*keys, strict=True)]
    distinct, label = max(zip(counts, measurement.tags, strict=True))
    return SeriesExceeded(
        measurement=measurement.name,
        series=len(keys),
        start=iso(window.start),
        stop=iso(window.stop),
        limit=measurement.max_series,
        label=label,
        distinct=distinct,
    )


def arrow_schema(measurement: Measurement) -> pa.Schema:
    """Return the schema of the measurement's lake table."""
    return pa.schema(
        [pa.field("time", pa.timestamp("us", tz="UTC"))]
        + [pa.field(tag, pa.string()) for tag in measurement.all_tags]
        + [pa.field(name, ARROW_TYPES[spec.type]) for name, spec in measurement.fields.items()]
    )


def build_frame(measurement: Measurement, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Build a frame with the batch's columns and types, in canonical order.

    The columns have equal length; missing fields become null. Tags may be anything that pandas
    makes a category of.
    """
    length = len(columns["time"])
    data: dict[str, Any] = {"time": pd.Series(columns["time"]).astype(TIME_TYPE)}
    for tag in measurement.all_tags:
        data[tag] = _as_category(columns[tag])
    for name, spec in measurement.fields.items():
        kind = PANDAS_TYPES[spec.type]
        values = columns[name] if name in columns else pd.Series([None] * length, dtype="object")
        data[name] = pd.Series(values, dtype=kind)
    return canonical(pd.DataFrame(data), measurement)


def _as_category(values: Any) -> pd.Series:
    series = pd.Series(values)
    if not isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype("category")
    # an all-null column has no type of its own, and differing categories do not concatenate
    return series if len(series.cat.categories) else series.astype(_NO_TEXT)


def empty_frame(measurement: Measurement) -> pd.DataFrame:
    """Return a frame without rows."""
    layout = (measurement.all_tags, tuple((n, spec.type) for n, spec in measurement.fields.items()))
    if layout not in _EMPTY_FRAMES:
        columns: dict[str, Any] = {name: [] for name in columns_of(measurement)}
        _EMPTY_FRAMES[layout] = build_frame(measurement, columns)
    return _EMPTY_FRAMES[layout].copy(deep=False)


def canonical(frame: pd.DataFrame, measurement: Measurement) -> pd.DataFrame:
    """Sort rows by tags, then time; drop unused categories and reset the index."""
    sorted_tags = {tag: _used_and_sorted(frame[tag]) for tag in measurement.all_tags}
    frame = frame.assign(**sorted_tags)[columns_of(measurement)]
    keys = [time_micros(frame)]
    keys += [frame[tag].cat.codes.to_numpy() for tag in reversed(measurement.all_tags)]
    order = np.lexsort(keys)
    if not np.array_equal(order, np.arange(len(order))):
        frame = frame.iloc[order]
    return frame.reset_index(drop=True)


def _used_and_sorted(column: pd.Series) -> pd.Series:
    categories = column.cat.categories
    uses = np.bincount(column.cat.codes.to_numpy() + 1, minlength=len(categories) + 1)[1:]
    # nearly always sorted, and checking is much cheaper than sorting
    if uses.all() and categories.is_monotonic_increasing:
        return column
    column = column.cat.remove_unused_categories()
    return column.cat.reorder_categories(column.cat.categories.sort_values())


def time_micros(frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the times as microseconds since the epoch."""
    return np.asarray(frame["time"].astype("int64"))


def split_cells(frame: pd.DataFrame, cells: Sequence[Cell]) -> dict[Cell, pd.DataFrame]:
    """Split the rows by cell, each part on a fresh RangeIndex, ordered by time.

    One pass for all cells: the parts share the memory of one reordered frame.
    """
    times = time_micros(frame)
    if len(cells) == 1 and _is_within(times, cells[0]):
        is_fresh = frame.index.equals(pd.RangeIndex(len(frame)))
        return {cells[0]: frame if is_fresh else frame.reset_index(drop=True)}
    starts = np.array([micros(cell.start) for cell in cells])
    stops = np.array([micros(cell.stop) for cell in cells])
    numbers = np.searchsorted(starts, times, side="right") - 1
    numbers[(numbers < 0) | (times >= stops[numbers])] = len(cells)
    order = np.argsort(numbers, kind="stable")
    edges = np.searchsorted(numbers[order], np.arange(len(cells) + 1))
    rows = frame.take(order)
    return {
        cell: rows.iloc[first:last].reset_index(drop=True)
        for cell, first, last in zip(cells, edges, edges[1:], strict=False)
    }


def _is_within(times: np.ndarray[Any, np.dtype[np.int64]], cell: Cell) -> bool:
    return not len(times) or bool(
        times.min() >= micros(cell.start) and times.max() < micros(cell.stop)
    )


def slice_cell(frame: pd.DataFrame, cell: Window) -> pd.DataFrame:
    """Return the rows of one cell or window, in order, on a fresh RangeIndex."""
    times = time_micros(frame)
    inside = (times >= micros(cell.start)) & (times < micros(cell.stop))
    return frame[inside].reset_index(drop=True)
