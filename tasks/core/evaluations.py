"""Evaluations of a query or a field: the values of its series at the multiples of an interval."""

from collections.abc import Mapping
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
        return [EPOCH + timedelta(microseconds=time) for time in self.times.tolist()]


# the series of a part of a window
Chunk = Mapping[Labels, Evaluations]
