"""Replay: brings any range of the lake into a sink again, whatever the ledger believes it has."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

from tasks.core.batch import split_cells
from tasks.core.errors import FedvitalsError
from tasks.core.measurement import Measurement
from tasks.core.ports import CellToLoad, Sink
from tasks.core.progress import Progress
from tasks.core.receipt import Outcome, SinkValues, given_up, joined
from tasks.core.state import CellState
from tasks.core.window import Cell, Window, groups_of
from tasks.lake.cells import Held, held_cells
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import RunLock
from tasks.pipeline.cell_summary import NOTHING_HELD, emptied_cells, standing
from tasks.pipeline.chunk import Stopwatch
from tasks.pipeline.load import deliver


@dataclass(frozen=True)
class Replay:
    """What is to be brought where: whole cells of one measurement."""

    measurement: Measurement
    environment: str
    window: Window
    cell: timedelta
    chunk_rows: int
    workers: int


@dataclass(frozen=True)
class Stores:
    """Where it comes from and goes to; the caller holds the lock."""

    lake: Lake
    ledger: Ledger
    sink: Sink
    lock: RunLock


def replay(wanted: Replay, stores: Stores, progress: Progress) -> Outcome:
    """Sends every cell of the range, groups of about `chunk_rows` rows, a few at once.

    First the ledger forgets what the sink has, so that what a killed replay leaves is pending for every
    later run. Sending a cell twice stores the same points. When the sink gives up, the rest stays
    pending; an error of lake, ledger or lock ends it and is in the outcome."""
    work = _Work(wanted, stores)
    name = wanted.measurement.name
    parts: list[Outcome] = []
    try:
        groups = work.begin()
        total = sum(map(len, groups))
        for done, part in work.sent(groups):
            parts.append(part)
            progress(name, done, total)
    except FedvitalsError as error:
        parts.append(given_up(name, error))
    return joined(name, parts)


@dataclass
class _Work:
    wanted: Replay
    stores: Stores
    held: Mapping[Cell, Held] = field(default_factory=dict)
    known: Mapping[Cell, CellState] = field(default_factory=dict)
    gave_up: threading.Event = field(default_factory=threading.Event)

    @property
    def of(self) -> tuple[Measurement, str]:
        return self.wanted.measurement, self.wanted.environment

    def begin(self) -> list[list[Cell]]:
        """Looks what there is, and makes all of it owed to the sink."""
        wanted, name = self.wanted, self.wanted.measurement.name
        ledger = self.stores.ledger
        found = held_cells(self.stores.lake, *self.of, wanted.window, wanted.cell)
        self.known = ledger.cells(name, wanted.environment, wanted.window)
        emptied = emptied_cells(self.known, found)
        self.held = {**found, **dict.fromkeys(emptied, NOTHING_HELD)}
        self.stores.lock.check()
        ledger.forget_loads(self.stores.sink.target, name, wanted.environment, wanted.window)
        rows = {cell: held.rows for cell, held in self.held.items()}
        return list(groups_of(sorted(rows), wanted.chunk_rows, rows.__getitem__))

    def sent(self, groups: list[list[Cell]]) -> Iterator[tuple[int, Outcome]]:
        """The outcome of each group, in order, and how many cells are done; an error is raised at the end."""
        done = 0
        first_error: FedvitalsError | None = None
        with ThreadPoolExecutor(self.wanted.workers) as pool:
            futures = [pool.submit(self._send, group) for group in groups]
            for group, future in zip(groups, futures, strict=True):
                done += len(group)
                try:
                    part = future.result()
                except FedvitalsError as error:
                    first_error = first_error or error
                    part = self._unsent(group)
                yield done, part
        if first_error is not None:
            raise first_error

    def _send(self, group: list[Cell]) -> Outcome:
        if self.gave_up.is_set():
            return self._unsent(group)
        stores, watch = self.stores, Stopwatch()
        try:
            with watch.stage("read"):
                owed = self._owed(group)
            stores.lock.check()
            with watch.stage("load"):
                loaded = deliver(stores.sink, *self.of, owed, stores.lake, stores.ledger)
        except FedvitalsError:
            self.gave_up.set()
            raise
        if loaded.sinks[stores.sink.name].pending:
            self.gave_up.set()
        return Outcome(
            measurement=self.wanted.measurement.name,
            state=loaded.state("unchanged"),
            rows=sum(self.held[cell].rows for cell in group),
            sinks=loaded.sinks,
            problems=loaded.problems,
            seconds=watch.seconds,
            start=group[0].start,
        )

    def _owed(self, group: list[Cell]) -> dict[CellState, CellToLoad]:
        rows = self.stores.lake.read(*self.of, Window(group[0].start, group[-1].stop))
        parts = split_cells(rows, group).items()
        stand = [standing(*self.of, cell, frame, self.known) for cell, frame in parts]
        return {each.state: each.to_load() for each in stand}

    def _unsent(self, group: list[Cell]) -> Outcome:
        values = sum(self.held[cell].values for cell in group)
        counts = {self.stores.sink.name: SinkValues(owed=values, pending=values)}
        name = self.wanted.measurement.name
        return Outcome(measurement=name, state="pending", sinks=counts, start=group[0].start)
