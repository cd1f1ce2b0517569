"""Rounds: which cells a measurement needs, cut into chunks, worked through a few at a time."""

import logging
from collections.abc import Iterator, Sequence
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
from tasks.core.progress import Progress
from tasks.core.receipt import Outcome, SinkValues, given_up, joined
from tasks.core.window import Cell, Window, floor, follows, groups_of, iso
from tasks.ledger.deferred import put_aside, take_up
from tasks.ledger.gaps import Gaps, covered_beyond, most_rows
from tasks.ledger.pending import pending_cells, pending_values
from tasks.pipeline.chunk import MOST_CELLS, Chunk, Tools
from tasks.pipeline.due import Job, find_due
from tasks.pipeline.lost import counted, lost_for_good, record
from tasks.pipeline.process import load_pending, process
from tasks.pipeline.training_rounds import new_rounds

logger = logging.getLogger("fedvitals")

# what may be wrong with a part of the past only: the rest is read all the same
OF_THE_ANSWER = (AnswerInvalid, KeyRepeated, LabelsDiffer, SeriesExceeded, SourceOverloaded)
MOST_FAILURES_IN_A_ROW = 3


def work(job: Job, tools: Tools, progress: Progress) -> Outcome:
    """All of a job's chunks, the newest cell first, then what is pending from earlier runs.

    An error ends the job's extraction, never the run: it is in the outcome, and what is landed stays.
    """
    read = reported(job, _outcomes(job, tools, progress))
    pending = reported(job, pending_loaded(job, tools))
    return joined(job.measurement.name, [*read, *pending])


