"""Rounds: which cells a measurement needs, cut into chunks, worked through a few at a time."""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tasks.chunk.work import SOURCES_WITH_HISTORY, Chunk, Tools
from tasks.core.errors import FedvitalsError, SchemaChanged
from tasks.core.receipt import Outcome, SinkValues, joined
from tasks.core.state import CellState
from tasks.core.window import Cell, Window, floor, format_duration, iso
from tasks.ledger.gaps import Gaps, covered_beyond, most_rows
from tasks.process import load_pending, process
from tasks.run.due import Job, find_due
from tasks.training.rounds import SOURCES_OF_ROUNDS, new_rounds
from tasks.upkeep.lake_states import MIGRATING

logger = logging.getLogger(__name__)

__all__ = ["Job", "Progress", "work"]

MOST_CELLS = 168
Progress = Callable[[str, int, int], None]


def work(job: Job, tools: Tools, progress: Progress) -> Outcome:
    """All of a job's chunks, the newest cell first, then what is pending from earlier runs.

    An error ends the job's extraction, never the run: it is in the outcome, and what is landed stays.
    """
    read = told(job, _outcomes(job, tools, progress))
    pending = told(job, pending_loaded(job, tools))
    return joined(job.measurement.name, [*read, *pending])


def told(job: Job, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """The outcomes up to an error, and the error as the last of them."""
    try:
        yield from outcomes
    except FedvitalsError as error:
        yield _failed(job, str(error))
    # one measurement of many: a defect in it must not take the others down, and the run ends as failed
    except Exception as error:
        logger.exception("measurement=%s unexpected error", job.measurement.name)
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        # not what it says: nobody vouches that an unexpected text holds no secret
        problem = f"unexpected {type(error).__name__} at {where}. This is a defect of fedvitals"
        yield _failed(job, problem)


def _lost(job: Job, lost: Gaps, tools: Tools) -> Iterator[Outcome]:
    """Ends the gaps that the source has no more: they are never asked for again unasked."""
    if not lost.stretches:
        return
    span = Window(lost.stretches[0].start, lost.stretches[-1].stop)
    known = tools.ledger.cells(job.measurement.name, job.environment, span)
    _record([_as_lost(cell, known.get(cell), job, tools) for cell in lost.cells()], tools)
    retention = format_duration(job.pipeline.source_retention)
    warning = (
        f"{_cells(lost)} missed, and further back than {tools.source.name} keeps its data "
        f"(source_retention, {retention}): lost, and not asked for again. If it has them all the "
        f"same, collect with --start {iso(span.start)} --stop {iso(span.stop)}"
    )
    yield Outcome(measurement=job.measurement.name, state="lost", warnings=(warning,))


def _as_lost(cell: Cell, known: CellState | None, job: Job, tools: Tools) -> CellState:
    """Of a cell that was read in part, what is landed stays as it is."""
    if known is not None:
        return replace(known, state="lost", covered_until=cell.stop, made_at=datetime.now(UTC))
    return CellState(
        measurement=job.measurement.name,
        environment=job.environment,
        cell=cell,
        source=tools.source.name,
        covered_until=cell.stop,
        state="lost",
        source_digest="",
        landed_digest="",
        rows=0,
        values=0,
        quarantined=0,
        erasures=0,
        catalogue_digest=job.measurement.digest,
        run_id=tools.run_id,
    )


def _left(job: Job, left: Gaps) -> Iterator[Outcome]:
    """Says what later runs have to read: this run has work pending."""
    if not left.stretches:
        return
    start, stop = iso(left.stretches[0].start), iso(left.stretches[-1].stop)
    warning = (
        f"{_cells(left)} missed, and still to be read: a run reads {job.pipeline.heal_limit} of "
        f"them (heal_limit), so the next ones go on. To read them now, collect with "
        f"--start {start} --stop {stop}"
    )
    yield Outcome(measurement=job.measurement.name, state="pending", warnings=(warning,))


def _cells(gaps: Gaps) -> str:
    start, stop = iso(gaps.stretches[0].start), iso(gaps.stretches[-1].stop)
    number = "1 cell was" if gaps.count == 1 else f"{gaps.count} cells were"
    return f"{start} to {stop}: {number}"


def _taken_back(job: Job, tools: Tools) -> Iterator[Outcome]:
    """No time that has not come can have been read: a clock was ahead, and it will be read again."""
    name = job.measurement.name
    beyond = covered_beyond(tools.ledger, name, job.environment, job.settled, job.pipeline.cell)
    if not beyond:
        return
    now = datetime.now(UTC)
    _record(
        [replace(state, covered_until=job.settled, made_at=now) for state in beyond],
        tools,
    )
    furthest = iso(max(state.covered_until for state in beyond))
    warning = (
        f"an earlier run read up to {furthest}, which is later than this one may: a clock was wrong, "
        "or settle_delay is longer now. That time is read again when it has come"
    )
    yield Outcome(measurement=name, state="no_data", warnings=(warning,))


def _reopen(job: Job, late: tuple[Cell, ...], tools: Tools) -> None:
    """Makes gaps of the cells that are read again, until they are.

    The newest cell comes first: after a run that dies behind it, nobody would know any more that
    these are to be read again.
    """
    if not late:
        return
    span = Window(late[0].start, job.newest + job.pipeline.cell)
    known = tools.ledger.cells(job.measurement.name, job.environment, span)
    if any(cell.start == job.newest for cell in known):
        return  # what is the newest was it before, so that they stay the last ones
    tools.lock.check()
    tools.ledger.record(
        replace(known[cell], covered_until=cell.start) for cell in late if cell in known
    )


def _record(states: list[CellState], tools: Tools) -> None:
    tools.lock.check()
    tools.ledger.record(states)
    tools.record(states)


def prepared(job: Job, tools: Tools) -> Iterator[Outcome]:
    """Makes the table ready; a word when it is gone that the ledger still knows."""
    name = job.measurement.name
    last = tools.ledger.newest(name, job.environment)
    if last is not None and last.state == MIGRATING:
        raise SchemaChanged(table=name, problem="a migration of it was begun and not ended")
    if last is not None and last.source != tools.source.name:
        raise SchemaChanged(
            table=name,
            problem=f"in {job.environment} it was filled from {last.source}, this run reads {tools.source.name}",
        )
    if last is not None and not tools.lake.has(name):
        tools.ledger.forget(name, job.environment)
        warning = (
            "the lake has no table of it any more: what is due is read as if for the first time"
        )
        yield Outcome(measurement=name, state="lost", warnings=(warning,))
    tools.lake.prepare(job.measurement)


def _outcomes(job: Job, tools: Tools, progress: Progress) -> Iterator[Outcome]:
    yield from prepared(job, tools)
    if tools.source.name in SOURCES_OF_ROUNDS:
        yield from new_rounds(job, tools)
        return
    if tools.source.name not in SOURCES_WITH_HISTORY:
        yield from _sample(job, tools, progress)
        return
    if job.window is None:
        yield from _taken_back(job, tools)
    due = find_due(job, tools.ledger)
    yield from _lost(job, due.lost, tools)
    yield from _left(job, due.left)
    cells = due.cells
    if not cells:
        return
    _reopen(job, due.late, tools)
    first = process(chunk_of(job, (cells[0],)), tools)
    progress(job.measurement.name, 1, len(cells))
    yield first
    chunks = [
        chunk_of(job, group) for group in groups(cells[1:], _cells_a_chunk(job, first, tools))
    ]
    done = 1
    for chunk, outcome in _at_once(chunks, job, tools):
        yield outcome
        done += len(chunk.cells)
        progress(job.measurement.name, done, len(cells))


def _at_once(chunks: list[Chunk], job: Job, tools: Tools) -> Iterator[tuple[Chunk, Outcome]]:
    """A few chunks at a time, in order: one is decoded while another waits for a sink.

    After an error the chunks that wait are given up; what was begun is finished and told before the
    error is raised.
    """
    first_error: Exception | None = None
    with ThreadPoolExecutor(job.pipeline.workers) as pool:
        futures = {pool.submit(process, chunk, tools): chunk for chunk in chunks}
        for future, chunk in futures.items():
            if future.cancelled():
                continue
            error = future.exception()
            if isinstance(error, Exception):
                first_error = first_error or error
                for other in futures:
                    other.cancel()
            else:
                yield chunk, future.result()
    if first_error is not None:
        raise first_error


def _sample(job: Job, tools: Tools, progress: Progress) -> Iterator[Outcome]:
    """One sample in its slot of time; a slot that is landed already is skipped."""
    start = floor(job.now, job.measurement.every)
    slot = Window(start, start + job.measurement.every)
    if job.window is not None and not job.window.start <= job.now <= job.window.stop:
        warning = f"{tools.source.name} has no history: only a window that holds now can be read"
        yield Outcome(measurement=job.measurement.name, state="no_data", warnings=(warning,))
        return
    cell = next(slot.cells(job.pipeline.cell))
    known = tools.ledger.cells(job.measurement.name, job.environment, slot).get(cell)
    # what is beyond the slot, a clock that was ahead has left
    if known is not None and slot.start < known.covered_until <= slot.stop:
        yield Outcome(measurement=job.measurement.name, state="unchanged")
        return
    yield process(Chunk(job.measurement, job.environment, (cell,), slot), tools)
    progress(job.measurement.name, 1, 1)


def chunk_of(job: Job, cells: tuple[Cell, ...]) -> Chunk:
    """The chunk of these adjacent cells, clipped where time has not come yet."""
    span = Window(cells[0].start, min(cells[-1].stop, job.settled))
    return Chunk(job.measurement, job.environment, cells, span, job.accept_shrink)


def _cells_a_chunk(job: Job, first: Outcome, tools: Tools) -> int:
    """How many cells make a chunk of about `chunk_rows`, judged by the fullest cell known."""
    name, environment = job.measurement.name, job.environment
    last = tools.ledger.newest(name, environment)
    rows = max(first.rows, most_rows(tools.ledger, name, environment))
    if last is not None and last.covered_until < last.cell.stop:
        covered = (last.covered_until - last.cell.start) / last.cell.length
        rows = max(rows, int(last.rows / max(covered, 0.01)))
    return max(1, min(MOST_CELLS, job.pipeline.chunk_rows // max(rows, 1)))


def groups(cells: Sequence[Cell], size: int) -> Iterator[tuple[Cell, ...]]:
    """Adjacent cells, so many at most."""
    group: list[Cell] = []
    for cell in cells:
        if group and (len(group) == size or group[-1].stop != cell.start):
            yield tuple(group)
            group = []
        group.append(cell)
    if group:
        yield tuple(group)


def pending_loaded(job: Job, tools: Tools) -> Iterator[Outcome]:
    """Loads what earlier runs left, the newest first, a chunk's rows at a time.

    Once a sink has taken nothing of a group, the rest is told as pending without a look at the lake.
    """
    for sink in tools.sinks:
        states = tools.ledger.pending(sink.target, job.measurement.name, job.environment)
        states = [state for state in states if state.run_id != tools.run_id]
        one = replace(tools, sinks=(sink,))
        is_away = False
        for group in _loads(states, job.pipeline.chunk_rows):
            if is_away:
                yield _still_pending(job, sink.name, group)
                continue
            outcome = load_pending(job.measurement, job.environment, group, one)
            counts = outcome.sinks[sink.name]
            is_away = counts.pending == counts.owed > 0
            yield outcome


def _loads(states: list[CellState], most: int) -> Iterator[list[CellState]]:
    """Adjacent cells, newest first, of so many rows together at most or one alone."""
    group: list[CellState] = []
    rows = 0
    for state in states:
        is_full = rows + state.rows > most or len(group) == MOST_CELLS
        if group and (is_full or state.cell.stop != group[-1].cell.start):
            yield group
            group, rows = [], 0
        group.append(state)
        rows += state.rows
    if group:
        yield group


def _still_pending(job: Job, sink: str, states: list[CellState]) -> Outcome:
    owed = sum(state.values for state in states)
    return Outcome(
        measurement=job.measurement.name,
        state="pending",
        sinks={sink: SinkValues(owed=owed, pending=owed)},
    )


def _failed(job: Job, problem: str) -> Outcome:
    return Outcome(measurement=job.measurement.name, state="failed", problems=(problem,))
