"""Outliers among many series, by a measure robust to the outliers themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Floats = np.ndarray[Any, np.dtype[np.float64]]

ODD = 3.5
_SUMMARIES = ("median", "last", "max", "min")
_OF_MEDIAN, _OF_MEAN = 0.6745, 1.253314


@dataclass(frozen=True)
class Oddness:
    """Distance of a series from the others by field, in robust standard deviations."""

    scores: Mapping[str, float]

    @property
    def field(self) -> str:
        """Return the field in which it is farthest out."""
        return max(self.scores, key=lambda name: self.scores[name])

    @property
    def score(self) -> float:
        """Return its distance in that field."""
        return self.scores[self.field]

    @property
    def stands_out(self) -> bool:
        """Return whether it is an outlier."""
        return self.score > ODD


def oddness_of(fields: Mapping[str, Floats], lengths: Sequence[int]) -> tuple[Oddness, ...]:
    """Score each series; in every field they lie one after the other, by length.

    The greatest modified z-score (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993) of
    its median, last, greatest and least value among those of all series: 0.6745 (x - median) / MAD;
    where more than half of the series are equal, by their mean absolute deviation instead.
    """
    scores = {name: _scores(values, lengths) for name, values in fields.items()}
    if not scores:
        return ()
    return tuple(
        Oddness(dict(zip(scores, map(float, row), strict=True)))
        for row in np.array(list(scores.values())).T
    )


def _scores(values: Floats, lengths: Sequence[int]) -> Floats:
    codes = np.repeat(np.arange(len(lengths)), lengths)
    figures = pd.Series(values).groupby(codes).agg(list(_SUMMARIES))
    parts = [_modified_z(figures[name].to_numpy(dtype="float64")) for name in _SUMMARIES]
    worst: Floats = np.max(parts, axis=0)
    return worst


def _modified_z(values: Floats) -> Floats:
    """Return absolute modified z-scores; 0 for a series without a value."""
    there = values[~np.isnan(values)]
    if not len(there):
        return np.zeros(len(values))
    distances = np.abs(values - np.median(there))
    known = np.abs(there - np.median(there))
    spread = float(np.median(known)) / _OF_MEDIAN or float(known.mean()) * _OF_MEAN
    return np.nan_to_num(distances / spread) if spread else np.zeros(len(values))
