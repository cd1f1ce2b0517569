"""A training's history, round by round: a service's facts and the known rounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

RUN_ID, CLIENT = "run_id", "client"
ROUND_TAGS, CLIENT_TAGS = (RUN_ID,), (CLIENT,)

# facts of a whole round: drawn to dropped count its clients, data_quality is their mean; not_finite
# names the facts reported as NaN or infinity, which no number column keeps; superseded is "yes" of
# a round that the run left by a return to a checkpoint
RoundFact = Literal[
    "round", "seconds", "loss", "accuracy", "epsilon", "data_quality",
    "drawn", "reported", "late", "dropped", "not_finite",
    "delta", "sampling_rate", "noise_multiplier", "epsilon_budget", "superseded",
]  # fmt: skip
ClientFact = Literal[
    "run_id", "round", "examples", "accuracy", "seconds", "state", "data_quality", "superseded",
]  # fmt: skip
HistoryFact = Literal[RoundFact, ClientFact]
FactType = Literal["float", "int", "string"]


def _typed(facts: tuple[HistoryFact, ...]) -> Mapping[HistoryFact, FactType]:
    others: dict[HistoryFact, FactType] = {
        "round": "int",
        "run_id": "string",
        "state": "string",
        "not_finite": "string",
        "superseded": "string",
    }
    return {fact: others.get(fact, "float") for fact in facts}


ROUND_FACTS = _typed(get_args(RoundFact))
CLIENT_FACTS = _typed(get_args(ClientFact))
# how far back a poll reads again, to find a round that came late
MOST_READ_AGAIN = 20


def facts_of(tags: tuple[str, ...]) -> Mapping[HistoryFact, FactType] | None:
    """Return the facts of a round, or of its client, by the tags; None for other tags."""
    if tags == ROUND_TAGS:
        return ROUND_FACTS
    return CLIENT_FACTS if tags == CLIENT_TAGS else None


@dataclass(frozen=True)
class KnownRun:
    """The newest run with landed data: its rounds' numbers and starts (UTC)."""

    run_id: str
    rounds: frozenset[tuple[int, datetime]]

    @property
    def last(self) -> tuple[int, datetime]:
        """Return the round that started last."""
        return max(self.rounds, key=lambda each: (each[1], each[0]))

    @property
    def since(self) -> int:
        """Return the round after which a poll asks.

        The last round is read again, to find out whether the service continues the same run; more are
        when one of the last is missing.
        """
        last = self.last[0]
        numbers = {number for number, _ in self.rounds}
        first = max(1, min(numbers), last - MOST_READ_AGAIN)
        missing = (number for number in range(first, last) if number not in numbers)
        return max(0, min(next(missing, last), last) - 1)
