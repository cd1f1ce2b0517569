"""Trainings read back from the lake: every run, with what each poll was reported."""

import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tasks.core.batch import build_frame
from tasks.core.measurement import Measurement
from tasks.core.snapshots import Watched
from tasks.core.training import ClientRound, PrivacyTerms, Round, TrainingRun
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.training.history import training_runs, watched
from tests.support.fakes.training import ROUND, START, FakeTraining, a_round
from tests.support.training_bench import CATALOGUE, CLIENTS, DAY, NOW, TrainingBench

HOUR = timedelta(hours=1)


@pytest.fixture
def bench(tmp_path: Path, httpserver: HTTPServer) -> Iterator[TrainingBench]:
    training = FakeTraining(httpserver, [a_round(n) for n in (1, 2)])
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield TrainingBench(tmp_path, training, ledger)
    ledger.close()


def put(lake: Lake, name: str, *rows: dict[str, object]) -> None:
    """Lands samples as they are."""
    measurement: Measurement = CATALOGUE[name]
    columns = {key: [row.get(key) for row in rows] for key in ("time", *measurement.fields)}
    frame = build_frame(measurement, {**columns, "environment": ["production"] * len(rows)})
    lake.land(measurement, frame, list(DAY.cells(HOUR)), "production", None)


def read(bench: TrainingBench) -> Watched:
    return watched(bench.lake, "production", CATALOGUE)


def test_an_empty_lake_has_no_trainings(tmp_path: Path) -> None:
    assert watched(Lake(str(tmp_path / "lake")), "production", CATALOGUE) == Watched()
    assert training_runs(Lake(str(tmp_path / "lake")), "production", CATALOGUE) == []


def test_a_run_is_read_back_as_it_was_reported(bench: TrainingBench) -> None:
    bench.training.rounds = [a_round(1)]
    bench.poll()
    bench.poll(measurement=CLIENTS)
    put(bench.lake, "fl_progress", {"time": NOW, "run_id": "run-a", "completed_rounds": 1.0, "planned_rounds": 9.0})  # fmt: skip
    put(bench.lake, "fl_privacy", {"time": NOW, "epsilon_remaining": 7.875})

    (run,) = training_runs(bench.lake, "production", CATALOGUE)

    clients = (
        ClientRound("client-0", 7, 0.5, 0.25, "reported", 0.75),
        ClientRound("client-1", 7, 0.5, 0.25, "late", 0.75),
        ClientRound("client-2", 7, None, None, "dropped", 0.75),
    )
    assert run == TrainingRun(
        run_id="run-a",
        rounds=(Round(1, START, 30.0, 1.0, 0.5, 0.125, clients),),
        total_rounds=9,
        privacy=PrivacyTerms(1e-5, 0.5, 16.0, 8.0, 7.875),
        source="lake: history",
    )
    assert training_runs(bench.lake, "staging", CATALOGUE) == []


@pytest.mark.slow
def test_all_runs_come_in_order_and_the_newest_with_clients(bench: TrainingBench) -> None:
    bench.training.run_id = "run-z"
    bench.poll()
    bench.poll(measurement=CLIENTS)
    bench.training.run_id = "run-b"
    bench.training.rounds = [a_round(1, START + HOUR)]
    bench.poll(NOW + ROUND)
    bench.poll(NOW + ROUND, CLIENTS)
    runs = training_runs(bench.lake, "production", CATALOGUE)
    assert [(run.run_id, len(run.rounds)) for run in runs] == [("run-z", 2), ("run-b", 1)]
    assert [run.rounds[0].clients is None for run in runs] == [True, False]
    both = training_runs(bench.lake, "production", CATALOGUE, runs_with_clients=2)
    assert [len(run.rounds[0].clients or ()) for run in both] == [3, 3]


def test_of_a_round_that_ran_twice_the_later_counts(bench: TrainingBench) -> None:
    bench.poll()
    bench.training.rounds[1:] = [a_round(2, START + HOUR, loss=7.0)]
    bench.poll(NOW + ROUND)
    found = read(bench)
    (run,) = found.runs
    assert [(each.round, each.loss) for each in run.rounds] == [(1, 1.0), (2, 7.0)]
    (repeat,) = found.repeats
    assert (repeat.round, repeat.starts) == (2, (START + ROUND, START + HOUR))


@pytest.mark.slow
def test_nan_stays_nan_and_missing_stays_missing(bench: TrainingBench) -> None:
    bench.training.rounds = [a_round(1, loss=float("nan"), accuracy=None)]
    bench.poll()
    (run,) = read(bench).runs
    assert run.rounds[0].loss is not None
    assert math.isnan(run.rounds[0].loss)
    assert run.rounds[0].accuracy is None


def test_without_a_history_the_rounds_that_polls_saw_are_read(bench: TrainingBench) -> None:
    put(
        bench.lake,
        "fl_progress",
        {"time": NOW, "completed_rounds": 0.0, "planned_rounds": 9.0},
        {
            "time": NOW + ROUND,
            "completed_rounds": 3.0,
            "planned_rounds": 9.0,
            "accuracy_ratio": 0.3,
        },
        {"time": NOW + 2 * ROUND, "completed_rounds": 3.0, "accuracy_ratio": 0.4},
        {"time": NOW + 3 * ROUND, "completed_rounds": 1.0, "accuracy_ratio": 0.1},
    )
    put(
        bench.lake,
        "fl_privacy",
        {"time": NOW + ROUND, "epsilon_remaining": 6.0, "delta_used": 1e-5},
    )
    first, second = read(bench).runs
    assert (first.run_id, first.total_rounds, first.source) == (
        "run-20260101T023000Z", 9, "lake: progress",
    )  # fmt: skip
    assert first.rounds == (Round(3, None, None, None, 0.4, None, None),)
    assert first.privacy == PrivacyTerms(1e-5, None, None, None, 6.0)
    assert second.rounds == (Round(1, None, None, None, 0.1, None, None),)


@pytest.mark.slow
def test_what_the_history_has_is_not_read_from_polls_again(bench: TrainingBench) -> None:
    bench.poll()
    put(
        bench.lake,
        "fl_progress",
        {"time": NOW, "run_id": "run-a", "completed_rounds": 2.0},
        {"time": NOW + ROUND, "run_id": "run-c", "completed_rounds": 1.0},
    )
    runs = read(bench).runs
    assert [(run.run_id, run.source) for run in runs] == [
        ("run-a", "lake: history"), ("run-c", "lake: progress"),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_plan_is_that_of_its_own_run(bench: TrainingBench) -> None:
    bench.training.run_id = None
    bench.poll()
    bench.training.rounds = [a_round(1, START + HOUR)]
    bench.poll(NOW + ROUND)
    put(
        bench.lake,
        "fl_progress",
        {"time": START + ROUND, "completed_rounds": 2.0, "planned_rounds": 5.0},
        {"time": START + HOUR, "completed_rounds": 1.0, "planned_rounds": 7.0},
    )
    assert [run.total_rounds for run in read(bench).runs] == [5, 7]
