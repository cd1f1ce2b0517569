"""Families of learning curves: how the gap to the asymptote closes.

A family gives shapes g(x), 1 at the first round (x = 1) and falling towards 0; a curve is
asymptote - (asymptote - start) g(x). The families are those that compete in the literature on
learning curves: power law and its shifted form, exponential and Weibull (stretched), MMF (Morgan,
Mercer and Flodin, also called Hill), and the logarithmic power law (ILOG2). Sources: Viering and
Loog, "The shape of learning curves: a review" (IEEE TPAMI 2022), table 1; Domhan, Springenberg and
Hutter, "Speeding up automatic hyperparameter optimization by extrapolation of learning curves"
(IJCAI 2015), table 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.analysis.curve import Bools, Floats

Gap = Callable[[Floats, Floats, Floats], Floats]

RATES = np.exp(np.linspace(np.log(0.05), np.log(6.0), 11))
"""Time constants of the shapes, in units of the rounds seen."""


def _power(x: Floats, scale: Floats, shape: Floats) -> Floats:
    return np.asarray((1.0 + x / scale) ** -shape)


def _weibull(x: Floats, scale: Floats, shape: Floats) -> Floats:
    return np.asarray(np.exp(-np.minimum((x / scale) ** shape, 700.0)))


def _mmf(x: Floats, scale: Floats, shape: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + (x / scale) ** shape))


def _log_power(x: Floats, scale: Floats, shape: Floats) -> Floats:
    return np.asarray(np.log(np.e + x / scale) ** -shape)


@dataclass(frozen=True)
class Family:
    """One family: its shapes are all pairs of a time constant and one of `shapes`."""

    name: str
    gap: Gap
    shapes: tuple[float, ...]

    def evaluate(self, x: Floats, seen: float) -> Floats:
        """g at x (rounds from 1) for `seen` rounds so far; shape (time constants x shapes, x)."""
        scale, shape = (
            part.reshape(-1, 1) for part in np.meshgrid(RATES * seen, np.array(self.shapes))
        )
        first = self.gap(np.ones(1), scale, shape)
        # a shape that is over before the first round ends has nothing left to divide by
        return np.asarray(self.gap(x, scale, shape) / np.maximum(first, 1e-300))


FAMILIES = (
    Family("power", _power, (0.3, 0.5, 0.75, 1.0, 1.5, 2.5)),
    Family("weibull", _weibull, (0.5, 0.75, 1.0, 1.5, 2.5)),
    Family("mmf", _mmf, (1.0, 1.5, 2.5, 4.0)),
    Family("log power", _log_power, (1.0, 2.0)),
)


LIKELY_END, LIKELY_START = (0.8, 0.3), (0.25, 0.3)
"""Mean and standard deviation, before anything is seen, of the asymptote and of the start."""
LEAST_START = -0.02
FLAT_SHARE = 0.5
"""Prior weight of a curve that does not change, against 1 for each family."""


class ParametricShapes:
    """All shapes of all families, and the flat one first: p is the asymptote, q the start.

    The asymptote of a share is at most 1, and no family falls.
    """

    def __init__(self, seen: float, likely_end: tuple[float, float] = LIKELY_END) -> None:
        """The time constants are in units of the rounds seen; likely_end is the mean and standard
        deviation of the asymptote before anything is seen."""
        self.seen = seen
        counts = [len(RATES) * len(family.shapes) for family in FAMILIES]
        families = [np.full(count, -np.log(count)) for count in counts]
        self.log_prior: Floats = np.concatenate([[np.log(FLAT_SHARE)], *families])
        both = np.array([likely_end, LIKELY_START])
        self.centre = np.repeat(both[:, :1], len(self.log_prior), axis=1)
        self.spread = np.repeat(both[:, 1:], len(self.log_prior), axis=1)

    def at(self, x: Floats) -> tuple[Floats, Floats]:
        """1 - g and g of each shape, each of shape (J, x); the flat one has g = 1."""
        gaps = [family.evaluate(x, self.seen) for family in FAMILIES]
        gap = np.minimum(np.vstack([np.ones((1, len(x))), *gaps]), 1.0)
        return 1.0 - gap, gap

    def end(self) -> tuple[Floats, Floats]:
        """No gap is left in the end, but the flat curve is where it started."""
        gap = np.zeros(len(self.log_prior))
        gap[0] = 1.0
        return 1.0 - gap, gap

    def allowed(self, p: Floats, q: Floats) -> Bools:
        """Asymptotes of at most 1 that are not below the start; of the flat curve, any."""
        possible = (p <= 1.0) & (p >= q) & (q >= LEAST_START)
        possible[0] = True
        return possible
