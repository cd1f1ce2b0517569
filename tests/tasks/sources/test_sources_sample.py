"""One look that many share."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tasks.core.window import Window, floor
from tasks.sources.sample import Shared

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Counting:
    """Answers 1, 2, 3, …; raises the first `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.looks = 0
        self._failures = failures

    def __call__(self) -> int:
        self.looks += 1
        time.sleep(0.01)
        if self.looks <= self._failures:
            raise OSError("not now")
        return self.looks


def around(now: datetime) -> Window:
    return Window(now - HOUR, now + HOUR)


def test_all_threads_get_the_first_look() -> None:
    shared = Shared(Counting())
    before = datetime.now(UTC)
    with ThreadPoolExecutor(8) as pool:
        looks = list(pool.map(lambda _: shared.within(around(before), MINUTE), range(16)))
    assert {look.seen for look in looks if look} == {1}
    assert len(set(looks)) == 1
    assert looks[0] is not None
    assert before <= looks[0].time <= datetime.now(UTC)


def test_a_look_that_failed_is_made_again() -> None:
    shared = Shared(Counting(failures=1))
    with pytest.raises(OSError, match="not now"):
        shared.within(around(datetime.now(UTC)), MINUTE)
    look = shared.within(around(datetime.now(UTC)), MINUTE)
    assert look is not None
    assert look.seen == 2


@pytest.mark.parametrize("hours", [-2, 2])
def test_nobody_looks_for_another_time(hours: int) -> None:
    look = Counting()
    now = datetime.now(UTC) + hours * HOUR
    assert Shared(look).within(Window(now, now + HOUR), MINUTE) is None
    assert look.looks == 0


def test_the_slot_counts_and_not_the_moment() -> None:
    every = timedelta(days=1000)
    slot = floor(datetime.now(UTC), every)
    shared = Shared(Counting())
    # now is not in this window, but the slot of now is
    look = shared.within(Window(slot, slot + timedelta(microseconds=1)), every)
    assert look is not None
    assert shared.within(Window(slot + timedelta(microseconds=1), slot + every), every) is None


def test_a_look_of_an_earlier_slot_is_not_taken_for_a_later_one() -> None:
    every = timedelta(milliseconds=1)
    shared = Shared(Counting())
    first = shared.within(around(datetime.now(UTC)), every)
    assert first is not None
    time.sleep(0.002)
    later = floor(datetime.now(UTC), every)
    second = shared.within(Window(later, later + HOUR), every)
    assert second is not None
    assert (first.seen, second.seen) == (1, 2)
    assert second.time >= later


@pytest.mark.promise("Sources: a sample has the time at which its run began, so no slot is missed")
def test_a_run_dates_its_looks_with_its_own_time() -> None:
    now = datetime.now(UTC) - HOUR
    shared = Shared(Counting(), now)
    slot = floor(now, MINUTE)
    look = shared.within(Window(slot, slot + MINUTE), MINUTE)
    assert look is not None
    assert look.time == now
    assert HOUR <= look.delay < HOUR + MINUTE
    assert look.warnings(HOUR - MINUTE) == (
        "the sample was taken 3600 s after the time it is dated with",
    )
    assert look.warnings(2 * HOUR) == ()
    assert shared.within(Window(slot + MINUTE, slot + 2 * HOUR), MINUTE) is None


def test_a_minute_is_not_worth_a_word() -> None:
    look = Shared(Counting(), datetime.now(UTC) - MINUTE / 2).within(
        around(datetime.now(UTC)), timedelta(seconds=1)
    )
    assert look is not None
    assert look.warnings(timedelta(seconds=1)) == ()
