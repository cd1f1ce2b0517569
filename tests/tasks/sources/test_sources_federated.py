"""The history of a training: what is asked for, and what becomes of what is reported."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from pytest_httpserver import HTTPServer

from tasks.core.batch import Batch, check_series
from tasks.core.catalogue import Catalogue
from tasks.core.errors import AnswerInvalid, SeriesExceeded, SourceRefused, SourceUnavailable
from tasks.core.history import KnownRun
from tasks.core.settings import shipped
from tasks.core.window import Window
from tasks.sources.federated import FederatedSource
from tests.support.fakes.training import HISTORY, ROUND, START, FakeTraining, a_client, a_round

CATALOGUE = Catalogue.read(shipped("config") / "metrics.yaml")
ROUNDS, CLIENTS = CATALOGUE["fl_rounds"], CATALOGUE["fl_round_clients"]
WINDOW = Window(datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@pytest.fixture
def training(httpserver: HTTPServer) -> FakeTraining:
    return FakeTraining(httpserver, [a_round(n) for n in (1, 2, 3)])


@pytest.fixture
def known() -> dict[str, KnownRun]:
    """What is landed, by measurement: nothing at first."""
    return {}


@pytest.fixture
def source(training: FakeTraining, known: dict[str, KnownRun]) -> Iterator[FederatedSource]:
    made = FederatedSource(training.service(), lambda measurement, _: known.get(measurement.name))
    yield made
    made.close()


def rows(source: FederatedSource) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(source).frame.astype("object").to_dict("records")
    return found


def read(source: FederatedSource) -> Batch:
    return source.extract(ROUNDS, "production", WINDOW)


def landed(run_id: str, *numbers: int) -> KnownRun:
    return KnownRun(run_id, frozenset((n, START + (n - 1) * ROUND) for n in numbers))


def test_a_round_is_a_row_at_its_start(source: FederatedSource) -> None:
    first, *_ = rows(source)
    assert {name: value for name, value in first.items() if value == value} == {
        "time": START, "environment": "production", "run_id": "run-a", "round": 1,
        "duration_seconds": 30.0, "loss": 1.0, "accuracy_ratio": 0.5, "epsilon_spent": 0.125,
        "drawn_clients": 3.0, "reported_clients": 1.0, "late_clients": 1.0, "dropped_clients": 1.0,
        "data_quality_ratio": 0.75, "delta": 1e-5, "sampling_ratio": 0.5, "noise_multiplier": 16.0,
        "epsilon_budget": 8.0,
    }  # fmt: skip


def test_a_client_of_a_round_is_a_row(source: FederatedSource) -> None:
    batch = source.extract(CLIENTS, "production", WINDOW)
    assert (len(batch.frame), batch.warnings, batch.rejected_values) == (9, (), 0)
    late = batch.frame[batch.frame["client"] == "client-1"].iloc[0]
    assert late["time"] == START
    *facts, superseded = late[list(CLIENTS.fields)].tolist()
    assert facts == ["run-a", 1, 7.0, 0.5, 0.25, "late", 0.75]
    assert pd.isna(superseded)


def test_one_answer_serves_rounds_and_clients(
    source: FederatedSource, training: FakeTraining
) -> None:
    read(source)
    source.extract(CLIENTS, "production", WINDOW)
    assert training.asked == [f"{HISTORY}?since=0"]


def test_a_poll_asks_for_what_comes_after_the_last_known_round_but_one(
    source: FederatedSource, training: FakeTraining, known: dict[str, KnownRun]
) -> None:
    known["fl_rounds"] = landed("run-a", 1, 2)
    assert [row["round"] for row in rows(source)] == [2, 3]
    assert training.asked == [f"{HISTORY}?since=1"]


@pytest.mark.parametrize("run_id", ["run-b", None])
def test_a_service_that_began_anew_is_read_from_the_start(
    source: FederatedSource, training: FakeTraining, known: dict[str, KnownRun], run_id: str | None
) -> None:
    training.run_id = run_id
    training.rounds = [a_round(n, START + timedelta(hours=n)) for n in (1, 2, 3, 4)]
    known["fl_rounds"] = landed("run-a", 1, 2, 3)
    found = rows(source)
    assert [row["round"] for row in found] == [1, 2, 3, 4]
    assert {row["run_id"] for row in found} == {run_id or "run-20260101T013000.000000Z"}
    assert training.asked == [f"{HISTORY}?since=2", f"{HISTORY}?since=0"]


def test_a_service_that_went_back_in_its_own_run_is_read_from_the_start(
    source: FederatedSource, training: FakeTraining, known: dict[str, KnownRun]
) -> None:
    training.rounds[2:] = [a_round(3, START + timedelta(hours=5))]
    known["fl_rounds"] = landed("run-a", 1, 2, 3, 4)
    assert [row["round"] for row in rows(source)] == [1, 2, 3]


def test_a_round_outside_the_window_is_left_out(source: FederatedSource) -> None:
    window = Window(START + ROUND, START + 2 * ROUND)
    batch = source.extract(ROUNDS, "production", window)
    assert batch.frame["round"].tolist() == [2]


def test_a_path_that_is_not_there_is_not_offered(
    source: FederatedSource, training: FakeTraining
) -> None:
    training.gone = {HISTORY}
    batch = read(source)
    assert batch.frame.empty
    assert batch.warnings == (f"{HISTORY} is not offered by this service",)


def test_missing_is_reported_and_null_is_not(
    source: FederatedSource, training: FakeTraining
) -> None:
    training.rounds = [a_round(1, loss=None), a_round(2)]
    for each in training.rounds:
        del each["epsilon"], each["clients"]
    training.reported[HISTORY] = {"delta": ...}
    batch = read(source)
    assert batch.frame["loss"].tolist()[1:] == [0.5]
    assert sorted(batch.warnings) == [
        f"{name}: not offered by this service"
        for name in (
            "data_quality_ratio", "delta", "drawn_clients", "dropped_clients", "epsilon_spent",
            "late_clients", "reported_clients",
        )
    ]  # fmt: skip
    clients = source.extract(CLIENTS, "production", WINDOW)
    assert clients.warnings == ("clients: not offered by this service in 2 of 2 rounds",)


def test_a_value_of_another_type_is_rejected_and_its_neighbours_stay(
    source: FederatedSource, training: FakeTraining
) -> None:
    training.rounds = [a_round(1, accuracy="0.9"), a_round(2)]
    batch = read(source)
    assert batch.frame["accuracy_ratio"].tolist()[1:] == [0.5]
    (record,) = batch.rejected.to_dict("records")
    assert (record["field"], record["text"], record["time"]) == ("accuracy_ratio", "0.9", START)
    assert record["reason"] == "a string where a number belongs"
    assert json.loads(record["tags"]) == {"run_id": "run-a"}


def test_what_is_not_finite_is_left_out_and_named(
    source: FederatedSource, training: FakeTraining
) -> None:
    whole = json.dumps({"run_id": "run-a", "rounds": [a_round(1, loss=float("nan"), epsilon=float("inf"))]})  # fmt: skip
    assert "NaN" in whole
    training.raw[HISTORY] = whole
    batch = read(source)
    assert batch.frame["not_finite"].tolist() == ["loss,epsilon"]
    assert batch.dropped == {"nan": 1, "inf": 1}


def test_a_round_without_a_start_is_counted(
    source: FederatedSource, training: FakeTraining
) -> None:
    training.rounds.append(a_round(4, started=None, loss=None) | {"started": "soon"})
    batch = read(source)
    assert batch.frame["round"].tolist() == [1, 2, 3]
    # seconds, accuracy and epsilon
    assert batch.dropped == {"undated": 3}
    assert batch.warnings[0].startswith("1 rounds are dropped: they have no whole number")


def test_a_state_with_another_name_is_counted_as_drawn_alone(
    source: FederatedSource, training: FakeTraining
) -> None:
    training.rounds = [a_round(1, clients=[a_client(), a_client("b", state="paused")])]
    batch = read(source)
    assert batch.frame[["drawn_clients", "reported_clients"]].values.tolist() == [[2.0, 1.0]]
    assert batch.warnings == (
        "1 clients have the state 'paused', which is not one of reported, late, dropped: "
        "they are counted as drawn only",
    )


def test_a_repeated_round_stays_for_the_suite_to_judge(
    source: FederatedSource, training: FakeTraining
) -> None:
    training.rounds = [a_round(1), a_round(1, loss=9.0)]
    assert read(source).frame["loss"].tolist() == [1.0, 9.0]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("[]", "the body is a list, not an object"),
        ('{"rounds": {}}', "rounds is an object, not a list"),
        ('{"rounds": [1]}', "an item of rounds is a number, not an object"),
        ('{"run_id": [], "rounds": []}', "run_id is a list, not a name"),
        ("nothing", "it is not JSON"),
    ],
)
def test_what_is_no_history_is_refused(
    source: FederatedSource, training: FakeTraining, body: str, problem: str
) -> None:
    training.raw[HISTORY] = body
    with pytest.raises(AnswerInvalid, match=problem):
        read(source)


@pytest.mark.parametrize(
    ("clients", "problem"),
    [
        ({}, "clients of round 1 is an object, not a list"),
        ([1], "a client of round 1 is a number, not an object"),
        ([{"state": "late"}], "a client of round 1 has no id"),
        ([{"id": []}], "the id of a client of round 1 is a list"),
    ],
)
def test_what_are_no_clients_is_refused(
    source: FederatedSource, training: FakeTraining, clients: Any, problem: str
) -> None:
    training.rounds = [a_round(1, clients=clients)]
    with pytest.raises(AnswerInvalid, match=problem):
        source.extract(CLIENTS, "production", WINDOW)
    # the round itself can be reported
    assert read(source).frame["round"].tolist() == [1]


def test_a_history_without_rounds_is_not_offered(
    source: FederatedSource, training: FakeTraining
) -> None:
    training.raw[HISTORY] = '{"run_id": "run-a"}'
    assert read(source).warnings == (f"{HISTORY} has no rounds: not offered by this service",)


@pytest.mark.parametrize(
    ("status", "error"), [(503, SourceUnavailable), (403, SourceRefused), (400, SourceRefused)]
)
def test_a_refusal_is_reported(
    source: FederatedSource, training: FakeTraining, status: int, error: type[Exception]
) -> None:
    training.status = status
    with pytest.raises(error):
        read(source)
    training.status = 200
    assert read(source).frame["round"].tolist() == [1, 2, 3]


def test_clients_of_all_rounds_together_are_no_limit(source: FederatedSource) -> None:
    small = CLIENTS.model_copy(update={"max_series": 2})
    batch = source.extract(small, "production", WINDOW)
    assert len(batch.frame) == len(source.extract(CLIENTS, "production", WINDOW).frame) > 2
    # of one cell they are
    with pytest.raises(SeriesExceeded, match="client"):
        check_series(batch.frame, small, WINDOW)
