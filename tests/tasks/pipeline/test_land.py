"""Landing: one commit a chunk, quarantine before rows, and what a crash in between leaves."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks.core.digest import digest_rows
from tasks.core.errors import LedgerUnavailable, LockLost
from tasks.core.receipt import SinkValues, Values
from tasks.core.state import CellState
from tasks.lake.delta import existing_table
from tasks.ledger.ledger import Ledger
from tests.support.workbench import MINUTE, Bench, at, cell, rows, suite_of

NOW = at(1.5)


class CrashingLedger(Ledger):
    """Fails to record as often as it is reported to, as a process that dies after the commit."""

    crashes = 0

    def record(self, states: Iterable[CellState]) -> None:
        states = list(states)
        if self.crashes and any(state.source_digest for state in states):
            self.crashes -= 1
            raise LedgerUnavailable(url=self.url, problem="crashed on purpose")
        super().record(states)


@dataclass
class FailingLock:
    """Holds for so many looks, then is lost."""

    looks: int
    seen: list[int] = field(default_factory=list)

    def check(self) -> None:
        self.seen.append(self.looks)
        if not self.looks:
            raise LockLost(measurement="example", environment="production")
        self.looks -= 1


@pytest.fixture
def crashing(bench: Bench) -> CrashingLedger:
    bench.ledger.close()
    ledger = CrashingLedger(f"sqlite:///{bench.folder / 'ledger.db'}")
    bench.ledger = ledger
    return ledger


def put(bench: Bench, *points: tuple[float, float]) -> None:
    """Rows of share_ratio alone: (hour, value)."""
    times = [at(hour) for hour, _ in points]
    bench.put(rows(bench.measurement, times, share_ratio=[value for _, value in points]))


def metadata(bench: Bench) -> dict[str, Any]:
    table = existing_table(bench.lake.table_url("example"), "example")
    assert table is not None
    return table.history(1)[0]


@pytest.mark.promise("Landing: one atomic commit replaces exactly the cells of a chunk")
def test_a_chunk_is_one_commit_that_names_its_cells(bench: Bench) -> None:
    put(bench, (0.25, 0.25), (1.25, 0.5), (2.25, 2.0))
    bench.run(at(2.5))
    put(bench, (0.25, 0.3), (1.25, 0.6), (2.25, 2.0))
    version = bench.version()
    bench.run(at(2.5), window=cell(0).widened(at(2) - at(0)))
    assert bench.version() == version + 2  # the newest cell of the window first, then the rest
    reported = json.loads(metadata(bench)["fedvitals"])
    state = bench.state(0)
    assert state is not None
    briefs = [{**reported["cells"][0], "made_at": ""}]
    assert {**reported, "cells": briefs} == {
        "run_id": "run-2",
        "cells": [{**state.brief(), "made_at": ""}],
    }
    assert state.landed_digest == digest_rows(bench.landed(0), bench.measurement)
    assert (state.rows, state.values, state.quarantined, state.delete_count) == (1, 1, 0, 0)


@pytest.mark.promise(
    "Crash: between rows and ledger: the next run commits nothing twice and erases in the sink before it writes"
)
def test_crash_after_the_commit_heals_and_erases_first(
    bench: Bench, crashing: CrashingLedger
) -> None:
    put(bench, (1.25, 0.25))
    bench.run(NOW)
    put(bench, (1.25, 0.3))
    crashing.crashes = 1
    failed = bench.run(NOW)
    assert failed.state == "failed"
    assert "crashed on purpose" in failed.problems[0]
    assert bench.landed(1)["share_ratio"].tolist() == [0.3]
    assert bench.sink.values("share_ratio") == [0.25]
    healed = bench.run(NOW)
    assert healed.state == "landed"
    assert healed.sinks == {"memory": SinkValues(owed=1, loaded=1)}
    assert bench.sink.values("share_ratio") == [0.3]
    assert [entry.erase_first for entry in bench.sink.calls[-1]] == [True]
    assert bench.run(NOW).state == "unchanged"


@pytest.mark.promise(
    "Crash: between rows and ledger: the next run commits nothing twice and erases in the sink before it writes"
)
@pytest.mark.parametrize("other_suite", [False, True])
def test_crash_then_back_to_the_earlier_rows(
    bench: Bench, crashing: CrashingLedger, other_suite: bool
) -> None:
    """The ledger knows the earlier rows while the lake has others: it is the lake that counts."""
    put(bench, (1.25, 0.25))
    bench.run(NOW)
    put(bench, (1.25, 0.3))
    crashing.crashes = 1
    bench.run(NOW)
    put(bench, (1.25, 0.25))
    if other_suite:
        bench.suite = suite_of(bench.folder / "other", bench.measurement, most=0.9)
    bench.run(NOW)
    assert bench.landed(1)["share_ratio"].tolist() == [0.25]
    assert bench.sink.values("share_ratio") == [0.25]


def test_crash_then_all_refused_takes_the_rows_out(bench: Bench, crashing: CrashingLedger) -> None:
    put(bench, (1.25, 0.25))
    crashing.crashes = 1
    assert bench.run(NOW).state == "failed"
    assert len(bench.landed(1)) == 1
    bench.suite = suite_of(bench.folder / "stricter", bench.measurement, most=0.1)
    outcome = bench.run(NOW)
    assert outcome.values == Values(extracted=1, quarantined=1)
    assert bench.landed(1).empty
    assert bench.sink.held == {}


@pytest.mark.promise(
    "Crash: the ledger is deleted: the next run reads its cells back from the lake"
)
def test_ledger_deleted_never_destroys(bench: Bench) -> None:
    put(bench, (0.25, 0.25), (0.5, 0.5))
    bench.run(NOW)
    bench.ledger.close()
    for file in bench.folder.glob("ledger.db*"):
        file.unlink()
    bench.ledger = Ledger(f"sqlite:///{bench.folder / 'ledger.db'}")
    put(bench, (0.5, 0.6))
    outcome = bench.run(NOW)
    assert outcome.values == Values(extracted=1, landed=1, retained=1)
    assert bench.landed(0)["share_ratio"].tolist() == [0.25, 0.6]
    assert bench.sink.values("share_ratio") == [0.25, 0.6]
    assert [entry.erase_first for entry in bench.sink.calls[-1]] == [True]


def test_quarantine_is_replaced_with_its_cell_and_no_other(bench: Bench) -> None:
    put(bench, (0.25, 2.0), (1.25, 3.0))
    bench.run(NOW)
    assert bench.quarantined() == [("share_ratio", 2.0), ("share_ratio", 3.0)]
    put(bench, (0.25, 2.0), (1.25, 0.5))
    outcome = bench.run(NOW)
    assert outcome.values == Values(extracted=2, landed=1, unchanged=1)
    assert bench.quarantined() == [("share_ratio", 2.0)]


@pytest.mark.promise(
    "Quarantine: values in quarantine stay there when the source no longer has them"
)
def test_quarantined_values_that_the_source_has_no_more_stay(bench: Bench) -> None:
    put(bench, (0.25, 2.0), (0.5, 3.0), (0.75, 0.5))
    bench.run(NOW)
    put(bench, (0.5, 4.0), (0.75, 0.5))
    assert bench.run(NOW).values == Values(extracted=2, landed=1, quarantined=1)
    assert bench.quarantined() == [("share_ratio", 2.0), ("share_ratio", 4.0)]
    # not even when nothing is left of the history
    put(bench)
    assert bench.run(NOW).values == Values(retained=1)
    assert bench.quarantined() == [("share_ratio", 2.0), ("share_ratio", 4.0)]
    state = bench.state(0)
    assert state is not None
    assert (state.values, state.quarantined) == (1, 2)
    # what comes again is judged anew, and what is to go goes
    put(bench, (0.25, 0.25))
    bench.run(NOW)
    assert bench.quarantined() == [("share_ratio", 4.0)]
    bench.run(NOW, allow_deletes=True)
    assert bench.quarantined() == []


@pytest.mark.promise(
    "Crash: between quarantine and rows: the next run lands the cell and replaces its records"
)
def test_quarantine_left_by_a_crash_is_cleared(bench: Bench, crashing: CrashingLedger) -> None:
    put(bench, (1.25, 2.0))
    crashing.crashes = 1
    assert bench.run(NOW).state == "failed"
    assert bench.quarantined() == [("share_ratio", 2.0)]
    put(bench, (1.25, 0.5))
    assert bench.run(NOW).values == Values(extracted=1, landed=1)
    assert bench.quarantined() == []


def test_refusal_of_a_sink_stays_in_quarantine_while_it_is_true(bench: Bench) -> None:
    bench.sink.refuses = lambda name, value: value == 0.25
    put(bench, (0.25, 0.25), (0.5, 0.5))
    assert bench.run(NOW).state == "refused"
    assert bench.quarantined() == [("share_ratio", 0.25)]
    # another suite and the same rows: the sink is not asked again
    bench.suite = suite_of(bench.folder / "other", bench.measurement, most=0.9)
    bench.run(NOW)
    assert bench.quarantined() == [("share_ratio", 0.25)]
    # other rows: the sink is asked again, and says it once
    put(bench, (0.25, 0.25), (0.5, 0.6))
    bench.run(NOW)
    assert bench.quarantined() == [("share_ratio", 0.25)]
    bench.sink.refuses = lambda name, value: False
    put(bench, (0.25, 0.25), (0.5, 0.7))
    bench.run(NOW)
    assert bench.quarantined() == []


@pytest.mark.promise("Two runs: a run that lost its lock commits nothing")
@pytest.mark.parametrize(("looks", "in_quarantine"), [(0, 0), (1, 0), (2, 1)])
def test_lost_lock_lets_nothing_be_committed(bench: Bench, looks: int, in_quarantine: int) -> None:
    put(bench, (1.25, 0.5), (1.3, 2.0))
    lock = FailingLock(looks)
    outcome = bench.run(NOW, lock=lock)
    assert outcome.state == "pending"
    assert "the lock was lost before the commit" in outcome.problems[0]
    assert bench.landed(1).empty
    assert bench.state(1) is None
    assert len(bench.quarantined()) == in_quarantine
    assert bench.sink.calls == []
    # the same with a lock that holds
    assert bench.run(NOW).values == Values(extracted=2, landed=1, quarantined=1)


def test_samples_add_up_and_each_keeps_its_quarantine(bench: Bench) -> None:
    bench.source.name, bench.source.history = "scrape", "sample"
    put(bench, *((minute / 60, 0.5) for minute in (0, 2, 3)), (1 / 60, 2.0))
    for minute in range(4):
        outcome = bench.run(at(0) + minute * MINUTE)
        assert outcome.values.extracted == 1
        assert (outcome.values.retained, outcome.warnings) == (0, ())
    assert bench.landed(0)["time"].tolist() == [at(0), at(2 / 60), at(3 / 60)]
    assert bench.quarantined() == [("share_ratio", 2.0)]
    state = bench.state(0)
    assert state is not None
    assert (state.rows, state.quarantined, state.delete_count) == (3, 1, 0)
    assert bench.sink.values("share_ratio") == [0.5, 0.5, 0.5]


def test_sample_says_a_refusal_of_the_sink_once(bench: Bench) -> None:
    bench.source.name, bench.source.history = "scrape", "sample"
    bench.sink.refuses = lambda name, value: value == 0.25
    put(bench, (0, 0.25), (1 / 60, 0.5), (2 / 60, 0.5))
    for minute in range(3):
        bench.run(at(0) + minute * MINUTE)
    assert bench.quarantined() == [("share_ratio", 0.25)]


def test_states_of_a_run_are_reported_once(bench: Bench, tmp_path: Path) -> None:
    put(bench, (0.25, 0.25), (1.25, 0.5))
    bench.run(NOW)
    assert [(s.cell.start, s.rows, s.run_id) for s in bench.recorded] == [
        (at(1), 1, "run-1"),
        (at(0), 1, "run-1"),
    ]
