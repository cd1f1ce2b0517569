"""A training's history, round by round: what a service can tell of it, and what is known already."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

RUN_ID, CLIENT = "run_id", "client"
ROUND_TAGS, CLIENT_TAGS = (RUN_ID,), (CLIENT,)

HistoryFact = Literal[
    "round", "seconds", "loss", "accuracy", "epsilon", "data_quality",
    "drawn", "reported", "late", "dropped", "not_finite",
    "delta", "sampling_rate", "noise_multiplier", "epsilon_budget",
    "run_id", "examples", "state",
]  # fmt: skip
FactType = Literal["float", "int", "string"]

# of a round as a whole. drawn to dropped count its clients, data_quality is their mean; not_finite
# names what the service said NaN or infinity of, which no number column keeps
ROUND_FACTS: Mapping[HistoryFact, FactType] = {
    "round": "int",
    "seconds": "float",
    "loss": "float",
    "accuracy": "float",
    "epsilon": "float",
    "data_quality": "float",
    "drawn": "float",
    "reported": "float",
    "late": "float",
    "dropped": "float",
    "not_finite": "string",
    "delta": "float",
    "sampling_rate": "float",
    "noise_multiplier": "float",
    "epsilon_budget": "float",
}
CLIENT_FACTS: Mapping[HistoryFact, FactType] = {
    "run_id": "string",
    "round": "int",
    "examples": "float",
    "accuracy": "float",
    "seconds": "float",
    "state": "string",
    "data_quality": "float",
}
# how far back a poll reads again, to find a round that came late
MOST_READ_AGAIN = 20


def facts_of(tags: tuple[str, ...]) -> Mapping[HistoryFact, FactType] | None:
    """What there is of a round, or of a client in it, by the tags; None for other tags."""
    if tags == ROUND_TAGS:
        return ROUND_FACTS
    return CLIENT_FACTS if tags == CLIENT_TAGS else None


@dataclass(frozen=True)
class KnownRun:
    """The newest run of which anything is landed: its rounds' numbers and starts (UTC)."""

    run_id: str
    rounds: frozenset[tuple[int, datetime]]

    @property
    def last(self) -> tuple[int, datetime]:
        """The round that started last."""
        return max(self.rounds, key=lambda each: (each[1], each[0]))

    @property
    def since(self) -> int:
        """The round after which a poll asks: one is read again, more when one of the last is missing.

        The one that is read again tells whether the service still goes on with the same run.
        """
        last = self.last[0]
        numbers = {number for number, _ in self.rounds}
        first = max(1, min(numbers), last - MOST_READ_AGAIN)
        missing = (number for number in range(first, last) if number not in numbers)
        return max(0, min(next(missing, last), last) - 1)
