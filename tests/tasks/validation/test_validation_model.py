"""Which columns an expectation looks at."""

from typing import Any

import pytest

from tasks.core.severity import Severity
from tasks.validation.model import Expectation
from tests.support.suite_examples import BETWEEN, ROW_COUNT, UNIQUE


@pytest.mark.parametrize(
    ("kind", "arguments", "columns"),
    [
        (BETWEEN, {"column": "a", "min_value": 0}, ("a",)),
        ("expect_column_pair_values_to_be_equal", {"column_A": "a", "column_B": "b"}, ("a", "b")),
        (UNIQUE, {"column_list": ["a", "time"]}, ("a", "time")),
        (ROW_COUNT, {"min_value": 1}, ()),
        ("expect_table_columns_to_match_set", {"column_set": ["a"]}, ()),
    ],
)
def test_columns(kind: str, arguments: dict[str, Any], columns: tuple[str, ...]) -> None:
    expectation = Expectation("x", kind, arguments, Severity.CRITICAL, "why", "physical")

    assert expectation.columns == columns
