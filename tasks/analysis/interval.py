"""A number with its interval."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate and the central interval with probability `level`."""

    estimate: float
    low: float
    high: float
    level: float
