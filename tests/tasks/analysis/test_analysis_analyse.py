"""The whole analysis: its document, its plan, and one clear answer to each kind of odd input."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.analysis.analyse import analyse, compare
from tasks.analysis.forecast import Forecast
from tasks.analysis.participation import Counts
from tasks.analysis.run_analysis import AnalysisSettings, RunAnalysis, comparison_document
from tasks.core.severity import Severity
from tasks.core.training import ClientRound, PrivacyTerms, Round, TrainingRun

NAN = float("nan")


def a_run(
    count: int = 30, name: str = "run-a", first: int = 1, seed: int = 0, **changed: Any
) -> TrainingRun:
    rng = np.random.default_rng(seed)
    rounds = tuple(
        Round(
            round=n,
            started=None,
            seconds=30.0 + rng.normal(),
            loss=0.3 + 2.0 * math.exp(-n / 15.0),
            accuracy=0.9 * (1.0 - math.exp(-n / 15.0)) + 0.004 * rng.normal() if n else 0.1,
            epsilon=0.1 * n,
            clients=tuple(
                ClientRound(c, 100, 0.5 + 0.1 * k, 10.0 + k, "reported", 0.9)
                for k, c in enumerate("abcd")
            ),
        )
        for n in range(first, first + count)
    )
    terms = PrivacyTerms(None, None, None, 8.0, None)
    return replace(TrainingRun(name, rounds, 60, terms, "file"), **changed)


def of(run: TrainingRun, *history: TrainingRun, **asked: Any) -> RunAnalysis:
    return analyse(run, history, AnalysisSettings(**asked))


def test_the_document_has_the_promised_shape() -> None:
    document = of(a_run(), target=0.85).document("a.csv")
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    promised = {
        "file", "rounds_seen", "metric", "verdict", "evidence", "forecast", "time", "participation",
        "privacy", "advice",
    }  # fmt: skip
    assert promised <= set(document)
    assert (document["file"], document["rounds_seen"], document["metric"]) == (
        "a.csv",
        30,
        "accuracy",
    )
    assert document["verdict"] == "improving"
    assert set(document["forecast"]["final"]) == {"estimate", "low", "high", "level"}
    reach = {"estimate", "low", "high", "level", "probability"}
    assert set(document["forecast"]["rounds_to_target"]) == reach
    assert document["planned_rounds"] == 60
    assert document["privacy"]["exhausted"]["level"] == 0.8
    assert document["advice"]["action"] == "go_on"
    assert [client["id"] for client in document["participation"]["clients"]] == list("abcd")
    # what charts are drawn from stays out
    assert not {"last_rounds", "pace", "heat_map"} & (
        {*document["privacy"], *document["participation"]}
    )


def test_without_a_target_nothing_is_said_of_one() -> None:
    document = of(a_run()).document()
    assert (document["file"], document["target"]) == (None, None)
    assert document["forecast"]["rounds_to_target"] is None


@pytest.mark.parametrize(
    ("run", "asked", "planned"),
    [
        (a_run(), {}, 60),
        (a_run(), {"total_rounds": 80}, 80),
        (a_run(total_rounds=None), {}, None),
    ],
    ids=["its own", "asked", "not known"],
)
def test_where_the_plan_comes_from(
    run: TrainingRun, asked: dict[str, Any], planned: int | None
) -> None:
    found = of(run, **asked)
    assert (found.planned_rounds, found.final_round) == (planned, planned)


@pytest.mark.parametrize(
    ("first", "count", "total", "last", "left"),
    [
        (1, 400, 400, 400, 0),
        (1, 399, 400, 400, 1),
        (0, 400, 400, 399, 0),
        (0, 399, 400, 399, 1),
        (0, 399, 399, 398, 0),
        (0, 400, 399, 399, 0),
        (0, 401, 400, 400, 0),
        (0, 380, 400, 399, 20),
    ],
)
def test_a_plan_is_a_number_of_rounds_however_they_are_counted(
    first: int, count: int, total: int, last: int, left: int
) -> None:
    found = of(a_run(count, first=first, total_rounds=None), total_rounds=total)

    assert (found.planned_rounds, found.final_round) == (total, last)
    assert found.time.rounds_left == left
    assert isinstance(found.forecast, Forecast)
    assert list(found.forecast.rounds) == list(range(first + count, last + 1))
    counted = [note for note in found.notes if note.endswith(f"so round {last} is the last")]
    assert len(counted) == (first == 0)


def test_a_history_from_1_is_the_plan_of_a_run_from_0() -> None:
    found = of(a_run(20, first=0, total_rounds=None), a_run(50, "run-b", seed=1))

    assert (found.planned_rounds, found.final_round) == (50, 49)
    assert found.time.rounds_left == 30


def test_without_a_plan_it_says_what_is_needed() -> None:
    document = of(a_run(total_rounds=None)).document()
    assert document["forecast"] is None
    assert "total rounds" in document["forecast_needs"]
    assert document["time"]["remaining"] is None


def test_the_history_gives_the_plan() -> None:
    past = [a_run(50, f"run-{seed}", seed=seed) for seed in (1, 2, 3)]
    found = of(a_run(20, total_rounds=None), *past)
    assert found.planned_rounds == 50
    assert set(found.document()["forecast"]["similar_runs"]) == {"run-1", "run-2", "run-3"}


def test_a_run_is_no_history_of_itself() -> None:
    run = a_run(20, total_rounds=None)
    later = a_run(50, "run-a")
    assert of(run, later, run).document()["forecast"] is None


def test_the_metric_is_accuracy_where_it_is_reported() -> None:
    bare = a_run()
    silent = replace(bare, rounds=tuple(replace(r, accuracy=None) for r in bare.rounds))
    assert of(bare).curve.metric == "accuracy"
    assert of(bare, metric="loss").curve.metric == "loss"
    assert of(silent).curve.metric == "loss"


def test_a_loss_is_reported_in_its_own_unit() -> None:
    document = of(a_run(), metric="loss", target=0.4).document()
    final = document["forecast"]["final"]
    assert final["low"] <= final["estimate"] <= final["high"]
    assert final["estimate"] == pytest.approx(0.3 + 2.0 * math.exp(-4.0), abs=0.1)
    assert document["target"] == pytest.approx(0.4)
    assert document["trend_per_round"]["estimate"] < 0.0
    assert document["advice"]["gain"]["estimate"] > 0.0


def test_counts_stand_in_for_clients() -> None:
    run = a_run()
    nameless = replace(run, rounds=tuple(replace(r, clients=None) for r in run.rounds))
    assert analyse(nameless).participation is None
    counts = [Counts(n, 10.0, 9.0, 0.8) for n in range(1, 31)]
    found = analyse(nameless, counts=counts).participation
    assert found is not None
    assert found.drop_outs is not None
    assert found.drop_outs.estimate == pytest.approx(0.1)


def test_epsilon_that_disagrees_with_its_terms_is_a_finding() -> None:
    terms = PrivacyTerms(1e-5, 0.1, 1.1, 8.0, None)
    found = of(a_run(privacy=terms))
    kinds = {one.kind: one.severity for one in found.findings}
    assert kinds["epsilon_disagrees"] == Severity.HIGH
    assert "epsilon_disagrees" not in {one.kind for one in of(a_run()).findings}


def altered(**changed: Any) -> TrainingRun:
    run = a_run()
    return replace(run, rounds=tuple(replace(r, **changed) for r in run.rounds))


def matrix() -> TrainingRun:
    sites = tuple(
        ClientRound(f"s{n}", None, 0.1 * n + 0.2 * m, None, None, None)
        for n in range(1, 5)
        for m in (0, 1)
    )
    return TrainingRun(
        "matrix", (Round(0, None, None, None, None, None, sites),), None, None, "nvflare"
    )


@pytest.mark.parametrize(
    ("run", "verdict", "action"),
    [
        (TrainingRun("empty", (), None, None, "file"), "too_short", "none"),
        (a_run(4, total_rounds=None), "too_short", "none"),
        (altered(accuracy=None, loss=None), "too_short", "none"),
        (matrix(), "too_short", "none"),
    ],
    ids=["no round", "four rounds", "no value", "site by model"],
)
def test_too_little_gets_no_advice(run: TrainingRun, verdict: str, action: str) -> None:
    document = of(run, target=0.9).document()
    json.dumps(document, allow_nan=False)
    assert (document["verdict"], document["advice"]["action"]) == (verdict, action)
    assert document["forecast"] is None


def test_a_matrix_of_sites_and_models_gives_fairness_only() -> None:
    document = of(matrix()).document()
    assert document["participation"]["fairness"]["n"] == 4
    assert document["participation"]["drop_outs"] is None
    assert (document["privacy"], document["time"]["remaining"]) == (None, None)


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"accuracy": 0.5}, None),
        ({"epsilon": NAN, "seconds": NAN}, None),
        ({"seconds": -3.0}, None),
        ({"clients": ()}, None),
    ],
    ids=["constant", "NaN beside", "negative seconds", "nobody"],
)
def test_odd_columns_break_nothing(changed: dict[str, Any], note: str | None) -> None:
    document = of(altered(**changed), target=0.9).document()
    json.dumps(document, allow_nan=False)
    assert document["rounds_seen"] == 30


def test_a_loss_that_is_lost_stops_the_run() -> None:
    run = a_run()
    lost = (*run.rounds[:20], *(replace(r, loss=NAN, accuracy=None) for r in run.rounds[20:]))
    document = of(replace(run, rounds=lost)).document()
    assert (document["verdict"], document["advice"]["action"]) == ("diverging", "stop")
    assert "10 of 30 rounds have no accuracy that is a number" in document["notes"]


@pytest.mark.parametrize(
    ("target", "metric", "word"),
    [
        (95.0, None, "out of range"),
        (-1.0, "loss", "out of range"),
        (NAN, None, "not a number"),
    ],
)
def test_a_target_that_cannot_be_is_said(target: float, metric: Any, word: str) -> None:
    found = of(a_run(), target=target, metric=metric)
    assert any(word in note for note in found.notes)
    json.dumps(found.document(), allow_nan=False)


def test_a_target_that_is_reached() -> None:
    document = of(a_run(), target=0.3).document()
    reach = document["forecast"]["rounds_to_target"]
    assert (reach["estimate"], reach["probability"]) == (0.0, 1.0)
    assert document["advice"]["sentence"].startswith("Stop: the target is reached")
    assert document["time"]["to_target"]["high"] == 0.0


def test_missing_rounds_are_noted() -> None:
    run = a_run()
    found = of(replace(run, rounds=(*run.rounds[:10], *run.rounds[13:])))
    assert "3 rounds between the first and the last are missing" in found.notes


def test_runs_are_compared_by_the_names_they_are_given() -> None:
    good, bad = a_run(seed=1), altered(accuracy=0.3)
    found = compare([of(bad), of(good)], ["bad.csv", "good.csv"])
    (document,) = comparison_document(found) or []
    assert (document["first"], document["second"], document["better"]) == (
        "good.csv",
        "bad.csv",
        "good.csv",
    )
    json.dumps(document, allow_nan=False)
    (same,) = compare([of(bad), of(good)])
    assert (same.first, same.second) == ("run-a (2)", "run-a (1)")
    assert comparison_document(compare([of(good)])) is None


number = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
any_round = st.tuples(number, number, number, number)


@settings(max_examples=25, deadline=None)
@given(st.lists(any_round, max_size=14), number, st.one_of(st.none(), st.integers(0, 30)))
def test_no_numbers_break_it(
    reported: list[tuple[float | None, ...]], target: float | None, total: int | None
) -> None:
    rounds = tuple(
        Round(n, None, seconds, loss, accuracy, epsilon, None)
        for n, (seconds, loss, accuracy, epsilon) in enumerate(reported, start=1)
    )
    run = TrainingRun("any", rounds, total, PrivacyTerms(None, None, None, 5.0, None), "file")
    document = of(run, target=target).document()
    json.dumps(document, allow_nan=False)
    assert document["rounds_seen"] == len(reported)


@pytest.mark.promise("Training: equal runs get equal forecasts")
def test_a_copy_of_a_run_in_the_history_changes_nothing() -> None:
    values = [0.9 - 0.8 * 0.9**n for n in range(30)]
    rounds = tuple(Round(n, None, None, None, v, None, None) for n, v in enumerate(values, 1))
    one, copy = (TrainingRun(name, rounds, 60, None, "file") for name in ("a", "b"))

    first, second = analyse(one, [one]), analyse(copy, [one])
    assert isinstance(first.forecast, Forecast)
    assert isinstance(second.forecast, Forecast)
    assert first.forecast.final == second.forecast.final
