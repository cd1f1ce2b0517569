"""Reconcile: what a sink holds of a measurement against the lake, and fixing where they differ."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pandas as pd

from tasks.core.batch import split_cells
from tasks.core.errors import FedvitalsError, SinkRefused, SinkUnavailable
from tasks.core.measurement import Measurement
from tasks.core.ports import CellToLoad, Reader, Sink
from tasks.core.progress import Progress
from tasks.core.reconciliation import (
    EXPLAINED,
    CellDifference,
    Facts,
    MeasurementLine,
    Why,
    verdict_of,
)
from tasks.core.window import Cell, Window, groups_of, iso, micros
from tasks.lake.cells import Held, held_cells
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import RunLock
from tasks.pipeline.cell_summary import NOTHING_HELD, CellSummary, emptied_cells, standing
from tasks.pipeline.load import deliver
from tasks.runs.reconcile.compare import (
    compare,
    facts_of,
    landed_points,
    reasons_of,
    refused_keys,
    sums_of,
    suspects,
)


@dataclass(frozen=True)
class CompareRequest:
    """What is to be compared, in whole cells, and how.

    `deep` compares every value, not only those of cells whose counts or sums differ; `fix` fixes.
    """

    measurement: Measurement
    environment: str
    window: Window
    cell: timedelta
    chunk_rows: int
    now: datetime
    deep: bool
    fix: bool


@dataclass(frozen=True)
class Sides:
    """The lake with its ledger, the sink with its reader, and how to take the measurement's lock."""

    lake: Lake
    ledger: Ledger
    sink: Sink
    reader: Reader
    hold: Callable[[], AbstractContextManager[RunLock]]


@dataclass(frozen=True)
class Found:
    """What one measurement's reconcile found."""

    line: MeasurementLine
    differences: tuple[CellDifference, ...] = ()


@dataclass(frozen=True)
class _Looked:
    """One cell as it was looked at: both sides, why they differ, and what it takes to fix it."""

    standing: CellSummary
    lake: Facts
    sink: Facts
    reasons: dict[Why, int]
    must_erase: bool


def reconcile(wanted: CompareRequest, sides: Sides, progress: Progress) -> Found:
    """Compares a measurement cell by cell, and fixes what differs if `fix` says so.

    First by the counts and sums of each series, which the sink answers from its index; no lock is
    held meanwhile. A cell that differs there is compared value by value under the measurement's lock,
    so that a run that is loading it is not taken for a difference. An error is in the answer.
    """
    work = _Work(wanted, sides)
    name = wanted.measurement.name
    found: list[CellDifference] = []
    problems: tuple[str, ...] = ()
    try:
        work.begin()
        in_question = [cell for group in work.sifted(progress) for cell in group]
        if in_question:
            with sides.hold() as lock:
                for group in work.groups(in_question):
                    found += work.settled(group, lock)
    except FedvitalsError as error:
        problems = (str(error),)
    line = MeasurementLine(
        name=name,
        state="failed" if problems else verdict_of([each.left for each in found]),
        cells=len(work.held),
        lake_values=sum(each.values for each in work.held.values()),
        sink_values=sum(work.stored.values()),
        differing=len(found),
        fixed=sum(each.fixed for each in found),
        problems=(*problems, *dict.fromkeys(work.problems)),
    )
    return Found(line, tuple(found))


