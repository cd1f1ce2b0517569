"""Returns to a checkpoint: from there on, earlier rounds are superseded."""

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

Streams = Iterable[Hashable]


@dataclass(frozen=True)
class Return:
    """A step back of the round counter.

    `at` is the index of the entry that goes back to round `after`; the highest round in force before
    it was `before`. A return to the first round begins another run.
    """

    at: int
    before: int
    after: int
    to_start: bool


@dataclass(frozen=True)
class InForce:
    """Indices of the entries in force by run, and the returns that superseded others."""

    runs: tuple[tuple[int, ...], ...]
    returns: tuple[Return, ...]


def in_force(
    rounds: Sequence[int], streams_of: Callable[[int], Streams] = lambda entry: (None,)
) -> InForce:
    """Return the entries in force: a return supersedes all earlier entries from it on.

    `streams_of` names what each entry has a value of, such as its client and metric. The counter goes
    back where a stream reports a round again, or an earlier one; another stream that is written
    later, such as the evaluation, is no return.
    """
    if all(earlier <= later for earlier, later in pairwise(rounds)):
        return InForce((tuple(range(len(rounds))),), ())
    streams = [streams_of(entry) for entry in range(len(rounds))]
    blocks = _blocks(streams)
    if blocks is None:
        return _follow(range(len(rounds)), rounds, streams)
    parts = [_follow(block, rounds, streams) for block in blocks]
    most = max(len(part.runs) for part in parts)
    runs = [[i for p in parts for run in p.runs[n : n + 1] for i in run] for n in range(most)]
    returns = {(each.before, each.after): each for part in parts[::-1] for each in part.returns}
    return InForce(tuple(map(tuple, runs)), tuple(returns.values()))


def _blocks(streams: Sequence[Streams]) -> list[list[int]] | None:
    """Return the entries by stream where one follows the other, else None."""
    keys = [frozenset(each) for each in streams]
    found = [(key, list(block)) for key, block in groupby(range(len(keys)), keys.__getitem__)]
    names = [name for key, _ in found for name in key]
    is_apart = len(found) > 1 and len(names) == len(set(names))
    return [block for _, block in found] if is_apart else None


def _follow(entries: Sequence[int], rounds: Sequence[int], streams: Sequence[Streams]) -> InForce:
    runs: list[list[tuple[int, int]]] = [[]]
    returns: list[Return] = []
    last: dict[Hashable, int] = {}
    for stretch in _rising(entries, rounds):
        first = min(rounds[entry] for entry in stretch)
        if runs[-1] and _goes_back(stretch, rounds, streams, last):
            to_start = first <= max(1, runs[-1][0][0])
            returns.append(Return(stretch[0], runs[-1][-1][0], first, to_start))
            if to_start:
                runs.append([])
                last.clear()
            else:
                del runs[-1][bisect_left(runs[-1], (first, -1)) :]
                last = {name: min(number, first - 1) for name, number in last.items()}
        for entry in stretch:
            insort(runs[-1], (rounds[entry], entry))
            last |= dict.fromkeys(streams[entry], rounds[entry])
    return InForce(tuple(tuple(sorted(i for _, i in run)) for run in runs), tuple(returns))


def _rising(entries: Sequence[int], rounds: Sequence[int]) -> Iterator[list[int]]:
    """Cut the entries where the counter falls."""
    stretch: list[int] = []
    for entry in entries:
        if stretch and rounds[entry] < rounds[stretch[-1]]:
            yield stretch
            stretch = []
        stretch.append(entry)
    if stretch:
        yield stretch


def _goes_back(
    stretch: Sequence[int],
    rounds: Sequence[int],
    streams: Sequence[Streams],
    last: dict[Hashable, int],
) -> bool:
    return any(rounds[entry] <= last.get(name, -1) for entry in stretch for name in streams[entry])
