"""A backfill's work: chunk after chunk, a few at a time, each measurement under its lock."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, Self

from tasks.backfill.plan import Backfill, cells_to_read
from tasks.backfill.survey import Share, Survey
from tasks.chunk.work import Chunk, Tools
from tasks.core.errors import FedvitalsError
from tasks.core.receipt import Outcome, given_up, joined
from tasks.core.window import iso
from tasks.lake.windows import WINDOWS, append_states
from tasks.process import process
from tasks.run.due import Job, late_before
from tasks.run.rounds import (
    MOST_FAILURES_IN_A_ROW,
    OF_THE_ANSWER,
    chunk_of,
    groups,
    pending_loaded,
    prepared,
    reopen,
    told,
)
from tasks.run.toolbox import Toolbox

logger = logging.getLogger(__name__)

# after so many chunks the lake is told how its cells stand
CHUNKS_A_ROUND = 20


class Handed(Protocol):
    """A chunk that somebody works on; both wait until it is done."""

    def exception(self) -> BaseException | None:
        """What ended the work, if it did not end well."""
        ...

    def result(self) -> Outcome:
        """What became of it; raises what ended the work."""
        ...


class Crew(Protocol):
    """Who works on chunks, so many at once."""

    workers: int

    def hand(self, chunk: Chunk, tools: Tools) -> Handed:
        """Gives a chunk to one of them; does not wait."""
        ...


@dataclass
class Threads:
    """Workers in this process."""

    workers: int
    _pool: ThreadPoolExecutor

    @classmethod
    @contextmanager
    def at_work(cls, workers: int) -> Iterator[Self]:
        """So many of them, until the block ends."""
        with ThreadPoolExecutor(workers) as pool:
            yield cls(workers, pool)

    def hand(self, chunk: Chunk, tools: Tools) -> Handed:
        """Gives a chunk to one of them; does not wait."""
        return self._pool.submit(process, chunk, tools)


@dataclass(frozen=True)
class Step:
    """One chunk is done: of which measurement, how many cells it was, and what became of it."""

    measurement: str
    cells: int
    outcome: Outcome


Tell = Callable[[Step], None]


def work_through(
    wanted: Backfill, survey: Survey, toolbox: Toolbox, crew: Crew, tell: Tell
) -> tuple[Outcome, ...]:
    """All measurements one after the other; one outcome each, and one more when the lake could not
    be told how its cells stand.

    Whatever is landed is told to the lake, also by a run that is interrupted. An error ends its
    measurement, never the run.
    """
    outcomes = []
    try:
        for share in survey.shares:
            outcomes.append(_measurement(wanted, share, toolbox, crew, tell))
            _tell_lake(toolbox)
    finally:
        outcomes += _tell_the_rest(toolbox)
    return tuple(outcomes)


def _measurement(
    wanted: Backfill, share: Share, toolbox: Toolbox, crew: Crew, tell: Tell
) -> Outcome:
    plan = wanted.plan
    entry = next(e for e in plan.measurements if e.name == share.measurement)
    job = wanted.job(entry)
    try:
        with toolbox.locks.hold(entry.name, job.environment, plan.run_id) as lock:
            tools = toolbox.tools(plan, entry, lock)
            read = told(job, _read(wanted, job, share, tools, toolbox, crew, tell))
            pending = told(job, pending_loaded(job, tools))
            return joined(entry.name, [*read, *pending])
    except FedvitalsError as error:
        return given_up(entry.name, error)


def _read(
    wanted: Backfill,
    job: Job,
    share: Share,
    tools: Tools,
    toolbox: Toolbox,
    crew: Crew,
    tell: Tell,
) -> Iterator[Outcome]:
    yield from prepared(job, tools)
    # the ledger is asked under the lock: since the survey another run may have read some
    cells = cells_to_read(job, tools.suite, tools.ledger, wanted.manner.replace)
    if not cells:
        yield Outcome(measurement=job.measurement.name, state="unchanged")
        return
    reopen(job, late_before(job, cells, tools.ledger), cells[-1], tools)
    chunks = (chunk_of(job, group) for group in groups(cells, share.cells_a_chunk))
    for number, (chunk, outcome) in enumerate(_worked(chunks, tools, crew), 1):
        tell(Step(job.measurement.name, len(chunk.cells), outcome))
        yield outcome
        if number % CHUNKS_A_ROUND == 0:
            _tell_lake(toolbox)


def _worked(chunks: Iterable[Chunk], tools: Tools, crew: Crew) -> Iterator[tuple[Chunk, Outcome]]:
    """The chunks, in order, with what became of each; never more than workers + 1 are under way.

    After an error that is not of an answer, or three such in a row, the others are given up; what
    was begun is finished and told before the error is raised.
    """
    waiting: deque[tuple[Chunk, Handed]] = deque()
    rest = iter(chunks)
    in_a_row = 0
    first_error: Exception | None = None
    while True:
        room = 0 if first_error else crew.workers + 1 - len(waiting)
        waiting.extend((chunk, crew.hand(chunk, tools)) for chunk in islice(rest, room))
        if not waiting:
            break
        chunk, handed = waiting.popleft()
        error = handed.exception()
        in_a_row = in_a_row + 1 if isinstance(error, OF_THE_ANSWER) else 0
        if isinstance(error, OF_THE_ANSWER) and in_a_row < MOST_FAILURES_IN_A_ROW:
            yield chunk, _failed(chunk, error)
        elif isinstance(error, Exception):
            first_error = first_error or error
        else:
            yield chunk, handed.result()
    if first_error is not None:
        raise first_error


def _failed(chunk: Chunk, error: FedvitalsError) -> Outcome:
    span = f"{iso(chunk.window.start)} to {iso(chunk.window.stop)}"
    return Outcome(chunk.measurement.name, "failed", problems=(f"{span}: {error}",))


def _tell_lake(toolbox: Toolbox) -> None:
    """One append for the cells so far. What cannot be told now is told with the next."""
    states = list(toolbox.states)
    try:
        append_states(toolbox.lake, states)
    except FedvitalsError as error:
        logger.warning("%s: %s", WINDOWS, error)
    else:
        # other threads may have put more behind them meanwhile
        del toolbox.states[: len(states)]


def _tell_the_rest(toolbox: Toolbox) -> list[Outcome]:
    """A failure is an outcome, since it must not hide the others."""
    try:
        append_states(toolbox.lake, toolbox.states)
    except FedvitalsError as error:
        return [Outcome(measurement=WINDOWS, state="failed", problems=(str(error),))]
    return []
