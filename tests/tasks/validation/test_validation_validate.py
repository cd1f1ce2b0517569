"""What a suite takes out of a batch, to the value."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.core.batch import columns_of
from tasks.core.severity import Severity
from tasks.validation.model import Suite
from tasks.validation.validate import Validated, validate
from tests.support.suite_examples import (
    BETWEEN,
    NOT_NULL,
    ROW_COUNT,
    a_batch,
    a_frame,
    a_measurement,
    a_suite,
    an_expectation,
)

MEASUREMENT = a_measurement()
SHARE = an_expectation("share", BETWEEN, column="share_ratio", min_value=0, max_value=1)
SIZE = an_expectation("size", BETWEEN, column="size_bytes", min_value=0)


def validated(frame: pd.DataFrame, suite: Suite) -> Validated:
    return validate(a_batch(MEASUREMENT, frame), suite)


def result_of(result: Validated, check_id: str) -> Any:
    return next(each for each in result.verdict.checks if each.check_id == check_id)


def taken(result: Validated) -> list[tuple[Any, ...]]:
    """(field, number, scope, check_id) of each record."""
    bad = result.bad.astype("object").where(result.bad.notna(), None)
    return list(zip(bad["field"], bad["number"], bad["scope"], bad["check_id"], strict=True))


def test_good_rows_pass_untouched(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[0.5, 1.0], size_bytes=[1, None])

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, SHARE, SIZE))

    pd.testing.assert_frame_equal(result.good, frame)
    assert len(result.bad) == 0
    assert result.verdict.suite == "example"
    assert result.verdict.short() == {"passed": 6, "failed": 0, "worst": None}


def test_a_critical_limit_takes_the_value_and_leaves_its_neighbours(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[0.5, 1.5], size_bytes=[7, 8])

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, SHARE, SIZE))

    expected = a_frame(MEASUREMENT, [0, 15], share_ratio=[0.5, None], size_bytes=[7, 8])
    pd.testing.assert_frame_equal(result.good, expected)
    (record,) = result.bad.to_dict("records")
    assert record.pop("quarantined_at") is not None
    assert record == {
        "time": pd.Timestamp("2026-01-01T00:00:15Z"), "environment": "production",
        "tags": '{"method": "GET"}', "field": "share_ratio", "number": 1.5, "text": "1.5",
        "stage": "suite", "scope": "value", "check_id": "share", "expectation": BETWEEN,
        "severity": "critical", "limit": "0 to 1", "reason": "share is why",
    }  # fmt: skip
    check = result_of(result, "share")
    assert (check.success, check.severity, check.column) == (
        False,
        Severity.CRITICAL,
        "share_ratio",
    )
    assert (check.observed, check.limit) == ("1 of 2 rows, such as 1.5", "0 to 1")
    assert (check.origin, check.offending, check.problem) == ("physical", 1, "")


def test_an_integer_column_with_nulls_is_checked(tmp_path: Path) -> None:
    frame = a_frame(
        MEASUREMENT, [0, 15, 30], share_ratio=[0.5] * 3, size_bytes=[-(2**60) - 1, None, 3]
    )

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, SIZE))

    assert result.good["size_bytes"].tolist() == [pd.NA, pd.NA, 3]
    assert result.good["size_bytes"].dtype == "Int64"
    assert result.bad["text"].tolist() == [str(-(2**60) - 1)]


@pytest.mark.parametrize("severity", ["high", "warning", "info"])
def test_less_than_critical_takes_nothing(tmp_path: Path, severity: str) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[9.0, None], size_bytes=[1, 2])
    limit = an_expectation("usual", BETWEEN, severity, column="share_ratio", max_value=0.9)

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, limit))

    pd.testing.assert_frame_equal(result.good, frame)
    assert len(result.bad) == 0
    assert result_of(result, "usual").severity is Severity(severity)
    assert not result_of(result, "usual").success
    assert not result_of(result, "share_ratio_present").success


def test_infinity_is_beyond_every_limit(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[np.inf, 0.5], size_bytes=[1, 2])

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, SHARE))

    assert taken(result) == [("share_ratio", np.inf, "value", "share")]


def test_all_rows_of_a_repeated_key_go(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 0, 15], share_ratio=[0.1, 0.2, 0.3], size_bytes=[1, None, 3])

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, SHARE))

    assert result.good["share_ratio"].tolist() == [0.3]
    assert result.good.index.equals(pd.RangeIndex(1))
    assert sorted(taken(result)) == [
        ("share_ratio", 0.1, "row", "key"),
        ("share_ratio", 0.2, "row", "key"),
        ("size_bytes", 1.0, "row", "key"),
    ]
    assert result_of(result, "key").observed == (
        "2 of 3 rows, such as production GET 2026-01-01T00:00:00Z"
    )


def test_keys_are_the_same_when_both_lack_a_tag(tmp_path: Path) -> None:
    frame = a_frame(
        MEASUREMENT, [0, 0], method=[None, None], share_ratio=[0.1, 0.2], size_bytes=[1, 2]
    )

    result = validated(frame, a_suite(tmp_path, MEASUREMENT))

    assert len(result.good) == 0
    assert len(result.bad) == 4


def test_a_row_without_a_time_goes(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[0.1, 0.2], size_bytes=[1, 2])
    frame["time"] = frame["time"].mask(np.array([False, True]))

    result = validated(frame, a_suite(tmp_path, MEASUREMENT))

    assert result.good["share_ratio"].tolist() == [0.1]
    assert sorted(taken(result)) == [
        ("share_ratio", 0.2, "row", "time"),
        ("size_bytes", 2.0, "row", "time"),
    ]
    assert result.bad["time"].isna().all()


def test_a_critical_check_of_the_table_takes_the_batch(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[0.1, None], size_bytes=[1, 2])
    most = an_expectation("few", ROW_COUNT, min_value=1, max_value=1)

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, most))

    assert len(result.good) == 0
    assert list(result.good.columns) == columns_of(MEASUREMENT)
    assert sorted(taken(result)) == [
        ("share_ratio", 0.1, "batch", "few"),
        ("size_bytes", 1.0, "batch", "few"),
        ("size_bytes", 2.0, "batch", "few"),
    ]
    check = result_of(result, "few")
    assert (check.observed, check.limit, check.column) == ("2", "1 to 1", None)


def test_a_critical_mean_takes_all_values_of_its_field(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[0.1, 0.2], size_bytes=[1, 2])
    mean = an_expectation(
        "mean", "expect_column_mean_to_be_between", column="size_bytes", min_value=5
    )

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, mean))

    assert taken(result) == [
        ("size_bytes", 1.0, "value", "mean"),
        ("size_bytes", 2.0, "value", "mean"),
    ]
    assert result_of(result, "mean").observed == "1.5"
    assert result.good["share_ratio"].tolist() == [0.1, 0.2]


def test_a_critical_missing_value_takes_nothing(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[None, 0.2], size_bytes=[1, 2])
    present = an_expectation("present", NOT_NULL, column="share_ratio")

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, present))

    pd.testing.assert_frame_equal(result.good, frame)
    assert len(result.bad) == 0
    assert result.verdict.short()["worst"] == "critical"


def test_a_value_that_fails_twice_is_recorded_with_the_first(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[-1.0, 0.2], size_bytes=[1, 2])
    again = an_expectation("again", BETWEEN, column="share_ratio", min_value=0)

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, SHARE, again))

    assert taken(result) == [("share_ratio", -1.0, "value", "share")]
    assert result_of(result, "again").offending == 1


def test_a_row_whose_values_went_before_it_is_not_recorded_again(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[-1.0, 0.2], size_bytes=[-1, 2])
    method = an_expectation(
        "method", "expect_column_values_to_be_in_set", column="method", value_set=["POST"]
    )

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, SHARE, SIZE, method))

    assert taken(result) == [
        ("share_ratio", -1.0, "value", "share"),
        ("size_bytes", -1.0, "value", "size"),
        ("share_ratio", 0.2, "row", "method"),
        ("size_bytes", 2.0, "row", "method"),
    ]
    assert len(result.good) == 0


def test_a_row_that_held_no_value_is_recorded_when_it_goes(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 0], share_ratio=[None, 0.2], size_bytes=[None, None])

    result = validated(frame, a_suite(tmp_path, MEASUREMENT))

    assert taken(result) == [("share_ratio", 0.2, "row", "key"), (None, None, "row", "key")]


def test_a_row_that_held_no_value_is_recorded_once(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 0], share_ratio=[None, 0.2], size_bytes=[None, None])
    present = an_expectation(
        "post", "expect_column_values_to_be_in_set", column="method", value_set=["POST"]
    )

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, present))

    assert taken(result) == [("share_ratio", 0.2, "row", "key"), (None, None, "row", "key")]
    assert result_of(result, "post").offending == 2


def test_a_row_that_lost_its_last_value_is_left_out(tmp_path: Path) -> None:
    frame = a_frame(
        MEASUREMENT, [0, 0], method=["GET", "POST"], share_ratio=[-1.0, 0.2],
        size_bytes=[None, None],
    )  # fmt: skip

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, SHARE))

    assert result.good["method"].tolist() == ["POST"]
    assert result.good["method"].cat.categories.tolist() == ["POST"]


CANNOT_RUN = an_expectation("text", BETWEEN, column="method", min_value=0)


def test_a_critical_check_that_cannot_run_takes_the_batch(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0], share_ratio=[0.1], size_bytes=[1])

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, CANNOT_RUN))

    assert sorted(taken(result)) == [
        ("share_ratio", 0.1, "batch", "text"),
        ("size_bytes", 1.0, "batch", "text"),
    ]
    assert result.bad["reason"][0].startswith("the check could not run: Column values, min_value")
    check = result_of(result, "text")
    assert (check.observed, check.offending) == ("could not run", 0)
    assert check.problem.startswith("Column values, min_value")


@pytest.mark.parametrize("severity", ["high", "warning", "info"])
def test_any_check_that_cannot_run_is_critical_and_takes_nothing(
    tmp_path: Path, severity: str
) -> None:
    frame = a_frame(MEASUREMENT, [0], share_ratio=[0.1], size_bytes=[1])
    broken = an_expectation("text", BETWEEN, severity, column="method", min_value=0)

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, broken))

    pd.testing.assert_frame_equal(result.good, frame)
    assert len(result.bad) == 0
    assert result_of(result, "text").severity is Severity.CRITICAL


def test_a_check_that_great_expectations_drops_could_not_run(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0], share_ratio=[0.1], size_bytes=[1])
    unknown = an_expectation("odd", "expect_column_values_to_be_odd", column="size_bytes")

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, unknown))

    assert len(result.good) == 0
    assert result_of(result, "odd").problem == "Great Expectations gave no result for it"


def test_mostly_lets_a_few_pass(tmp_path: Path) -> None:
    frame = a_frame(
        MEASUREMENT, [0, 15, 30, 45], share_ratio=[9.0, 0.5, 0.5, 0.5], size_bytes=[1] * 4
    )
    some = an_expectation("some", BETWEEN, column="share_ratio", max_value=1, mostly=0.75)

    result = validated(frame, a_suite(tmp_path, MEASUREMENT, some))

    pd.testing.assert_frame_equal(result.good, frame)
    assert result_of(result, "some").success


def test_rows_out_of_order_come_back_in_order(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15, 30], share_ratio=[0.1, 0.2, 0.3], size_bytes=[1, 2, 3])
    shuffled = frame.iloc[[2, 0, 1]]

    result = validated(shuffled, a_suite(tmp_path, MEASUREMENT))

    pd.testing.assert_frame_equal(result.good, frame)


def test_the_batch_is_left_as_it_was(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 0, 15], share_ratio=[-1.0, 0.2, 7.0], size_bytes=[1, 2, -3])
    before = frame.copy(deep=True)

    validated(frame, a_suite(tmp_path, MEASUREMENT, SHARE, SIZE))

    pd.testing.assert_frame_equal(frame, before)


def test_a_batch_without_rows_is_not_validated(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [])

    with pytest.raises(ValueError, match="a batch without rows is not validated"):
        validated(frame, a_suite(tmp_path, MEASUREMENT))
