"""A source and a sink in memory, with knobs for what can go wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import Batch, canonical, count_values, slice_cell
from tasks.core.errors import FedvitalsError
from tasks.core.measurement import Measurement
from tasks.core.ports import CellAnswer, CellToLoad, History
from tasks.core.quarantine import Reason, records
from tasks.core.receipt import SinkValues
from tasks.core.severity import Severity
from tasks.core.window import Cell, Window

REASON = Reason("sink", "value", "sink", "the sink takes it", Severity.HIGH, "", "not wanted here")
# environment, the other tags, time, field
Key = tuple[str, tuple[str | None, ...], datetime, str]


@dataclass
class MemorySource:
    """Answers with the rows of `frame` in the window.

    `error` is raised at each call, `errors_at` only where the window holds that moment. `dropped`
    goes into every batch. `asked` are the windows so far.
    """

    frame: pd.DataFrame
    name: str = "prometheus"
    history: History = "range"
    error: BaseException | None = None
    errors_at: dict[datetime, BaseException] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    asked: list[Window] = field(default_factory=list)

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        self.asked.append(window)
        error = self.error or next(
            (e for moment, e in self.errors_at.items() if window.start <= moment < window.stop),
            None,
        )
        if error is not None:
            raise error
        rows = self.frame[self.frame["environment"] == environment]
        frame = canonical(slice_cell(rows, window), measurement)
        return Batch(measurement, environment, window, frame, dict(self.dropped))


@dataclass
class MemorySink:
    """Holds values by key. While `error` is set every cell is pending.

    `refuses` says which values it refuses for good; `defect` is raised, which a sink never should.
    """

    name: str = "memory"
    target: str = "memory"
    in_order: bool = False
    error: FedvitalsError | None = None
    defect: BaseException | None = None
    refuses: Callable[[str, Any], bool] = lambda field, value: False
    held: dict[Key, Any] = field(default_factory=dict)
    calls: list[list[CellToLoad]] = field(default_factory=list)
    is_closed: bool = False

    def load(
        self, measurement: Measurement, environment: str, cells: list[CellToLoad]
    ) -> list[CellAnswer]:
        self.calls.append(cells)
        if self.defect is not None:
            raise self.defect
        return [self._answer(measurement, environment, cell) for cell in cells]

    def close(self) -> None:
        self.is_closed = True

    def values(self, name: str) -> list[Any]:
        """The held values of a field, in the order of environment, tags and time."""
        keys = sorted((k for k in self.held if k[3] == name), key=str)
        return [self.held[key] for key in keys]

    def _answer(self, measurement: Measurement, environment: str, cell: CellToLoad) -> CellAnswer:
        owed = count_values(cell.frame, measurement)
        if self.error is not None:
            return CellAnswer(cell.cell, SinkValues(owed=owed, pending=owed), error=self.error)
        if cell.erase_first:
            self._erase(environment, cell.cell)
        refused = {
            name: self._write(cell.frame, measurement, environment, name)
            for name in measurement.fields
        }
        parts = [
            records(cell.frame, measurement, np.array(positions), [name], REASON)
            for name, positions in refused.items()
            if positions
        ]
        count = sum(map(len, refused.values()))
        values = SinkValues(owed=owed, loaded=owed - count, refused=count)
        if not parts:
            return CellAnswer(cell.cell, values)
        return CellAnswer(cell.cell, values, pd.concat(parts, ignore_index=True))

    def _erase(self, environment: str, cell: Cell) -> None:
        gone = [k for k in self.held if k[0] == environment and cell.start <= k[2] < cell.stop]
        for key in gone:
            del self.held[key]

    def _write(
        self, frame: pd.DataFrame, measurement: Measurement, environment: str, name: str
    ) -> list[int]:
        """Writes the values of a field; the positions of those refused."""
        refused = []
        tags = [frame[tag].astype("object").tolist() for tag in measurement.tags]
        for position, value in enumerate(frame[name].tolist()):
            if pd.isna(value):
                continue
            if self.refuses(name, value):
                refused.append(position)
                continue
            others = tuple(None if pd.isna(tag[position]) else str(tag[position]) for tag in tags)
            moment = frame["time"].iloc[position].to_pydatetime()
            self.held[environment, others, moment, name] = value
        return refused
