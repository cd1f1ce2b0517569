"""One measurement with everything that works on it, for the tests of process, rounds and merge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.core.batch import build_frame
from tasks.core.measurement import FieldType, Measurement
from tasks.core.receipt import Outcome
from tasks.core.settings import Pipeline
from tasks.core.state import CellState
from tasks.core.window import Cell, Window
from tasks.lake.delta import existing_table
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import FileLocks, RunLock
from tasks.pipeline.chunk import Tools
from tasks.pipeline.collect import Job, work
from tasks.validation.model import Suite
from tests.support.fakes.memory import MemorySink, MemorySource
from tests.support.suite_examples import BETWEEN, a_measurement, a_suite, an_expectation

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
FIELDS: dict[str, FieldType] = {
    "share_ratio": "float",
    "size_bytes": "int",
    "note": "string",
    "is_ready": "bool",
}


def at(hours: float) -> datetime:
    """So many hours after START."""
    return START + hours * HOUR


def cell(hour: int) -> Cell:
    """The cell that starts so many hours after START."""
    return Cell(at(hour), at(hour + 1))


def rows(
    measurement: Measurement,
    times: Sequence[datetime],
    environment: str = "production",
    **columns: Any,
) -> pd.DataFrame:
    """One row a time; tags are GET unless given, fields null."""
    tags = {tag: ["GET"] * len(times) for tag in measurement.tags}
    base = {"time": list(times), "environment": [environment] * len(times)}
    return build_frame(measurement, {**base, **tags, **columns})


@dataclass
class Bench:
    """Tools on the local disk, and runs with them. Each run has an id of its own."""

    folder: Path
    measurement: Measurement
    suite: Suite
    source: MemorySource
    sink: MemorySink
    ledger: Ledger
    pipeline: Pipeline = field(default_factory=Pipeline)
    recorded: list[CellState] = field(default_factory=list)
    progress: list[tuple[str, int, int]] = field(default_factory=list)
    runs: int = 0

    @property
    def lake(self) -> Lake:
        return Lake(str(self.folder / "lake"))

    def run(
        self,
        now: datetime,
        window: Window | None = None,
        *,
        allow_deletes: bool = False,
        **changed: Any,
    ) -> Outcome:
        """One run, as the stages do it for one measurement; `changed` replaces tools."""
        self.runs += 1
        run_id = f"run-{self.runs}"
        locks = FileLocks(self.folder / "locks")
        with locks.hold(self.measurement.name, "production", run_id) as lock:
            tools = self.tools(run_id, lock)
            job = Job(self.measurement, "production", window, now, self.pipeline, allow_deletes)
            return work(
                job, replace(tools, **changed), lambda *reported: self.progress.append(reported)
            )

    def tools(self, run_id: str, lock: RunLock) -> Tools:
        """The bench's parts, as a run takes them."""
        return Tools(
            source=self.source,
            suite=self.suite,
            lake=self.lake,
            ledger=self.ledger,
            sinks=(self.sink,),
            lock=lock,
            run_id=run_id,
            record=self.recorded.extend,
        )

    def landed(self, hour: int, hours: int = 1) -> pd.DataFrame:
        """What the lake has of the hours."""
        return self.lake.read(self.measurement, "production", Window(at(hour), at(hour + hours)))

    def quarantined(self) -> list[tuple[str, float | None]]:
        """Field and number of all records."""
        found = self.lake.quarantined(self.measurement.name, "production")
        return list(zip(found["field"].tolist(), found["number"].tolist(), strict=True))

    def version(self) -> int:
        """The version of the measurement's table."""
        table = existing_table(self.lake.table_url(self.measurement.name), self.measurement.name)
        assert table is not None
        return int(table.version())

    def state(self, hour: int) -> CellState | None:
        """What the ledger knows of a cell."""
        window = Window(at(hour), at(hour + 1))
        return self.ledger.cells(self.measurement.name, "production", window).get(cell(hour))

    def put(self, *parts: pd.DataFrame) -> None:
        """What the source has from now on."""
        frames = [part.astype(dict.fromkeys(self.measurement.all_tags, "object")) for part in parts]
        joined = pd.concat(frames, ignore_index=True)
        self.source.frame = build_frame(self.measurement, {c: joined[c] for c in joined})


def suite_of(folder: Path, measurement: Measurement, most: float = 1.0) -> Suite:
    """The obligations, and a critical limit on share_ratio."""
    folder.mkdir(parents=True, exist_ok=True)
    limit = an_expectation("limit", BETWEEN, column="share_ratio", min_value=0, max_value=most)
    return a_suite(folder, measurement, limit)


def a_bench(folder: Path, fields: Mapping[str, FieldType] | None = None, **more: Any) -> Bench:
    """A bench below the folder whose source is empty."""
    chosen = fields or {"share_ratio": "float", "size_bytes": "int"}
    measurement = a_measurement(fields=dict(chosen))
    return Bench(
        folder=folder,
        measurement=measurement,
        suite=suite_of(folder / "expectations", measurement),
        source=MemorySource(rows(measurement, [])),
        sink=MemorySink(),
        ledger=Ledger(f"sqlite:///{folder / 'ledger.db'}"),
        **more,
    )