def reported(job: Job, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """The outcomes up to an error, and the error as the last of them."""
    try:
        yield from outcomes
    except FedvitalsError as error:
        yield given_up(job.measurement.name, error)
    # one measurement of many: a defect in it must not take the others down, and the run ends as failed
    except Exception as error:
        logger.exception("measurement=%s unexpected error", job.measurement.name)
        yield _failed(job, defect(error))


def _left(job: Job, left: Gaps) -> Iterator[Outcome]:
    """Says what later runs have to read: this run has work pending."""
    if not left.stretches:
        return
    start, stop = iso(left.stretches[0].start), iso(left.stretches[-1].stop)
    warning = (
        f"{counted(left)} missed, and still to be read: a run reads {job.pipeline.max_gaps_per_run} of "
        f"them (max_gaps_per_run), so the next ones go on. To read them now, collect with "
        f"--start {start} --stop {stop}"
    )
    yield Outcome(measurement=job.measurement.name, state="pending", warnings=(warning,))


def _taken_back(job: Job, tools: Tools) -> Iterator[Outcome]:
    """No time that has not come can have been read: a clock was ahead, and it will be read again."""
    name = job.measurement.name
    beyond = covered_beyond(tools.ledger, name, job.environment, job.settled, job.pipeline.cell)
    if not beyond:
        return
    now = datetime.now(UTC)
    record([replace(state, covered_until=job.settled, made_at=now) for state in beyond], tools)
    furthest = iso(max(state.covered_until for state in beyond))
    warning = (
        f"an earlier run read up to {furthest}, which is later than this one may: a clock was wrong, "
        "or settle_delay is longer now. That time is read again when it has come"
    )
    yield Outcome(measurement=name, state="no_data", warnings=(warning,))


def reopen(job: Job, late: tuple[Cell, ...], newest: Cell, tools: Tools) -> None:
    """Makes gaps of the cells that may have late rows, until they are read again.

    The newest cell comes first: after a run that dies behind it, or that reads nothing but a window,
    nobody would know any more that these are to be read again.
    """
    if not late:
        return
    span = Window(late[0].start, newest.stop)
    known = tools.ledger.cells(job.measurement.name, job.environment, span)
    if any(cell.start == newest.start for cell in known):
        return  # what is the newest was it before, so that they stay the last ones
    tools.lock.check()
    tools.ledger.record(
        replace(known[cell], covered_until=cell.start) for cell in late if cell in known
    )


def prepared(job: Job, tools: Tools) -> Iterator[Outcome]:
    """Makes the table ready; a word when it is gone that the ledger still knows."""
    name = job.measurement.name
    last = tools.ledger.newest(name, job.environment)
    if last is not None and last.state == "migrating":
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
    together = [cell for cell in cells[1:] if cell not in due.aside]
    parts = [*groups_of(together, _cells_a_chunk(job, first, tools), fits=follows)]
    # one alone, so that what can be read of them is
    parts += [[cell] for cell in cells[1:] if cell in due.aside]
    done = 1
    for chunk, outcome in _at_once([chunk_of(job, part) for part in parts], job, tools, due.aside):
        yield outcome
        done += len(chunk.cells)
        progress(job.measurement.name, done, len(cells))


def _at_once(
    chunks: list[Chunk], job: Job, tools: Tools, aside: frozenset[Cell]
) -> Iterator[tuple[Chunk, Outcome]]:
    """A few chunks at a time, in order: one is decoded while another waits for a sink.

    One whose answer cannot be used is deferred. After three such in a row, or another error, the
    chunks that wait are given up; what was begun is finished and reported before the error is raised.
    """
    first_error: Exception | None = None
    in_a_row = 0
    with ThreadPoolExecutor(job.pipeline.workers) as pool:
        futures = {pool.submit(process, chunk, tools): chunk for chunk in chunks}
        for future, chunk in futures.items():
            if future.cancelled():
                continue
            error = future.exception()
            in_a_row = in_a_row + 1 if isinstance(error, OF_THE_ANSWER) else 0
            if isinstance(error, OF_THE_ANSWER):
                yield chunk, _defer(chunk, error, tools, aside)
            elif isinstance(error, Exception):
                first_error = first_error or error
            else:
                yield chunk, future.result()
                if chunk.cells[0] in aside:
                    take_up(tools.ledger, chunk.measurement.name, chunk.environment, chunk.cells)
            if first_error or in_a_row == MOST_FAILURES_IN_A_ROW:
                for other in futures:
                    other.cancel()
    if first_error is not None:
        raise first_error


def _defer(chunk: Chunk, error: FedvitalsError, tools: Tools, aside: frozenset[Cell]) -> Outcome:
    """Later runs try it after all others. It fails the run that finds it, and is pending from then on."""
    name = chunk.measurement.name
    tools.lock.check()
    put_aside(tools.ledger, name, chunk.environment, chunk.cells, tools.run_id, str(error))
    problem = f"{iso(chunk.window.start)} to {iso(chunk.window.stop)}: {error}"
    if aside.issuperset(chunk.cells):
        return Outcome(name, "pending", warnings=(f"{problem}. It stays deferred",))
    later = "It is deferred: later runs try it again behind all other gaps"
    return Outcome(name, "failed", problems=(f"{problem}. {later}",))


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


def chunk_of(job: Job, cells: Sequence[Cell]) -> Chunk:
    """The chunk of these adjacent cells, clipped where time has not come yet."""
    span = Window(cells[0].start, min(cells[-1].stop, job.settled))
    return Chunk(job.measurement, job.environment, tuple(cells), span, job.allow_deletes)


def _cells_a_chunk(job: Job, first: Outcome, tools: Tools) -> int:
    """How many cells make a chunk of about `chunk_rows`, judged by the fullest cell known."""
    name, environment = job.measurement.name, job.environment
    last = tools.ledger.newest(name, environment)
    rows = max(first.rows, most_rows(tools.ledger, name, environment))
    if last is not None and last.covered_until < last.cell.stop:
        covered = (last.covered_until - last.cell.start) / last.cell.length
        rows = max(rows, int(last.rows / max(covered, 0.01)))
    return max(1, min(MOST_CELLS, job.pipeline.chunk_rows // max(rows, 1)))


def pending_loaded(job: Job, tools: Tools) -> Iterator[Outcome]:
    """Loads what earlier runs left, the newest first, a chunk's rows at a time.

    Once a sink has taken nothing of a group, the rest is reported as pending without a look at the lake.
    """
    for sink in tools.sinks:
        of = (sink.target, job.measurement.name, job.environment)
        pending = pending_cells(tools.ledger, *of)
        states = (state for state in pending if state.run_id != tools.run_id)
        one = replace(tools, sinks=(sink,))
        for group in groups_of(
            states,
            job.pipeline.chunk_rows,
            size=lambda state: state.rows,
            fits=lambda one, older: follows(older.cell, one.cell),
            most_items=MOST_CELLS,
        ):
            outcome = load_pending(job.measurement, job.environment, group, one)
            yield outcome
            counts = outcome.sinks[sink.name]
            if counts.pending == counts.owed > 0:
                rest = pending_values(tools.ledger, *of, group[-1].cell.start, tools.run_id)
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
