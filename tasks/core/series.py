"""Stored points of a sink as it gives them back: by series, for comparing with what is landed."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.core.measurement import FieldType
from tasks.core.window import EPOCH, LATEST, Cell, Window

ALL_TIME = Window(EPOCH, LATEST)
Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, order=True)
class SeriesKey:
    """One field of one set of tags: (name, value) pairs by name, environment among them."""

    tags: tuple[tuple[str, str], ...]
    field: str


@dataclass(frozen=True)
class SeriesSum:
    """What one series has in one cell: the number of its values, and of numbers their sum.

    The sum is of the values added one by one in the order of time, as 64-bit floats, or as integers
    when all are; two sides that add so get the same bits. None where there is nothing to add.
    """

    count: int
    sum: float | int | None


@dataclass(frozen=True)
class Points:
    """The values of one series; times are nanoseconds since the epoch, ascending and different.

    `values` has the Python type of `kind`; `kind` is not a field type where a series has values of
    several types, or of one that the catalogue does not have.
    """

    kind: FieldType | str
    times: Integers
    values: np.ndarray[Any, Any]


Sums = dict[Cell, dict[SeriesKey, SeriesSum]]
