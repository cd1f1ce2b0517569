"""A run's curve: one metric over the rounds, scaled from 0 (worst) to 1 (best)."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.core.training import TrainingRun

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Metric = Literal["accuracy", "loss"]

FIRST_ROUNDS = 5  # the loss that counts as 0 on the scale is the worst of the first rounds


@dataclass(frozen=True, eq=False)
class Curve:
    """One metric of one run; index i means the same round in every array.

    rounds are ascending, not always without holes; values are the metric on the scale 0 to 1 where
    more is better, NaN for a round without it; losses are as reported, with their NaN or Inf.
    lost is True for a round whose reported loss or metric is not finite. worst is the metric's value
    at scale 0 (1 for accuracy never matters, see `unscaled`).
    """

    name: str
    metric: Metric
    rounds: Ints
    values: Floats
    lost: Bools
    worst: float = 0.0

    def __len__(self) -> int:
        return len(self.rounds)

    def unscaled(self, value: float) -> float:
        """Return a value of the scale in the metric's own unit."""
        return value if self.metric == "accuracy" else self.worst * (1.0 - value)

    def scaled(self, value: float) -> float:
        """Return the metric's own value, such as a target, on the scale."""
        return value if self.metric == "accuracy" else 1.0 - value / self.worst

    def is_same(self, other: "Curve") -> bool:
        """Return whether both have the same values in the same rounds."""
        rounds = np.array_equal(self.rounds, other.rounds) and self.worst == other.worst
        values = np.array_equal(self.values, other.values, equal_nan=True)
        return self.metric == other.metric and rounds and values

    def until(self, count: int) -> "Curve":
        """Return the first `count` rounds seen."""
        return self.part(slice(count))

    def part(self, chosen: slice) -> "Curve":
        """Return some of the rounds seen."""
        rounds, values, lost = self.rounds[chosen], self.values[chosen], self.lost[chosen]
        return replace(self, rounds=rounds, values=values, lost=lost)

    @property
    def unit(self) -> float:
        """Return the size of 1 on the scale in the metric's own unit."""
        return 1.0 if self.metric == "accuracy" else self.worst


def from_arrays(
    name: str, rounds: Ints, accuracy: Floats | None, loss: Floats | None = None
) -> Curve:
    """Build the curve of the accuracy (a share, NaN for a hole), else of the loss.

    The loss is scaled as 1 - loss / worst of the first five, cut at 0; one that is not finite counts
    as lost.
    """
    lost: Bools = np.zeros(len(rounds), dtype=bool)
    if loss is not None and np.isfinite(loss).any():
        lost = ~np.isfinite(loss)
    return _curve(name, rounds, accuracy, loss, lost)


def curve_of(run: TrainingRun, metric: Metric | None = None) -> Curve:
    """Build the run's curve; by default of accuracy if any round has it, else loss."""
    rounds = np.array([one.round for one in run.rounds], dtype=np.int64)
    pairs = [(one.accuracy, one.loss) for one in run.rounds]
    accuracy, loss = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    lost = np.array([each is not None and not np.isfinite(each) for _, each in pairs], dtype=bool)
    shown = None if metric == "loss" else accuracy
    return _curve(run.run_id, rounds, shown, None if metric == "accuracy" else loss, lost)


def _curve(
    name: str, rounds: Ints, accuracy: Floats | None, loss: Floats | None, lost: Bools
) -> Curve:
    numbers = np.asarray(rounds, dtype=np.int64)
    if accuracy is not None and (loss is None or np.isfinite(accuracy).any()):
        values = np.where(np.isfinite(accuracy), accuracy, np.nan)
        return Curve(name, "accuracy", numbers, np.clip(values, 0.0, 1.0), lost)
    losses = np.full(len(numbers), np.nan) if loss is None else np.asarray(loss, dtype=np.float64)
    finite = losses[np.isfinite(losses)]
    worst = max(0.0, float(np.max(finite[:FIRST_ROUNDS], initial=0.0))) or 1.0
    values = np.clip(1.0 - np.where(np.isfinite(losses), losses, np.nan) / worst, 0.0, 1.0)
    return Curve(name, "loss", numbers, values, lost, worst)
