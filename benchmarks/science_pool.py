"""Calls of one function for many things, sequentially or on all cores.

A worker is a fresh process whose linear algebra keeps to one thread: of matrices of some sixty rows a
second thread makes nothing faster, and takes the core of the next worker.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
MOST_TOGETHER = 8
"""Things handed to a worker at once, fewer of few."""
SECONDS_BETWEEN = 20.0
"""Seconds between reports of progress."""


class Each(Protocol):
    """A way to call one function over many things."""

    def __call__(self, work: Callable[[Thing], Result], things: Sequence[Thing]) -> list[Result]:
        """Return the function's result for each thing, in order."""


def one_by_one(work: Callable[[Thing], Result], things: Sequence[Thing]) -> list[Result]:
    """Call the function in this process."""
    return [work(thing) for thing in things]


@contextmanager
def on_all_cores() -> Iterator[Each]:
    """Start a worker for each core; functions and things must pickle.

    Progress goes to standard error.
    """
    before = {name: os.environ[name] for name in ONE_THREAD if name in os.environ}
    # read by the libraries of a worker at its start
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        # a fork would inherit threads of this process's libraries
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(mp_context=fresh) as pool:
            yield _Spread(pool)
    finally:
        for name in ONE_THREAD:
            del os.environ[name]
        os.environ.update(before)


class _Spread:
    """Each, over a pool."""

    def __init__(self, pool: Executor) -> None:
        self.pool = pool

    def __call__(self, work: Callable[[Thing], Result], things: Sequence[Thing]) -> list[Result]:
        found: list[Result] = []
        last = time.monotonic()
        together = len(things) // (2 * (os.cpu_count() or 1))
        together = max(1, min(MOST_TOGETHER, together))
        for result in self.pool.map(work, things, chunksize=together):
            found.append(result)
            if time.monotonic() - last > SECONDS_BETWEEN:
                last = time.monotonic()
                print(f"  {len(found)} of {len(things)}", file=sys.stderr)
        return found
