"""A backfill's work: what is read, what is not read again, how many chunks are under way."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from unittest import mock

import pytest

from tasks.core.errors import LabelsDiffer, LakeBusy, SourceUnavailable
from tasks.core.receipt import Outcome, Values, write_receipt
from tasks.core.services import Environment, Service
from tasks.core.settings import Pipeline, Settings, load_settings
from tasks.core.window import Window
from tasks.lake.query import query
from tasks.ledger.locks import FileLocks
from tasks.pipeline.chunk import Chunk, Tools
from tasks.pipeline.due import Job, find_due
from tasks.runs.backfill import run as backfilling
from tasks.runs.backfill.plan import Backfill, BackfillOptions
from tasks.runs.backfill.progress import ChunkDone
from tasks.runs.backfill.run import Done, Submit, Workers, in_threads, work_through
from tasks.runs.backfill.survey import Pace, Share, Survey
from tasks.runs.base import run as base
from tasks.runs.base import toolbox
from tasks.runs.base.plan import Plan
from tasks.runs.base.run import Run
from tests.support.fakes.memory import MemorySource
from tests.support.workbench import START, Bench, a_bench, at, cell, rows, suite_of

NOW = at(100)
BROKEN = LabelsDiffer(measurement="example", field="share_ratio", tags=("method",), labels=())
AWAY = SourceUnavailable(service="Prometheus", url="http://localhost:1", what="q", problem="503")


@dataclass
class Site:
    """A bench on which backfills run, and what they reported."""

    bench: Bench
    steps: list[ChunkDone] = field(default_factory=list)
    workers: Workers = in_threads
    runs: int = 0

    def run(self, hours: int = 6, chunk: int = 1, workers: int = 2, **manner: bool) -> Outcome:
        """Fills the first hours back."""
        self.runs += 1
        settings = load_settings({"FEDVITALS_HOME": str(self.bench.folder)})
        settings = replace(settings, pipeline=Pipeline())
        plan = self.plan(hours, settings)
        wanted = Backfill(plan, BackfillOptions(workers=workers, **manner))
        name = self.bench.measurement.name
        share = Share(name, hours, hours, chunk, hours // chunk, series=1, values=hours)
        survey = Survey((share,), Pace(1.0, "a guess"), ())
        with self.tools(), Run("backfill", settings, run_id=plan.run_id, now=NOW) as run:
            work_through(run, wanted, survey, self.workers)
        [outcome] = run.outcomes
        write_receipt("backfill", plan.run_id, "production", plan.window, [outcome], {})
        return outcome

    def plan(self, hours: int, settings: Settings) -> Plan:
        service = Service(url="http://localhost:1", origin="PROMETHEUS_URL")
        return Plan(
            run_id=f"run-{self.runs}",
            now=NOW,
            settings=settings,
            environment=Environment(name="production", services={"prometheus": service}),
            measurements=(self.bench.measurement,),
            suites={self.bench.measurement.name: self.bench.suite},
            window=Window(at(0), at(hours)),
            output=self.bench.folder,
            warnings=(),
        )

    @contextmanager
    def tools(self) -> Iterator[None]:
        """Runs read and load what the bench has, and tell their course here."""
        sources, sinks = {"prometheus": self.bench.source}, (self.bench.sink,)
        with (
            mock.patch.object(toolbox, "_open_sources", return_value=sources.items()),
            mock.patch.object(toolbox, "opened_sinks", return_value=nullcontext(sinks)),
            mock.patch.object(
                backfilling, "shown_course", return_value=nullcontext(self.steps.append)
            ),
        ):
            yield

    def asked(self) -> list[int]:
        """The hours at which the chunks began that were asked for since the last look."""
        found = sorted(int((w.start - START) / timedelta(hours=1)) for w in self.bench.source.asked)
        self.bench.source.asked.clear()
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    bench = a_bench(tmp_path)
    fill(bench, range(6))
    yield Site(bench)
    bench.ledger.close()


def fill(bench: Bench, hours: Iterator[int] | range) -> None:
    """One value in each of the hours."""
    times = [at(hour + 0.5) for hour in hours]
    bench.put(rows(bench.measurement, times, share_ratio=[0.5] * len(times)))


def test_all_cells_are_read_once(site: Site) -> None:
    outcome = site.run()
    assert (outcome.state, outcome.values) == ("landed", Values(extracted=6, landed=6))
    assert site.asked() == [0, 1, 2, 3, 4, 5]
    assert site.bench.landed(0, 6)["time"].tolist() == [at(n + 0.5) for n in range(6)]
    assert site.bench.sink.values("share_ratio") == [0.5] * 6
    assert [(step.measurement, step.cells) for step in site.steps] == [("example", 1)] * 6


@pytest.mark.promise(
    "Backfill: a killed backfill continues, and reads again only the chunks that were under way"
)
def test_what_is_landed_is_not_read_again(site: Site) -> None:
    site.run()
    site.asked()
    outcome = site.run()
    assert (outcome.state, outcome.values) == ("unchanged", Values())
    assert site.asked() == []


def test_only_gaps_are_read_and_chunks_do_not_span_them(site: Site) -> None:
    site.bench.run(NOW, Window(at(3), at(4)))
    site.run(hours=2, chunk=2)
    site.asked()
    site.run(chunk=4)
    windows = site.bench.source.asked
    assert sorted((w.start, w.stop) for w in windows) == [(at(2), at(3)), (at(4), at(6))]


@pytest.mark.promise(
    "Gaps: late rows within `late_data_cells` are read, even after a killed run, a newer window or a backfill"
)
def test_what_may_have_late_rows_is_left_to_the_next_run(site: Site) -> None:
    """A backfill makes other cells the last ones, and reads again nothing that is landed."""
    site.bench.run(at(1.5))  # 1 in part, and 0 before it
    site.run()
    job = Job(site.bench.measurement, "production", None, NOW, site.bench.pipeline)
    assert cell(0) in find_due(job, site.bench.ledger).cells


@pytest.mark.slow
def test_another_suite_reads_again(site: Site) -> None:
    site.run()
    site.asked()
    site.bench.suite = suite_of(site.bench.folder / "stricter", site.bench.measurement, most=0.25)
    outcome = site.run()
    assert site.asked() == [0, 1, 2, 3, 4, 5]
    assert outcome.values == Values(extracted=6, quarantined=6)


@pytest.mark.slow
def test_another_catalogue_entry_reads_again(site: Site) -> None:
    site.run()
    site.asked()
    fields = {**site.bench.measurement.fields}
    fields["share_ratio"] = fields["share_ratio"].model_copy(update={"unit": "other"})
    site.bench.measurement = site.bench.measurement.model_copy(update={"fields": fields})
    site.run()
    assert site.asked() == [0, 1, 2, 3, 4, 5]


def test_pending_is_loaded_without_the_source(site: Site) -> None:
    site.bench.sink.error = AWAY
    assert site.run().state == "pending"
    site.bench.sink.error = None
    site.asked()
    outcome = site.run()
    assert site.asked() == []
    assert outcome.sinks["memory"].loaded == 6
    assert site.bench.sink.values("share_ratio") == [0.5] * 6


@pytest.mark.slow
def test_vanished_values_stay_and_go_only_when_replaced(site: Site) -> None:
    site.run()
    fill(site.bench, range(4))
    assert site.run().values == Values()
    assert len(site.bench.landed(0, 6)) == 6
    outcome = site.run(replace=True)
    assert outcome.values == Values(extracted=4, landed=4, erased=2)
    assert len(site.bench.landed(0, 6)) == 4
    assert site.bench.sink.values("share_ratio") == [0.5] * 4
    state = site.bench.state(5)
    assert state is not None
    assert state.delete_count == 1


def test_replacing_what_is_the_same_commits_and_loads_nothing(site: Site) -> None:
    site.run()
    version, calls = site.bench.version(), len(site.bench.sink.calls)
    site.asked()
    site.run(replace=True)
    assert site.asked() == [0, 1, 2, 3, 4, 5]
    assert (site.bench.version(), len(site.bench.sink.calls)) == (version, calls)


@dataclass
class CountingSource(MemorySource):
    """Counts how many calls are under way."""

    now: int = 0
    most: int = 0
    _guard: Lock = field(default_factory=Lock)

    def extract(self, measurement, environment, window):  # type: ignore[no-untyped-def]
        with self._guard:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return super().extract(measurement, environment, window)
        finally:
            with self._guard:
                self.now -= 1


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_chunks_are_handed_out_than_one_more_than_workers(site: Site, workers: int) -> None:
    site.bench.source = CountingSource(site.bench.source.frame)
    handed, most = 0, 0

    @contextmanager
    def counted(run: Run, wanted: Backfill) -> Iterator[Submit]:
        with in_threads(run, wanted) as submit:

            def count(chunk: Chunk, tools: Tools) -> "Future[Done]":
                nonlocal handed, most
                handed += 1
                most = max(most, handed - len(site.steps))
                return submit(chunk, tools)

            yield count

    site.workers = counted
    site.run(workers=workers)
    assert handed == 6
    assert most == workers + 1
    assert site.bench.source.most <= workers


@pytest.mark.promise("Backfill: one bad chunk leaves the others alone")
def test_error_of_one_answer_leaves_the_rest_alone(site: Site) -> None:
    site.bench.source.errors_at = {at(1): BROKEN, at(3): BROKEN}
    outcome = site.run()
    assert outcome.state == "failed"
    assert outcome.values == Values(extracted=4, landed=4)
    assert outcome.problems == (
        f"2026-01-01T01:00:00Z to 2026-01-01T02:00:00Z: {BROKEN}",
        f"2026-01-01T03:00:00Z to 2026-01-01T04:00:00Z: {BROKEN}",
    )
    site.bench.source.errors_at.clear()
    site.asked()
    assert site.run().values == Values(extracted=2, landed=2)
    assert site.asked() == [1, 3]


def test_three_errors_in_a_row_are_the_end(site: Site) -> None:
    fill(site.bench, range(20))
    site.bench.source.error = BROKEN
    outcome = site.run(hours=20, workers=1)
    assert len(outcome.problems) == 3
    assert site.asked() == [0, 1, 2, 3]


def test_source_that_is_away_is_the_end_and_what_was_landed_is_reported(site: Site) -> None:
    site.bench.source.errors_at = {at(2): AWAY}
    outcome = site.run(workers=1)
    assert (outcome.state, outcome.problems) == ("failed", (str(AWAY),))
    # one more was under way
    assert outcome.values == Values(extracted=3, landed=3)
    assert len(query(site.bench.lake, "SELECT * FROM _windows")) == 3


def test_lake_is_reported_of_the_cells_every_round(site: Site) -> None:
    reported = []
    original = base.append_states

    def counted(lake: object, states: list[object]) -> None:
        reported.append(len(states))
        original(lake, states)  # type: ignore[arg-type]

    with (
        mock.patch.object(backfilling, "CHUNKS_A_ROUND", 2),
        mock.patch.object(base, "append_states", counted),
    ):
        site.run(workers=1)
    assert sum(reported) == 6
    # one more chunk than was counted may be done
    assert reported[0] in (2, 3)
    assert len(query(site.bench.lake, "SELECT * FROM _windows")) == 6


def test_lake_that_is_busy_is_reported_later(site: Site) -> None:
    original = base.append_states
    tries = iter([LakeBusy(table="_windows", problem="x")])

    def first_fails(lake: object, states: list[object]) -> None:
        for error in tries:
            raise error
        original(lake, states)  # type: ignore[arg-type]

    with (
        mock.patch.object(backfilling, "CHUNKS_A_ROUND", 2),
        mock.patch.object(base, "append_states", first_fails),
    ):
        assert site.run().state == "landed"
    assert len(query(site.bench.lake, "SELECT * FROM _windows")) == 6


def test_a_held_lock_is_reported_with_its_holder(site: Site) -> None:
    with FileLocks(site.bench.folder / "locks").hold("example", "production", "other"):
        outcome = site.run()
    assert outcome.state == "pending"
    assert "is locked by run other" in outcome.problems[0]
    assert site.asked() == []


def test_interrupted_run_has_reported_what_it_landed(site: Site) -> None:
    site.bench.source.errors_at = {at(3): KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        site.run(workers=1)
    assert len(query(site.bench.lake, "SELECT * FROM _windows")) >= 3
    site.bench.source.errors_at.clear()
    site.asked()
    assert site.run().state == "landed"
    assert site.asked()[0] == 3
    assert len(site.bench.landed(0, 6)) == 6


def test_cell_that_was_not_settled_is_read_to_its_end(site: Site) -> None:
    def settled(moment: datetime) -> None:
        with mock.patch(f"{__name__}.NOW", moment):
            site.run()

    settled(at(2.25))
    assert site.asked() == [0, 1, 2]
    settled(at(2.75))
    assert site.asked() == [2]
    settled(at(10))
    assert site.asked() == [2, 3, 4, 5]
