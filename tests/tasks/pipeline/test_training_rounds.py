"""Rounds on their way: each is landed and loaded once, whatever happens between two polls."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from tasks.core.measurement import Measurement
from tasks.core.receipt import Values
from tasks.core.window import Cell, Window
from tasks.ledger.ledger import Ledger
from tasks.training.history import training_runs
from tests.support.fakes.memory import MemorySink
from tests.support.fakes.training import HISTORY, ROUND, START, FakeTraining, a_round
from tests.support.training_bench import CATALOGUE, CLIENTS, DAY, NOW, ROUNDS, TrainingBench

HOUR = timedelta(hours=1)
FIELDS = 14


class Crash(BaseException):
    """What ends a process: nobody handles it."""


class CrashingSink(MemorySink):
    """The process dies when it is asked to load."""

    def load(self, *given: Any) -> Any:
        raise Crash


@pytest.fixture
def bench(tmp_path: Path, httpserver: HTTPServer) -> Iterator[TrainingBench]:
    training = FakeTraining(httpserver, [a_round(n) for n in (1, 2, 3)])
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield TrainingBench(tmp_path, training, ledger)
    ledger.close()


def test_each_round_is_landed_and_loaded_once(bench: TrainingBench) -> None:
    first = bench.poll()
    assert (first.state, first.values) == (
        "landed", Values(extracted=3 * FIELDS, landed=3 * FIELDS),
    )  # fmt: skip
    bench.training.rounds += [a_round(4), a_round(5)]
    second = bench.poll(NOW + ROUND)
    assert (second.state, second.values.landed, second.values.unchanged) == (
        "landed", 2 * FIELDS, FIELDS,
    )  # fmt: skip
    assert bench.landed() == [("run-a", n, 1.0 / n) for n in (1, 2, 3, 4, 5)]
    assert bench.loaded() == [("run-a", n) for n in (1, 2, 3, 4, 5)]
    assert bench.training.asked == [f"{HISTORY}?since=0", f"{HISTORY}?since=2"]


def test_a_poll_without_news_lands_and_loads_nothing(bench: TrainingBench) -> None:
    bench.poll()
    calls = len(bench.sink.calls)
    idle = bench.poll(NOW + ROUND)
    assert (idle.state, idle.values) == ("unchanged", Values(extracted=FIELDS, unchanged=FIELDS))
    assert len(bench.sink.calls) == calls
    last = bench.ledger.newest("fl_rounds", "production")
    assert last is not None
    assert last.covered_until == NOW + ROUND


def test_rounds_fall_into_the_cell_of_their_start(bench: TrainingBench) -> None:
    # the third began three hours ago, and has only now ended
    bench.training.rounds = [a_round(n, START + n * HOUR) for n in (1, 2, 3)]
    bench.poll(START + 6 * HOUR)
    window = Window(START, START + 6 * HOUR)
    states = bench.ledger.cells("fl_rounds", "production", window)
    found = {cell.start.hour: state.rows for cell, state in states.items()}
    # the time since then was looked at, and held nothing
    assert found == {1: 1, 2: 1, 3: 1, 4: 0, 5: 0, 6: 0}


@pytest.mark.slow
def test_a_round_with_other_values_is_replaced(bench: TrainingBench) -> None:
    bench.poll()
    bench.training.rounds[2] = a_round(3, loss=9.0)
    again = bench.poll(NOW + ROUND)
    assert (again.state, again.values.landed) == ("landed", FIELDS)
    assert bench.landed() == [("run-a", 1, 1.0), ("run-a", 2, 0.5), ("run-a", 3, 9.0)]
    assert bench.sink.values("loss") == [1.0, 0.5, 9.0]


def test_a_round_that_comes_late_is_found(bench: TrainingBench) -> None:
    bench.training.rounds = [a_round(1), a_round(3)]
    bench.poll()
    bench.training.rounds = [a_round(n) for n in (1, 2, 3, 4)]
    bench.poll(NOW + ROUND)
    assert [number for _, number, _ in bench.landed()] == [1, 2, 3, 4]


@pytest.mark.promise(
    "Training: every round is landed and loaded once, also across a restart of the service between two polls"
)
@pytest.mark.parametrize("run_id", ["run-b", None])
def test_a_restart_between_two_polls_makes_two_runs_and_loses_none(
    bench: TrainingBench, run_id: str | None
) -> None:
    bench.training.run_id = "run-a" if run_id else None
    bench.poll()
    bench.training.run_id = run_id
    # the counter has passed the one that was known
    bench.training.rounds = [a_round(n, START + HOUR + n * ROUND) for n in (1, 2, 3, 4)]
    bench.poll(NOW + ROUND)
    first, second = ("run-a", "run-b") if run_id else (
        "run-20260101T003000.000000Z", "run-20260101T013100.000000Z",
    )  # fmt: skip
    expected = [*((first, n) for n in (1, 2, 3)), *((second, n) for n in (1, 2, 3, 4))]
    assert [(run, number) for run, number, _ in bench.landed()] == expected
    assert bench.loaded() == expected


@pytest.mark.promise("Training: odd behaviour is reported and never quarantined")
def test_a_return_to_a_checkpoint_keeps_what_was_run_before(bench: TrainingBench) -> None:
    bench.poll()
    bench.training.rounds[2:] = [a_round(3, START + HOUR, loss=7.0)]
    outcome = bench.poll(NOW + ROUND)
    assert bench.landed() == [
        ("run-a", 1, 1.0), ("run-a", 2, 0.5), ("run-a", 3, 1 / 3), ("run-a", 3, 7.0),
    ]  # fmt: skip
    assert outcome.values.quarantined == 0


def marks(bench: TrainingBench, measurement: Measurement = ROUNDS) -> list[tuple[int, bool]]:
    """Number of each landed round, and whether it is superseded, in order of time."""
    frame = bench.lake.read(measurement, "production", DAY).sort_values("time", kind="stable")
    return list(
        zip(frame["round"].tolist(), frame["superseded"].eq("yes").fillna(False), strict=True)
    )


AGAIN = [a_round(n, START + HOUR + n * ROUND, loss=7.0) for n in (3, 4)]
LEFT = [(1, False), (2, False), (3, True), (4, True), (5, True), (3, False), (4, False)]


@pytest.mark.slow
@pytest.mark.promise(
    "Training: rounds that a return to a checkpoint left stay in the lake, marked as superseded"
)
@pytest.mark.parametrize("appends", [False, True])
@pytest.mark.parametrize("run_id", ["run-a", None])
def test_a_return_marks_the_rounds_that_it_left(
    bench: TrainingBench, appends: bool, run_id: str | None
) -> None:
    bench.training.run_id = run_id
    first = [a_round(n) for n in (1, 2, 3, 4, 5)]
    bench.training.rounds = list(first)
    bench.poll()
    bench.training.rounds = [*(first if appends else first[:2]), *AGAIN]
    bench.poll(NOW + ROUND)
    # the second try passes the first one
    bench.training.rounds += [a_round(n, START + HOUR + n * ROUND) for n in (5, 6)]
    bench.poll(NOW + 2 * ROUND)

    assert marks(bench) == [*LEFT, (5, False), (6, False)]
    assert sorted(bench.sink.values("superseded")) == ["yes"] * 3
    (run,) = training_runs(bench.lake, "production", CATALOGUE)
    assert [(r.round, r.loss) for r in run.rounds][2:4] == [(3, 7.0), (4, 7.0)]
    # nothing changes, and no mark is taken back
    assert bench.poll(NOW + 3 * ROUND).values.landed == 0


@pytest.mark.slow
def test_the_clients_of_superseded_rounds_are_marked(bench: TrainingBench) -> None:
    bench.training.rounds = [a_round(n) for n in (1, 2, 3, 4, 5)]
    bench.poll(measurement=CLIENTS)
    bench.training.rounds[2:] = AGAIN
    outcome = bench.poll(NOW + ROUND, CLIENTS)

    assert outcome.state == "landed"
    assert set(marks(bench, CLIENTS)) == set(LEFT)
    assert len(marks(bench, CLIENTS)) == 3 * len(LEFT)


@pytest.mark.slow
def test_a_return_to_the_first_round_leaves_all_of_them(bench: TrainingBench) -> None:
    bench.poll()
    bench.training.rounds = [a_round(1, START + HOUR)]
    bench.poll(NOW + ROUND)

    assert marks(bench) == [(1, True), (2, True), (3, True), (1, False)]


@pytest.mark.slow
def test_a_key_that_is_reported_twice_in_one_answer_goes_to_quarantine(
    bench: TrainingBench,
) -> None:
    bench.training.rounds = [a_round(1), a_round(2), a_round(2, loss=9.0), a_round(3)]
    outcome = bench.poll()
    assert outcome.values.quarantined == 2 * FIELDS
    assert [number for _, number, _ in bench.landed()] == [1, 3]
    assert {check for _, _, check in bench.quarantined()} == {"key_unique"}


@pytest.mark.slow
def test_a_round_number_with_two_starts_is_reported_and_stays(bench: TrainingBench) -> None:
    bench.training.rounds = [a_round(1), a_round(2), a_round(2, START + 5 * ROUND)]
    outcome = bench.poll()
    assert [number for _, number, _ in bench.landed()] == [1, 2, 2]
    assert [check.check_id for check in outcome.verdicts[0].failed] == ["round_once"]


@pytest.mark.slow
def test_what_is_impossible_is_held_back_once_and_stays_on_record(bench: TrainingBench) -> None:
    bench.training.rounds = [a_round(1), a_round(2, accuracy=1.5, loss="low")]
    first = bench.poll()
    expected = [
        ("accuracy_ratio", "1.5", "accuracy_ratio_possible"), ("loss", "low", "json_type"),
    ]  # fmt: skip
    assert (first.values.quarantined, bench.quarantined()) == (2, expected)
    # it is the last one, and read again: the same is nothing new
    again = bench.poll(NOW + ROUND)
    assert (again.state, again.values.quarantined, again.values.unchanged) == (
        "unchanged", 0, FIELDS,
    )  # fmt: skip
    bench.training.rounds.append(a_round(3))
    bench.poll(NOW + 2 * ROUND)
    assert bench.quarantined() == expected
    assert [number for _, number, _ in bench.landed()] == [1, 2, 3]


def test_a_loss_that_is_no_number_is_reported(bench: TrainingBench) -> None:
    bench.training.rounds = [a_round(1, loss=float("nan"))]
    outcome = bench.poll()
    assert (outcome.values.dropped_by_rule, outcome.values.landed) == (1, FIELDS)
    assert "all_finite" in [check.check_id for check in outcome.verdicts[0].failed]


def test_a_crash_between_landing_and_loading_loses_nothing(bench: TrainingBench) -> None:
    with pytest.raises(Crash):
        bench.poll(sinks=(CrashingSink(),))
    assert bench.loaded() == []
    bench.poll(NOW + ROUND)
    assert bench.landed() == [("run-a", n, 1.0 / n) for n in (1, 2, 3)]
    assert bench.loaded() == [("run-a", n) for n in (1, 2, 3)]


@pytest.mark.slow
@pytest.mark.promise(
    "Crash: between the rounds of a training and their clients: each table goes on from its own last round"
)
def test_rounds_and_clients_go_on_from_their_own_last_round(bench: TrainingBench) -> None:
    bench.poll()
    bench.poll(measurement=CLIENTS)
    bench.training.rounds.append(a_round(4))
    # of this round the clients were never read: the process was killed
    bench.poll(NOW + ROUND)
    bench.training.rounds.append(a_round(5))
    bench.poll(NOW + 2 * ROUND)
    outcome = bench.poll(NOW + 2 * ROUND, CLIENTS)
    assert outcome.state == "landed"
    frame = bench.lake.read(CLIENTS, "production", Window(START, START + HOUR))
    assert frame["round"].value_counts().to_dict() == {n: 3 for n in (1, 2, 3, 4, 5)}


def test_a_lost_ledger_lands_no_round_twice(bench: TrainingBench, tmp_path: Path) -> None:
    bench.poll()
    bench.ledger.close()
    bench.ledger = Ledger(f"sqlite:///{tmp_path / 'another.db'}")
    bench.training.rounds.append(a_round(4))
    bench.poll(NOW + ROUND)
    assert [number for _, number, _ in bench.landed()] == [1, 2, 3, 4]


def test_without_the_path_nothing_is_landed_and_it_is_said(bench: TrainingBench) -> None:
    bench.training.gone = {HISTORY}
    outcome = bench.poll()
    assert (outcome.state, outcome.warnings) == (
        "no_data", (f"{HISTORY} is not offered by this service",),
    )  # fmt: skip


def test_a_service_that_is_down_fails_the_measurement(bench: TrainingBench) -> None:
    bench.training.status = 503
    outcome = bench.poll()
    assert outcome.state == "failed"
    bench.training.status = 200
    assert bench.poll(NOW + ROUND).state == "landed"


def test_time_up_to_now_is_covered(bench: TrainingBench) -> None:
    bench.poll()
    bench.poll(NOW + 3 * HOUR)
    window = Window(NOW, NOW + 4 * HOUR)
    states = bench.ledger.cells("fl_rounds", "production", window)
    assert [cell.start.hour for cell in states] == [2, 3, 4, 5]
    assert all(isinstance(cell, Cell) for cell in states)


@pytest.mark.slow
def test_many_rounds_are_landed_in_few_commits(bench: TrainingBench) -> None:
    bench.training.rounds = [a_round(n) for n in range(1, 301)]
    outcome = bench.poll(START + 6 * HOUR)
    assert outcome.values.landed == 300 * FIELDS
    assert len(bench.landed()) == 300
    assert ROUNDS.name == "fl_rounds"
    assert len(bench.sink.calls) <= 3
