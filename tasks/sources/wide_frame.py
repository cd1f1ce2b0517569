"""The wide frame of a measurement, built from the series of its fields."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.core.batch import columns_of, empty_frame, series_exceeded
from tasks.core.measurement import FieldType, Measurement
from tasks.core.window import Window, ceil, micros
from tasks.sources.http import Request

# values of a series' tags in the catalogue's order, None for missing ones
Key = tuple[str | None, ...]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
TWO_TO_63 = 2.0**63


@dataclass(frozen=True)
class Grid:
    """The moments to query: first, first + step, …; as many as slots."""

    first: datetime
    step: timedelta
    slots: int

    @classmethod
    def of(cls, window: Window, step: timedelta) -> Self:
        """Return the multiples of the step from the epoch on in the half-open window."""
        first = ceil(window.start, step)
        return cls(first, step, max(0, -((first - window.stop) // step)))

    def pages(self, limit: int) -> Iterator["Grid"]:
        """Yield the grid in pieces of at most `limit` slots, in order."""
        for begin in range(0, self.slots, limit):
            first = self.first + begin * self.step
            yield Grid(first, self.step, min(limit, self.slots - begin))

    @property
    def last(self) -> datetime:
        """Return the last moment; only of a grid with slots."""
        return self.first + (self.slots - 1) * self.step

    @property
    def micros(self) -> Integers:
        """Return all moments, in microseconds since the epoch."""
        return micros(self.first) + np.arange(self.slots) * (self.step // timedelta(microseconds=1))

    def slots_of(self, times: Integers) -> Integers | None:
        """Return the slot of each time in microseconds; None if one has none."""
        step = self.step // timedelta(microseconds=1)
        slots, beside = np.divmod(times - micros(self.first), step)
        inside = (beside == 0) & (slots >= 0) & (slots < self.slots)
        return slots if inside.all() else None


def key_of(labels: Mapping[str, str], measurement: Measurement) -> Key:
    """Return the tags among the labels. As in PromQL an empty label is a missing one."""
    return tuple(labels.get(tag) or None for tag in measurement.tags)


def unfit(values: Floats, kind: FieldType) -> float | None:
    """Return the first finite value that a field of this type cannot hold, if any."""
    if kind == "int":
        fits = (values == np.rint(values)) & (np.abs(values) < TWO_TO_63)
    elif kind == "bool":
        fits = (values == 0) | (values == 1)
    else:
        return None
    return None if fits.all() else float(values[~fits][0])


class Wide:
    """Takes the points of the fields one after the other, then builds one frame.

    The frame equals that of tasks.core.batch.build_frame for the same rows, but is built in order
    from whole columns, which is fast.
    """

    def __init__(self, measurement: Measurement, window: Window) -> None:
        self.dropped: Counter[str] = Counter()
        self._measurement = measurement
        self._window = window
        self._index: dict[Key, int] = {}
        self._points: dict[str, list[tuple[Integers, Integers, Floats]]] = {}

    def index(self, keys: Sequence[Key]) -> Integers:
        """Number each series, int64 of shape (keys,); raise SeriesExceeded."""
        for key in keys:
            self._index.setdefault(key, len(self._index))
        if len(self._index) > self._measurement.max_series:
            raise series_exceeded(self._index, self._measurement, self._window)
        return np.array([self._index[key] for key in keys], dtype="int64")

    def put(
        self, field: str, series: Integers, slots: Integers, values: Floats, request: Request
    ) -> None:
        """Add finite values, count the others; raise AnswerInvalid for an unfit one."""
        finite = np.isfinite(values)
        nan = int(np.isnan(values).sum())
        self.dropped += Counter(nan=nan, inf=len(values) - int(finite.sum()) - nan)
        kind = self._measurement.fields[field].type
        wrong = unfit(values[finite], kind)
        if wrong is not None:
            raise request.invalid(f"{field} is {kind} in the catalogue, but {wrong!r} came")
        self.add(field, series[finite], slots[finite], values[finite])

    def add(self, field: str, series: Integers, slots: Integers, values: Floats) -> None:
        """Add finite values: value i belongs to series[i] at slots[i]. Shapes (values,)."""
        self._points.setdefault(field, []).append((series, slots, values))

    def frame(self, environment: str, times: Integers) -> pd.DataFrame:
        """Return the rows with a value; times are the slots' moments in microseconds."""
        keys = sorted(self._index, key=lambda key: tuple(text or "" for text in key))
        rank = np.empty(len(keys), dtype="int64")
        rank[[self._index[key] for key in keys]] = np.arange(len(keys))
        shape = (len(keys), len(times))
        cells = {field: _cells(parts, rank, shape) for field, parts in self._points.items()}
        filled = np.zeros(shape, dtype="bool")
        for values in cells.values():
            filled |= ~np.isnan(values)
        if not filled.any():
            return empty_frame(self._measurement)
        data = self._tags(environment, keys, filled)
        moments = np.broadcast_to(times, shape)[filled]
        data["time"] = pd.DatetimeIndex(moments.view("datetime64[us]"), tz="UTC")
        for name, spec in self._measurement.fields.items():
            values = cells[name][filled] if name in cells else np.full(filled.sum(), np.nan)
            data[name] = _column(values, spec.type)
        order = columns_of(self._measurement)
        return pd.DataFrame({name: data[name] for name in order}, copy=False)

    def _tags(self, environment: str, keys: list[Key], filled: Booleans) -> dict[str, Any]:
        rows = filled.sum(axis=1)
        used = [key for key, count in zip(keys, rows, strict=True) if count]
        rows = rows[rows > 0]
        columns = [(environment,) * len(used), *zip(*used, strict=True)]
        return {
            tag: _categories(column, rows)
            for tag, column in zip(self._measurement.all_tags, columns, strict=True)
        }


def _cells(
    parts: list[tuple[Integers, Integers, Floats]], rank: Integers, shape: tuple[int, int]
) -> Floats:
    """Return one field's values: (series in order, slots), NaN where there is none."""
    cells = np.full(shape, np.nan)
    for series, slot, values in parts:
        cells[rank[series], slot] = values
    return cells


def _categories(column: tuple[str | None, ...], rows: Integers) -> pd.Categorical:
    """Return the tag of each series, repeated for its rows; the categories are sorted."""
    texts = sorted({text for text in column if text is not None})
    codes = {text: code for code, text in enumerate(texts)}
    of_series = np.array([-1 if text is None else codes[text] for text in column], dtype="int32")
    index = pd.Index(texts) if texts else pd.Index([], dtype="str")
    return pd.Categorical.from_codes(np.repeat(of_series, rows), categories=index)


def _column(values: Floats, kind: FieldType) -> Any:
    if kind == "float":
        return values
    null = np.isnan(values)
    if kind == "int":
        return pd.arrays.IntegerArray(np.where(null, 1, values).astype("int64"), null)
    if kind == "bool":
        return pd.arrays.BooleanArray(np.where(null, 0, values).astype("bool"), null)
    # a text field is not served, so numbers never become texts
    return pd.Series([None] * len(values), dtype="object").astype("str").array
