"""Retries: of Transient errors only, within one deadline, and when the service says so."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest

from tasks.core.errors import LakeBusy, LakeDamaged, SinkUnavailable, UsageInvalid
from tasks.core.retry import counted_retries, retrying, seconds_asked

BUSY = LakeBusy(table="t", problem="p")
DAMAGED = LakeDamaged(table="t", problem="p")


def unavailable(retry_after: float | None) -> SinkUnavailable:
    return SinkUnavailable(sink="s", url="u", problem="p", retry_after=retry_after)


def failing(times: int, error: Exception) -> tuple[Callable[[], str], list[float]]:
    """A function that fails so many times, and when it was called."""
    calls: list[float] = []

    def call() -> str:
        calls.append(time.perf_counter())
        if len(calls) <= times:
            raise error
        return "done"

    return call, calls


def test_transient_error_is_tried_again_after_a_wait() -> None:
    call, calls = failing(1, BUSY)
    assert retrying(5.0)(call) == "done"
    assert 0.2 <= calls[1] - calls[0] < 0.6


@pytest.mark.parametrize("error", [DAMAGED, ValueError("no error of ours")])
def test_any_other_error_is_raised_at_once(error: Exception) -> None:
    call, calls = failing(1, error)
    with pytest.raises(type(error)) as caught:
        retrying(5.0)(call)
    assert caught.value is error
    assert len(calls) == 1


def test_last_error_is_raised_as_it_is_before_the_deadline() -> None:
    error = unavailable(0.2)
    call, calls = failing(10**6, error)
    with pytest.raises(SinkUnavailable) as caught:
        retrying(1.0)(call)
    assert caught.value is error
    # the wait before the last call ends before the deadline, however slow the machine is
    assert 2 <= len(calls) <= 6


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(0.05, 0.05, 0.15), (0, 0, 0.1), (-3, 0, 0.1)]
)
def test_wait_is_what_the_service_asks_for(asked: float, least: float, most: float) -> None:
    call, calls = failing(1, unavailable(asked))
    assert retrying(5.0)(call) == "done"
    assert least <= calls[1] - calls[0] < most


def test_wait_beyond_the_deadline_is_not_begun() -> None:
    call, calls = failing(1, unavailable(30))
    started = time.perf_counter()
    with pytest.raises(SinkUnavailable):
        retrying(5.0)(call)
    assert time.perf_counter() - started < 0.2
    assert len(calls) == 1


def test_deadline_of_nothing_is_one_try() -> None:
    call, calls = failing(1, unavailable(None))
    with pytest.raises(SinkUnavailable):
        retrying(0.0)(call)
    assert len(calls) == 1


def test_a_loop_over_tries_does_the_same() -> None:
    call, calls = failing(2, unavailable(0.01))
    for attempt in retrying(1.0):
        with attempt:
            call()
    assert len(calls) == 3


def test_waits_grow() -> None:
    call, calls = failing(2, BUSY)
    retrying(30.0)(call)
    first, second = (later - earlier for earlier, later in pairwise(calls))
    # each with up to 0.2 s of jitter
    assert 0.2 <= first < 0.5
    assert 0.4 <= second < 0.7


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 17 ", 17.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_reads_a_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert seconds_asked(header) == seconds


def test_reads_a_retry_after_as_a_date() -> None:
    now = datetime.now(UTC)
    later = seconds_asked(format_datetime(now + timedelta(seconds=60), usegmt=True))
    assert later is not None
    assert 50 < later <= 60
    assert seconds_asked(format_datetime(now - timedelta(seconds=60), usegmt=True)) == 0.0


def test_retries_are_counted_while_somebody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    answers = iter([False, False, True] * 3)

    def ask() -> None:
        if not next(answers):
            raise unavailable(0)

    retrying(5)(ask)
    with counted_retries() as all_of_them:
        retrying(5)(ask)
        with counted_retries() as some, ThreadPoolExecutor(1) as pool:
            pool.submit(retrying(5), ask).result()

    assert (some.value, all_of_them.value) == (2, 4)


def test_what_succeeds_or_fails_for_good_at_once_is_no_retry() -> None:
    def refuse() -> None:
        raise UsageInvalid(argument="a", problem="p", fix="m")

    with counted_retries() as count:
        retrying(5)(lambda: None)
        with pytest.raises(UsageInvalid):
            retrying(5)(refuse)

    assert count.value == 0
