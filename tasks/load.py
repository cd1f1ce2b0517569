"""Loading: brings landed cells to every sink that lacks their landed digest."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from tasks.core.catalogue import Measurement
from tasks.core.loading import CellAnswer, CellToLoad, Sink
from tasks.core.receipt import MeasurementState, SinkValues
from tasks.core.retry import COMMIT_DEADLINE_SECONDS, retrying
from tasks.core.state import CellState, LoadState
from tasks.core.window import Cell, Window
from tasks.work import Tools


@dataclass(frozen=True)
class Loaded:
    """What the sinks answered, in values, and what is to be said about it."""

    sinks: dict[str, SinkValues]
    problems: tuple[str, ...]

    def state(self, state: MeasurementState) -> MeasurementState:
        """The measurement's state, given the one it had before loading."""
        if any(counts.refused for counts in self.sinks.values()):
            return "refused"
        return "pending" if any(counts.pending for counts in self.sinks.values()) else state


def load(
    measurement: Measurement,
    environment: str,
    frames: Mapping[CellState, pd.DataFrame],
    tools: Tools,
) -> Loaded:
    """Loads the landed rows of each cell into the sinks that lack them.

    A sink that fails is no error here: its values are pending, and the next run loads them.
    """
    counts: dict[str, SinkValues] = {}
    problems: list[str] = []
    for sink in tools.sinks:
        owed = _owed(sink, measurement, environment, frames, tools)
        cells = list(owed.values())
        answers = sink.load(measurement, environment, cells) if cells else []
        counts[sink.name] = sum((answer.values for answer in answers), SinkValues())
        problems += [str(answer.error) for answer in answers if answer.error is not None]
        refusals = [answer.refusals for answer in answers if len(answer.refusals)]
        if refusals:
            # before the ledger says loaded, or a crash in between would lose why
            _quarantine(measurement, pd.concat(refusals, ignore_index=True), tools)
            problems.append(_refusal(sink, counts[sink.name].refused, refusals[0]))
        states = {state.cell: state for state in owed}
        tools.ledger.record_loads(
            _load_state(sink.target, states[answer.cell], answer)
            for answer in answers
            if answer.error is None
        )
    return Loaded(counts, tuple(dict.fromkeys(problems)))


def _owed(
    sink: Sink,
    measurement: Measurement,
    environment: str,
    frames: Mapping[CellState, pd.DataFrame],
    tools: Tools,
) -> dict[CellState, CellToLoad]:
    """The cells that the sink lacks as they stand now."""
    if not frames:
        return {}
    span = Window(min(s.cell.start for s in frames), max(s.cell.stop for s in frames))
    had = tools.ledger.loads(sink.target, measurement.name, environment, span)
    return {
        state: CellToLoad(
            state.cell, frame, erase_first=_erasures(state.cell, had) < state.erasures
        )
        for state, frame in frames.items()
        if _lacks(state, had)
    }


def _quarantine(measurement: Measurement, refusals: pd.DataFrame, tools: Tools) -> None:
    for attempt in retrying(COMMIT_DEADLINE_SECONDS):
        with attempt:
            tools.lake.quarantine_more(measurement, refusals)


def _lacks(state: CellState, had: Mapping[Cell, LoadState]) -> bool:
    there = had[state.cell].landed_digest if state.cell in had else ""
    return state.landed_digest != there


def _erasures(cell: Cell, had: Mapping[Cell, LoadState]) -> int:
    return had[cell].erasures if cell in had else 0


def _load_state(sink: str, state: CellState, answer: CellAnswer) -> LoadState:
    return LoadState(
        sink=sink,
        measurement=state.measurement,
        environment=state.environment,
        cell=state.cell,
        landed_digest=state.landed_digest,
        erasures=state.erasures,
        loaded=answer.values.loaded,
        refused=answer.values.refused,
    )


def _refusal(sink: Sink, refused: int, records: pd.DataFrame) -> str:
    return (
        f"{sink.name} refused {refused} values for good, the first with: {records['reason'].iloc[0]}. "
        "See: fedvitals quarantine ls"
    )
