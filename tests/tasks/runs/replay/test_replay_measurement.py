"""Replay from the lake into a sink in memory, and what its failures leave."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import LockLost, SinkUnavailable
from tasks.core.receipt import Outcome, SinkValues
from tasks.core.series import ALL_TIME
from tasks.core.window import Window
from tasks.runs.replay.measurement import Replay, Stores, replay
from tests.support.ledger_behaviours import owed
from tests.support.suite_examples import a_measurement
from tests.support.workbench import HOUR, START, Bench, at, rows

DOWN = SinkUnavailable(sink="memory", url="http://127.0.0.1:9", problem="no", retry_after=None)


class Unlocked:
    """A lock that always holds, or that is lost from some check on."""

    def __init__(self, checks: int = 1000) -> None:
        self.checks = checks

    def check(self) -> None:
        self.checks -= 1
        if self.checks < 0:
            raise LockLost(measurement="example", environment="production")


def send(
    bench: Bench, window: Window = ALL_TIME, chunk_rows: int = 4, lock: Unlocked | None = None
) -> Outcome:
    wanted = Replay(bench.measurement, "production", window, HOUR, chunk_rows, workers=1)
    stores = Stores(bench.lake, bench.ledger, bench.sink, lock or Unlocked())
    outcome = replay(wanted, stores, lambda *reported: bench.progress.append(reported))
    for counts in outcome.sinks.values():
        counts.check("memory")
    return outcome


@pytest.fixture
def landed(bench: Bench) -> Bench:
    """Four hours with two values each, landed and not loaded."""
    times = [START + number * HOUR / 2 for number in range(8)]
    bench.put(rows(bench.measurement, times, share_ratio=[n / 10 for n in range(8)]))
    bench.run(at(5), Window(at(0), at(4)), sinks=())
    bench.progress.clear()
    return bench


def test_everything_is_sent_in_groups_with_progress(landed: Bench) -> None:
    outcome = send(landed)

    assert outcome.sinks == {"memory": SinkValues(owed=8, loaded=8)}
    assert (outcome.state, outcome.rows, outcome.start) == ("unchanged", 8, at(0))
    assert [len(call) for call in landed.sink.calls] == [2, 2]
    assert landed.progress == [("example", 2, 4), ("example", 4, 4)]
    assert landed.sink.values("share_ratio") == [n / 10 for n in range(8)]
    assert owed(landed.ledger, "memory", "example", "production") == []


def test_a_cell_with_more_rows_is_a_group_of_its_own(landed: Bench) -> None:
    send(landed, chunk_rows=1)
    assert [len(call) for call in landed.sink.calls] == [1, 1, 1, 1]


def test_what_the_ledger_believes_is_loaded_is_sent_again(landed: Bench) -> None:
    send(landed)
    landed.sink.held.clear()

    assert send(landed).sinks["memory"].loaded == 8
    assert len(landed.sink.held) == 8


def test_only_the_window(landed: Bench) -> None:
    assert send(landed, Window(at(1), at(3))).sinks["memory"].owed == 4
    pending = owed(landed.ledger, "memory", "example", "production")
    assert [state.cell.start for state in pending] == [at(3), at(0)]


def test_no_rows_at_all(bench: Bench) -> None:
    outcome = send(bench)
    assert (outcome.state, outcome.sinks, bench.sink.calls) == ("no_data", {}, [])


@pytest.mark.promise(
    "Replay: after InfluxDB was killed in mid-replay the rest is pending, and the next replay completes it"
)
def test_a_sink_that_is_down_is_tried_once_and_all_is_pending(landed: Bench) -> None:
    send(landed)
    landed.sink.calls.clear()
    landed.sink.error = DOWN
    outcome = send(landed)

    assert (outcome.state, outcome.sinks) == ("pending", {"memory": SinkValues(owed=8, pending=8)})
    assert len(landed.sink.calls) == 1
    assert outcome.problems == (str(DOWN),)
    # every later run loads it, also what the ledger took for loaded before
    assert len(owed(landed.ledger, "memory", "example", "production")) == 4
    landed.sink.error = None
    assert landed.run(at(5)).sinks["memory"].loaded >= 8


@pytest.mark.promise(
    "Replay: after InfluxDB was killed in mid-replay the rest is pending, and the next replay completes it"
)
def test_the_lock_is_lost_in_the_middle(landed: Bench) -> None:
    outcome = send(landed, lock=Unlocked(checks=2))

    assert outcome.state == "pending"
    assert outcome.sinks == {"memory": SinkValues(owed=8, loaded=4, pending=4)}
    assert "the lock was lost" in outcome.problems[0]
    assert len(owed(landed.ledger, "memory", "example", "production")) == 2


@pytest.mark.promise("Replay: cells that the ledger lost are replayed too")
def test_cells_that_the_ledger_does_not_know_are_sent_and_erased_first(landed: Bench) -> None:
    landed.ledger.forget_all()
    outcome = send(landed)

    assert outcome.sinks == {"memory": SinkValues(owed=8, loaded=8)}
    assert {cell.erase_first for call in landed.sink.calls for cell in call} == {True}
    # once the ledger knows them again nothing is sent twice
    loads = landed.ledger.loads("memory", "example", "production", ALL_TIME)
    assert len(loads) == 4
    assert {load.delete_count for load in loads.values()} == {0}


def test_a_known_cell_is_erased_first_only_after_it_lost_values(landed: Bench) -> None:
    (first, *_) = landed.ledger.cells("example", "production", ALL_TIME).values()
    landed.ledger.record([replace(first, delete_count=1)])
    send(landed)
    erased = [cell.cell for call in landed.sink.calls for cell in call if cell.erase_first]
    assert erased == [first.cell]


def test_a_cell_that_lost_all_its_values_is_emptied_in_the_sink(landed: Bench) -> None:
    send(landed)
    (first, *_) = landed.ledger.cells("example", "production", ALL_TIME).values()
    empty = landed.landed(0).iloc[:0]
    landed.lake.land(landed.measurement, empty, [first.cell], "production", None)
    landed.ledger.record([replace(first, rows=0, values=0, delete_count=1)])

    assert send(landed).sinks["memory"] == SinkValues(owed=6, loaded=6)
    assert landed.sink.values("share_ratio") == [n / 10 for n in range(2, 8)]


@pytest.mark.promise("Replay: replaying twice stores every value once")
def test_refused_values_are_reported_once(landed: Bench) -> None:
    landed.sink.refuses = lambda field, value: value == 0.5
    for _ in range(2):
        outcome = send(landed)
        assert (outcome.state, outcome.sinks["memory"].refused) == ("refused", 1)
    assert landed.quarantined() == [("share_ratio", 0.5)]


def test_a_torn_file_is_reported_and_nothing_is_forgotten(landed: Bench) -> None:
    send(landed)
    for path in Path(landed.lake.table_url("example")).glob("*.parquet"):
        path.write_bytes(b"")
    outcome = send(landed)

    assert outcome.state == "failed"
    assert "lake table example" in outcome.problems[0]
    assert len(landed.ledger.loads("memory", "example", "production", ALL_TIME)) == 4


def test_fields_that_came_later_change_no_state(landed: Bench) -> None:
    send(landed)
    landed.measurement = a_measurement(
        fields={"share_ratio": "float", "size_bytes": "int", "new": "float"}
    )
    send(landed)
    assert owed(landed.ledger, "memory", "example", "production") == []
