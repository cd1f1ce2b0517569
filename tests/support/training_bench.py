"""The shipped measurements of rounds with everything that works on them, behind a fake training."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from tasks.core.catalogue import Catalogue
from tasks.core.measurement import Measurement
from tasks.core.receipt import Outcome
from tasks.core.settings import Pipeline, shipped
from tasks.core.state import CellState
from tasks.core.window import Window
from tasks.lake.landed_rounds import known_run
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import FileLocks
from tasks.pipeline.chunk import Tools
from tasks.pipeline.collect import work
from tasks.pipeline.due import Job
from tasks.sources.federated import FederatedSource
from tasks.validation.suites import read_suite
from tests.support.fakes.memory import MemorySink
from tests.support.fakes.training import START, FakeTraining

CATALOGUE = Catalogue.read(shipped("config") / "metrics.yaml")
ROUNDS, CLIENTS = CATALOGUE["fl_rounds"], CATALOGUE["fl_round_clients"]
NOW = START + timedelta(hours=2)
DAY = Window(START - timedelta(days=1), START + timedelta(days=1))


@dataclass
class TrainingBench:
    """Tools on the local disk; each poll is a run of its own."""

    folder: Path
    training: FakeTraining
    ledger: Ledger
    sink: MemorySink = field(default_factory=MemorySink)
    recorded: list[CellState] = field(default_factory=list)
    polls: int = 0

    @property
    def lake(self) -> Lake:
        return Lake(str(self.folder / "lake"))

    def poll(
        self, now: datetime = NOW, measurement: Measurement = ROUNDS, **changed: Any
    ) -> Outcome:
        """One run for one measurement; `changed` replaces tools."""
        self.polls += 1
        source = FederatedSource(self.training.service(), partial(known_run, self.lake))
        locks = FileLocks(self.folder / "locks")
        with locks.hold(measurement.name, "production", f"run-{self.polls}") as lock:
            tools = Tools(
                source=source,
                suite=read_suite(shipped("expectations"), measurement),
                lake=self.lake,
                ledger=self.ledger,
                sinks=(self.sink,),
                lock=lock,
                run_id=f"run-{self.polls}",
                record=self.recorded.extend,
            )
            job = Job(measurement, "production", None, now, Pipeline())
            try:
                return work(job, replace(tools, **changed), lambda *reported: None)
            finally:
                source.close()

    def landed(self) -> list[tuple[str, int, float]]:
        """Run, number and loss of every landed round, in order of run and time."""
        frame = self.lake.read(ROUNDS, "production", DAY)
        columns = (frame[name].astype("object").tolist() for name in ("run_id", "round", "loss"))
        return list(zip(*columns, strict=True))

    def loaded(self) -> list[tuple[str, int]]:
        """Run and number of every round that the sink holds."""
        return sorted(
            (tags[0] or "", int(value))
            for (_, tags, _, name), value in self.sink.held.items()
            if name == "round"
        )

    def quarantined(self) -> list[tuple[str, str, str]]:
        """Field, text and check of all records of rounds."""
        found = self.lake.quarantined("fl_rounds", "production")
        columns = (found[name].tolist() for name in ("field", "text", "check_id"))
        return list(zip(*columns, strict=True))
