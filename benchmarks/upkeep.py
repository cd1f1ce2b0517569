"""Effect of maintenance on landing and queries after long use.

`python -m benchmarks.upkeep [--json]`: lands hand-made batches into a lake of its own, without any
source, suite or sink, and prints each figure beside its target. All commits are flushed to the
disk of the temporary folder. The ledger is on SQLite, and on a PostgreSQL of its own where one is
installed.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import create_engine, text

from tasks.core.batch import Batch, split_cells
from tasks.core.catalogue import Catalogue
from tasks.core.digest import digest_rows
from tasks.core.measurement import FieldSpec, Measurement
from tasks.core.ports import History
from tasks.core.quarantine import no_records
from tasks.core.settings import Maintenance, Pipeline, Settings, load_settings
from tasks.core.state import CellState, LoadState
from tasks.core.window import Cell, Window
from tasks.lake.query import query
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import RunLock
from tasks.ledger.pending import pending_cells
from tasks.pipeline.chunk import Chunk, Tools
from tasks.pipeline.due import Job, find_due
from tasks.pipeline.land import Extracted, land
from tasks.runs.base.run import Run
from tasks.runs.maintain import UpkeepPlan, maintain_tables
from tasks.validation.model import Suite
from tests.support.servers import PostgresServer

MEASUREMENTS = 40
COMMITS = 2_000
WINDOWS = 100_000
REPETITIONS = 5
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURLY = (
    "SELECT time_bucket(INTERVAL '1 hour', time) AS hour, avg(latency_seconds) AS mean "
    "FROM month GROUP BY hour ORDER BY hour"
)


@dataclass
class _Nothing:
    """A source that is never queried."""

    name: str = "prometheus"
    history: History = "range"

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Fail: the batches are at hand."""
        raise AssertionError("the benchmark queries no source")


