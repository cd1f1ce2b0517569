"""Reading suites, their one text, and what Great Expectations says of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import SuiteInvalid
from tasks.core.severity import Severity
from tasks.validation.suites import canonical_json, read_suite, verify
from tests.support.suite_examples import (
    BETWEEN,
    a_content,
    a_measurement,
    a_suite,
    an_expectation,
    write,
)

MEASUREMENT = a_measurement()


def test_a_suite_is_read_with_its_expectations_in_order(tmp_path: Path) -> None:
    limit = an_expectation("share", BETWEEN, "warning", column="share_ratio", max_value=0.9)

    suite = a_suite(tmp_path, MEASUREMENT, limit)

    assert suite.name == "example"
    assert suite.path == tmp_path / "example.json"
    ids = [each.check_id for each in suite.expectations]
    assert ids == ["rows", "key", "time", "share_ratio_present", "share"]
    last = suite.expectations[-1]
    assert (last.type, last.severity) == (BETWEEN, Severity.WARNING)
    assert (last.reason, last.origin) == ("share is why", "physical")
    assert last.columns == ("share_ratio",)


def test_parameters_are_filled_in(tmp_path: Path) -> None:
    limit = an_expectation("share", BETWEEN, column="share_ratio", max_value={"$PARAMETER": "most"})
    content = a_content(MEASUREMENT, limit, suite_parameters={"most": 0.5})

    suite = read_suite(write(tmp_path, content), MEASUREMENT)

    assert suite.expectations[-1].arguments == {"column": "share_ratio", "max_value": 0.5}
    verify(suite, MEASUREMENT)


def test_the_digest_follows_what_is_said_and_not_how_it_is_laid_out(tmp_path: Path) -> None:
    def digest(most: float, **layout: Any) -> str:
        limit = an_expectation("share", BETWEEN, column="share_ratio", max_value=most)
        text = json.dumps(a_content(MEASUREMENT, limit), **layout)
        (tmp_path / "example.json").write_text(text, encoding="utf-8")
        return read_suite(tmp_path, MEASUREMENT).digest

    assert digest(1) == digest(1.0, indent=4, sort_keys=True)
    assert digest(1) != digest(2)


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "exampel.json").write_text("{}", encoding="utf-8")

    with pytest.raises(SuiteInvalid) as caught:
        read_suite(tmp_path, MEASUREMENT)

    assert caught.value.problem == "the file is missing"
    assert caught.value.fix == "Use exampel"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ('{"name": "a", "name": "b"}', "the key name is repeated in one object"),
        ('{"name": NaN}', "NaN is not a finite number"),
        ('{"name": 1e999}', "1e999 is not a finite number"),
    ],
)
def test_what_is_not_json_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "example.json").write_text(text, encoding="utf-8")

    with pytest.raises(SuiteInvalid) as caught:
        read_suite(tmp_path, MEASUREMENT)

    assert problem in caught.value.problem


def test_the_mark_of_an_editor_on_windows_is_no_part_of_a_suite(tmp_path: Path) -> None:
    write(tmp_path, a_content(MEASUREMENT))
    path = tmp_path / "example.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert read_suite(tmp_path, MEASUREMENT).name == "example"


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "example.json").write_bytes(b"\xff\xfe")

    with pytest.raises(SuiteInvalid, match="cannot be read"):
        read_suite(tmp_path, MEASUREMENT)


def test_the_canonical_text_leaves_out_what_says_nothing() -> None:
    limit = an_expectation("share", BETWEEN, column="share_ratio", max_value=1.0, min_value=0.25)
    noisy: dict[str, Any] = {
        "id": "7f",
        "notes": None,
        "meta": {"great_expectations_version": "1.24.1"},
    }
    content: dict[str, Any] = {"name": "example", **noisy, "suite_parameters": {}}
    content["expectations"] = [
        {**limit, "id": "8a", "notes": "", "description": None, "severity": "critical"}
    ]

    text = canonical_json(content)

    assert text.endswith("}\n")
    assert json.loads(text) == {"name": "example", "expectations": [limit]}
    assert '"max_value": 1,\n        "min_value": 0.25\n' in text


def test_the_canonical_text_changes_nothing_in_place() -> None:
    content = a_content(MEASUREMENT, meta={"great_expectations_version": "1.24.1", "team": "fl"})

    assert json.loads(canonical_json(content))["meta"] == {"team": "fl"}
    assert content["meta"] == {"great_expectations_version": "1.24.1", "team": "fl"}


def test_the_canonical_text_holds_no_infinity() -> None:
    limit = an_expectation("share", BETWEEN, column="share_ratio", max_value=float("inf"))

    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(a_content(MEASUREMENT, limit))


def test_a_good_suite_is_verified(tmp_path: Path) -> None:
    limit = an_expectation("size", BETWEEN, column="size_bytes", min_value=0)

    verify(a_suite(tmp_path, MEASUREMENT, limit), MEASUREMENT)


@pytest.mark.promise("Quarantine: an expectation that Great Expectations would ignore is refused")
@pytest.mark.parametrize(
    ("limit", "problem", "fix"),
    [
        (
            an_expectation("x", "expect_column_values_to_be_betwen", column="size_bytes"),
            "Great Expectations knows no expect_column_values_to_be_betwen",
            "Use expect_column_values_to_be_between",
        ),
        (
            an_expectation("x", BETWEEN, column="size_bytes", min_valu=0),
            f"{BETWEEN} takes no min_valu",
            "Use min_value",
        ),
        (
            an_expectation("x", BETWEEN, column="size_bytes", min_value=0, catch_exceptions=True),
            f"{BETWEEN} takes no catch_exceptions",
            "Give one of: column, mostly,",
        ),
        (
            an_expectation("x", BETWEEN, column="size_bytes"),
            "min_value and max_value cannot both be None",
            "Correct its kwargs",
        ),
        (
            an_expectation("x", BETWEEN, column="method", min_value=0),
            "cannot run on example: Column values, min_value, and max_value",
            "Choose one for its type",
        ),
    ],
)
def test_what_great_expectations_would_drop_or_trip_over_is_refused(
    tmp_path: Path, limit: dict[str, Any], problem: str, fix: str
) -> None:
    suite = a_suite(tmp_path, MEASUREMENT, limit)

    with pytest.raises(SuiteInvalid) as caught:
        verify(suite, MEASUREMENT)

    assert caught.value.check_id == "x"
    assert problem in caught.value.problem
    assert fix in caught.value.fix
