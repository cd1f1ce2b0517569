"""Quarantine tried again: what passes lands, what fails stays, what a sink refused is offered again."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd
import pytest

from tasks.core.errors import LedgerUnavailable, LockLost, SinkUnavailable
from tasks.core.measurement import FieldSpec
from tasks.core.receipt import Outcome, SinkValues, Values
from tasks.core.state import CellState
from tasks.core.window import Window
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import FileLocks
from tasks.runs.retry.measurement import Retry, retry
from tests.support.fakes.memory import MemorySource
from tests.support.suite_examples import BETWEEN, a_suite, an_expectation
from tests.support.workbench import Bench, at, rows, suite_of

NOW = at(1.5)  # cells 0 and 1 are due
ALL = Window(at(0), at(2))


class CrashingLedger(Ledger):
    """Fails at the record of that number, as a process that dies there."""

    crash_at = 0

    def record(self, states: Iterable[CellState]) -> None:
        self.crash_at -= 1
        if self.crash_at == 0:
            raise LedgerUnavailable(url=self.url, problem="crashed on purpose")
        super().record(states)


class LostLock:
    def check(self) -> None:
        raise LockLost(measurement="example", environment="production")


@dataclass
class CountedLock:
    """Holds for so many looks, then is lost."""

    looks: int

    def check(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise LockLost(measurement="example", environment="production")


def put(bench: Bench, *points: tuple[float, float]) -> None:
    """Rows of share_ratio alone: (hour, value)."""
    times = [at(hour) for hour, _ in points]
    bench.put(rows(bench.measurement, times, share_ratio=[value for _, value in points]))


def again(bench: Bench, window: Window = ALL, chunk_rows: int = 1000, **changed: object) -> Outcome:
    """A retry as its run does it; `changed` replaces tools."""
    bench.runs += 1
    run_id = f"run-{bench.runs}"
    with FileLocks(bench.folder / "locks").hold("example", "production", run_id) as lock:
        tools = bench.tools(run_id, lock)
        wanted = Retry(bench.measurement, "production", window, chunk_rows)
        outcome = retry(wanted, replace(tools, **changed))  # type: ignore[arg-type]
    outcome.values.check()
    for name, counts in outcome.sinks.items():
        counts.check(name)
    return outcome


def fix(bench: Bench, most: float) -> None:
    """Another limit on share_ratio."""
    bench.suite = suite_of(bench.folder / f"expectations-{most}", bench.measurement, most)


def landed(bench: Bench) -> list[tuple[datetime, float]]:
    frame = bench.landed(0, 2)
    times = [time.to_pydatetime() for time in frame["time"]]
    return list(zip(times, frame["share_ratio"].tolist(), strict=True))


def test_values_that_pass_now_are_landed_and_loaded(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 1.5), (1.25, 2.5))
    bench.run(NOW)
    asked, version = len(bench.source.asked), bench.version()
    fix(bench, most=2.0)
    outcome = again(bench)
    assert outcome.values == Values(extracted=3, landed=1, quarantined=1, unchanged=1)
    assert (outcome.state, outcome.rows, outcome.problems, outcome.warnings) == (
        "landed",
        2,
        (),
        (),
    )
    assert outcome.sinks == {"memory": SinkValues(owed=2, loaded=2)}
    assert outcome.verdicts[0].short() == {"passed": 4, "failed": 1, "worst": "critical"}
    assert landed(bench) == [(at(0.25), 0.5), (at(0.5), 1.5)]
    assert bench.quarantined() == [("share_ratio", 2.5)]
    assert bench.sink.values("share_ratio") == [0.5, 1.5]
    assert (len(bench.source.asked), bench.version()) == (asked, version + 1)


def test_without_a_fixed_suite_nothing_is_written(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 1.5))
    bench.run(NOW)
    version, before = bench.version(), bench.lake.quarantined("example")
    recorded = len(bench.recorded)
    outcome = again(bench)
    assert outcome.values == Values(extracted=2, quarantined=1, unchanged=1)
    assert (outcome.state, outcome.sinks) == ("unchanged", {"memory": SinkValues()})
    assert (bench.version(), len(bench.recorded)) == (version, recorded)
    pd.testing.assert_frame_equal(bench.lake.quarantined("example"), before)


def test_the_ledger_and_the_windows_are_reported(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 1.5), (0.75, 2.5))
    bench.run(NOW)
    before = bench.state(0)
    fix(bench, most=2.0)
    again(bench)
    state = bench.state(0)
    assert state is not None
    assert before is not None
    assert (state.rows, state.values, state.quarantined, state.delete_count) == (2, 2, 1, 0)
    assert (state.source, state.covered_until) == (before.source, before.covered_until)
    assert state.run_id == "run-2"
    assert bench.recorded[-1] == state


def test_the_next_collect_finds_nothing_to_do(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 1.5), (0.75, 2.5))
    bench.run(NOW)
    fix(bench, most=2.0)
    again(bench)
    version = bench.version()
    outcome = bench.run(NOW)
    assert outcome.values == Values(extracted=3, unchanged=3)
    assert bench.version() == version
    assert bench.quarantined() == [("share_ratio", 2.5)]


def test_the_next_collect_that_is_answered_less_keeps_what_was_released(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 1.5))
    bench.run(NOW)
    fix(bench, most=2.0)
    again(bench)
    put(bench, (0.25, 0.5))
    assert bench.run(NOW).values == Values(extracted=1, landed=1, retained=1)
    assert landed(bench) == [(at(0.25), 0.5), (at(0.5), 1.5)]


def test_what_still_fails_has_the_new_reason(bench: Bench) -> None:
    put(bench, (0.25, 3.0))
    bench.run(NOW)
    other = an_expectation("other", BETWEEN, column="share_ratio", max_value=2)
    bench.suite = a_suite(bench.folder / "expectations", bench.measurement, other)
    outcome = again(bench)
    found = bench.lake.quarantined("example")
    assert outcome.values == Values(extracted=1, quarantined=1)
    assert found[["check_id", "limit"]].to_numpy().tolist() == [["other", "at most 2"]]
    # a cell of which nothing was ever landed stays one without data
    assert (outcome.state, landed(bench)) == ("unchanged", [])


def test_landed_values_that_the_suite_refuses_now_go_to_quarantine(bench: Bench) -> None:
    put(bench, (0.25, 0.1), (0.5, 0.9), (0.75, 1.5), (1.25, 0.9))
    bench.run(NOW)
    fix(bench, most=0.5)
    outcome = again(bench)
    # the cell without held values is not judged again
    assert outcome.values == Values(extracted=3, quarantined=2, unchanged=1)
    assert landed(bench) == [(at(0.25), 0.1), (at(1.25), 0.9)]
    assert bench.quarantined() == [("share_ratio", 0.9), ("share_ratio", 1.5)]
    assert bench.sink.values("share_ratio") == [0.1, 0.9]
    state = bench.state(0)
    assert state is not None
    assert (state.delete_count, state.quarantined) == (1, 2)


def test_only_the_cells_of_the_window_are_tried(bench: Bench) -> None:
    put(bench, (0.5, 1.5), (1.25, 1.5))
    bench.run(NOW)
    fix(bench, most=2.0)
    outcome = again(bench, Window(at(1), at(2)))
    assert outcome.values == Values(extracted=1, landed=1)
    assert (landed(bench), bench.quarantined()) == ([(at(1.25), 1.5)], [("share_ratio", 1.5)])


@pytest.mark.slow
@pytest.mark.parametrize(("chunk_rows", "commits"), [(1000, 1), (1, 2)])
def test_one_commit_a_chunk(bench: Bench, chunk_rows: int, commits: int) -> None:
    put(bench, (0.25, 0.5), (0.5, 1.5), (1.25, 1.5))
    bench.run(NOW)
    version = bench.version()
    fix(bench, most=2.0)
    outcome = again(bench, chunk_rows=chunk_rows)
    assert outcome.values == Values(extracted=3, landed=2, unchanged=1)
    assert bench.version() == version + commits


def test_nothing_in_quarantine_is_nothing_to_do(bench: Bench) -> None:
    put(bench, (0.25, 0.5))
    bench.run(NOW)
    outcome = again(bench)
    assert (outcome.state, outcome.values, outcome.verdicts) == ("no_data", Values(), ())


def test_a_sinks_refusals_are_offered_again(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 0.7))
    bench.sink.refuses = lambda field, value: value == 0.7
    assert bench.run(NOW).state == "refused"
    bench.sink.refuses = lambda field, value: False
    version = bench.version()
    outcome = again(bench)
    assert (outcome.state, outcome.values) == ("unchanged", Values())
    assert outcome.sinks == {"memory": SinkValues(owed=2, loaded=2)}
    assert (bench.quarantined(), bench.sink.values("share_ratio")) == ([], [0.5, 0.7])
    assert bench.version() == version


@pytest.mark.slow
def test_what_the_sink_refuses_again_is_reported_once(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 0.7))
    bench.sink.refuses = lambda field, value: value == 0.7
    bench.run(NOW)
    outcome = again(bench)
    assert (outcome.state, outcome.sinks) == (
        "refused",
        {"memory": SinkValues(owed=2, loaded=1, refused=1)},
    )
    assert bench.quarantined() == [("share_ratio", 0.7)]


@pytest.mark.slow
def test_a_sink_that_is_down_is_owed_the_refusals(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 0.7))
    bench.sink.refuses = lambda field, value: value == 0.7
    bench.run(NOW)
    bench.sink.error = SinkUnavailable(sink="memory", url="here", problem="down", retry_after=None)
    outcome = again(bench)
    assert (outcome.state, outcome.sinks) == ("pending", {"memory": SinkValues(owed=2, pending=2)})
    bench.sink.error = None
    assert bench.run(NOW).sinks == {"memory": SinkValues(owed=2, loaded=1, refused=1)}
    assert bench.quarantined() == [("share_ratio", 0.7)]


@pytest.mark.slow
def test_without_a_sink_its_refusals_wait(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 0.7))
    bench.sink.refuses = lambda field, value: value == 0.7
    bench.run(NOW)
    outcome = again(bench, sinks=())
    assert outcome.warnings == ("1 values that a sink refused stay: no sink is in use",)
    assert (outcome.state, bench.quarantined()) == ("unchanged", [("share_ratio", 0.7)])


@pytest.mark.slow
def test_a_cell_that_is_released_tells_the_sinks_refusals_anew(bench: Bench) -> None:
    put(bench, (0.25, 0.7), (0.5, 1.5))
    bench.sink.refuses = lambda field, value: value == 0.7
    bench.run(NOW)
    fix(bench, most=2.0)
    outcome = again(bench)
    assert outcome.values == Values(extracted=2, landed=1, unchanged=1)
    assert outcome.sinks == {"memory": SinkValues(owed=2, loaded=1, refused=1)}
    assert bench.quarantined() == [("share_ratio", 0.7)]


@pytest.mark.slow
def test_samples_that_are_released_survive_the_next_sample(bench: Bench) -> None:
    bench.source = MemorySource(bench.source.frame, name="rest", history="sample")
    moments = [at(0.25), at(0.5), at(0.75)]
    put(bench, (0.25, 1.5), (0.5, 2.5), (0.75, 0.5))
    for moment in moments[:2]:
        bench.run(moment)
    fix(bench, most=2.0)
    outcome = again(bench)
    assert outcome.values == Values(extracted=2, landed=1, quarantined=1)
    bench.run(moments[2])
    assert landed(bench) == [(at(0.25), 1.5), (at(0.75), 0.5)]
    assert bench.quarantined() == [("share_ratio", 2.5)]
    state = bench.state(0)
    assert state is not None
    assert state.quarantined == 1


@pytest.mark.slow
def test_what_the_door_turned_away_stays(bench: Bench) -> None:
    bad = rows(bench.measurement, [at(0.25)], share_ratio=[0.5], method=["a"])
    bench.put(bad, rows(bench.measurement, [at(0.5)], share_ratio=[1.5]))
    methods = bench.source.frame["method"].cat
    texts = [f"{text}\ud800" if text == "a" else text for text in methods.categories]
    bench.source.frame["method"] = methods.rename_categories(pd.Index(texts, dtype="object"))
    bench.run(NOW)
    fix(bench, most=2.0)
    outcome = again(bench)
    assert outcome.values == Values(extracted=1, landed=1)
    assert bench.lake.quarantined("example")["stage"].tolist() == ["structural"]
    state = bench.state(0)
    assert state is not None
    assert state.quarantined == 1


@pytest.mark.slow
def test_a_field_that_is_gone_has_no_place(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 1.5))
    bench.run(NOW)
    # as who was reported to begin a new table
    shutil.rmtree(bench.folder / "lake" / "example")
    others = {"size_bytes": FieldSpec(query="q", type="int")}
    bench.measurement = bench.measurement.model_copy(update={"fields": others})
    bench.suite = a_suite(bench.folder / "expectations", bench.measurement)
    outcome = again(bench, sinks=())
    assert outcome.values == Values(extracted=1, quarantined=1)
    assert outcome.warnings == (
        "1 quarantined values have no place in the table: their field or tag is no longer in the "
        "catalogue, or another value is landed there",
    )
    assert bench.quarantined() == [("share_ratio", 1.5)]


def test_a_table_that_no_longer_fits_is_not_touched(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 1.5))
    bench.run(NOW)
    others = {"size_bytes": FieldSpec(query="q", type="int")}
    bench.measurement = bench.measurement.model_copy(update={"fields": others})
    outcome = again(bench)
    assert (outcome.state, outcome.values) == ("failed", Values())
    assert outcome.problems[0].startswith("lake table example: ")
    assert bench.quarantined() == [("share_ratio", 1.5)]


def test_a_cell_that_the_ledger_does_not_know_is_left_alone(bench: Bench) -> None:
    put(bench, (0.5, 1.5))
    bench.run(NOW)
    bench.ledger.close()
    bench.ledger = Ledger(f"sqlite:///{bench.folder / 'new.db'}")
    fix(bench, most=2.0)
    outcome = again(bench)
    assert outcome.warnings == (
        "1 quarantined values lie in cells that the ledger does not know. Fix: collect their time again",
    )
    assert (outcome.values, bench.quarantined()) == (Values(), [("share_ratio", 1.5)])


@pytest.mark.slow
def test_a_lost_lock_writes_nothing(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 1.5))
    bench.run(NOW)
    version = bench.version()
    fix(bench, most=2.0)
    outcome = again(bench, lock=LostLock())
    assert (outcome.state, outcome.values) == ("pending", Values())
    assert outcome.problems[0].startswith("example in production: the lock was lost")
    assert (bench.version(), bench.quarantined()) == (version, [("share_ratio", 1.5)])


@pytest.mark.slow
@pytest.mark.promise(
    "Crash: in a retry of the quarantine: no value is lost, and the next retry or collect completes it"
)
@pytest.mark.parametrize("crash_at", [1, 2, 3])
@pytest.mark.parametrize(("most", "expected"), [(2.0, [0.1, 0.9, 1.5]), (0.5, [0.1])])
def test_after_a_crash_at_the_ledger_no_value_is_lost(
    bench: Bench, crash_at: int, most: float, expected: list[float]
) -> None:
    put(bench, (0.25, 0.1), (0.5, 0.9), (0.75, 1.5))
    bench.run(NOW)
    bench.ledger.close()
    bench.ledger = CrashingLedger(f"sqlite:///{bench.folder / 'ledger.db'}")
    fix(bench, most)
    bench.ledger.crash_at = crash_at
    assert again(bench).state == "failed"
    assert _somewhere(bench) >= {0.1, 0.9, 1.5}
    again(bench)
    assert _healed(bench, expected)


@pytest.mark.slow
@pytest.mark.promise(
    "Crash: in a retry of the quarantine: no value is lost, and the next retry or collect completes it"
)
@pytest.mark.parametrize("looks", [0, 1, 2])
@pytest.mark.parametrize(("most", "expected"), [(2.0, [0.1, 0.9, 1.5]), (0.5, [0.1])])
def test_after_a_crash_between_commits_no_value_is_lost(
    bench: Bench, looks: int, most: float, expected: list[float]
) -> None:
    put(bench, (0.25, 0.1), (0.5, 0.9), (0.75, 1.5))
    bench.run(NOW)
    fix(bench, most)
    again(bench, lock=CountedLock(looks))
    assert _somewhere(bench) >= {0.1, 0.9, 1.5}
    again(bench)
    assert _healed(bench, expected)


@pytest.mark.slow
@pytest.mark.promise(
    "Crash: in a retry of the quarantine: no value is lost, and the next retry or collect completes it"
)
def test_after_a_crash_at_the_sink_its_refusals_are_reported_again(bench: Bench) -> None:
    put(bench, (0.25, 0.5), (0.5, 0.7))
    bench.sink.refuses = lambda field, value: value == 0.7
    bench.run(NOW)
    bench.sink.defect = KeyboardInterrupt("killed on purpose")
    with pytest.raises(KeyboardInterrupt):
        again(bench)
    bench.sink.defect = None
    assert bench.run(NOW).sinks == {"memory": SinkValues(owed=2, loaded=1, refused=1)}
    assert bench.quarantined() == [("share_ratio", 0.7)]


def _somewhere(bench: Bench) -> set[float | None]:
    """The values in the table and in quarantine."""
    return {value for _, value in landed(bench)} | {number for _, number in bench.quarantined()}


def _healed(bench: Bench, expected: list[float]) -> bool:
    held = [("share_ratio", value) for value in (0.1, 0.9, 1.5) if value not in expected]
    assert [value for _, value in landed(bench)] == expected
    assert bench.quarantined() == held
    # whatever a crash left to be loaded, the next run finds
    bench.run(NOW)
    assert bench.sink.values("share_ratio") == expected
    state = bench.state(0)
    assert state is not None
    assert (state.values, state.quarantined) == (len(expected), len(held))
    return bench.run(NOW).values == Values(extracted=3, unchanged=3)
