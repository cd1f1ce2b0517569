"""Rounds distinguished: by the service's name for their run, else by a counter that goes back."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.history import KnownRun
from tasks.sources.rounds import HistoryRound, dated, run_name, runs_of

START = datetime(2026, 1, 1, tzinfo=UTC)
A, B = "run-20260101T000000.000000Z", "run-20260101T000300.000000Z"


def rounds(*numbers: int, first: int = 0) -> list[HistoryRound]:
    """Rounds with these numbers, a minute apart, the first so many minutes after START."""
    starts = [START + (first + n) * timedelta(minutes=1) for n in range(len(numbers))]
    return [HistoryRound(number, at, {}) for number, at in zip(numbers, starts, strict=True)]


def known(run_id: str, found: list[HistoryRound]) -> KnownRun:
    return KnownRun(run_id, frozenset((each.number, each.started) for each in found))


def test_the_services_own_name_counts() -> None:
    assert runs_of(rounds(1, 2, 1), "mine", None) == ["mine"] * 3
    assert runs_of(rounds(1), "mine", known("other", rounds(1))) == ["mine"]


def test_without_a_name_a_counter_that_goes_back_begins_a_run() -> None:
    assert runs_of(rounds(1, 2, 5, 1, 2), None, None) == [A, A, A, B, B]


def test_a_number_that_comes_twice_in_a_row_stays_in_its_run() -> None:
    assert runs_of(rounds(1, 2, 2, 3), None, None) == [A] * 4


def test_a_later_poll_goes_on_with_the_known_run() -> None:
    before = known("run-before", rounds(1, 2))
    # the last known round is read again
    assert runs_of(rounds(2, 3, first=1), None, before) == ["run-before"] * 2
    # or the service keeps only its last rounds
    assert runs_of(rounds(7, 8, first=9), None, before) == ["run-before"] * 2


def test_a_later_poll_of_another_run_begins_one() -> None:
    before = known("run-before", rounds(1, 2, 3))
    name = run_name(START + timedelta(minutes=9))
    assert runs_of(rounds(1, 2, first=9), None, before) == [name] * 2
    # the counter has passed the known one, and yet no start is the same
    assert runs_of(rounds(1, 2, 3, 4, first=9), None, before) == [name] * 4


def test_no_rounds_are_of_no_run() -> None:
    assert runs_of([], None, None) == []


@given(st.lists(st.integers(1, 6), min_size=1, max_size=30))
def test_only_a_return_to_the_first_round_begins_a_run(numbers: list[int]) -> None:
    named = runs_of(rounds(*numbers), None, None)
    for run in set(named):
        own = [n for n, name in zip(numbers, named, strict=True) if name == run]
        assert not [n for before, n in pairwise(own) if n < before and n <= max(1, own[0])]
    starts = [place for place, name in enumerate(named) if name not in named[:place]]
    assert all(numbers[place] < numbers[place - 1] for place in starts[1:])


@pytest.mark.promise(
    "Training: every round is landed and loaded once, also across a restart of the service between two polls"
)
@given(
    # of a run of one round and the next one, one answer could not tell that they are two
    st.lists(st.integers(2, 8), min_size=1, max_size=6),
    st.lists(st.integers(1, 5), min_size=1, max_size=20),
)
def test_polls_name_runs_as_one_answer_would(lengths: list[int], polls: list[int]) -> None:
    """Each run counts from 1. Each poll sees all up to some round, and knows what it named last."""
    numbers = [n for length in lengths for n in range(1, length + 1)]
    whole = rounds(*numbers)
    at_once = runs_of(whole, None, None)
    named: dict[datetime, str] = {}
    last: KnownRun | None = None
    seen = 0
    for step in [*polls, len(whole)]:
        seen = min(seen + step, len(whole))
        # a service has the rounds of its present run alone
        start = max(n for n in range(seen) if whole[n].number == 1)
        found = whole[start:seen]
        for each, name in zip(found, runs_of(found, None, last), strict=True):
            assert named.setdefault(each.started, name) == name
        newest = named[found[-1].started]
        last = known(newest, [r for r in whole[:seen] if named.get(r.started) == newest])
    expected = {r.started: name for r, name in zip(whole, at_once, strict=True)}
    assert named.items() <= expected.items()


@pytest.mark.parametrize(
    "changed",
    [
        {"round": None}, {"round": 1.5}, {"round": "1"}, {"round": True}, {"round": -1},
        {"round": 1e300}, {"started": None}, {"started": 5}, {"started": "yesterday"},
        {"started": "1969-12-31T23:59:59Z"}, {"started": "2262-01-01T00:00:00Z"},
        {"started": "0001-01-01T00:00:00+14:00"},
    ],
    ids=str,
)  # fmt: skip
def test_a_round_without_number_or_start_is_none(changed: dict[str, object]) -> None:
    item = {"round": 1, "started": "2026-01-01T00:00:00Z"}
    assert HistoryRound.of(item) == HistoryRound(1, START, item)
    assert HistoryRound.of({**item, **changed}) is None


def test_a_start_without_a_zone_is_in_utc_and_a_whole_fraction_a_number() -> None:
    item = {"round": 3.0, "started": "2026-01-01T00:00:00"}
    assert HistoryRound.of(item) == HistoryRound(3, START, item)
    other = {"round": 3, "started": "2026-01-01T02:00:00+02:00"}
    assert HistoryRound.of(other) == HistoryRound(3, START, other)


def test_rounds_are_ordered_by_their_start_whatever_order_they_come_in() -> None:
    items = [{"round": n, "started": f"2026-01-01T00:0{n}:00Z"} for n in (3, 1, 2)]
    assert [each.number for each in dated([*items, {"round": 9}])] == [1, 2, 3]
