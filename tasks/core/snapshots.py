"""Snapshots of a service's training, and all that was observed of it."""

from dataclasses import dataclass
from datetime import datetime

from tasks.core.training import TrainingRun


@dataclass(frozen=True)
class Snapshot:
    """One poll's totals, dated with its slot (UTC); None for a value not reported.

    Shares and accuracies are 0 to 1; epsilon and its budget are totals of the run.
    """

    time: datetime
    run_id: str | None = None
    current_round: int | None = None
    total_rounds: int | None = None
    active_clients: float | None = None
    accuracy: float | None = None
    convergence_rate: float | None = None
    total_clients: float | None = None
    participating_clients: float | None = None
    participation_ratio: float | None = None
    data_quality: float | None = None
    epsilon_remaining: float | None = None
    epsilon_budget: float | None = None
    budget_utilization: float | None = None
    delta: float | None = None
    noise_multiplier: float | None = None
    sampling_rate: float | None = None


@dataclass(frozen=True)
class Repeat:
    """A round that ran again or was left by a return to a checkpoint; starts, oldest first."""

    run_id: str
    round: int
    starts: tuple[datetime, ...]


@dataclass(frozen=True)
class Watched:
    """A service's observed trainings: runs and snapshots in the order of time."""

    runs: tuple[TrainingRun, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    repeats: tuple[Repeat, ...] = ()

    @property
    def current(self) -> TrainingRun | None:
        """Return the newest run; None when there was none."""
        return self.runs[-1] if self.runs else None
