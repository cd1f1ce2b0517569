"""Gaps that the source has no more: they are never asked for again unasked."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from tasks.core.receipt import Outcome
from tasks.core.state import CellState
from tasks.core.window import Cell, Window, format_duration, iso
from tasks.lake.cells import held_cells
from tasks.ledger.gaps import Gaps
from tasks.pipeline.cell_summary import standing
from tasks.pipeline.chunk import Tools
from tasks.pipeline.due import Job
from tasks.pipeline.process import load_pending


def lost_for_good(job: Job, lost: Gaps, tools: Tools) -> Iterator[Outcome]:
    """Ends these gaps, and says so. What is landed of them stays, and goes to the sinks.

    It is the lake that is asked what is landed: a run that died behind its commit reported no ledger.
    """
    if not lost.stretches:
        return
    name, environment = job.measurement.name, job.environment
    span = Window(lost.stretches[0].start, lost.stretches[-1].stop)
    known = tools.ledger.cells(name, environment, span)
    unreported = _unreported(job, lost, known, tools)
    states = [_as_lost(c, unreported.get(c) or known.get(c), job, tools) for c in lost.cells()]
    record(states, tools)
    retention = format_duration(job.pipeline.source_retention)
    warning = (
        f"{counted(lost)} missed, and further back than {tools.source.name} keeps its data "
        f"(source_retention, {retention}): lost, and not asked for again. If it has them all the "
        f"same, collect with --start {iso(span.start)} --stop {iso(span.stop)}"
    )
    yield Outcome(measurement=name, state="lost", warnings=(warning,))
    if unreported:
        landed = [state for state in states if state.cell in unreported]
        yield load_pending(job.measurement, environment, landed, tools)


def _unreported(
    job: Job, lost: Gaps, known: dict[Cell, CellState], tools: Tools
) -> dict[Cell, CellState]:
    """The cells that hold other rows than the ledger knows, as they stand."""
    span = Window(lost.stretches[0].start, lost.stretches[-1].stop)
    measurement, environment = job.measurement, job.environment
    held = held_cells(tools.lake, measurement, environment, span, job.pipeline.cell)
    unreported = {}
    for cell in lost.cells():
        if cell not in held:
            continue
        frame = tools.lake.read(measurement, environment, cell)
        found = standing(measurement, environment, cell, frame, known)
        if not found.is_known:
            # nobody knows what the sinks were given of it
            unreported[cell] = replace(
                found.state,
                source=tools.source.name,
                delete_count=found.state.delete_count + 1,
                run_id=tools.run_id,
            )
    return unreported


def _as_lost(cell: Cell, known: CellState | None, job: Job, tools: Tools) -> CellState:
    """Of a cell that was read in part, what is landed stays as it is."""
    of = (job.measurement, job.environment, cell, tools.source.name, tools.run_id)
    before = known or CellState.of_nothing(*of)
    return replace(before, state="lost", covered_until=cell.stop, made_at=datetime.now(UTC))


def record(states: list[CellState], tools: Tools) -> None:
    """Writes the states into the ledger, and has the lake reported of them."""
    tools.lock.check()
    tools.ledger.record(states)
    tools.record(states)


def counted(gaps: Gaps) -> str:
    """From when to when the gaps are, and how many cells: the beginning of a sentence."""
    start, stop = iso(gaps.stretches[0].start), iso(gaps.stretches[-1].stop)
    number = "1 cell was" if gaps.count == 1 else f"{gaps.count} cells were"
    return f"{start} to {stop}: {number}"
