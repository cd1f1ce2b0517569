"""What work on a chunk is made of: the chunk itself, the tools, and the seconds it took."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pandas as pd

from tasks.core.digest import digest_rows
from tasks.core.measurement import Measurement
from tasks.core.ports import Sink, Source
from tasks.core.state import CellState
from tasks.core.window import Cell, Window
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import RunLock
from tasks.validation.model import Suite

MOST_CELLS = 168  # of one chunk


@dataclass(frozen=True)
class Chunk:
    """The unit of work: adjacent cells of one measurement and environment.

    `window` is what is extracted: the cells, clipped where time has not come yet. With
    `allow_deletes` values of the window that the source no longer has are taken out of the lake.
    """

    measurement: Measurement
    environment: str
    cells: tuple[Cell, ...]
    window: Window
    allow_deletes: bool = False


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


def source_digest(rows: pd.DataFrame, suite: Suite, measurement: Measurement) -> str:
    """Digest of what was extracted: of suite and catalogue entry in front, of the rows behind."""
    return f"{_rules_of(suite, measurement)}-{digest_rows(rows, measurement)}"


def is_by_rules(state: CellState, suite: Suite, measurement: Measurement) -> bool:
    """Whether the cell was extracted for this suite and this catalogue entry, whatever its rows."""
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
        """Adds the time of the block to the stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
