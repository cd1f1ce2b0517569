"""Limits and observations in words."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.core.severity import Severity
from tasks.validation.engine import Ran
from tasks.validation.model import IN_SET, NOT_IN_SET, NULL, PAIR, Expectation
from tasks.validation.wording import limit_of, observed_by
from tests.support.suite_examples import BETWEEN, NOT_NULL, ROW_COUNT, UNIQUE


def an(kind: str, **arguments: Any) -> Expectation:
    return Expectation("x", kind, arguments, Severity.CRITICAL, "why", "physical")


@pytest.mark.parametrize(
    ("kind", "arguments", "limit"),
    [
        (BETWEEN, {"column": "a", "min_value": 0, "max_value": 1}, "0 to 1"),
        (BETWEEN, {"column": "a", "max_value": 0.1}, "at most 0.1"),
        (BETWEEN, {"column": "a", "min_value": 0, "strict_min": True}, "more than 0"),
        (
            BETWEEN,
            {"column": "a", "min_value": 0, "max_value": 1, "strict_max": True},
            "at least 0, less than 1",
        ),
        (
            BETWEEN,
            {"column": "a", "min_value": 0, "mostly": 0.95},
            "at least 0, in 95 % of rows at least",
        ),
        (ROW_COUNT, {"min_value": 1}, "at least 1"),
        (UNIQUE, {"column_list": ["a", "time"]}, "each key once"),
        (NOT_NULL, {"column": "a"}, "never missing"),
        (NULL, {"column": "a"}, "always missing"),
        (NOT_NULL, {"column": "a", "mostly": 0.5}, "never missing, in 50 % of rows at least"),
        (
            "expect_column_values_to_match_regex",
            {"column": "a", "regex": "b+"},
            "regex b+",
        ),
        (IN_SET, {"column": "a", "value_set": [1, "b"]}, "one of 1, b"),
        (NOT_IN_SET, {"column": "a", "value_set": ["b"]}, "none of b"),
        (PAIR, {"column_A": "a", "column_B": "b", "or_equal": True}, "a at least b"),
        (PAIR, {"column_A": "a", "column_B": "b"}, "a more than b"),
    ],
)
def test_limits(kind: str, arguments: dict[str, Any], limit: str) -> None:
    assert limit_of(an(kind, **arguments)) == limit


FRAME = pd.DataFrame(
    {
        "a": [1.5, -2.0, None, -2.0, 1e-9],
        "tag": pd.Categorical(["x", None, "x", "y", "y"]),
        "time": pd.to_datetime(["2026-01-01T00:00:00Z"] * 5),
        "n": pd.Series([1, None, 3, 4, 5], dtype="Int64"),
    }
)


def ran(*positions: int) -> Ran:
    return Ran(success=not positions, positions=np.array(positions, dtype=np.int64))


@pytest.mark.parametrize(
    ("expectation", "outcome", "observed"),
    [
        (an(BETWEEN, column="a"), ran(), "none of 5 rows"),
        (an(BETWEEN, column="a"), ran(0), "1 of 5 rows, such as 1.5"),
        (an(BETWEEN, column="a"), ran(1, 3, 4), "3 of 5 rows, such as -2, 1e-09"),
        (an(BETWEEN, column="n"), ran(1), "1 of 5 rows, such as –"),
        (an(NOT_NULL, column="a"), ran(2), "1 of 5 rows"),
        (
            an(UNIQUE, column_list=["tag", "time"]),
            ran(1, 3),
            "2 of 5 rows, such as – 2026-01-01T00:00:00Z, y 2026-01-01T00:00:00Z",
        ),
        (an(ROW_COUNT, min_value=1), Ran(success=True, observed=5), "5"),
        (
            an("expect_column_mean_to_be_between", column="a"),
            Ran(True, observed=np.float64(0.25)),
            "0.25",
        ),
        (an("expect_column_distinct_values_to_be_in_set", column="a"), Ran(False), ""),
        (an(BETWEEN, column="a"), Ran(False, problem="no such column"), "could not run"),
    ],
)
def test_observations(expectation: Expectation, outcome: Ran, observed: str) -> None:
    assert observed_by(expectation, outcome, FRAME) == observed
