"""What is known of a run, and after which round a poll asks."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.core.history import KnownRun, facts_of

START = datetime(2026, 1, 1, tzinfo=UTC)


def run(*numbers: int) -> KnownRun:
    return KnownRun("a", frozenset((n, START + n * timedelta(minutes=1)) for n in numbers))


@pytest.mark.parametrize(
    ("numbers", "since"),
    [
        ([1], 0),
        ([1, 2, 3], 2),
        # the one that is missing, and what came after it
        ([1, 2, 4, 5], 2),
        # what was before the first known round may be gone for good
        ([7, 8, 9], 8),
        # a hole further back than a poll reads again
        ([1, 2, *range(4, 40)], 38),
        ([0], 0),
    ],
)
def test_a_poll_asks_after_the_last_round_but_one(numbers: list[int], since: int) -> None:
    assert run(*numbers).since == since


def test_the_last_round_is_the_one_that_started_last() -> None:
    back = KnownRun("a", frozenset({(9, START), (3, START + timedelta(hours=1))}))
    assert back.last == (3, START + timedelta(hours=1))
    assert back.since == 2


def test_facts_go_by_the_tags() -> None:
    assert "epsilon" in (facts_of(("run_id",)) or {})
    assert "examples" in (facts_of(("client",)) or {})
    assert facts_of(("client", "run_id")) is None
