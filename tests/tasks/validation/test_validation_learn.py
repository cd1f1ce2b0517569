"""Ranges learned from history: what they are, what they leave alone, and when there are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.batch import build_frame
from tasks.core.errors import SuiteInvalid, UsageInvalid
from tasks.core.measurement import FieldType, Measurement
from tasks.validation.learn import FEWEST, fences, learn
from tasks.validation.model import Expectation, Suite
from tasks.validation.suites import suite_of, verify
from tests.support.suite_examples import (
    BETWEEN,
    WINDOW,
    a_content,
    a_measurement,
    an_expectation,
)

# quartiles 25, 50 and 75
HUNDRED = [float(value) for value in range(101)]


def history(measurement: Measurement, **columns: list[Any]) -> pd.DataFrame:
    """Rows a second apart."""
    length = max(map(len, columns.values()))
    times = pd.date_range("2026-01-01", periods=length, freq="1s", tz="UTC").as_unit("us")
    tags = {tag: ["a"] * length for tag in measurement.all_tags}
    return build_frame(measurement, {"time": times, **tags, **columns})


def a_suite(measurement: Measurement, *more: dict[str, Any]) -> Suite:
    return suite_of(a_content(measurement, *more), measurement, Path("example.json"))


def learned_check(name: str, **kwargs: Any) -> dict[str, Any]:
    """One that was learned before."""
    check = an_expectation(f"{name}_before", BETWEEN, "warning", column=name, **kwargs)
    return {**check, "meta": {**check["meta"], "origin": "learned"}}


@pytest.fixture
def measurement() -> Measurement:
    fields: dict[str, FieldType] = {
        "delay_seconds": "float",
        "size_bytes": "int",
        "note": "string",
        "is_ready": "bool",
    }
    return a_measurement(fields=fields)


def found(suite: Suite) -> dict[str, Expectation]:
    """The learned checks by column."""
    return {each.columns[0]: each for each in suite.expectations if each.origin == "learned"}


def test_a_range_is_as_wide_as_the_fences(measurement: Measurement) -> None:
    frame = history(measurement, delay_seconds=HUNDRED, size_bytes=[int(v) for v in HUNDRED])
    learned = learn(a_suite(measurement), measurement, frame, WINDOW)
    # 25 - 6 * 25 and 75 + 6 * 25
    checks = found(learned.suite)
    assert checks["delay_seconds"] == Expectation(
        check_id="delay_seconds_usual",
        type=BETWEEN,
        arguments={"column": "delay_seconds", "min_value": -125.0, "max_value": 225.0},
        severity=checks["delay_seconds"].severity.WARNING,
        reason="Usual range of 101 values, 2026-01-01T00:00:00Z to 2026-01-01T01:00:00Z, "
        "of which 0 lie outside it.",
        origin="learned",
    )
    assert checks["size_bytes"].arguments == {"column": "size_bytes", "min_value": -125, "max_value": 225}  # fmt: skip
    assert learned.left_out == {}
    verify(learned.suite, measurement)


def test_texts_and_booleans_have_no_range(measurement: Measurement) -> None:
    frame = history(measurement, delay_seconds=HUNDRED, note=["a"] * 101, is_ready=[True] * 101)
    learned = learn(a_suite(measurement), measurement, frame, WINDOW)
    assert list(found(learned.suite)) == ["delay_seconds"]


def test_a_skewed_field_has_a_long_side_and_a_short_one() -> None:
    # quartiles 1, 2 and 5
    assert fences(np.array([0.0, 1, 2, 5, 9])) == (-5.0, 23.0)


def test_an_incident_does_not_become_the_normal_case(measurement: Measurement) -> None:
    values = HUNDRED * 10 + [1e9] * 5
    learned = learn(
        a_suite(measurement), measurement, history(measurement, delay_seconds=values), WINDOW
    )
    check = found(learned.suite)["delay_seconds"]
    assert check.arguments["max_value"] < 300
    assert check.reason.endswith("of which 5 lie outside it.")


def test_a_field_that_is_nearly_always_the_same_has_its_tails() -> None:
    values = np.array([0.0] * 950 + [8.0] * 50)
    assert fences(values) == (0.0, 8.0)


def test_what_is_impossible_anyway_is_left_out(measurement: Measurement) -> None:
    possible = an_expectation("possible", BETWEEN, column="delay_seconds", min_value=0, max_value=1e9)  # fmt: skip
    suite = a_suite(measurement, possible)
    learned = learn(suite, measurement, history(measurement, delay_seconds=HUNDRED), WINDOW)
    assert found(learned.suite)["delay_seconds"].arguments == {"column": "delay_seconds", "max_value": 225.0}  # fmt: skip


def test_a_field_whose_usual_range_is_all_that_is_possible(measurement: Measurement) -> None:
    possible = an_expectation("possible", BETWEEN, column="delay_seconds", min_value=0, max_value=100)  # fmt: skip
    frame = history(measurement, delay_seconds=HUNDRED, size_bytes=[int(v) for v in HUNDRED])
    learned = learn(a_suite(measurement, possible), measurement, frame, WINDOW)
    assert learned.left_out == {"delay_seconds": "its usual range has all possible values"}
    assert list(found(learned.suite)) == ["size_bytes"]


def test_earlier_learned_ranges_are_replaced_in_their_place(measurement: Measurement) -> None:
    limit = an_expectation("limit", BETWEEN, "high", column="delay_seconds", max_value=3)
    suite = a_suite(measurement, learned_check("delay_seconds", max_value=1), limit)
    before = [each.check_id for each in suite.expectations]
    learned = learn(suite, measurement, history(measurement, delay_seconds=HUNDRED), WINDOW)
    after = [each.check_id for each in learned.suite.expectations]
    assert before[-2:] == ["delay_seconds_before", "limit"]
    assert after == [*before[:-2], "delay_seconds_usual", "limit"]
    # and what was given is not changed
    assert [each.check_id for each in suite.expectations] == before


def test_learning_twice_is_learning_once(measurement: Measurement) -> None:
    frame = history(measurement, delay_seconds=HUNDRED)
    once = learn(a_suite(measurement), measurement, frame, WINDOW)
    assert learn(once.suite, measurement, frame, WINDOW).suite == once.suite


def test_a_field_without_a_new_range_keeps_the_earlier_one(measurement: Measurement) -> None:
    suite = a_suite(measurement, learned_check("size_bytes", max_value=1))
    learned = learn(suite, measurement, history(measurement, delay_seconds=HUNDRED), WINDOW)
    assert learned.left_out == {"size_bytes": "0 values, 100 are needed"}
    assert found(learned.suite)["size_bytes"].check_id == "size_bytes_before"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (HUNDRED[: FEWEST - 1], "99 values, 100 are needed"),
        ([7.5] * 100, "nearly all of its 100 values are 7.5"),
        ([1.0] * 999 + [2.0], "nearly all of its 1000 values are 1"),
    ],
)
def test_nothing_to_learn_from_is_refused(
    measurement: Measurement, values: list[float], reason: str
) -> None:
    frame = history(measurement, delay_seconds=values)
    with pytest.raises(UsageInvalid) as caught:
        learn(a_suite(measurement), measurement, frame, WINDOW)
    assert str(caught.value) == (
        "MEASUREMENT: there is nothing to learn from for example: "
        f"delay_seconds: {reason}; size_bytes: 0 values, 100 are needed. "
        "Fix: name a longer window (--start), or collect more first"
    )


def test_a_hundred_values_are_enough(measurement: Measurement) -> None:
    frame = history(measurement, delay_seconds=HUNDRED[:FEWEST])
    assert found(learn(a_suite(measurement), measurement, frame, WINDOW).suite)


def test_a_measurement_without_numbers_is_refused() -> None:
    texts = a_measurement(fields={"note": "string"})
    with pytest.raises(UsageInvalid, match="it has no numeric field"):
        learn(a_suite(texts), texts, history(texts, note=["a"] * 200), WINDOW)


def test_a_taken_name_is_refused(measurement: Measurement) -> None:
    taken = an_expectation("delay_seconds_usual", BETWEEN, column="delay_seconds", max_value=5e9)
    frame = history(measurement, delay_seconds=HUNDRED)
    with pytest.raises(SuiteInvalid, match=r"delay_seconds_usual: meta\.check_id is given twice"):
        learn(a_suite(measurement, taken), measurement, frame, WINDOW)


def test_values_that_no_range_can_hold_have_none(measurement: Measurement) -> None:
    frame = history(measurement, delay_seconds=[-1.7e308, 0.0, 1.7e308] * 50)
    with pytest.raises(UsageInvalid, match="its usual range has all possible values"):
        learn(a_suite(measurement), measurement, frame, WINDOW)


@pytest.mark.slow
@given(
    st.lists(st.floats(-1e12, 1e12), min_size=FEWEST, max_size=300),
)
def test_a_range_holds_all_but_the_tails(values: list[float]) -> None:
    measurement = a_measurement(fields={"delay_seconds": "float"})
    suite, frame = a_suite(measurement), history(measurement, delay_seconds=values)
    try:
        learned = learn(suite, measurement, frame, WINDOW)
    except UsageInvalid:
        assert np.quantile(values, 0.005) == np.quantile(values, 0.995)
        return
    bounds = found(learned.suite)["delay_seconds"].arguments
    outside = [v for v in values if not bounds["min_value"] <= v <= bounds["max_value"]]
    assert len(outside) <= 0.01 * len(values) + 2
