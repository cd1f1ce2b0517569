"""fl-progress.json, Flower's and NVFlare's files, plain lists; and JSON that is none of them."""

import math
from pathlib import Path
from typing import Any

import pytest

from tasks.sources.files import read_file
from tests.support.run_files_bench import (
    clients_of,
    complaint,
    csv_file,
    json_file,
    kinds,
    only,
    reported,
)

WANTED = [(1, 0.9, 0.5), (2, 0.7, 0.625)]
PROGRESS = {
    "current_round": 2,
    "total_rounds": 60,
    "active_clients": 8,
    "global_accuracy": 0.625,
    "convergence_rate": 0.01,
    "run_id": "fl-7",
    "rounds": [
        {"round": 1, "started": "2025-03-01T10:00:00Z", "seconds": 2.0, "loss": 0.9, "accuracy": 0.5, "epsilon": 0.1},
        {"round": 2, "started": "2025-03-01T10:00:02Z", "seconds": 2.5, "loss": 0.7, "accuracy": 0.625, "epsilon": 0.2},
    ],
}  # fmt: skip


def test_the_progress_of_a_training(tmp_path: Path) -> None:
    run = only(json_file(tmp_path, PROGRESS, "fl-progress.json"))

    assert (run.run_id, run.total_rounds) == ("fl-7", 60)
    assert reported(run) == WANTED
    assert [(r.seconds, r.epsilon) for r in run.rounds] == [(2.0, 0.1), (2.5, 0.2)]


def test_a_loss_that_was_no_number_is_one_again(tmp_path: Path) -> None:
    rounds = [{"round": 1, "loss": None, "accuracy": 0.1, "not_finite": ["loss"]}]
    run = only(json_file(tmp_path, {**PROGRESS, "rounds": rounds}))

    assert math.isnan(run.rounds[0].loss or 0)
    assert run.rounds[0].accuracy == 0.1


def test_the_services_own_progress_is_one_round(tmp_path: Path) -> None:
    seed = {name: value for name, value in PROGRESS.items() if name not in ("rounds", "run_id")}
    run = only(json_file(tmp_path, seed, "fl-progress.json"))

    assert reported(run) == [(2, None, 0.625)]
    assert (run.run_id, run.total_rounds) == ("fl-progress", 60)


@pytest.mark.parametrize(
    "content",
    [
        {
            "losses_distributed": [[1, 5.0], [2, 4.0]],
            "losses_centralized": [[1, 0.9], [2, 0.7]],
            "metrics_distributed_fit": {"accuracy": [[1, 0.1], [2, 0.2]]},
            "metrics_distributed": {"accuracy": [[1, 0.3], [2, 0.4]]},
            "metrics_centralized": {"accuracy": [[1, 0.5], [2, 0.625]]},
        },
        {
            "history": {
                "losses_distributed": [{"round": 1, "loss": 0.9}, {"round": 2, "loss": 0.7}],
                "metrics_distributed": {"accuracy": [{"round": 1, "value": 0.5}, {"round": 2, "value": 0.625}]},
            }
        },
        {
            "losses_distributed": [0.9, 0.7],
            "metrics_distributed": [[1, {"accuracy": 0.5}], [2, {"accuracy": 0.625}]],
            "metrics_centralized": {},
        },
        {
            "train_metrics_clientapp": {"1": {"train_loss": 3.0}, "2": {"train_loss": 2.0}},
            "evaluate_metrics_clientapp": {"1": {"eval_loss": 2.0, "eval_acc": 0.1}},
            "evaluate_metrics_serverapp": {"1": {"loss": 0.9, "accuracy": 0.5}, "2": {"loss": 0.7, "accuracy": 0.625}},
        },
        [
            {"round": 1, "train_metrics": {"train_loss": 3.0}, "evaluate_metrics_serverapp": {"accuracy": 0.5, "loss": 0.9}},
            {"round": 2, "train_metrics": {"train_loss": 2.0}, "evaluate_metrics_serverapp": {"accuracy": 0.625, "loss": 0.7}},
        ],
        {"rounds": [{"round": 1, "loss": 0.9, "accuracy": 0.5}, {"round": 2, "loss": 0.7, "accuracy": 0.625}]},
        {"round": [1, 2], "val_loss": [0.9, 0.7], "val_acc": [50, 62.5]},
    ],
)  # fmt: skip
def test_one_run_as_flower_and_others_write_it(tmp_path: Path, content: Any) -> None:
    assert reported(only(json_file(tmp_path, content))) == WANTED


