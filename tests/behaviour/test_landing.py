"""Whatever the schedule, the ranges asked for, the chunks, the crashes, the late rows, and how soon the
source forgets: in the end every cell is covered or reported as lost, and every row of the source is in
lake and sink, once, but for those of lost cells."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks.core.receipt import write_receipt
from tasks.core.settings import Pipeline
from tasks.core.window import Window, floor
from tasks.ledger.gaps import find_gaps
from tasks.pipeline.collect import Job
from tasks.pipeline.due import find_due
from tests.support.workbench import HOUR, MINUTE, START, Bench, a_bench, at, rows

# what changes something, and may be the last thing that a process does
POINTS = ("record", "record_loads", "land", "load", "extract")
HOURS = 30


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Fuse:
    """How many calls go well until one does not; None never burns. It ends before or after the call."""

    left: int | None
    is_after: bool

    def burns(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left == -1


@dataclass
class Fragile:
    """Something whose calls are counted by the fuse."""

    inner: Any
    fuse: Fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        return self._guarded(found) if name in POINTS else found

    def _guarded(self, call: Any) -> Any:
        def guarded(*args: Any) -> Any:
            burns = self.fuse.burns()
            if burns and not self.fuse.is_after:
                raise Killed
            answer = call(*args)
            if burns:
                raise Killed
            return answer

        return guarded


@dataclass(frozen=True)
class Step:
    """One run: minutes since the last one, hours back and long of its window, and its fuse."""

    minutes: int
    window: tuple[int, int] | None
    chunk_rows: int
    fuse: int | None
    is_after: bool


steps = st.builds(
    Step,
    minutes=st.integers(1, 240),
    window=st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 6), st.integers(1, 3))),
    chunk_rows=st.sampled_from([1, 4, 1000]),
    fuse=st.one_of(st.none(), st.integers(0, 14)),
    is_after=st.booleans(),
)
# minutes after START, and how many minutes late within the hour that follows the row's own
samples = st.lists(
    st.tuples(st.integers(0, HOURS * 60 - 1), st.integers(0, 59)),
    unique_by=lambda sample: sample[0],
    max_size=40,
)


FOR_EVER = timedelta(days=1000)
# runs that are further apart than what the source remembers
HOLES = [Step(minutes, None, 4, None, False) for minutes in (10, 600, 600)]
EACH_HOUR = [(60 * hour + 30, 0) for hour in range(HOURS)]


@pytest.mark.slow
@pytest.mark.promise(
    "Gaps: over any schedule of runs, kills, late rows and retention, every row lands once and only reported cells are lost"
)
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=st.lists(steps, min_size=1, max_size=4),
    samples=samples,
    late_data_cells=st.integers(1, 2),
    retention=st.sampled_from([FOR_EVER, 3 * HOUR]),
)
@example(steps=HOLES, samples=EACH_HOUR, late_data_cells=1, retention=3 * HOUR)
def test_every_row_is_there_once_whatever_happened(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[Step],
    samples: list[tuple[int, int]],
    late_data_cells: int,
    retention: timedelta,
) -> None:
    bench = a_bench(tmp_path_factory.mktemp("schedule"))
    truth = {START + minute * MINUTE: late for minute, late in samples}
    now = at(4.5)
    for step in steps:
        now += step.minutes * MINUTE
        bench.pipeline = Pipeline(
            late_data_cells=late_data_cells,
            max_gaps_per_run=3,
            chunk_rows=step.chunk_rows,
            workers=2,
            source_retention=retention,
        )
        offer(bench, truth, now)
        attempt(bench, step, now)
    now = max(now, at(4.5)) + 2 * HOUR
    bench.pipeline = Pipeline(
        late_data_cells=late_data_cells, max_gaps_per_run=12, source_retention=retention
    )
    offer(bench, truth, now)
    for _ in range(HOURS):
        receipt_of(bench, now)
        if not due_of(bench, now).left.stretches:
            break
    receipt_of(bench, now)
    assert_whole(bench, truth, now)
    calls = len(bench.sink.calls)
    assert receipt_of(bench, now).values.landed == 0
    assert len(bench.sink.calls) == calls
    bench.ledger.close()


def offer(bench: Bench, truth: dict[datetime, int], now: datetime) -> None:
    """The source has what came by now and it has not forgotten: a row is late until that many minutes
    of the next hour."""
    since = has_since(bench, now)
    times = sorted(m for m, late in truth.items() if since <= m and arrival(m, late) <= now)
    bench.put(rows(bench.measurement, times, share_ratio=[0.5] * len(times)))


def has_since(bench: Bench, now: datetime) -> datetime:
    return Job(bench.measurement, "production", None, now, bench.pipeline).source_has_since


def arrival(moment: datetime, late: int) -> datetime:
    return floor(moment, HOUR) + HOUR + late * MINUTE if late else moment


def attempt(bench: Bench, step: Step, now: datetime) -> None:
    """A run that may be killed anywhere; one that ends has a receipt that adds up."""
    window = None
    if step.window is not None:
        back, long = step.window
        start = now - (back + long) * HOUR
        window = Window(start, start + long * HOUR)
        # who asks for what the source forgot is answered that there is nothing
        if window.start < has_since(bench, now):
            window = None
    fuse = Fuse(step.fuse, step.is_after)
    try:
        outcome = bench.run(
            now,
            window,
            ledger=Fragile(bench.ledger, fuse),
            lake=Fragile(bench.lake, fuse),
            source=Fragile(bench.source, fuse),
            sinks=(Fragile(bench.sink, fuse),),
        )
    except Killed:
        return
    write_receipt("f", "r", "production", Window(at(0), now), [outcome], {})


def receipt_of(bench: Bench, now: datetime) -> Any:
    outcome = bench.run(now)
    assert outcome.problems == ()
    return write_receipt("f", "r", "production", Window(at(0), now), [outcome], {})


def due_of(bench: Bench, now: datetime) -> Any:
    return find_due(Job(bench.measurement, "production", None, now, bench.pipeline), bench.ledger)


def assert_whole(bench: Bench, truth: dict[datetime, int], now: datetime) -> None:
    """From the oldest cell on there is no hole, and source, lake and sink have the same rows."""
    first = bench.ledger.oldest("example", "production")
    assert first is not None
    settled = floor(now - MINUTE, timedelta(seconds=15))
    newest = floor(settled - timedelta(microseconds=1), HOUR)
    span = Window(first.cell.start, newest)
    assert find_gaps(bench.ledger, "example", "production", span, HOUR).count == 0
    there = {
        moment
        for moment, late in truth.items()
        if first.cell.start <= moment < settled and arrival(moment, late) <= now
    }
    # what a killed run landed before all that is known is asked for by nobody but its own user
    landed = [m for m in bench.landed(0, HOURS + 40)["time"] if m >= first.cell.start]
    assert landed == sorted(set(landed))
    assert set(landed) <= there
    assert landed == sorted(m for _, _, m, _ in bench.sink.held if m >= first.cell.start)
    known = bench.ledger.cells("example", "production", span)
    lost = {state.cell.start for state in known.values() if state.state == "lost"}
    missing = there - set(landed)
    # of a row that came late, and was forgotten before another run, nobody can know
    assert {floor(moment, HOUR) for moment in missing if not truth[moment]} <= lost
    assert bench.pipeline.source_retention != FOR_EVER or not missing
    assert all(start < has_since(bench, now) for start in lost)