class _Work:
    """One reconcile under way. `held` are all cells that either side has anything of."""

    def __init__(self, wanted: CompareRequest, sides: Sides) -> None:
        self.wanted = wanted
        self.sides = sides
        self.held: dict[Cell, Held] = {}
        self.stored: Mapping[Cell, int] = {}
        self.problems: list[str] = []
        self._kept_since = wanted.window.start
        self._of = (wanted.measurement, wanted.environment)

    def begin(self) -> None:
        """Looks which cells there are on either side."""
        wanted, sides = self.wanted, self.sides
        retention = sides.reader.retention()
        if retention is not None:
            self._kept_since = max(wanted.now - retention, wanted.window.start)
        self.stored = sides.reader.counts(*self._of, wanted.window, wanted.cell)
        held = held_cells(sides.lake, *self._of, wanted.window, wanted.cell)
        known = sides.ledger.cells(wanted.measurement.name, wanted.environment, wanted.window)
        emptied = emptied_cells(known, held)
        others = dict.fromkeys([*self.stored, *emptied], NOTHING_HELD)
        self.held = {**others, **held}

    def groups(self, cells: list[Cell]) -> Iterator[list[Cell]]:
        """The cells in groups of about `chunk_rows` rows, whichever side has more."""
        fields = max(1, len(self.wanted.measurement.fields))
        rows = {c: max(self.held[c].rows, self.stored.get(c, 0) // fields) for c in cells}
        return groups_of(sorted(rows), self.wanted.chunk_rows, rows.__getitem__)

    def sifted(self, progress: Progress) -> Iterator[list[Cell]]:
        """The cells that have to be compared value by value, a group at a time."""
        done = 0
        for group in self.groups(list(self.held)):
            yield group if self.wanted.deep else self._suspects(group)
            done += len(group)
            progress(self.wanted.measurement.name, done, len(self.held))

    def _suspects(self, group: list[Cell]) -> list[Cell]:
        span = Window(group[0].start, group[-1].stop)
        landed = sums_of(landed_points(self._rows(span), self.wanted.measurement), group)
        stored = (
            self.sides.reader.sums(*self._of, span, self.wanted.cell)
            if any(self.stored.get(cell) for cell in group)
            else {}
        )
        return suspects(landed, stored)

    def _rows(self, span: Window) -> pd.DataFrame:
        return self.sides.lake.read(*self._of, span)

    def settled(self, group: list[Cell], lock: RunLock) -> list[CellDifference]:
        """The cells of the group that really differ, fixed where that was wanted and can be."""
        found = self._look(group)
        left = found
        mendable = {c: each for c, each in found.items() if self._can_fix(c, each)}
        if self.wanted.fix and mendable:
            lock.check()
            unmended = {cell: each for cell, each in found.items() if cell not in mendable}
            left = {**unmended, **self._fixed(mendable)}
        return [self._difference(cell, each, left.get(cell)) for cell, each in found.items()]

    def _look(self, group: list[Cell]) -> dict[Cell, _Looked]:
        """Both sides of each cell, value by value; only the cells that differ."""
        span = Window(group[0].start, group[-1].stop)
        name, environment, sides = self.wanted.measurement.name, self.wanted.environment, self.sides
        counts = sides.reader.counts(*self._of, span, self.wanted.cell)
        frames = split_cells(self._rows(span), group)
        refused = refused_keys(sides.lake.quarantined(name, environment, span))
        known = sides.ledger.cells(name, environment, span)
        had = sides.ledger.loads(sides.sink.target, name, environment, span)
        looked: dict[Cell, _Looked] = {}
        for cell in group:
            stand = standing(*self._of, cell, frames[cell], known)
            landed = landed_points(frames[cell], self.wanted.measurement)
            stored = sides.reader.points(*self._of, cell) if counts.get(cell) else {}
            difference = compare(landed, stored)
            if difference is None:
                continue
            given = had[cell].landed_digest if cell in had else ""
            is_pending = _is_landed(stand) and given != stand.state.landed_digest
            since = micros(self._kept_since) * 1000
            looked[cell] = _Looked(
                standing=stand,
                lake=facts_of(landed),
                sink=facts_of(stored),
                reasons=reasons_of(difference, is_pending, refused, since),
                must_erase=bool(difference.extra or difference.changed),
            )
        return looked

    def _can_fix(self, cell: Cell, looked: _Looked) -> bool:
        """Return whether the cell may be erased and loaded again.

        Data older than the sink's retention could not be written again; data that was never landed
        belongs to another writer.
        """
        has_cause = not looked.reasons.keys() <= EXPLAINED
        return _is_landed(looked.standing) and has_cause and cell.start >= self._kept_since

    def _fixed(self, looked: Mapping[Cell, _Looked]) -> dict[Cell, _Looked]:
        """Loads the cells again, and what of them still differs then.

        First the ledger forgets what the sink has of them, so that what cannot be fixed now is
        pending for every later run.
        """
        sides, name = self.sides, self.wanted.measurement.name
        for cell in looked:
            sides.ledger.forget_loads(sides.sink.target, name, self.wanted.environment, cell)
        owed = {each.standing.state: _to_load(each) for each in looked.values()}
        loaded = deliver(sides.sink, *self._of, owed, sides.lake, sides.ledger)
        self.problems += loaded.problems
        try:
            return self._look(list(looked))
        except (SinkUnavailable, SinkRefused) as error:
            self.problems.append(str(error))
            return {cell: _pending(each) for cell, each in looked.items()}

    def _difference(self, cell: Cell, looked: _Looked, left: _Looked | None) -> CellDifference:
        remaining = left.reasons if left is not None else {}
        return CellDifference(
            measurement=self.wanted.measurement.name,
            start=iso(cell.start),
            stop=iso(cell.stop),
            lake=looked.lake,
            sink=looked.sink,
            reasons=looked.reasons,
            fixed=left is not looked and remaining.keys() <= EXPLAINED,
            left=remaining,
        )


def _is_landed(stand: CellSummary) -> bool:
    """Whether the lake has, or once had, anything of the cell."""
    return stand.is_known or len(stand.frame) > 0


def _to_load(looked: _Looked) -> CellToLoad:
    return replace(looked.standing.to_load(), erase_first=looked.must_erase)


def _pending(looked: _Looked) -> _Looked:
    return replace(looked, reasons={"pending": sum(looked.reasons.values())})
