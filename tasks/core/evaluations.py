"""Evaluations of a query or a field: the values of its series at the multiples of an interval."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from tasks.core.window import EPOCH

Integers = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
# pairs of name and value, by name
Labels = tuple[tuple[str, str], ...]


class Evaluations(NamedTuple):
    """The values of one series; times are ascending microseconds since the epoch."""

    times: Integers
    values: Floats

    @property
    def moments(self) -> list[datetime]:
        """Return the times."""
        return [EPOCH + timedelta(microseconds=int(time)) for time in self.times]


# the series of a part of a window
Chunk = Mapping[Labels, Evaluations]


def moments_of(chunks: Iterable[Chunk]) -> dict[Labels, list[datetime]]:
    """Return the times of each series."""
    found: dict[Labels, list[datetime]] = {}
    for chunk in chunks:
        for labels, part in chunk.items():
            found.setdefault(labels, []).extend(part.moments)
    return found
