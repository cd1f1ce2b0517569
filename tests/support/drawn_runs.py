"""Forecasts with literal draws, for what is built upon them."""

from collections.abc import Sequence

import numpy as np

from tasks.analysis.curve import Curve, from_arrays
from tasks.analysis.forecast import Forecast
from tasks.analysis.interval import Interval


def a_curve(values: Sequence[float], name: str = "run-a", first: int = 1) -> Curve:
    numbers = np.arange(first, first + len(values), dtype=np.int64)
    return from_arrays(name, numbers, np.array(values, dtype=np.float64))


def a_loss_curve(losses: Sequence[float], name: str = "run-a") -> Curve:
    numbers = np.arange(1, 1 + len(losses), dtype=np.int64)
    return from_arrays(name, numbers, None, np.array(losses, dtype=np.float64))


def drawn(levels: Sequence[Sequence[float]], now: float = 0.5, last_round: int = 10) -> Forecast:
    """A forecast from one draw a row, from the round after last_round on."""
    table = np.array(levels, dtype=np.float64).reshape(len(levels), -1)
    rounds = last_round + 1 + np.arange(table.shape[1], dtype=np.int64)
    ends = table[:, -1] if table.size else np.array([now])
    low, middle, high = np.quantile(ends, [0.1, 0.5, 0.9])
    planned = last_round + table.shape[1]
    final = Interval(float(middle), float(low), float(high), 0.8)
    return Forecast(final, planned, last_round, now, rounds, table, 10, (), 0.0)
