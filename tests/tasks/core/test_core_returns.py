"""Which rounds are in force after a return to a checkpoint."""

import pytest

from tasks.core.returns import in_force


@pytest.mark.promise("Training: a return to a checkpoint undoes the rounds that came after it")
@pytest.mark.parametrize(
    ("rounds", "runs", "returns"),
    [
        ([1, 2, 3], [[1, 2, 3]], []),
        ([1, 2, 3, 2, 3, 4], [[1, 2, 3, 4]], [(3, 2)]),
        ([1, 2, 3, 4, 5, 3], [[1, 2, 3]], [(5, 3)]),
        ([0, 1, 2, 3, 2, 3, 2], [[0, 1, 2]], [(3, 2), (3, 2)]),
        ([1, 2, 3, 1, 2], [[1, 2, 3], [1, 2]], [(3, 1)]),
        ([0, 1, 2, 1], [[0, 1, 2], [1]], [(2, 1)]),
        ([10, 20, 30, 20], [[10, 20]], [(30, 20)]),
        ([1, 2, 2, 3], [[1, 2, 2, 3]], []),
    ],
)
def test_of_one_stream_what_follows_a_step_back_counts(
    rounds: list[int], runs: list[list[int]], returns: list[tuple[int, int]]
) -> None:
    found = in_force(rounds)

    assert [[rounds[i] for i in run] for run in found.runs] == runs
    assert [(each.before, each.after) for each in found.returns] == returns


A, B = [("a", "x")], [("b", "x")]


@pytest.mark.parametrize(
    ("entries", "kept"),
    [
        # clients that finish out of order, and an evaluation written late, are no return
        ([(1, A), (2, A), (1, B), (3, A), (2, B)], [0, 1, 2, 3, 4]),
        # a return of all clients, of which one is not drawn again
        ([(1, A), (1, B), (2, A), (3, A), (3, B), (2, A), (3, A)], [0, 1, 5, 6]),
        # clients one after the other, each with its own return
        ([(1, A), (2, A), (3, A), (2, A), (1, B), (2, B), (3, B), (2, B)], [0, 3, 4, 7]),
        # a metric after the other
        ([(1, A), (2, A), (1, B), (2, B)], [0, 1, 2, 3]),
    ],
)
def test_each_stream_has_a_counter(
    entries: list[tuple[int, list[tuple[str, str]]]], kept: list[int]
) -> None:
    (run,) = in_force([n for n, _ in entries], lambda place: entries[place][1]).runs

    assert sorted(run) == kept
