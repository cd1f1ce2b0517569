"""Records of training runs, which every reader returns and every analysis takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import pairwise
from typing import Self

# limit of a plan; a forecast counts rounds in 64 bits
MOST_ROUNDS = 1_000_000_000
LEAST_VALUES = 8  # a metric with fewer values is too short to judge
LATE = 2  # values end where they are missing for more than so many times their usual distance
RECENT = 5


@dataclass(frozen=True)
class ClientRound:
    """One client drawn for one round. None stands for a value not reported.

    accuracy and data_quality are shares, 0 to 1; seconds is the duration of its work; state is the
    service's own word for its result, such as reported, late or dropped.
    """

    id: str
    examples: int | None
    accuracy: float | None
    seconds: float | None
    state: str | None
    data_quality: float | None


@dataclass(frozen=True)
class Round:
    """One finished round. None stands for a missing value, NaN for a reported NaN.

    round counts from the first one as the source does; started is in UTC; seconds is its wall time;
    accuracy is a share, 0 to 1; epsilon is the privacy budget spent up to its end. clients is None
    when the source reports no clients, and empty when it reported that none took part.
    """

    round: int
    started: datetime | None
    seconds: float | None
    loss: float | None
    accuracy: float | None
    epsilon: float | None
    clients: tuple[ClientRound, ...] | None


@dataclass(frozen=True)
class PrivacyTerms:
    """The terms of a run's differential privacy; None for each that was not reported.

    sampling_rate is the share of clients drawn a round; noise_multiplier is in units of the clip
    norm; epsilon_budget and epsilon_remaining are totals of the run.
    """

    delta: float | None
    sampling_rate: float | None
    noise_multiplier: float | None
    epsilon_budget: float | None
    epsilon_remaining: float | None

    @classmethod
    def of(cls, value_of: Callable[[str], float | None]) -> Self | None:
        """Build the terms from values by name; None when there are none."""
        terms = {each.name: value_of(each.name) for each in fields(cls)}
        return cls(**terms) if any(value is not None for value in terms.values()) else None


@dataclass(frozen=True)
class TrainingRun:
    """One training: its rounds in ascending order, each once.

    total_rounds is the planned number; source is the record's origin, such as lake or a file's name.
    """

    run_id: str
    rounds: tuple[Round, ...]
    total_rounds: int | None
    privacy: PrivacyTerms | None
    source: str

    @property
    def counts_from_0(self) -> bool:
        """Return whether the first round has the number 0."""
        return bool(self.rounds) and self.rounds[0].round == 0

    def final_round(self, total: int) -> int:
        """Return the number of the last of `total` planned rounds.

        A run that counts from 0 ends with round total - 1. Where it has a round `total` as well, its
        round 0 was an evaluation before the first round, as Flower makes one.
        """
        is_short = self.counts_from_0 and self.rounds[-1].round < total
        return total - 1 if is_short else total


def end_of_values(rounds: Sequence[int], has_value: Sequence[bool]) -> int | None:
    """Return the last round with a value where the run went on without; else None."""
    known = [number for number, has in zip(rounds, has_value, strict=True) if has]
    if len(known) < 2:
        return None
    distance = max(later - earlier for earlier, later in pairwise(known[-RECENT - 1 :]))
    return known[-1] if rounds[-1] - known[-1] > LATE * distance else None
