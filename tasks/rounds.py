"""Rounds: which cells a measurement needs, cut into chunks, worked through a few at a time."""

import logging
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from tasks.core.catalogue import Measurement
from tasks.core.errors import FedvitalsError, SchemaChanged
from tasks.core.receipt import Outcome, joined
from tasks.core.settings import Pipeline
from tasks.core.window import Cell, Window, floor, iso
from tasks.ledger.ledger import Ledger
from tasks.process import load_pending, process
from tasks.work import SOURCES_WITH_HISTORY, Chunk, Tools

logger = logging.getLogger(__name__)

MOST_CELLS = 168
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Job:
    """One measurement of one environment, and what a run wants of it.

    `window` is None for "what is due"; `settled` is up to when the source's data are final.
    """

    measurement: Measurement
    environment: str
    window: Window | None
    now: datetime
    pipeline: Pipeline

    @property
    def settled(self) -> datetime:
        """Up to when data may be read, on the measurement's own step."""
        return floor(self.now - self.pipeline.settle_delay, self.measurement.step)

    @property
    def newest(self) -> datetime:
        """Start of the newest cell of which anything may be read."""
        return floor(self.settled - timedelta(microseconds=1), self.pipeline.cell)

    @property
    def earliest(self) -> datetime:
        """How far back a run goes when nobody names a window."""
        return self.newest - self.pipeline.heal_limit * self.pipeline.cell


def work(job: Job, tools: Tools, progress: Progress) -> Outcome:
    """All of a job's chunks, the newest cell first, then what is pending from earlier runs.

    An error ends the job's extraction, never the run: it is in the outcome, and what is landed stays.
    """
    read = _told(job, _outcomes(job, tools, progress))
    pending = _told(job, _pending(job, tools))
    return joined(job.measurement.name, [*read, *pending])


def _told(job: Job, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
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


def due_cells(job: Job, ledger: Ledger) -> list[Cell]:
    """The cells to read: those of the window, else the newest, the overlap before it, and the gaps.

    The newest comes first, the rest follows, oldest first.
    """
    if job.window is not None:
        window = job.window.widened(job.pipeline.cell).clipped(job.settled)
        cells = list(window.cells(job.pipeline.cell)) if window else []
    else:
        cells = _due_now(job, ledger)
    return cells[-1:] + cells[:-1]


def _due_now(job: Job, ledger: Ledger) -> list[Cell]:
    """A run that ended early has covered the newest cell and left gaps before it."""
    name, pipeline, newest = job.measurement.name, job.pipeline, job.newest
    last, first = ledger.newest(name, job.environment), ledger.oldest(name, job.environment)
    if last is None or first is None:
        start = newest - pipeline.start_at * pipeline.cell
        return list(Window(start, newest + pipeline.cell).cells(pipeline.cell))
    overlapped = min(last.cell.start, newest) - pipeline.overlap * pipeline.cell
    start = max(min(overlapped, first.cell.start), job.earliest)
    window = Window(start, newest + pipeline.cell)
    known = ledger.cells(name, job.environment, window)
    covered = {c for c in known if known[c].covered_until >= min(c.stop, job.settled)}
    return [
        cell
        for cell in window.cells(pipeline.cell)
        if cell.start >= overlapped or cell not in covered
    ]


def _missed(job: Job, ledger: Ledger) -> Iterator[Outcome]:
    """Says once what was missed and is too far back to be read unasked."""
    last = ledger.newest(job.measurement.name, job.environment)
    if job.window is not None or last is None or last.covered_until >= job.earliest:
        return
    start, stop = iso(last.covered_until), iso(job.earliest)
    warning = (
        f"{start} to {stop} was missed, and is further back than heal_limit. "
        f"To read it, collect with --start {start} --stop {stop}"
    )
    yield Outcome(measurement=job.measurement.name, state="lost", warnings=(warning,))


def _prepared(job: Job, tools: Tools) -> Iterator[Outcome]:
    """Makes the table ready; a word when it is gone that the ledger still knows."""
    name = job.measurement.name
    last = tools.ledger.newest(name, job.environment)
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
    yield from _prepared(job, tools)
    if tools.source.name not in SOURCES_WITH_HISTORY:
        yield from _sample(job, tools, progress)
        return
    cells = due_cells(job, tools.ledger)
    if not cells:
        return
    yield from _missed(job, tools.ledger)
    first = process(_chunk(job, (cells[0],)), tools)
    progress(job.measurement.name, 1, len(cells))
    yield first
    chunks = [_chunk(job, group) for group in _groups(cells[1:], _cells_a_chunk(job, first, tools))]
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
    last = tools.ledger.newest(job.measurement.name, job.environment)
    if last is not None and last.covered_until > slot.start:
        yield Outcome(measurement=job.measurement.name, state="unchanged")
        return
    cell = next(slot.cells(job.pipeline.cell))
    yield process(Chunk(job.measurement, job.environment, (cell,), slot), tools)
    progress(job.measurement.name, 1, 1)


def _chunk(job: Job, cells: tuple[Cell, ...]) -> Chunk:
    span = Window(cells[0].start, min(cells[-1].stop, job.settled))
    return Chunk(job.measurement, job.environment, cells, span)


def _cells_a_chunk(job: Job, first: Outcome, tools: Tools) -> int:
    """How many cells make a chunk of about `chunk_rows`, judged by the fullest cell known."""
    last = tools.ledger.newest(job.measurement.name, job.environment)
    rows = max(first.rows, last.rows if last else 0)
    if last is not None and last.covered_until < last.cell.stop:
        covered = (last.covered_until - last.cell.start) / last.cell.length
        rows = int(rows / max(covered, 0.01))
    return max(1, min(MOST_CELLS, job.pipeline.chunk_rows // max(rows, 1)))


def _groups(cells: list[Cell], size: int) -> Iterator[tuple[Cell, ...]]:
    """Adjacent cells, so many at most."""
    group: list[Cell] = []
    for cell in cells:
        if group and (len(group) == size or group[-1].stop != cell.start):
            yield tuple(group)
            group = []
        group.append(cell)
    if group:
        yield tuple(group)


def _pending(job: Job, tools: Tools) -> Iterator[Outcome]:
    """Loads what earlier runs left, in groups of about `chunk_rows`."""
    for sink in tools.sinks:
        states = tools.ledger.pending(sink.target, job.measurement.name, job.environment)
        states = [state for state in states if state.run_id != tools.run_id]
        size = max(1, job.pipeline.chunk_rows // max([1, *(state.rows for state in states)]))
        for start in range(0, len(states), size):
            group = states[start : start + size]
            one = replace(tools, sinks=(sink,))
            yield load_pending(job.measurement, job.environment, group, one)


def _failed(job: Job, problem: str) -> Outcome:
    return Outcome(measurement=job.measurement.name, state="failed", problems=(problem,))