@pytest.mark.promise(
    "Training: an unreadable file of a training run is refused in one line with its place"
)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({}, "the JSON has an unknown form"),
        ({"a": 1, "b": 2}, "the JSON has an unknown form (keys: a, b)"),
        ([], "it has no round"),
        ({"losses_centralized": []}, "the history has no round"),
        ({"losses_centralized": [["x", 1.0]]}, "losses_centralized[0]: 'x' is not a round"),
        ({"losses_centralized": ["x"]}, "losses_centralized[0] is not [round, value]"),
        ({"metrics_centralized": {"accuracy": 0.5}}, "metrics_centralized.accuracy is not a list"),
        ({**PROGRESS, "rounds": [1]}, "rounds is not a list of objects"),
        ({**PROGRESS, "rounds": [{"round": 1, "accuracy": "high"}]}, "rounds[0], column accuracy: 'high' is not a number"),
        ([{"round": 1, "width": 3}], "no column is an accuracy or a loss by its name"),
    ],
)  # fmt: skip
def test_json_that_is_no_run_is_named(tmp_path: Path, content: Any, problem: str) -> None:
    assert complaint(json_file(tmp_path, content)).startswith(f"run.json: {problem}")


def test_broken_json_is_named_with_its_place(tmp_path: Path) -> None:
    path = csv_file(tmp_path, '{"rounds": [\n  {"round": 1,}\n]}', "run.json")

    assert complaint(path).startswith("run.json: line 2, column ")
    assert complaint(csv_file(tmp_path, "[" * 200_000, "run.json")).startswith("run.json: ")


CROSS = {
    "site-1": {
        "SRV_best_FL_global_model.pt": {"val_accuracy": 10.0},
        "SRV_FL_global_model.pt": {"val_accuracy": 75.0, "val_loss": 0.7},
        "site-2": {"val_accuracy": 30.0},
    },
    "site-2": {"SRV_FL_global_model.pt": {"val_accuracy": 65.0, "val_loss": 0.8}, "site-1": {"val_accuracy": 20.0}},
}  # fmt: skip


def test_a_matrix_of_sites_and_models_tells_of_fairness(tmp_path: Path) -> None:
    path = json_file(tmp_path, CROSS, "cross_val_results.json")
    run = only(path)

    assert clients_of(run) == {"site-1": 0.75, "site-2": 0.65}
    assert reported(run) == [(0, None, pytest.approx(0.7))]
    assert kinds(path) == ["without_rounds"]
    assert "of model SRV_FL_global_model.pt at 2 sites" in read_file(path).findings[0].sentence


def test_a_matrix_without_a_servers_model_takes_the_mean_of_all(tmp_path: Path) -> None:
    content = {
        "a": {"a": {"accuracy": 0.5}, "b": {"accuracy": 0.75}},
        "b": {"a": {"accuracy": 0.25}},
    }

    assert clients_of(only(json_file(tmp_path, content))) == {"a": 0.625, "b": 0.25}


def test_a_matrix_without_an_accuracy_names_what_it_has(tmp_path: Path) -> None:
    path = json_file(tmp_path, {"a": {"m": {"rmse": 0.5}}, "b": {"m": {"rmse": 0.6}}})

    assert complaint(path) == (
        "run.json: the sites' results have no accuracy. Fix: name a metric of which more is better with "
        "--metric; there are rmse"
    )
    assert complaint(json_file(tmp_path, {"a": {"m": {"acc": 140}}})).startswith(
        "run.json: a: 140 is not a share of acc"
    )


def test_a_history_that_was_appended_to_after_a_return_is_one_run(tmp_path: Path) -> None:
    losses = [[1, 0.9], [2, 0.8], [3, 7.0], [2, 0.7]]
    accuracies = [[1, 0.1], [2, 0.2], [3, 0.01], [2, 0.3]]
    content = {"losses_centralized": losses, "metrics_centralized": {"accuracy": accuracies}}
    path = json_file(tmp_path, content)

    assert reported(only(path)) == [(1, 0.9, 0.1), (2, 0.7, 0.3)]
    assert kinds(path) == ["counter_went_back"]
