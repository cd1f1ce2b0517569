"""What work on a chunk is made of: the chunk itself, the tools, and the seconds it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from tasks.core.batch import Batch
from tasks.core.catalogue import Measurement
from tasks.core.loading import Sink
from tasks.core.state import CellState
from tasks.core.window import Cell, Window
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import RunLock
from tasks.validation.suites import Suite

# a source that can be asked for the past; of the others a run takes a sample
SOURCES_WITH_HISTORY = frozenset({"prometheus"})


class Source(Protocol):
    """The one shape of all sources."""

    name: str

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """The measurement over the window."""
        ...


@dataclass(frozen=True)
class Chunk:
    """The unit of work: adjacent cells of one measurement and environment.

    `window` is what is extracted: the cells, clipped where time has not come yet.
    """

    measurement: Measurement
    environment: str
    cells: tuple[Cell, ...]
    window: Window


@dataclass(frozen=True)
class Tools:
    """What a chunk is processed with. The caller holds the lock; `record` takes changed states."""

    source: Source
    suite: Suite
    lake: Lake
    ledger: Ledger
    sinks: tuple[Sink, ...]
    lock: RunLock
    run_id: str
    record: Callable[[list[CellState]], None]


def source_salt(suite: Suite, measurement: Measurement) -> str:
    """What a source digest is of beside the rows: another suite or catalogue entry, another digest."""
    return f"{suite.digest}\0{measurement.digest}"


@dataclass
class Stopwatch:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the block to the stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
