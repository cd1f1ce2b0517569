"""Collecting a measurement: due cells cut into chunks, processed a few at a time."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from tasks.core.errors import (
    AnswerInvalid,
    FedvitalsError,
    KeyRepeated,
    LabelsDiffer,
    SchemaChanged,
    SeriesExceeded,
    SourceOverloaded,
    defect,
)
from tasks.core.ports import Sink
from tasks.core.progress import Progress
from tasks.core.receipt import Outcome, SinkValues, given_up, joined
from tasks.core.state import CellState
from tasks.core.window import Cell, Window, floor, follows, groups_of, iso
from tasks.ledger.deferred import put_aside, take_up
from tasks.ledger.gaps import Gaps, covered_beyond, most_of
from tasks.ledger.pending import pending_cells, pending_values
from tasks.pipeline.chunk import MOST_CELLS, Chunk, Tools, halves_of
from tasks.pipeline.due import Job, find_due
from tasks.pipeline.lost import counted, lost_for_good, record
from tasks.pipeline.process import load_pending, process
from tasks.pipeline.training_rounds import new_rounds

logger = logging.getLogger("fedvitals")

# errors that may concern one part of the past only: the rest is still read
OF_THE_ANSWER = (AnswerInvalid, KeyRepeated, LabelsDiffer, SeriesExceeded, SourceOverloaded)
MOST_FAILURES_IN_A_ROW = 3


def work(job: Job, tools: Tools, progress: Progress) -> Outcome:
    """Process a job's chunks, the newest cell first, then the loads that are pending or need order.

    An error ends the job's extraction, not the run: it becomes an outcome, and landed data stays.
    """
    read = until_error(job, _outcomes(job, tools, progress))
    pending = until_error(job, pending_loaded(job, tools))
    return joined(job.measurement.name, [*read, *pending])


def until_error(job: Job, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """Yield the outcomes up to an error, and the error as the last of them."""
    try:
        yield from outcomes
    except FedvitalsError as error:
        yield given_up(job.measurement.name, error)
    # a defect in one measurement must not stop the others; the run ends as failed
    except Exception as error:
        logger.exception("measurement=%s unexpected error", job.measurement.name)
        yield _failed(job, defect(error))


def _left(job: Job, left: Gaps) -> Iterator[Outcome]:
    """Report the gaps left to later runs: this run has work pending."""
    if not left.stretches:
        return
    start, stop = iso(left.stretches[0].start), iso(left.stretches[-1].stop)
    warning = (
        f"{counted(left)} missed, limit {job.pipeline.max_gaps_per_run} per run (max_gaps_per_run); "
        f"later runs continue. Fix: to fill them now, collect with "
        f"--start {start} --stop {stop}"
    )
    yield Outcome(measurement=job.measurement.name, state="pending", warnings=(warning,))


def _taken_back(job: Job, tools: Tools) -> Iterator[Outcome]:
    """Forget reads of time that has not come: a clock was ahead, and it is read again."""
    name = job.measurement.name
    beyond = covered_beyond(tools.ledger, name, job.environment, job.settled, job.pipeline.cell)
    if not beyond:
        return
    now = datetime.now(UTC)
    record([replace(state, covered_until=job.settled, made_at=now) for state in beyond], tools)
    furthest = iso(max(state.covered_until for state in beyond))
    warning = (
        f"an earlier run read up to {furthest}, later than this run may: a clock was ahead, "
        "or settle_delay was shorter. That time is read again once it has passed"
    )
    yield Outcome(measurement=name, state="no_data", warnings=(warning,))


def reopen(job: Job, late: tuple[Cell, ...], newest: Cell, tools: Tools) -> None:
    """Mark the cells that may have late rows as gaps, until they are read again.

    The newest cell is first: after a run that dies later, or reads only a window, these cells would
    be forgotten otherwise.
    """
    if not late:
        return
    span = Window(late[0].start, newest.stop)
    known = tools.ledger.cells(job.measurement.name, job.environment, span)
    if any(cell.start == newest.start for cell in known):
        return  # the newest cell is known already, so the late ones stay the last
    tools.lock.check()
    tools.ledger.record(
        replace(known[cell], covered_until=cell.start) for cell in late if cell in known
    )


def prepare(job: Job, tools: Tools) -> None:
    """Prepare the table; refuse a migration that is not complete, and another source."""
    name = job.measurement.name
    last = tools.ledger.newest(name, job.environment)
    if last is not None and last.state == "migrating":
        raise SchemaChanged(table=name, problem="its migration is not complete")
    if last is not None and last.source != tools.source.name:
        raise SchemaChanged(
            table=name,
            problem=f"in {job.environment} its source was {last.source}, this run reads {tools.source.name}",
        )
    tools.lake.prepare(job.measurement)


def _outcomes(job: Job, tools: Tools, progress: Progress) -> Iterator[Outcome]:
    prepare(job, tools)
    if tools.source.history == "rounds":
        yield from new_rounds(job, tools)
        return
    if tools.source.history == "sample":
        yield from _sample(job, tools, progress)
        return
    if job.window is None:
        yield from _taken_back(job, tools)
    due = find_due(job, tools.ledger)
    yield from lost_for_good(job, due.lost, tools)
    yield from _left(job, due.left)
    cells = due.cells
    if not cells:
        return
    reopen(job, due.late, cells[0], tools)
    first = process(chunk_of(job, cells[:1]), tools)
    progress(job.measurement.name, 1, len(cells))
    yield first
    together = [cell for cell in cells[1:] if cell not in due.deferred]
    parts = [*groups_of(together, _cells_a_chunk(job, first, tools), fits=follows)]
    # alone, so that its readable cells are landed
    parts += [[cell] for cell in cells[1:] if cell in due.deferred]
    done = 1
    for chunk, outcome in _at_once(
        [chunk_of(job, part) for part in parts], job, tools, due.deferred
    ):
        yield outcome
        done += len(chunk.cells)
        progress(job.measurement.name, done, len(cells))


def _at_once(
    chunks: list[Chunk], job: Job, tools: Tools, deferred: frozenset[Cell]
) -> Iterator[tuple[Chunk, Outcome]]:
    """Yield the outcomes in order; a chunk decodes while another waits for a sink.

    A chunk whose cells only together have too many series is halved in time, so that the limit
    counts by cell. A chunk with an unusable answer is deferred. After three such in a row, or another error, the
    waiting chunks are dropped; those begun are finished and reported before the error is raised.
    """
    first_error: Exception | None = None
    in_a_row, is_over = 0, False
    with ThreadPoolExecutor(job.pipeline.workers) as pool:
        waiting = deque((chunk, pool.submit(process, chunk, tools)) for chunk in chunks)
        while waiting:
            chunk, future = waiting.popleft()
            if future.cancelled():
                continue
            error = future.exception()
            if not is_over and (halves := halves_of(chunk, error)):
                parts = [(half, pool.submit(process, half, tools)) for half in halves]
                waiting.extendleft(reversed(parts))
                continue
            in_a_row = in_a_row + 1 if isinstance(error, OF_THE_ANSWER) else 0
            if isinstance(error, OF_THE_ANSWER):
                yield chunk, _defer(chunk, error, tools, deferred)
            elif isinstance(error, Exception):
                first_error = first_error or error
            else:
                yield chunk, future.result()
                if chunk.cells[0] in deferred:
                    take_up(tools.ledger, chunk.measurement.name, chunk.environment, chunk.cells)
            is_over = is_over or bool(first_error) or in_a_row == MOST_FAILURES_IN_A_ROW
            if is_over:
                for _, other in waiting:
                    other.cancel()
    if first_error is not None:
        raise first_error


def _defer(chunk: Chunk, error: FedvitalsError, tools: Tools, deferred: frozenset[Cell]) -> Outcome:
    """Defer the chunk behind all other gaps; only the first run that meets it fails."""
    name = chunk.measurement.name
    tools.lock.check()
    put_aside(tools.ledger, name, chunk.environment, chunk.cells, tools.run_id, str(error))
    problem = f"{iso(chunk.window.start)} to {iso(chunk.window.stop)}: {error}"
    if deferred.issuperset(chunk.cells):
        return Outcome(name, "pending", warnings=(f"{problem}. It stays deferred",))
    later = "It is deferred: later runs retry it after all other gaps"
    return Outcome(name, "failed", problems=(f"{problem}. {later}",))


def _sample(job: Job, tools: Tools, progress: Progress) -> Iterator[Outcome]:
    """Yield one sample in its time slot; skip a slot that is landed already."""
    start = floor(job.now, job.measurement.every)
    slot = Window(start, start + job.measurement.every)
    if job.window is not None and not job.window.start <= job.now <= job.window.stop:
        warning = f"{tools.source.name} has no history: only a window that includes now can be read"
        yield Outcome(measurement=job.measurement.name, state="no_data", warnings=(warning,))
        return
    cell = next(slot.cells(job.pipeline.cell))
    known = tools.ledger.cells(job.measurement.name, job.environment, slot).get(cell)
    # cells beyond the slot come from a clock that was ahead
    if known is not None and slot.start < known.covered_until <= slot.stop:
        yield Outcome(measurement=job.measurement.name, state="unchanged")
        return
    yield process(Chunk(job.measurement, job.environment, (cell,), slot), tools)
    progress(job.measurement.name, 1, 1)


def chunk_of(job: Job, cells: Sequence[Cell]) -> Chunk:
    """Return the chunk of adjacent cells, clipped to time that has come."""
    span = Window(cells[0].start, min(cells[-1].stop, job.settled))
    return Chunk(job.measurement, job.environment, tuple(cells), span, job.allow_deletes)


def _cells_a_chunk(job: Job, first: Outcome, tools: Tools) -> int:
    """Return the cells of about `chunk_rows` rows, judged by the fullest known cell."""
    name, environment = job.measurement.name, job.environment
    last = tools.ledger.newest(name, environment)
    rows = max(first.rows, most_of(tools.ledger, "rows", name, environment))
    if last is not None and last.covered_until < last.cell.stop:
        covered = (last.covered_until - last.cell.start) / last.cell.length
        rows = max(rows, int(last.rows / max(covered, 0.01)))
    return max(1, min(MOST_CELLS, job.pipeline.chunk_rows // max(rows, 1)))


def pending_loaded(job: Job, tools: Tools) -> Iterator[Outcome]:
    """Load pending cells into each sink; several that hang cost no more time than one."""
    with ThreadPoolExecutor(max(1, len(tools.sinks))) as pool:
        for outcomes in pool.map(lambda sink: [*_loaded_into(sink, job, tools)], tools.sinks):
            yield from outcomes


def _loaded_into(sink: Sink, job: Job, tools: Tools) -> Iterator[Outcome]:
    return until_error(job, _pending_of(sink, job, replace(tools, sinks=(sink,))))


def _pending_of(sink: Sink, job: Job, tools: Tools) -> Iterator[Outcome]:
    """Load pending cells, the newest first unless the sink needs order, a chunk's rows at a time.

    Once the sink has taken nothing of a group, the rest is pending without a query of the lake.
    """
    of = (sink.target, job.measurement.name, job.environment)
    states: Iterable[CellState] = pending_cells(tools.ledger, *of)
    if sink.in_order:
        states = [*states][::-1]
    else:
        states = (state for state in states if state.run_id != tools.run_id)
    for group in groups_of(
        states,
        job.pipeline.chunk_rows,
        size=lambda state: state.rows,
        fits=lambda one, other: follows(other.cell, one.cell) or follows(one.cell, other.cell),
        most_items=MOST_CELLS,
    ):
        outcome = load_pending(job.measurement, job.environment, group, tools)
        yield outcome
        counts = outcome.sinks[sink.name]
        if counts.pending == counts.owed > 0:
            edge = group[-1].cell
            if isinstance(states, list):
                rest = sum(state.values for state in states if state.cell > edge)
            else:
                rest = pending_values(tools.ledger, *of, edge.start, tools.run_id)
            yield _still_pending(job, sink.name, rest)
            break


def _still_pending(job: Job, sink: str, owed: int) -> Outcome:
    return Outcome(
        measurement=job.measurement.name,
        state="pending",
        sinks={sink: SinkValues(owed=owed, pending=owed)},
    )


def _failed(job: Job, problem: str) -> Outcome:
    return Outcome(measurement=job.measurement.name, state="failed", problems=(problem,))
