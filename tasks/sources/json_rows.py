"""Rows from a JSON body: each value fitted to its field, the rest accounted for."""

import math
from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import TIME_TYPE, Batch, build_frame, canonical
from tasks.core.measurement import Measurement
from tasks.core.quarantine import Reason, no_records, records
from tasks.core.window import Window
from tasks.sources.json_body import MISSING
from tasks.sources.json_values import EXPECTED, Unfit, fitted, shown
from tasks.sources.wide_frame import Key


class JsonRows:
    """The rows of one measurement so far.

    A value of another type than the catalogue's becomes a record; NaN, Infinity and -Infinity are
    dropped and counted; a missing one is reported once a field.
    """

    def __init__(self, measurement: Measurement, environment: str) -> None:
        self.warnings: list[str] = []
        self.dropped: Counter[str] = Counter()
        self._measurement = measurement
        self._environment = environment
        self._times: list[datetime] = []
        self._keys: list[Key] = []
        self._columns: dict[str, list[Any]] = {name: [] for name in measurement.fields}
        self._missing: Counter[str] = Counter()
        # by field and reason: the rows, and the values
        self._unfit: defaultdict[tuple[str, str], dict[int, Any]] = defaultdict(dict)

    def add(self, time: datetime, key: Key, values: dict[str, Any]) -> None:
        """Add one row: tags in the catalogue's order, a value or MISSING for each field."""
        position = len(self._times)
        self._times.append(time)
        self._keys.append(key)
        for name, column in self._columns.items():
            column.append(self._fitted(name, values[name], position))

    def batch(self, window: Window) -> Batch:
        """Return the rows with a value."""
        for name, count in self._missing.items():
            where = "" if count == len(self._times) else f" in {count} of {len(self._times)} rows"
            self.warnings.append(f"{name}: not offered by this service{where}")
        frame = build_frame(self._measurement, {**self._key_columns(), **self._columns})
        filled = frame[list(self._measurement.fields)].notna().any(axis=1)
        return Batch(
            measurement=self._measurement,
            environment=self._environment,
            window=window,
            frame=canonical(frame[filled], self._measurement),
            dropped=dict(self.dropped),
            rejected=self._rejected(),
            warnings=tuple(self.warnings),
        )

    def _fitted(self, name: str, found: Any, position: int) -> Any:
        if found is MISSING:
            self._missing[name] += 1
            return None
        if isinstance(found, float) and not math.isfinite(found):
            self.dropped["nan" if math.isnan(found) else "inf"] += 1
            return None
        value = fitted(found, self._measurement.fields[name].type)
        if isinstance(value, Unfit):
            self._unfit[name, value.reason][position] = shown(value.value)
            return None
        return value

    def _key_columns(self) -> dict[str, Any]:
        count = len(self._times)
        columns: dict[str, Any] = {"time": self._times, "environment": [self._environment] * count}
        for number, tag in enumerate(self._measurement.tags):
            columns[tag] = pd.Series([key[number] for key in self._keys], dtype="object")
        return columns

    def _rejected(self) -> pd.DataFrame:
        parts = [self._records(name, why, found) for (name, why), found in self._unfit.items()]
        return pd.concat(parts, ignore_index=True) if parts else no_records()

    def _records(self, name: str, why: str, found: dict[int, Any]) -> pd.DataFrame:
        limit = EXPECTED[self._measurement.fields[name].type]
        reason = Reason.at_door("value", "json_type", limit, why)
        frame = pd.DataFrame(self._key_columns()).astype({"time": TIME_TYPE})
        frame[name] = pd.Series(found, dtype="object").reindex(frame.index)
        return records(frame, self._measurement, np.array(list(found)), [name], reason)
