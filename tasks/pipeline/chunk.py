"""The chunk, the unit of work, with its tools and its time by stage."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Self

import pandas as pd

from tasks.core.batch import Batch
from tasks.core.digest import digest_rows
from tasks.core.errors import SeriesExceeded
from tasks.core.measurement import Measurement
from tasks.core.ports import History, Sink, Source
from tasks.core.state import CellState
from tasks.core.window import Cell, Window
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import RunLock
from tasks.validation.model import Suite

MOST_CELLS = 168  # of one chunk


@dataclass(frozen=True)
class Chunk:
    """Adjacent cells of one measurement and environment.

    `window` is extracted: the cells, clipped to time that has come. With `allow_deletes` values of
    the window that the source no longer has are deleted from the lake.
    """

    measurement: Measurement
    environment: str
    cells: tuple[Cell, ...]
    window: Window
    allow_deletes: bool = False


def halves_of(chunk: Chunk, error: BaseException | None) -> tuple[Chunk, ...]:
    """Return both halves of a chunk if only its cells together have too many series."""
    if not isinstance(error, SeriesExceeded) or len(chunk.cells) == 1:
        return ()
    middle = len(chunk.cells) // 2
    edge = chunk.cells[middle].start
    first = Window(chunk.window.start, edge), chunk.cells[:middle]
    second = Window(edge, chunk.window.stop), chunk.cells[middle:]
    return tuple(replace(chunk, window=window, cells=cells) for window, cells in (first, second))


@dataclass(frozen=True)
class Tools:
    """Tools to process a chunk under the caller's lock; `record` takes changed states."""

    source: Source
    suite: Suite
    lake: Lake
    ledger: Ledger
    sinks: tuple[Sink, ...]
    lock: RunLock
    run_id: str
    record: Callable[[list[CellState]], None]

    @property
    def without_order(self) -> Self:
        """Only the sinks that take cells in any order."""
        return replace(self, sinks=tuple(sink for sink in self.sinks if not sink.in_order))


@dataclass
class OneBatch:
    """A source of one batch that is there already."""

    batch: Batch
    name: str
    history: History = "sample"

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Return it."""
        return self.batch


def source_digest(rows: pd.DataFrame, suite: Suite, measurement: Measurement) -> str:
    """Return the digest of the rules (suite, catalogue entry), then of the rows."""
    return f"{_rules_of(suite, measurement)}-{digest_rows(rows, measurement)}"


def is_by_rules(state: CellState, suite: Suite, measurement: Measurement) -> bool:
    """Return whether the cell was extracted under this suite and catalogue entry."""
    return state.source_digest.startswith(f"{_rules_of(suite, measurement)}-")


def _rules_of(suite: Suite, measurement: Measurement) -> str:
    text = f"{suite.digest}\0{measurement.digest}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass
class Stopwatch:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to the stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
