"""What one suite has against another."""

from pathlib import Path
from typing import Any

from tasks.validation.difference import Difference, difference
from tasks.validation.model import Suite
from tasks.validation.suites import suite_of
from tests.support.suite_examples import (
    BETWEEN,
    NOT_NULL,
    a_content,
    a_measurement,
    an_expectation,
)

MEASUREMENT = a_measurement()


def a_suite(*more: dict[str, Any]) -> Suite:
    return suite_of(a_content(MEASUREMENT, *more), MEASUREMENT, Path("example.json"))


def limit(severity: str = "critical", name: str = "limit", **kwargs: Any) -> dict[str, Any]:
    return an_expectation(name, BETWEEN, severity, column="share_ratio", **kwargs)


def test_the_same_suite_has_no_difference() -> None:
    assert difference(a_suite(limit(max_value=1)), a_suite(limit(max_value=1))) == ()


def test_another_limit() -> None:
    found = difference(
        a_suite(limit(min_value=0, max_value=1)), a_suite(limit(min_value=0, max_value=2))
    )
    assert found == (Difference("limit", "changed", "0 to 1", "0 to 2"),)


def test_another_severity_goes_with_the_limit() -> None:
    found = difference(a_suite(limit(max_value=1)), a_suite(limit("high", max_value=2)))
    assert found == (
        Difference("limit", "changed", "at most 1; severity critical", "at most 2; severity high"),
    )


def test_another_reason_alone() -> None:
    changed = limit(max_value=1)
    changed["meta"]["reason"] = "we measured it"
    found = difference(a_suite(limit(max_value=1)), a_suite(changed))
    assert found == (
        Difference("limit", "changed", "reason limit is why", "reason we measured it"),
    )


def test_another_column_and_type() -> None:
    other = an_expectation("limit", NOT_NULL, column="size_bytes")
    (found,) = difference(a_suite(limit(max_value=1)), a_suite(other))
    assert found.old == f"share_ratio; at most 1; type {BETWEEN}"
    assert found.new == f"size_bytes; never missing; type {NOT_NULL}"


def test_an_argument_that_the_words_leave_out_is_reported() -> None:
    rare = an_expectation("limit", NOT_NULL, column="size_bytes")
    rarer = an_expectation("limit", NOT_NULL, column="size_bytes", row_condition="a>1")
    (found,) = difference(a_suite(rare), a_suite(rarer))
    assert found.old == "arguments [('column', 'size_bytes')]"
    assert found.new == "arguments [('column', 'size_bytes'), ('row_condition', 'a>1')]"


def test_added_then_removed() -> None:
    found = difference(
        a_suite(limit(name="old", max_value=1)), a_suite(limit("warning", name="new", max_value=2))
    )
    assert found == (
        Difference("new", "added", None, "share_ratio; at most 2; severity warning"),
        Difference("old", "removed", "share_ratio; at most 1; severity critical", None),
    )


def test_against_no_suite_all_is_added() -> None:
    found = difference(None, a_suite())
    assert {each.change for each in found} == {"added"}
    assert found[0] == Difference("rows", "added", None, "the table; at least 1; severity critical")


def test_parameters_are_filled_in() -> None:
    check = limit(max_value={"$PARAMETER": "most"})
    old, new = (
        suite_of(
            a_content(MEASUREMENT, check, suite_parameters={"most": most}),
            MEASUREMENT,
            Path("example.json"),
        )
        for most in (1, 2)
    )
    assert difference(old, new) == (Difference("limit", "changed", "at most 1", "at most 2"),)
