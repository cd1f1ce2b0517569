"""Retries of Transient errors only: backoff, jitter, one deadline over all tries."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_base, wait_exponential_jitter

from tasks.core.errors import Transient

# the logger whose lines a command shows before its end
logger = logging.getLogger("fedvitals.plan")

FIRST_WAIT = 0.2
LONGEST_WAIT = 10.0
# a wait beyond it needs a word, since nothing else shows that a run is alive
LONG_SECONDS = 5.0
# for conflicting commits to the lake
COMMIT_DEADLINE_SECONDS = 30.0


@dataclass
class RetryCount:
    """Counts retries; the first long wait of them is logged."""

    value: int = 0
    is_logged: bool = False


_counts: list[RetryCount] = []
_counting = threading.Lock()


@contextmanager
def counted_retries() -> Iterator[RetryCount]:
    """Count the retries of this process during the block, in all its threads."""
    count = RetryCount()
    with _counting:
        _counts.append(count)
    try:
        yield count
    finally:
        with _counting:
            _counts[:] = [each for each in _counts if each is not count]


def _count_one(retry_state: RetryCallState) -> None:
    with _counting:
        for count in _counts:
            count.value += 1
    if _is_long(retry_state):
        _log_once(_waiting(retry_state))


@contextmanager
def noticed(what: str) -> Iterator[None]:
    """Log, once in a run, that the block has waited LONG_SECONDS for it."""
    text = f"waiting for {what}, which has not answered for {LONG_SECONDS:g} s"
    timer = threading.Timer(LONG_SECONDS, _log_once, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _log_once(text: str) -> None:
    with _counting:
        waiting = [count for count in _counts if not count.is_logged]
        for count in waiting:
            count.is_logged = True
    if waiting:
        logger.warning(text)


def _is_long(retry_state: RetryCallState) -> bool:
    return (retry_state.seconds_since_start or 0.0) + retry_state.upcoming_sleep > LONG_SECONDS


def _waiting(retry_state: RetryCallState) -> str:
    error = str(retry_state.outcome.exception() if retry_state.outcome else "")
    most: float = getattr(retry_state.retry_object.stop, "max_delay", 0.0)
    return f"waiting up to {most:.0f} s: {error.split('. Fix: ')[0]}"


class _WaitAsAsked(wait_base):
    """Waits for the service's Retry-After, else a growing time with jitter."""

    def __init__(self) -> None:
        self._backoff = wait_exponential_jitter(
            multiplier=FIRST_WAIT, max=LONGEST_WAIT, jitter=FIRST_WAIT
        )

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.facts.get("retry_after") if isinstance(error, Transient) else None
        return max(0.0, float(asked)) if asked is not None else float(self._backoff(retry_state))


class _StopBefore(stop_after_delay):
    """Stops when the next wait would pass the deadline."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        passed = retry_state.seconds_since_start or 0.0
        return passed + retry_state.upcoming_sleep >= self.max_delay


def retrying(deadline: float) -> Retrying:
    """Return a loop over tries: `for attempt in retrying(30): with attempt: …`.

    It also wraps: `retrying(30)(function)`. deadline is in seconds over all tries and waits; the
    last error is raised as it is.
    """
    return Retrying(
        retry=retry_if_exception_type(Transient),
        wait=_WaitAsAsked(),
        stop=_StopBefore(deadline),
        before_sleep=_count_one,
        reraise=True,
    )


def seconds_asked(header: str | None) -> float | None:
    """Parse a Retry-After header (RFC 9110, 10.2.3), a number or date, into seconds."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    ahead = seconds_ahead(header)
    return None if ahead is None else max(0.0, ahead)


def seconds_ahead(header: str) -> float | None:
    """Return by how much an HTTP date is ahead of now, in seconds; None if it is no date."""
    try:
        moment = parsedate_to_datetime(header)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.timestamp() - time.time()
    # a date may have no such day, or lie beyond the years that can be counted
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
