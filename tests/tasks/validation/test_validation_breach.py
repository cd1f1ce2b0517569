"""Where a check failed: worst value against its limit, series, times, and whether it holds."""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.core.batch import Batch, build_frame
from tasks.core.measurement import FieldSpec, Measurement
from tasks.core.quarantine import Reason, records
from tasks.core.severity import Severity
from tasks.core.verdict import Breach
from tasks.validation.breach import breach_of, rejected
from tasks.validation.model import BETWEEN, IN_SET, NOT_NULL, UNIQUE, Expectation
from tests.support.suite_examples import START, WINDOW


def entry(field: str, tags: tuple[str, ...] = ("host",), **spec: Any) -> Measurement:
    return Measurement(
        name="m", type="security", tags=tags, fields={field: FieldSpec(query="q", **spec)},
        step="60s", every="60s", max_series=9,
    )  # fmt: skip


def batch(measurement: Measurement, **series: list[Any]) -> Batch:
    """A value a minute of each series; tags joined by __."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("time", "environment", *measurement.tags, *measurement.fields)
    }
    for name, values in sorted(series.items()):
        columns["time"] += [START + timedelta(minutes=i) for i in range(len(values))]
        columns["environment"] += ["production"] * len(values)
        for tag, value in zip(measurement.tags, name.split("__"), strict=False):
            columns[tag] += [value] * len(values)
        columns[next(iter(measurement.fields))] += values
    return Batch(measurement, "production", WINDOW, build_frame(measurement, columns))


def breach(batch: Batch, kind: str = BETWEEN, **arguments: Any) -> Breach | None:
    """The breach of a check on the only field, with the rows that break it."""
    name = next(iter(batch.measurement.fields))
    column = batch.frame[name]
    low, high = arguments.get("min_value", -np.inf), arguments.get("max_value", np.inf)
    if kind == NOT_NULL:
        bad = column.isna()
    elif kind == IN_SET:
        bad = column.notna() & ~column.isin(arguments["value_set"])
    else:
        bad = (column < low) | (column > high)
    rows = np.flatnonzero(bad.to_numpy(dtype=bool))
    check = Expectation("c", kind, {"column": name, **arguments}, Severity.HIGH, "why", "team")
    return breach_of(check, rows, batch)


def at(minutes: int) -> Any:
    return pd.Timestamp(START + timedelta(minutes=minutes))


CERTIFICATE = entry("certificate_days", unit="days", better="higher")
LATENCY = entry("latency_p95_seconds", unit="seconds", better="lower")


def test_the_worst_value_against_its_limit_with_series_and_times() -> None:
    found = breach(batch(CERTIFICATE, fl=[8.0, 6.5, 6.0], other=[90.0] * 3), min_value=7)
    assert found == Breach(
        "certificate of fl has 6 days left (limit 7)",
        "certificate of fl had 6 days left (limit 7)",
        "fl", "6 days", "7", at(1), at(2), holds=True, from_start=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "holds", "from_start"),
    [
        ([9.0, 1.0, 9.0], True, True),
        ([9.0, 1.0, 1.0], False, True),
        ([1.0, 9.0, 9.0], True, False),
        ([1.0, 9.0, 1.0], False, False),
        ([None, 9.0, None], True, True),
    ],
)
def test_it_holds_when_the_newest_value_offends(
    values: list[Any], holds: bool, from_start: bool
) -> None:
    found = breach(batch(LATENCY, a=values), max_value=5)
    assert found is not None
    assert (found.holds, found.from_start) == (holds, from_start)


def test_a_series_that_still_fails_comes_before_a_worse_one_that_does_not() -> None:
    found = breach(batch(LATENCY, over=[900.0, 1.0], still=[1.0, 9.0]), max_value=5)
    assert found is not None
    assert (found.series, found.what) == ("still", "latency p95 of still is 9 s (limit 5)")


def test_of_failing_series_the_worst_is_named_and_the_others_are_counted() -> None:
    found = breach(batch(LATENCY, a=[6.0], b=[8.0], c=[7.0], d=[1.0]), max_value=5)
    assert found is not None
    assert found.what == "latency p95 of b and 2 more series is 8 s (limit 5)"
    assert found.others == 2


@pytest.mark.parametrize(
    ("measurement", "values", "check", "what"),
    [
        (LATENCY, [0.812], {"max_value": 0.5}, "latency p95 of a is 812 ms (limit 500)"),
        (LATENCY, [7.0001], {"max_value": 7}, "latency p95 of a is 7.0001 s (limit 7)"),
        (entry("rounds_per_hour", unit="rounds_per_hour"), [1.55], {"min_value": 5},
         "rounds per hour of a is 1.55 (limit 5)"),
        (entry("busy_ratio", unit="ratio"), [1.2], {"max_value": 1}, "busy of a is 120 % (limit 100)"),
        (entry("trusted", type="bool"), [False], {"kind": IN_SET, "value_set": [True]},
         "trusted of a is False (limit one of True)"),
        (LATENCY, [1.0, None, None], {"kind": NOT_NULL}, "latency p95 of a has no value in 2 rows"),
    ],
)  # fmt: skip
def test_the_words_of_a_breach(
    measurement: Measurement, values: list[Any], check: dict[str, Any], what: str
) -> None:
    found = breach(batch(measurement, a=values), **check)
    assert found is not None
    assert found.what == what


@pytest.mark.parametrize(
    ("values", "check", "what", "was"),
    [
        ([8.32, 6.0], {"max_value": 5}, "was as high as 8.32 s", "was as high as 8.32 s"),
        ([8.32, 1.0], {"max_value": 5}, "was as high as 8.32 s", "was as high as 8.32 s"),
        ([1.0, 4.0], {"min_value": 5}, "was as low as 1 s", "was as low as 1 s"),
        ([6.0, 8.32], {"max_value": 5}, "is 8.32 s", "was as high as 8.32 s"),
        ([8.32, 6.0, 8.32], {"max_value": 5}, "is 8.32 s", "was as high as 8.32 s"),
    ],
)
def test_only_the_newest_value_is_said_in_the_present(
    values: list[Any], check: dict[str, Any], what: str, was: str
) -> None:
    found = breach(batch(LATENCY, a=values), **check)
    assert found is not None
    texts = [text.removeprefix("latency p95 of a ") for text in (found.what, found.was)]
    assert texts == [f"{what} (limit 5)", f"{was} (limit 5)"]


def test_a_series_is_named_by_the_tags_that_tell_it_apart() -> None:
    several = entry("latency_p95_seconds", ("method", "status"), unit="seconds")
    found = breach(batch(several, GET__200=[1.0], GET__500=[9.0]), max_value=5)
    assert found is not None
    assert found.series == "status=500"
    assert breach(batch(several, GET__200=[9.0]), max_value=5).series == "GET"  # type: ignore[union-attr]


def test_names_from_outside_cannot_draw_on_a_terminal() -> None:
    found = breach(batch(LATENCY, **{"b\x1b[31m\n": [9.0]}), max_value=5)
    assert found is not None
    assert found.what == r"latency p95 of b\u001b[31m\u000a is 9 s (limit 5)"


def test_a_check_of_several_columns_or_without_an_offending_row_has_no_breach() -> None:
    data = batch(LATENCY, a=[1.0])
    check = Expectation("c", UNIQUE, {"column_list": ["host", "time"]}, Severity.HIGH, "", "")
    assert breach_of(check, np.array([0]), data) is None
    assert breach(data, max_value=5) is None


def test_rejected_values_are_failed_checks_with_their_times() -> None:
    texts = batch(entry("state", type="string"), a=["x", "\x1b[31m", "y" * 99])
    reason = Reason.at_door("value", "json_type", "a number", "why")
    kept = records(texts.frame, texts.measurement, np.array([1, 2]), ["state"], reason)
    verdict = rejected(kept, at(2))
    assert verdict is not None
    (check,) = verdict.checks
    assert (check.check_id, check.severity, check.offending) == ("json_type", Severity.CRITICAL, 2)
    assert check.breach is not None
    assert check.breach.what == "why (host=a; limit a number)"
    assert check.breach.observed == f"{'y' * 60}…"
    assert (check.breach.first, check.breach.last, check.breach.holds) == (at(1), at(2), True)
    again = rejected(kept.assign(text="\x1b[31m"), at(3))
    assert again is not None
    earlier = again.checks[0].breach
    assert earlier is not None
    assert (earlier.observed, earlier.holds) == (r"\u001b[31m", False)
    assert rejected(kept.iloc[:0], at(2)) is None
