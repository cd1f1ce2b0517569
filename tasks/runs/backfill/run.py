"""The run `backfill`: chunk after chunk, each measurement under its lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

from tasks.core.artifact import Artifact
from tasks.core.errors import FedvitalsError
from tasks.core.measurement import Measurement
from tasks.core.receipt import Outcome, Receipt, joined
from tasks.core.state import CellState
from tasks.core.window import follows, groups_of, iso
from tasks.ledger.locks import RunLock
from tasks.pipeline.chunk import Chunk, Tools, halves_of
from tasks.pipeline.collect import (
    MOST_FAILURES_IN_A_ROW,
    OF_THE_ANSWER,
    chunk_of,
    pending_loaded,
    prepare,
    reopen,
    until_error,
)
from tasks.pipeline.due import Job, late_before
from tasks.pipeline.process import process
from tasks.runs.backfill.plan import Backfill, BackfillRequest, cells_to_read, make_backfill
from tasks.runs.backfill.progress import ChunkDone, Notify, shown_course
from tasks.runs.backfill.survey import Share, Survey, survey
from tasks.runs.base.deliver import deliver
from tasks.runs.base.plan import covered_window
from tasks.runs.base.run import Run, logger
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.step import Step, plain
from tasks.runs.base.toolbox import Toolbox, opened_toolbox

NO_REPORT = (
    "a backfill writes no report, since its window may exceed memory. Fix: run fedvitals report "
    "for any window"
)
# chunks between two appends of cell states to the lake
CHUNKS_A_ROUND = 20


@dataclass(frozen=True)
class Done:
    """A chunk's outcome, and the states that another process changed."""

    outcome: Outcome
    states: tuple[CellState, ...] = ()


# gives a chunk to a worker without waiting
Submit = Callable[[Chunk, Tools], "Future[Done]"]
# the workers of a backfill, until the block ends
Workers = Callable[["Run", Backfill], AbstractContextManager[Submit]]


@contextmanager
def in_threads(run: Run, planned: Backfill) -> Iterator[Submit]:
    """Run chunks in threads of this process."""
    with ThreadPoolExecutor(planned.options.workers) as pool:
        yield lambda chunk, tools: pool.submit(_process, chunk, tools)


def _process(chunk: Chunk, tools: Tools) -> Done:
    return Done(process(chunk, tools))


def backfill(
    run: Run, asked: BackfillRequest, step: Step = plain, workers: Workers = in_threads
) -> Receipt:
    """Read the unread part of a past window, chunk by chunk, oldest first."""
    planned = step("plan", make_backfill)(run, asked)
    found = step("survey", survey)(planned, run.ledger)
    for problem in found.problems:
        logger.warning(problem)
    logger.info(found.line())
    names = len(planned.plan.measurements)
    name = f"prometheus: extract, validate, land, load ({names})"
    step(name, work_through)(run, planned, found, workers)
    run.notes.append(NO_REPORT)
    receipt = step("account", run.account)(covered_window(planned.plan, run.outcomes))
    step("self metrics", land_self_metrics)(run, receipt)
    run.artifacts.append(_artifact(receipt))
    return step("deliver", deliver)(run, receipt)


def _artifact(receipt: Receipt) -> Artifact:
    rows = [
        {
            "measurement": line.name,
            "state": line.state,
            "landed": line.values.landed,
            "unchanged": line.values.unchanged,
            "quarantined": line.values.quarantined,
        }
        for line in receipt.measurements
    ]
    return Artifact("table", "backfill-measurements", rows)


def work_through(run: Run, planned: Backfill, found: Survey, workers: Workers) -> None:
    """Process measurements one after the other; an error ends its measurement only."""
    with (
        workers(run, planned) as submit,
        opened_toolbox(run, planned.plan) as toolbox,
        shown_course(found, logger.info) as notify,
    ):
        for share in found.shares:
            entry = next(e for e in planned.plan.measurements if e.name == share.measurement)
            run.work(
                entry.name, partial(_measurement, planned, share, entry, toolbox, submit, notify)
            )
            run.append_states(is_last=False)


def _measurement(
    planned: Backfill,
    share: Share,
    entry: Measurement,
    toolbox: Toolbox,
    submit: Submit,
    notify: Notify,
    lock: RunLock,
) -> Outcome:
    job, tools = planned.job(entry), toolbox.tools(planned.plan, entry, lock)
    read = until_error(job, _read(planned, job, share, tools, toolbox.run, submit, notify))
    pending = until_error(job, pending_loaded(job, tools))
    return joined(entry.name, [*read, *pending])


def _read(
    planned: Backfill,
    job: Job,
    share: Share,
    tools: Tools,
    run: Run,
    submit: Submit,
    notify: Notify,
) -> Iterator[Outcome]:
    prepare(job, tools)
    # under the lock: another run may have read some since the survey
    cells = cells_to_read(job, tools.suite, tools.ledger, planned.options.replace)
    if not cells:
        yield Outcome(measurement=job.measurement.name, state="unchanged")
        return
    reopen(job, late_before(job, cells, tools.ledger), cells[-1], tools)
    groups = groups_of(cells, share.cells_a_chunk, fits=follows)
    chunks = (chunk_of(job, group) for group in groups)
    most, done = planned.options.workers + 1, 0
    for number, (chunk, outcome) in enumerate(_worked(chunks, tools, submit, most), 1):
        done += len(chunk.cells)
        notify(ChunkDone(job.measurement.name, len(chunk.cells), outcome))
        run.progress(job.measurement.name, done, len(cells))
        yield outcome
        if number % CHUNKS_A_ROUND == 0:
            run.append_states(is_last=False)


def _worked(
    chunks: Iterable[Chunk], tools: Tools, submit: Submit, most: int
) -> Iterator[tuple[Chunk, Outcome]]:
    """Yield chunks in order with their outcome; at most `most` are under way.

    After an error other than a bad answer, or three of these in a row, the waiting chunks are
    dropped; those begun are finished and reported before the error is raised.
    """
    waiting: deque[tuple[Chunk, Future[Done]]] = deque()
    rest = iter(chunks)
    in_a_row = 0
    first_error: Exception | None = None
    while True:
        room = 0 if first_error else most - len(waiting)
        waiting.extend((chunk, submit(chunk, tools)) for chunk in islice(rest, room))
        if not waiting:
            break
        chunk, future = waiting.popleft()
        error = future.exception()
        if not first_error and (halves := halves_of(chunk, error)):
            waiting.extendleft((half, submit(half, tools)) for half in reversed(halves))
            continue
        in_a_row = in_a_row + 1 if isinstance(error, OF_THE_ANSWER) else 0
        if isinstance(error, OF_THE_ANSWER) and in_a_row < MOST_FAILURES_IN_A_ROW:
            yield chunk, _failed(chunk, error)
        elif isinstance(error, Exception):
            first_error = first_error or error
        else:
            done = future.result()
            tools.record(list(done.states))
            yield chunk, done.outcome
    if first_error is not None:
        raise first_error


def _failed(chunk: Chunk, error: FedvitalsError) -> Outcome:
    span = f"{iso(chunk.window.start)} to {iso(chunk.window.stop)}"
    return Outcome(chunk.measurement.name, "failed", problems=(f"{span}: {error}",))
