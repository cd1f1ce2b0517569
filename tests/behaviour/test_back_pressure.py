"""A sink that is slow or down drops nothing and keeps little in memory: the rest is pending, by digest."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest
from pydantic import SecretStr

from tasks.core.batch import Batch
from tasks.core.errors import SinkUnavailable
from tasks.core.measurement import Measurement
from tasks.core.ports import CellAnswer, CellToLoad, History, Sink
from tasks.core.receipt import SinkValues
from tasks.core.services import InfluxService, InfluxTuning
from tasks.core.settings import Pipeline
from tasks.core.window import Window
from tasks.sinks.influxdb import InfluxSink
from tests.support.fakes.memory import MemorySink, MemorySource
from tests.support.process import free_port
from tests.support.workbench import Bench, at, rows

DOWN = SinkUnavailable(sink="memory", url="http://localhost:1", problem="503", retry_after=None)
HOURS = 12


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """What only the cycle collector would free counts as kept: nobody knows when it comes by."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@dataclass
class Live:
    """How many of the frames it was shown are alive, and how many were at once at most."""

    frames: dict[int, Any] = field(default_factory=dict)
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def show(self, frame: pd.DataFrame) -> None:
        with self.lock:
            key = len(self.frames)
            self.frames[key] = weakref.ref(frame)
            self.most = max(self.most, self.count)

    @property
    def count(self) -> int:
        return sum(reference() is not None for reference in self.frames.values())


@dataclass
class Watched:
    """A source whose batches are watched."""

    inner: MemorySource
    live: Live
    name: str = "prometheus"
    history: History = "range"

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        batch = self.inner.extract(measurement, environment, window)
        self.live.show(batch.frame)
        return batch


class SlowSink(MemorySink):
    """Takes its time; keeps nothing of what it is given."""

    def load(
        self, measurement: Measurement, environment: str, cells: list[CellToLoad]
    ) -> list[CellAnswer]:
        time.sleep(0.02)
        answers = super().load(measurement, environment, cells)
        self.calls.clear()
        return answers


def slow(_port: int) -> Sink:
    return SlowSink()


def down(port: int) -> Sink:
    """An InfluxDB that does not answer."""
    service = InfluxService(
        url=f"http://127.0.0.1:{port}", token=SecretStr("t"), origin="", org="o", bucket="b"
    )
    return InfluxSink(service, InfluxTuning(), deadline_seconds=0)


def fill(bench: Bench) -> None:
    times = [at(hour + 0.25) for hour in range(HOURS)]
    bench.put(rows(bench.measurement, times, share_ratio=[0.5] * HOURS))


@pytest.mark.slow
@pytest.mark.promise(
    "Loading: a slow or absent sink drops no value, and memory holds only the chunks under way"
)
@pytest.mark.parametrize("make", [slow, down])
@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_chunks_are_alive_than_are_under_way(
    bench: Bench, workers: int, make: Callable[[int], Sink]
) -> None:
    bench.pipeline = Pipeline(workers=workers, chunk_rows=1)
    fill(bench)
    live = Live()
    with closing(make(free_port())) as sink:
        outcome = bench.run(
            at(HOURS), Window(at(0), at(HOURS)), source=Watched(bench.source, live), sinks=(sink,)
        )
    assert outcome.values.landed == HOURS
    assert len(live.frames) == HOURS
    assert live.most <= workers + 1
    assert live.count <= 1


@pytest.mark.slow
@pytest.mark.promise(
    "Loading: a slow or absent sink drops no value, and memory holds only the chunks under way"
)
def test_days_that_a_sink_missed_are_loaded_by_one_run_a_few_rows_at_a_time(bench: Bench) -> None:
    bench.pipeline = Pipeline(chunk_rows=5)
    fill(bench)
    bench.sink.error = DOWN
    bench.run(at(HOURS), Window(at(0), at(HOURS)))
    bench.sink.error = None
    bench.sink.calls.clear()
    bench.source.asked.clear()
    outcome = bench.run(at(HOURS), Window(at(0), at(1)))
    assert outcome.sinks == {"memory": SinkValues(owed=HOURS, loaded=HOURS)}
    assert bench.sink.values("share_ratio") == [0.5] * HOURS
    groups = [[entry.cell.start for entry in call] for call in bench.sink.calls]
    assert [len(group) for group in groups] == [5, 5, 2]
    assert max(groups[0]) == at(HOURS - 1)
    assert [window.start for window in bench.source.asked] == [at(0)]


@pytest.mark.slow
def test_a_sink_that_is_still_down_is_asked_once_for_all_that_is_pending(bench: Bench) -> None:
    bench.pipeline = Pipeline(chunk_rows=5)
    fill(bench)
    bench.sink.error = DOWN
    bench.run(at(HOURS), Window(at(0), at(HOURS)))
    bench.sink.calls.clear()
    outcome = bench.run(at(HOURS), Window(at(0), at(1)))
    assert len(bench.sink.calls) == 1
    assert outcome.state == "pending"
    assert outcome.sinks == {"memory": SinkValues(owed=HOURS, pending=HOURS)}


@pytest.mark.slow
def test_cells_apart_are_loaded_apart(bench: Bench) -> None:
    fill(bench)
    bench.sink.error = DOWN
    for hour in (1, 2, 7):
        bench.run(at(HOURS), Window(at(hour), at(hour + 1)))
    bench.sink.error = None
    bench.sink.calls.clear()
    bench.run(at(HOURS), Window(at(11), at(12)))
    loaded = [[entry.cell.start for entry in call] for call in bench.sink.calls]
    assert sorted(map(sorted, loaded)) == [[at(1), at(2)], [at(7)], [at(11)]]
