"""Families of learning curves, by how the gap to the asymptote closes.

A family gives shapes g(x), 1 at the first round (x = 1) and falling towards 0; a curve is
asymptote - (asymptote - start) g(x). The families are those that compete in the literature on
learning curves: power law and its shifted form, exponential and Weibull (stretched), MMF (Morgan,
Mercer and Flodin, also called Hill), and the logarithmic power law (ILOG2). Sources: Viering and
Loog, "The shape of learning curves: a review" (IEEE TPAMI 2022), table 1; Domhan, Springenberg and
Hutter, "Speeding up automatic hyperparameter optimization by extrapolation of learning curves"
(IJCAI 2015), table 1.
"""

from collections.abc import Callable, Sequence
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
    """One family: its shapes are all pairs of a time constant and one of `shapes`;
    half of the gap of shape k is closed after `half`(k) time constants."""

    name: str
    gap: Gap
    half: Callable[[Floats], Floats]
    shapes: tuple[float, ...]

    def evaluate(self, x: Floats, seen: float) -> Floats:
        """Return g at x (rounds from 1): shape (time constants x shapes, x)."""
        scale, shape = self._pairs(seen)
        first = self.gap(np.ones(1), scale, shape)
        # avoids a division by zero for a shape that ends before the first round
        return np.asarray(self.gap(x, scale, shape) / np.maximum(first, 1e-300))

    def halfway(self, seen: float) -> Floats:
        """Return the rounds after which half of the gap is closed, of each shape."""
        scale, shape = self._pairs(seen)
        return np.asarray(scale * self.half(shape))[:, 0]

    def _pairs(self, seen: float) -> tuple[Floats, Floats]:
        scale, shape = np.meshgrid(RATES * seen, np.array(self.shapes))
        return scale.reshape(-1, 1), shape.reshape(-1, 1)


FAMILIES = (
    Family("power", _power, lambda k: 2.0 ** (1.0 / k) - 1.0, (0.3, 0.5, 0.75, 1.0, 1.5, 2.5)),
    Family("weibull", _weibull, lambda k: np.log(2.0) ** (1.0 / k), (0.5, 0.75, 1.0, 1.5, 2.5)),
    Family("mmf", _mmf, np.ones_like, (1.0, 1.5, 2.5, 4.0)),
    Family("log power", _log_power, lambda k: np.exp(2.0 ** (1.0 / k)) - np.e, (1.0, 2.0)),
)


@dataclass(frozen=True)
class End:
    """A prior belief about the asymptote, and its weight beside other beliefs."""

    mean: float
    sd: float
    weight: float = 1.0


ANY_END = End(0.8, 0.3)
PLANNED_ENDS = (End(0.9, 0.12, 0.5), End(0.6, 0.3, 0.5))
"""For a run with a plan: either its task can be learned well, or it may end anywhere. Tasks of federated
learning range from digits, nearly all of which are classified correctly in the end, to next words,
most of which never are (Reddi et al., "Adaptive federated optimization", ICLR 2021)."""
LIKELY_START = (0.25, 0.3)  # mean and standard deviation of the start
LEAST_START = -0.02
FLAT_SHARE = 0.5  # prior weight of a curve that does not change, against 1 for each family
PLANNED_FLAT_SHARE = 0.2  # the same of a run with a plan: few runs are planned that learn nothing
HALFWAY, HALFWAY_SPREAD = 0.15, 1.25
"""When a run with a plan has made half of its gain: a share of the plan, and the standard deviation of
its logarithm. Runs are planned to train for long enough, and not for many times that."""


class ParametricShapes:
    """All shapes of all families, the flat one first, once for each prior end:
    p is the asymptote (at most 1, not below the start), q the start."""

    def __init__(
        self, seen: float, ends: Sequence[End] = (ANY_END,), planned: float | None = None
    ) -> None:
        """Time constants are in units of the rounds seen; the plan's last round,
        planned, hints at the intended speed of learning."""
        self.seen, self.copies = seen, len(ends)
        families = [_log_prior(family, seen, planned) for family in FAMILIES]
        flat = np.log(FLAT_SHARE if planned is None else PLANNED_FLAT_SHARE)
        shapes: Floats = np.concatenate([[flat], *families])
        self.count = len(shapes)
        self.log_prior: Floats = np.concatenate([shapes + np.log(end.weight) for end in ends])
        beliefs = np.array([[end.mean, end.sd] for end in ends]).repeat(self.count, axis=0)
        start = np.tile(LIKELY_START, (len(beliefs), 1))
        self.centre, self.spread = np.stack([beliefs, start]).transpose(2, 0, 1)

    def at(self, x: Floats) -> tuple[Floats, Floats]:
        """Return 1 - g and g of each shape, each of shape (J, x); the flat one has g = 1."""
        gaps = [family.evaluate(x, self.seen) for family in FAMILIES]
        gap = np.minimum(np.vstack([np.ones((1, len(x))), *gaps]), 1.0)
        gap = np.tile(gap, (self.copies, 1))
        return 1.0 - gap, gap

    def end(self) -> tuple[Floats, Floats]:
        """Return no gap at the end, but the flat curve's start."""
        gap = np.zeros(len(self.log_prior))
        gap[:: self.count] = 1.0
        return 1.0 - gap, gap

    def allowed(self, p: Floats, q: Floats) -> Bools:
        """Allow asymptotes up to 1 and not below the start; any for the flat curve."""
        possible = (p <= 1.0) & (p >= q) & (q >= LEAST_START)
        possible[:: self.count] = True
        return possible


def _log_prior(family: Family, seen: float, planned: float | None) -> Floats:
    """Return log weights of the family's shapes, which sum to 1."""
    if planned is None:
        count = len(RATES) * len(family.shapes)
        return np.full(count, -np.log(count))
    away = np.log(family.halfway(seen) / planned / HALFWAY) / HALFWAY_SPREAD
    weights = -0.5 * away**2
    return np.asarray(weights - np.logaddexp.reduce(weights))
