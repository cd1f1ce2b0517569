"""A filled lake beside an InfluxDB, fake or real, for the tests of replay and reconcile."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tasks.core.receipt import Outcome
from tasks.core.series import ALL_TIME, Points, SeriesKey
from tasks.core.services import InfluxService, InfluxTuning
from tasks.core.window import Window
from tasks.ledger.locks import FileLocks
from tasks.runs.reconcile.measurement import CompareRequest, Found, Sides, reconcile
from tasks.runs.replay.measurement import Replay, Stores, replay
from tasks.sinks.influxdb import InfluxSink
from tasks.sinks.influxdb_read import InfluxReader
from tests.support.workbench import FIELDS, HOUR, START, Bench, a_bench, at, rows

NOW = at(24)
METHODS = ("GET", "PUT")


@dataclass
class Standing:
    """A bench whose lake has `hours` hours, and the sink and reader of one bucket."""

    bench: Bench
    sink: InfluxSink
    reader: InfluxReader
    progress: list[tuple[str, int, int]] = field(default_factory=list)
    chunk_rows: int = 40

    def collect(self, hours: int = 6, **columns: Any) -> None:
        """Lands so many hours, 10 minutes apart, of two methods; nothing is loaded."""
        measurement = self.bench.measurement
        times = [START + number * HOUR / 6 for number in range(6 * hours)]
        count = len(times)
        values = {
            "share_ratio": [0.1 + (number % 7) / 10 for number in range(count)],
            "size_bytes": [number * 1_000_003 for number in range(count)],
            "note": [f'say "{number}"\\, twice' for number in range(count)],
            "is_ready": [number % 3 == 0 for number in range(count)],
            **columns,
        }
        values["note"][1] = None
        values["size_bytes"][2] = None
        parts = [rows(measurement, times, method=[m] * count, **values) for m in METHODS]
        self.bench.put(*parts)
        self.bench.run(NOW, Window(START, at(hours)), sinks=())

    @property
    def held(self) -> int:
        """Values in the lake."""
        frame = self.bench.landed(0, 48)
        return int(frame[list(FIELDS)].notna().to_numpy().sum())

    def replay(self, window: Window = ALL_TIME, **changed: Any) -> Outcome:
        bench = self.bench
        wanted = Replay(bench.measurement, "production", window, HOUR, self.chunk_rows, 2)
        with self.locks.hold(bench.measurement.name, "production", "run") as lock:
            stores = Stores(bench.lake, bench.ledger, self.sink, lock)
            return replay(wanted, replace(stores, **changed), self._tell)

    def reconcile(self, *, fix: bool = False, deep: bool = False, **changed: Any) -> Found:
        bench = self.bench
        wanted = CompareRequest(
            measurement=bench.measurement,
            environment="production",
            window=ALL_TIME,
            cell=HOUR,
            chunk_rows=self.chunk_rows,
            now=NOW,
            deep=deep,
            fix=fix,
        )
        hold = partial(self.locks.hold, bench.measurement.name, "production", "run")
        sides = Sides(bench.lake, bench.ledger, self.sink, self.reader, hold)
        return reconcile(replace(wanted, **changed), sides, self._tell)

    @property
    def locks(self) -> FileLocks:
        return FileLocks(self.bench.folder / "locks")

    def _tell(self, *reported: Any) -> None:
        self.progress.append(reported)

    def stored(self) -> dict[SeriesKey, Points]:
        """What the bucket has of production."""
        return self.reader.points(self.bench.measurement, "production", ALL_TIME)


@contextmanager
def standing_at(folder: Path, service: InfluxService, deadline: float = 0.0) -> Iterator[Standing]:
    """A bench below the folder with all types of fields, whose sink is the service."""
    bench = a_bench(folder, FIELDS)
    sink = InfluxSink(service, InfluxTuning(), deadline_seconds=deadline)
    reader = InfluxReader(service, InfluxTuning(), deadline_seconds=deadline)
    try:
        yield Standing(bench, sink, reader)
    finally:
        sink.close()
        reader.close()
        bench.ledger.close()


def reasons(found: Found) -> list[tuple[str, dict[str, int]]]:
    """Hour and reasons of each difference."""
    return [(each.start[11:13], dict(each.reasons)) for each in found.differences]
