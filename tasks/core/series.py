"""Stored points of a sink by series, for comparison with the landed ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.core.measurement import FieldType
from tasks.core.window import EPOCH, LATEST, Cell, Window

ALL_TIME = Window(EPOCH, LATEST)
Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, order=True)
class SeriesKey:
    """One field of one set of tags: (name, value) pairs by name, with the environment."""

    tags: tuple[tuple[str, str], ...]
    field: str


@dataclass(frozen=True)
class SeriesSum:
    """Count, and of numbers the sum, of one series' values in one cell.

    Values are added in the order of time, as 64-bit floats, or as integers when all are, so that
    both sides get the same bits. None where there is nothing to add.
    """

    count: int
    sum: float | int | None


@dataclass(frozen=True)
class Points:
    """The values of one series; times are ascending nanoseconds since the epoch.

    `values` has the Python type of `kind`; `kind` is not a field type where a series mixes types, or
    has one that the catalogue does not have.
    """

    kind: FieldType | str
    times: Integers
    values: np.ndarray[Any, Any]


Sums = dict[Cell, dict[SeriesKey, SeriesSum]]
