"""Every way in which a suite's file can be wrong, without Great Expectations."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import SuiteInvalid
from tasks.validation.structure import check_structure, structural_flaws
from tests.support.suite_examples import (
    BETWEEN,
    NOT_NULL,
    ROW_COUNT,
    a_content,
    a_measurement,
    an_expectation,
)

MEASUREMENT = a_measurement()
PATH = Path("expectations/example.json")
Change = Callable[[dict[str, Any]], None]


def a_good_one() -> dict[str, Any]:
    limit = an_expectation("share", BETWEEN, column="share_ratio", min_value=0, max_value=1)
    return a_content(MEASUREMENT, limit)


def test_a_whole_suite_is_taken() -> None:
    check_structure(a_good_one(), MEASUREMENT, PATH)


def of(position: int, key: str, value: Any) -> Change:
    """Sets a key of an expectation; None takes it away."""

    def change(content: dict[str, Any]) -> None:
        target = content["expectations"][position]
        *parents, last = key.split(".")
        for parent in parents:
            target = target[parent]
        if value is None:
            del target[last]
        else:
            target[last] = value

    return change


def top(key: str, value: Any) -> Change:
    return lambda content: content.update({key: value})


def without(position: int) -> Change:
    return lambda content: content["expectations"].pop(position)


CASES: dict[str, tuple[Change, str | None, str, str]] = {
    "misspelt key of the suite": (
        top("expectatons", []), None, "unknown key expectatons", "Use expectations",
    ),
    "another name": (
        top("name", "exampel"), None, "its name is 'exampel'", 'Call it "example"',
    ),
    "meta of the suite is a list": (
        top("meta", [1]), None, "its meta is not an object", "take it out",
    ),
    "no expectations": (
        top("expectations", []), None, "no list of expectations", "Fill the key",
    ),
    "an expectation that is a text": (
        top("expectations", ["rows"]), None, "expectation 1 has no meta", "check_id",
    ),
    "no check_id": (
        of(4, "meta.check_id", None), None, "expectation 5 has no meta.check_id", "Name it",
    ),
    "misspelt key of an expectation": (
        of(4, "kwarg", {}), "share", "check share: unknown key kwarg", "Use kwargs",
    ),
    "misspelt key of meta": (
        of(4, "meta.reson", "x"), "share", "unknown key meta.reson", "Use reason",
    ),
    "no type": (of(4, "type", None), "share", "lacks its type or kwargs", "Great Expectations"),
    "kwargs are a list": (of(4, "kwargs", [1]), "share", "lacks its type or kwargs", "Great"),
    "no reason": (of(4, "meta.reason", " "), "share", "has no meta.reason", "one sentence"),
    "an origin of one's own": (
        of(4, "meta.origin", "guess"), "share", "meta.origin is 'guess'", "physical",
    ),
    "a severity of one's own": (
        of(4, "meta.severity", "fatal"), "share", "meta.severity is 'fatal'", "critical, high",
    ),
    "no severity": (of(4, "meta.severity", None), "share", "meta.severity is None", "critical"),
    "high, which Great Expectations has not": (
        of(4, "severity", "high"), "share",
        "meta.severity is 'critical', but severity is 'high'", "Remove severity",
    ),
    "severities that disagree": (
        of(4, "severity", "info"), "share",
        "meta.severity is 'critical', but severity is 'info'", "Remove severity",
    ),
    "misspelt column": (
        of(4, "kwargs.column", "share_rato"), "share",
        "example has no column 'share_rato'", "Use share_ratio",
    ),
    "misspelt column in a list": (
        of(1, "kwargs.column_list", ["environment", "metod", "time"]), "key",
        "example has no column 'metod'", "Use method",
    ),
    "columns that are one text": (
        of(1, "kwargs.column_list", "time"), "key", "column_list is not a list", "as a list",
    ),
    "a check_id given twice": (
        of(4, "meta.check_id", "rows"), "rows", "meta.check_id is given twice", "its own",
    ),
    "a parameter that is not given": (
        of(4, "kwargs.max_value", {"$PARAMETER": "most"}), "share",
        "the suite has no parameter most", "suite_parameters",
    ),
    "a parameter that is not used": (
        top("suite_parameters", {"most": 1}), None,
        "no expectation uses the parameter most", "Take it out",
    ),
    "parameters that are a list": (
        top("suite_parameters", ["most"]), None, "suite_parameters is not an object", "name",
    ),
    "no row count": (without(0), None, f"lacks {ROW_COUNT} with exactly min_value 1", "Add it"),
    "a row count that allows none": (
        of(0, "kwargs.min_value", 0), None, f"lacks {ROW_COUNT}", "Add it",
    ),
    "a row count with a condition": (
        of(0, "kwargs.row_condition", "x"), None, f"lacks {ROW_COUNT}", "Add it",
    ),
    "no uniqueness": (
        without(1), None, "with exactly column_list [environment, method, time] (critical)", "Add",
    ),
    "uniqueness of too few columns": (
        of(1, "kwargs.column_list", ["environment", "time"]), None, "lacks expect_compound", "Add",
    ),
    "uniqueness that leaves rows out": (
        of(1, "kwargs.ignore_row_if", "any_value_is_missing"), None, "lacks expect_comp", "Add",
    ),
    "no time": (without(2), None, f"lacks {NOT_NULL} with exactly column time", "Add it"),
    "a time that may mostly be missing": (
        of(2, "kwargs.mostly", 0.5), None, f"lacks {NOT_NULL} with exactly column time", "Add it",
    ),
    "no required field": (
        without(3), None, f"lacks {NOT_NULL} with exactly column share_ratio (high)", "Add it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_refused_with_the_check_and_the_fix(case: str) -> None:
    change, check_id, problem, fix = CASES[case]
    content = a_good_one()
    change(content)

    with pytest.raises(SuiteInvalid) as caught:
        check_structure(content, MEASUREMENT, PATH)

    assert caught.value.suite == str(PATH)
    assert caught.value.check_id == check_id
    assert problem in caught.value.problem
    assert fix in caught.value.fix


@pytest.mark.parametrize("position", [0, 1, 2])
def test_an_obligation_that_is_no_longer_critical_is_lacking(position: int) -> None:
    content = a_good_one()
    content["expectations"][position]["meta"]["severity"] = "warning"

    with pytest.raises(SuiteInvalid, match="lacks expect_"):
        check_structure(content, MEASUREMENT, PATH)


def test_all_flaws_are_found_at_once() -> None:
    content = a_good_one()
    every = content["expectations"]
    del every[1]
    every[0]["meta"]["severity"] = "hihg"
    every[2]["kwargs"]["column"] = "share_rato"
    every[3] |= {"notes": "", "typ": ""}
    every.append({"meta": {}})
    content["nmae"] = "example"

    problems = [flaw.problem for flaw in structural_flaws(content, MEASUREMENT, PATH)]
    assert problems == [
        "unknown key nmae",
        # the row count with the wrong severity is there, so it is not lacking too
        "check rows: meta.severity is 'hihg'",
        "check share_ratio_present: example has no column 'share_rato'",
        "check share: unknown key typ",
        "expectation 5 has no meta.check_id",
        "lacks expect_compound_columns_to_be_unique with exactly "
        "column_list [environment, method, time] (critical)",
    ]


@pytest.mark.parametrize("severity", ["warning", "high"])
def test_a_severity_that_is_written_twice_may_agree(severity: str) -> None:
    content = a_good_one()
    content["expectations"][4]["meta"]["severity"] = "high"
    content["expectations"][4]["severity"] = severity

    assert list(structural_flaws(content, MEASUREMENT, PATH)) == []


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(SuiteInvalid, match="is not a JSON object"):
        check_structure(json.loads("[]"), MEASUREMENT, PATH)


def test_parameters_that_are_given_and_used_are_taken() -> None:
    limit = an_expectation("share", BETWEEN, column="share_ratio", max_value={"$PARAMETER": "most"})
    content = a_content(MEASUREMENT, limit, suite_parameters={"most": 1})

    check_structure(content, MEASUREMENT, PATH)


def test_a_measurement_without_tags_has_the_key_environment_and_time() -> None:
    bare = a_measurement(tags=())

    check_structure(a_content(bare), bare, PATH)
