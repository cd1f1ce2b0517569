"""Gaps older than the source's retention: marked as lost, not retried."""

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
    """Mark these gaps as lost, with a warning. Their landed rows stay, and are loaded.

    The lake decides what is landed: a run that died behind its commit did not update the ledger.
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
        f"{counted(lost)} missed and older than the retention of {tools.source.name} "
        f"(source_retention, {retention}): marked as lost. Fix: if it still has them, "
        f"collect with --start {iso(span.start)} --stop {iso(span.stop)}"
    )
    yield Outcome(measurement=name, state="lost", warnings=(warning,))
    if unreported:
        landed = [state for state in states if state.cell in unreported]
        yield load_pending(job.measurement, environment, landed, tools)


def _unreported(
    job: Job, lost: Gaps, known: dict[Cell, CellState], tools: Tools
) -> dict[Cell, CellState]:
    """Summarise the cells whose rows differ from the ledger."""
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
            # it is unknown what the sinks have of it
            unreported[cell] = replace(
                found.state,
                source=tools.source.name,
                delete_count=found.state.delete_count + 1,
                run_id=tools.run_id,
            )
    return unreported


def _as_lost(cell: Cell, known: CellState | None, job: Job, tools: Tools) -> CellState:
    """Mark a cell as lost; its landed rows stay."""
    of = (job.measurement, job.environment, cell, tools.source.name, tools.run_id)
    before = known or CellState.of_nothing(*of)
    return replace(before, state="lost", covered_until=cell.stop, made_at=datetime.now(UTC))


def record(states: list[CellState], tools: Tools) -> None:
    """Write the states into the ledger and queue them for the lake."""
    tools.lock.check()
    tools.ledger.record(states)
    tools.record(states)


def counted(gaps: Gaps) -> str:
    """Begin a sentence on gaps: from, to, and the number of cells."""
    start, stop = iso(gaps.stretches[0].start), iso(gaps.stretches[-1].stop)
    number = "1 cell was" if gaps.count == 1 else f"{gaps.count} cells were"
    return f"{start} to {stop}: {number}"
