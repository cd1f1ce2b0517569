"""Which expectations are tried, and that none that cannot run is let through."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.validation import engine, trial
from tasks.validation.trial import obstacles
from tests.support.suite_examples import BETWEEN, a_measurement, a_suite, an_expectation

MEASUREMENT = a_measurement(fields={"share_ratio": "float", "rest_ratio": "float", "count": "int"})


@pytest.fixture(autouse=True)
def tried(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The check_ids of each run of Great Expectations, in a process that has tried nothing yet."""
    runs: list[list[str]] = []
    run = engine.run

    def watched(frame: pd.DataFrame, suite: Any) -> Any:
        runs.append([each.check_id for each in suite.expectations])
        return run(frame, suite)

    monkeypatch.setattr(engine, "run", watched)
    monkeypatch.setattr(trial, "_ran", set())
    return runs


def test_what_ran_is_not_tried_again_under_another_columns_name(
    tmp_path: Path, tried: list[list[str]]
) -> None:
    first = an_expectation("first", BETWEEN, column="share_ratio", min_value=0)
    second = an_expectation("second", BETWEEN, column="rest_ratio", min_value=7.5)

    assert list(obstacles(a_suite(tmp_path, MEASUREMENT, first), MEASUREMENT)) == []
    assert list(obstacles(a_suite(tmp_path, MEASUREMENT, second), MEASUREMENT)) == []

    (only,) = tried
    assert only[-1] == "first"


@pytest.mark.parametrize(
    "other",
    [
        {"column": "count", "min_value": 0},
        {"column": "share_ratio", "max_value": 0},
        {"column": "share_ratio", "min_value": 0, "strict_min": True},
        {"column": "share_ratio", "min_value": 0, "max_value": 0},
    ],
)
def test_another_type_or_another_argument_is_tried(
    tmp_path: Path, tried: list[list[str]], other: dict[str, Any]
) -> None:
    known = an_expectation("known", BETWEEN, column="share_ratio", min_value=0)
    new = an_expectation("new", BETWEEN, **other)

    list(obstacles(a_suite(tmp_path, MEASUREMENT, known), MEASUREMENT))
    list(obstacles(a_suite(tmp_path, MEASUREMENT, known, new), MEASUREMENT))

    assert tried[1:] == [["new"]]


def test_what_cannot_run_is_reported_each_time(tmp_path: Path) -> None:
    fine = an_expectation("fine", BETWEEN, column="share_ratio", min_value=0)
    wrong = an_expectation("wrong", BETWEEN, column="method", min_value=0)
    suite = a_suite(tmp_path, MEASUREMENT, fine, wrong)

    for _ in range(2):
        ((check_id, problem),) = obstacles(suite, MEASUREMENT)
        assert check_id == "wrong"
        assert "Column values, min_value, and max_value" in problem


def test_limits_the_wrong_way_round_are_reported_though_the_right_way_ran(tmp_path: Path) -> None:
    right = an_expectation("right", BETWEEN, column="share_ratio", min_value=0, max_value=1)
    wrong = an_expectation("wrong", BETWEEN, column="rest_ratio", min_value=5, max_value=1)

    assert list(obstacles(a_suite(tmp_path, MEASUREMENT, right), MEASUREMENT)) == []

    ((check_id, problem),) = obstacles(a_suite(tmp_path, MEASUREMENT, wrong), MEASUREMENT)
    assert (check_id, problem) == ("wrong", "min_value cannot be greater than max_value")