@dataclass
class Bench:
    """A lake and a ledger below a folder."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lake = Lake(str(self.folder / "lake"))
        self.ledger = Ledger(f"sqlite:///{self.folder / 'ledger.db'}")

    def land(self, entry: Measurement, cell: Cell, frame: pd.DataFrame) -> None:
        """Land one cell as a run does it, after extraction and suite."""
        nothing = _Nothing()
        tools = Tools(
            source=nothing, suite=_SUITE, lake=self.lake, ledger=self.ledger, sinks=(),
            lock=RunLock(lambda: True, entry.name, "production"), run_id="run", record=lambda states: None,
        )  # fmt: skip
        window = Window(cell.start, cell.stop)
        rows = split_cells(frame, (cell,))
        digests = {cell: digest_rows(frame, entry, "salt")}
        extracted = Extracted(Batch(entry, "production", window, frame), rows, digests, (cell,))
        known = self.ledger.cells(entry.name, "production", window)
        chunk = Chunk(entry, "production", (cell,), window)
        land(chunk, extracted, frame, no_records(), known, tools)

    def maintain(self, now: datetime, entries: list[Measurement]) -> None:
        """Run maintenance once, as if all data were an hour older."""
        for path in self.folder.glob("lake/*/_delta_log/*"):
            long_ago = path.stat().st_mtime - 7200
            os.utime(path, (long_ago, long_ago))
        catalogue = Catalogue({entry.name: entry for entry in entries})
        with Run("maintain", self.settings, run_id=f"{now:%Y%m%dT%H%M%S}-bench", now=now) as run:
            maintain_tables(run, UpkeepPlan(run.id, now, self.settings, catalogue))

    @property
    def settings(self) -> Settings:
        """Return the shipped settings, without a copy of the ledger each day."""
        shipped = load_settings({"FEDVITALS_HOME": str(self.folder)})
        return replace(shipped, maintenance=Maintenance(backups=0))


# landing uses no suite
_SUITE = Suite(name="none", path=Path("none"), content={}, digest="none")


def measurement(name: str) -> Measurement:
    """Build a measurement of one field by method and instance, each 15 s."""
    spec = FieldSpec(query="q", unit="seconds", required=True)
    return Measurement(
        name=name, type="performance", tags=("instance", "method"),
        fields={"latency_seconds": spec}, step=timedelta(seconds=15), every=timedelta(minutes=1),
        max_series=1000,
    )  # fmt: skip


def batch(window: Window, series: int, step_seconds: int, seed: int = 7) -> pd.DataFrame:
    """Build a frame in the layout of a Batch, with full-precision values."""
    count = int(window.length.total_seconds()) // step_seconds
    times = pd.date_range(window.start, periods=count, freq=f"{step_seconds}s", unit="us")
    values = np.random.default_rng(seed).normal(0.2, 0.01, count * series)
    instances = [f"10.0.0.{number:03}:8000" for number in range(series)]
    return pd.DataFrame(
        {
            "time": np.tile(times, series),
            "environment": pd.Categorical.from_codes([0] * (count * series), ["production"]),
            "instance": pd.Categorical.from_codes(np.repeat(range(series), count), instances),
            "method": pd.Categorical.from_codes([0] * (count * series), ["GET"]),
            "latency_seconds": values,
        }
    ).astype({"time": "datetime64[us, UTC]"})


def cell_at(hour: int) -> Cell:
    """Return the cell so many hours after the start."""
    return Cell(START + hour * HOUR, START + (hour + 1) * HOUR)


def used(folder: Path, daily: bool) -> tuple[Bench, float, int]:
    """Return a measurement after COMMITS commits, seconds of the last 20, and files."""
    bench, entry = Bench(folder), measurement("m00")
    seconds = []
    for hour in range(COMMITS):
        frame = batch(cell_at(hour), series=10, step_seconds=60, seed=hour)
        started = time.perf_counter()
        bench.land(entry, cell_at(hour), frame)
        seconds.append(time.perf_counter() - started)
        if daily and hour % 24 == 23:
            bench.maintain(cell_at(hour).stop, [entry])
    files = len(list((folder / "lake" / "m00").glob("*.parquet")))
    return bench, statistics.median(seconds[-20:]), files


def newest_cells(bench: Bench, hour: int) -> float:
    """Return the least seconds to land the newest cell of all measurements."""
    entries = [measurement(f"m{number:02}") for number in range(MEASUREMENTS)]
    for entry in entries:
        bench.lake.prepare(entry)
    return min(_landed(bench, entries, hour + n) for n in range(REPETITIONS))


def _landed(bench: Bench, entries: list[Measurement], hour: int) -> float:
    cell = cell_at(hour)
    frames = [batch(cell, series=10, step_seconds=60, seed=n) for n in range(len(entries))]
    started = time.perf_counter()
    for entry, frame in zip(entries, frames, strict=True):
        bench.land(entry, cell, frame)
    return time.perf_counter() - started


def multiplied(bench: Bench) -> Bench:
    """Copy the used measurement's table once for each measurement."""
    source = bench.folder / "lake" / "m00"
    for number in range(1, MEASUREMENTS):
        target = source.with_name(f"m{number:02}")
        if not target.exists():
            shutil.copytree(source, target)
    return bench


def month_query(folder: Path) -> tuple[int, float]:
    """Return the rows of a month of 100 series at 15 s, and seconds for hourly means."""
    bench, entry = Bench(folder), measurement("month")
    for day in range(30):
        window = Window(START + day * DAY, START + (day + 1) * DAY)
        frame = batch(window, series=100, step_seconds=15, seed=day)
        bench.lake.land(entry, frame, list(window.cells(HOUR)), "production", None)
    rows = query(bench.lake, "SELECT count(*) AS n FROM month")["n"][0].as_py()
    return rows, _best(lambda: query(bench.lake, HOURLY))


def ledger_questions(ledger: Ledger, windows_each: int) -> dict[str, float]:
    """Return seconds of each query about one measurement, in a filled ledger."""
    now = cell_at(windows_each - 1).stop + HOUR / 2
    job = Job(measurement("m00"), "production", None, now, Pipeline())
    last = Window(now - DAY, now)
    questions: dict[str, Callable[[], object]] = {
        "due": lambda: find_due(job, ledger),
        "pending": lambda: list(pending_cells(ledger, "sink", "m00", "production")),
        "newest": lambda: ledger.newest("m00", "production"),
        "oldest": lambda: ledger.oldest("m00", "production"),
        "cells_of_a_day": lambda: ledger.cells("m00", "production", last),
        "loads_of_a_day": lambda: ledger.loads("sink", "m00", "production", last),
    }
    return {name: _best(ask) for name, ask in questions.items()}


