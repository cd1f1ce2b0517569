"""The clients of a run as columns: one entry for each client drawn for a round."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tasks.analysis.curve import Bools, Floats, Ints
from tasks.core.training import Round

REPORTED, LATE, DROPPED, UNKNOWN = 0, 1, 2, 3
# services' words for a client's state, lower case
STATES = {
    **dict.fromkeys(("reported", "ok", "success", "succeeded", "completed", "complete", "done"), 0),
    **dict.fromkeys(("finished", "active", "submitted", "trained"), REPORTED),
    **dict.fromkeys(("late", "straggler", "stale", "too_late", "overdue"), LATE),
    **dict.fromkeys(("dropped", "dropout", "drop_out", "lost", "failed", "failure"), DROPPED),
    **dict.fromkeys(("error", "timeout", "timed_out", "aborted", "crashed", "inactive"), DROPPED),
    **dict.fromkeys(("disconnected", "offline", "unreachable", "missing"), DROPPED),
}


@dataclass(frozen=True, eq=False)
class Columns:
    """Index i means the same client in the same round in every column.

    round is an index into numbers, client one into ids; state is REPORTED, LATE, DROPPED or UNKNOWN;
    the floats are NaN where nothing was reported. has_states says whether any state was reported.
    """

    ids: tuple[str, ...]
    numbers: Ints
    round: Ints
    client: Ints
    examples: Floats
    accuracy: Floats
    seconds: Floats
    quality: Floats
    state: Ints
    has_states: bool

    def __len__(self) -> int:
        return len(self.round)

    def of_clients(self, chosen: Bools | slice = slice(None)) -> Floats:
        """Count the chosen entries, by client."""
        return np.bincount(self.client[chosen], minlength=len(self.ids)).astype(np.float64)

    def of_rounds(self, chosen: Bools | slice = slice(None)) -> Floats:
        """Count the chosen entries, by round."""
        return np.bincount(self.round[chosen], minlength=len(self.numbers)).astype(np.float64)


def columns(rounds: Sequence[Round]) -> Columns:
    """Build columns from all rounds with clients, ids in the order of their names."""
    named = [r for r in rounds if r.clients is not None]
    entries = [client for r in named for client in r.clients or ()]
    ids = sorted({client.id for client in entries})
    place = {name: index for index, name in enumerate(ids)}
    accuracy = _floats([client.accuracy for client in entries])
    seconds = _floats([client.seconds for client in entries])
    return Columns(
        tuple(ids),
        np.array([r.round for r in named], dtype=np.int64),
        np.repeat(np.arange(len(named)), [len(r.clients or ()) for r in named]).astype(np.int64),
        np.array([place[client.id] for client in entries], dtype=np.int64),
        _floats([client.examples for client in entries]),
        accuracy,
        seconds,
        _floats([client.data_quality for client in entries]),
        _states([client.state for client in entries], np.isfinite(accuracy) | np.isfinite(seconds)),
        any(client.state is not None for client in entries),
    )


def _floats(values: Sequence[float | None]) -> Floats:
    """Convert to floats, with NaN for None and numbers that are not finite."""
    column = np.array(values, dtype=np.float64)
    return np.where(np.isfinite(column), column, np.nan)


def _states(words: Sequence[str | None], answered: Bools) -> Ints:
    """Return the state of each; a client with values but no state has reported."""
    states = np.array([_state(word) for word in words], dtype=np.int64)
    wordless = np.array([word is None for word in words], dtype=bool)
    return np.where(wordless & answered, REPORTED, states)


@lru_cache
def _state(word: str | None) -> int:
    plain = (word or "").strip().lower().replace("-", "_").replace(" ", "_")
    return STATES.get(plain, UNKNOWN)
