"""The lake's runs as history of a run from a file."""

import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from tasks.analysis.forecast import Forecast, NoForecast
from tasks.core.errors import UsageInvalid
from tasks.core.settings import Settings, load_settings
from tasks.core.training import Round, TrainingRun
from tasks.ledger.ledger import Ledger
from tasks.runs.convergence import ConvergenceOptions, FileRun, analyse_all, history_of_lake
from tests.support.fakes.training import ROUND, START, FakeTraining, a_round
from tests.support.training_bench import NOW, TrainingBench

PLANNED = 40


def accuracy(number: int) -> float:
    return 0.9 * (1.0 - math.exp(-number / 8.0))


@pytest.fixture
def bench(tmp_path: Path, httpserver: HTTPServer) -> Iterator[TrainingBench]:
    """A service whose finished run was polled into the lake."""
    reported: list[dict[str, Any]] = [
        a_round(n, accuracy=accuracy(n)) for n in range(1, PLANNED + 1)
    ]
    training = FakeTraining(httpserver, reported, run_id="run-of-the-lake")
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    made = TrainingBench(tmp_path, training, ledger)
    made.poll(NOW + PLANNED * ROUND)
    yield made
    ledger.close()


def settings(home: Path, **variables: str) -> Settings:
    return load_settings({"FEDVITALS_HOME": str(home), **variables})


@pytest.mark.slow
def test_the_lakes_runs_are_read_without_their_clients(
    bench: TrainingBench, tmp_path: Path
) -> None:
    runs, notes = history_of_lake(settings(tmp_path), None)

    (run,) = runs
    assert (run.run_id, run.source, notes) == ("run-of-the-lake", "lake: history", [])
    assert [one.accuracy for one in run.rounds] == [accuracy(n) for n in range(1, PLANNED + 1)]
    assert {one.clients for one in run.rounds} == {None}


@pytest.mark.slow
def test_a_file_without_a_plan_is_forecast_beside_the_lakes_run_and_not_without(
    bench: TrainingBench, tmp_path: Path
) -> None:
    rounds = tuple(
        Round(n, START + n * timedelta(minutes=1), None, None, accuracy(n), None, None)
        for n in range(1, 13)
    )
    file = FileRun(tmp_path / "run.csv", TrainingRun("now", rounds, None, None, "csv"), (), False)
    history, _ = history_of_lake(settings(tmp_path), None)

    ((beside,), _), ((alone,), _) = (
        analyse_all([file], runs, ConvergenceOptions()) for runs in (history, ())
    )

    said = beside.analysis.forecast
    assert isinstance(said, Forecast)
    assert (said.final_round, said.neighbours) == (PLANNED, ("run-of-the-lake",))
    assert said.final.low <= accuracy(PLANNED - 2) <= said.final.high
    assert isinstance(alone.analysis.forecast, NoForecast)


@pytest.mark.slow
def test_a_damaged_lake_is_left_out_and_said_so(bench: TrainingBench, tmp_path: Path) -> None:
    for file in (tmp_path / "lake" / "fl_rounds").rglob("*.parquet"):
        file.write_bytes(b"torn")

    runs, notes = history_of_lake(settings(tmp_path), None)

    assert runs == []
    (note,) = notes
    assert note.startswith("the lake's runs were skipped: lake table fl_rounds")


def test_without_a_lake_there_is_no_history_and_nothing_to_say(tmp_path: Path) -> None:
    assert history_of_lake(settings(tmp_path), None) == ([], [])
    assert not (tmp_path / "lake").exists()


@pytest.mark.slow
def test_an_environment_that_is_not_there_is_refused(bench: TrainingBench, tmp_path: Path) -> None:
    with pytest.raises(UsageInvalid, match="there is no environment 'moon'"):
        history_of_lake(settings(tmp_path), "moon")
