"""Loading of landed cells into every sink that lacks their landed digest."""

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pandas as pd

from tasks.core.batch import count_values
from tasks.core.errors import SinkUnavailable, defect
from tasks.core.measurement import Measurement
from tasks.core.ports import CellAnswer, CellToLoad, Sink
from tasks.core.receipt import MeasurementState, SinkValues
from tasks.core.retry import COMMIT_DEADLINE_SECONDS, retrying
from tasks.core.state import CellState, LoadState
from tasks.core.window import Cell, Window
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.pipeline.chunk import Tools

logger = logging.getLogger("fedvitals")


@dataclass(frozen=True)
class Loaded:
    """The sinks' results, in values, with warnings."""

    sinks: dict[str, SinkValues]
    problems: tuple[str, ...]

    def state(self, state: MeasurementState) -> MeasurementState:
        """Return the measurement's state after loading, given the one before."""
        if any(counts.refused for counts in self.sinks.values()):
            return "refused"
        return "pending" if any(counts.pending for counts in self.sinks.values()) else state


def load(
    measurement: Measurement,
    environment: str,
    frames: Mapping[CellState, pd.DataFrame],
    tools: Tools,
) -> Loaded:
    """Load the landed rows of each cell into the sinks that lack them.

    A failing sink raises nothing: its values are pending, and the next run loads them.
    """

    def load_one(sink: Sink) -> Loaded:
        owed = _owed(sink, measurement, environment, frames, tools)
        return deliver(sink, measurement, environment, owed, tools.lake, tools.ledger)

    # side by side: several that hang cost no more time than one
    with ThreadPoolExecutor(max(1, len(tools.sinks))) as pool:
        parts = list(pool.map(load_one, tools.sinks))
    counts = {name: values for part in parts for name, values in part.sinks.items()}
    problems = dict.fromkeys(each for part in parts for each in part.problems)
    return Loaded(counts, tuple(problems))


def deliver(
    sink: Sink,
    measurement: Measurement,
    environment: str,
    owed: Mapping[CellState, CellToLoad],
    lake: Lake,
    ledger: Ledger,
) -> Loaded:
    """Load these cells into the sink and record the result under the cell's state.

    Raises LakeBusy, LakeDamaged, LedgerUnavailable; the sink's own failures are in the result.
    """
    states = {state.cell: state for state in owed}
    answers: list[CellAnswer] = []
    problems: list[str] = []
    for group in _answers(sink, measurement, environment, list(owed.values())):
        problems += _refused(sink, measurement, environment, group, lake)
        ledger.record_loads(
            _load_state(sink.target, states[answer.cell], answer)
            for answer in group
            if answer.error is None or answer.sent_until is not None
        )
        answers += [answer for answer in group if answer.is_whole]
    problems += [str(answer.error) for answer in answers if answer.error is not None]
    problems += [f"{sink.name} {each.skipped}. {_KEEP_MORE}" for each in answers if each.skipped]
    values = sum((answer.values for answer in answers), SinkValues())
    return Loaded({sink.name: values}, tuple(dict.fromkeys(problems)))


def _answers(
    sink: Sink, measurement: Measurement, environment: str, cells: list[CellToLoad]
) -> Iterator[list[CellAnswer]]:
    """Load the cells; yield answers to be recorded together, in the end a whole one a cell.

    Whatever comes out of the sink, the cells are landed, so they are pending.
    """
    open_cells = {each.cell: each for each in cells}
    try:
        answers = sink.load(measurement, environment, cells) if cells else []
        for group in [answers] if isinstance(answers, list) else ([each] for each in answers):
            for answer in group:
                if answer.is_whole:
                    del open_cells[answer.cell]
            yield group
        if open_cells:
            raise ValueError("the sink did not answer for every cell")
    # a defect in one sink must lose neither the count of what is landed nor the other sinks: its
    # values are pending, and the run ends as degraded
    except Exception as error:
        logger.exception("sink=%s unexpected error", sink.name)
        facts = {"sink": sink.name, "url": sink.target, "problem": defect(error)}
        unforeseen = SinkUnavailable(**facts, retry_after=None)
        owed = {cell: count_values(each.frame, measurement) for cell, each in open_cells.items()}
        yield [
            CellAnswer(cell, SinkValues(owed=values, pending=values), error=unforeseen)
            for cell, values in owed.items()
        ]


def _refused(
    sink: Sink, measurement: Measurement, environment: str, answers: list[CellAnswer], lake: Lake
) -> list[str]:
    """Quarantine the refusals; return a problem that names the first."""
    refusals = [answer.refusals for answer in answers if len(answer.refusals)]
    if not refusals:
        return []
    # before the ledger records the load, or a crash in between would lose the reason
    cells = [answer.cell for answer in answers]
    _quarantine(measurement, environment, pd.concat(refusals, ignore_index=True), cells, lake)
    return [_refusal(sink, sum(answer.values.refused for answer in answers), refusals[0])]


def _owed(
    sink: Sink,
    measurement: Measurement,
    environment: str,
    frames: Mapping[CellState, pd.DataFrame],
    tools: Tools,
) -> dict[CellState, CellToLoad]:
    if not frames:
        return {}
    span = Window(min(s.cell.start for s in frames), max(s.cell.stop for s in frames))
    had = tools.ledger.loads(sink.target, measurement.name, environment, span)
    rebuilt = tools.ledger.rebuilt_at()
    return {
        state: CellToLoad(
            state.cell,
            frame,
            erase_first=_delete_count(state.cell, had) < state.delete_count,
            sent_until=had[state.cell].sent_until if state.cell in had else rebuilt,
        )
        for state, frame in frames.items()
        if _lacks(state, had)
    }


def _quarantine(
    measurement: Measurement,
    environment: str,
    refusals: pd.DataFrame,
    cells: list[Cell],
    lake: Lake,
) -> None:
    """Quarantine the refusals, but none twice, as after a reload."""
    span = Window(min(cell.start for cell in cells), max(cell.stop for cell in cells))
    held = lake.quarantined(measurement.name, environment, span)
    keys = zip(*(refusals[name] for name in _SAME), strict=True)
    known = set(zip(*(held[name] for name in _SAME), strict=True))
    new = refusals[[key not in known for key in keys]]
    if new.empty:
        return
    for attempt in retrying(COMMIT_DEADLINE_SECONDS):
        with attempt:
            lake.quarantine_more(measurement, new)


_KEEP_MORE = "The lake has them. Fix: keep more there, then run fedvitals replay"
# identifies one record of a refusal
_SAME = ("time", "tags", "field", "text", "check_id")


def _lacks(state: CellState, had: Mapping[Cell, LoadState]) -> bool:
    there = had[state.cell].landed_digest if state.cell in had else ""
    return state.landed_digest != there


def _delete_count(cell: Cell, had: Mapping[Cell, LoadState]) -> int:
    return had[cell].delete_count if cell in had else 0


def _load_state(sink: str, state: CellState, answer: CellAnswer) -> LoadState:
    return LoadState(
        sink=sink,
        measurement=state.measurement,
        environment=state.environment,
        cell=state.cell,
        # what is still under way stays owed
        landed_digest=state.landed_digest if answer.is_whole and answer.error is None else "",
        delete_count=state.delete_count,
        loaded=answer.values.loaded,
        refused=answer.values.refused,
        sent_until=answer.sent_until,
    )


def _refusal(sink: Sink, refused: int, records: pd.DataFrame) -> str:
    return (
        f"{sink.name} refused {refused} values for good, the first with: {records['reason'].iloc[0]}. "
        "Fix: list them with fedvitals quarantine ls"
    )