def questions_of(url_of: Callable[[str], str]) -> dict[str, dict[str, float]]:
    """Time queries of two ledgers of WINDOWS windows: many measurements, or one."""
    kinds = {"ledger": WINDOWS // MEASUREMENTS, "ledger_of_one_measurement": WINDOWS}
    figures = {}
    for name, windows_each in kinds.items():
        url = url_of(name)
        with closing(Ledger(url)) as ledger:
            _fill(ledger, windows_each)
            if ledger.is_on_server:
                _vacuum(url)
            figures[name] = ledger_questions(ledger, windows_each)
    return figures


def questions_on_server() -> dict[str, Any]:
    """Time the same on a real PostgreSQL; where none is installed, say so."""
    # the user that runs the server for root must reach its folder
    with tempfile.TemporaryDirectory(prefix="fedvitals-postgresql-") as home:
        try:
            server = PostgresServer(Path(home))
        except (pytest.skip.Exception, pytest.fail.Exception) as why:
            return {"left_out": str(why)}
        with server:
            return questions_of(lambda _: server.make_database())


def _fill(ledger: Ledger, windows_each: int) -> None:
    """Write WINDOWS windows, of each measurement a day pending."""
    for number in range(WINDOWS // windows_each):
        states = list(_states(f"m{number:02}", windows_each))
        ledger.record(states)
        ledger.record_loads(_load_of(state) for state in states[:-24])


def _vacuum(url: str) -> None:
    """Vacuum as a server does by itself within minutes."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def _states(name: str, count: int) -> Iterator[CellState]:
    for hour in range(count):
        cell = cell_at(hour)
        yield CellState(
            name, "production", cell, "prometheus", cell.stop, "landed", f"{hour:016x}",
            f"{hour:016x}", 2400, 2400, 0, 0, "c" * 16, "20260101T000000-bench",
        )  # fmt: skip


def _load_of(state: CellState) -> LoadState:
    return LoadState("sink", state.measurement, state.environment, state.cell, state.landed_digest, 0, 2400, 0)  # fmt: skip


def _best(ask: Callable[[], object]) -> float:
    return min(_seconds(ask) for _ in range(REPETITIONS))


def _seconds(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    ask()
    return time.perf_counter() - started


def measure(folder: Path) -> dict[str, Any]:
    """Return all figures, in seconds."""
    fresh = newest_cells(Bench(folder / "fresh"), 0)
    figures: dict[str, Any] = {"measurements": MEASUREMENTS, "commits": COMMITS, "fresh": fresh}
    for name, daily in (("with_upkeep", True), ("without_upkeep", False)):
        bench, commit, files = used(folder / name, daily)
        figures[name] = {"commit": commit, "files_on_disk": files}
        figures[name]["newest_cells"] = newest_cells(multiplied(bench), COMMITS)
        shutil.rmtree(folder / name)
    rows, seconds = month_query(folder / "month")
    figures["month"] = {"rows": rows, "hourly_means": seconds}
    shutil.rmtree(folder / "month")
    figures |= questions_of(lambda name: f"sqlite:///{folder / name}.db")
    figures["postgresql"] = questions_on_server()
    return figures


def _table(figures: dict[str, Any]) -> str:
    fresh = figures["fresh"]
    kept, left = figures["with_upkeep"], figures["without_upkeep"]
    rows = [
        ("newest cell of 40 measurements landed", fresh, "≤ 1 s"),
        ("  after 2,000 commits, maintain daily", kept["newest_cells"], f"≤ {1.5 * fresh:.2f} s"),
        ("  after 2,000 commits, without", left["newest_cells"], ""),
        (
            f"hourly means over {figures['month']['rows']:,} rows",
            figures["month"]["hourly_means"],
            "≤ 1 s",
        ),
        *_questions("ledger", figures),
    ]
    left_out = figures["postgresql"].get("left_out")
    if left_out is None:
        rows += _questions("on PostgreSQL", figures["postgresql"])
    lines = [f"{name:<48} {seconds:>8.3f} s  {target}" for name, seconds, target in rows]
    return "\n".join([*lines, *([f"on PostgreSQL: left out, {left_out}"] if left_out else [])])


def _questions(where: str, figures: dict[str, Any]) -> Iterator[tuple[str, float, str]]:
    for name, seconds in figures["ledger"].items():
        yield f"{where}, 100,000 windows: {name}", seconds, "≤ 0.05 s"
    for name, seconds in figures["ledger_of_one_measurement"].items():
        yield "  all of one measurement: " + name, seconds, "≤ 0.05 s"


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder))
    print(json.dumps(figures, indent=2) if options.json else _table(figures))


if __name__ == "__main__":
    main()
