"""No value is lost or counted twice, and no time either."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.batch import Batch, build_frame, canonical
from tasks.core.measurement import Measurement
from tasks.validation.validate import validate
from tests.support.suite_examples import (
    BETWEEN,
    NOT_NULL,
    ROW_COUNT,
    START,
    a_batch,
    a_measurement,
    a_suite,
    an_expectation,
)

SHARE = an_expectation("share", BETWEEN, column="share_ratio", min_value=0, max_value=1)
SIZE = an_expectation("size", BETWEEN, column="size_bytes", min_value=0)
TYPED = a_measurement(
    tags=("method", "zone"),
    fields={"share_ratio": "float", "size_bytes": "int", "note": "string", "up": "bool"},
)
ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 3)),
        st.sampled_from(["GET", "POST", None]),
        st.sampled_from(["eu", None]),
        st.sampled_from([None, -1.0, 0.5, 1.0, 2.0, np.inf]),
        st.sampled_from([None, -5, 0, 7]),
        st.sampled_from([None, "fine", "odd"]),
        st.sampled_from([None, True, False]),
    ),
    min_size=1,
    max_size=8,
)
LIMITS = [
    SHARE,
    an_expectation("up", "expect_column_values_to_be_in_set", column="up", value_set=[True]),
    an_expectation("low", BETWEEN, column="share_ratio", min_value=0.9),
    an_expectation("zone", NOT_NULL, column="zone"),
    SIZE,
    an_expectation("note", "expect_column_values_to_be_in_set", column="note", value_set=["fine"]),
    an_expectation("few", ROW_COUNT, min_value=1, max_value=6),
    an_expectation("usual", BETWEEN, "warning", column="size_bytes", max_value=1),
    an_expectation("mean", "expect_column_mean_to_be_between", column="size_bytes", min_value=-4),
]


def typed_frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    columns = list(zip(*rows, strict=True))
    known = [pd.Timestamp(START) + pd.Timedelta(seconds=each or 0) for each in columns[0]]
    names = ["method", "zone", "share_ratio", "size_bytes", "note", "up"]
    data = {"time": known, "environment": ["production"] * len(rows)}
    data |= {name: list(values) for name, values in zip(names, columns[1:], strict=True)}
    frame = build_frame(TYPED, data)
    missing = np.array([each is None for each in columns[0]])
    frame["time"] = frame["time"].mask(missing)
    return frame


@pytest.mark.slow
@pytest.mark.promise(
    "Accounts: every value is landed, quarantined, dropped by rule or unchanged; otherwise the run fails"
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=ROWS, limits=st.lists(st.sampled_from(LIMITS), unique_by=lambda e: e["meta"]["check_id"])
)
def test_every_value_is_either_good_or_recorded_once(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[Any, ...]],
    limits: list[dict[str, Any]],
) -> None:
    suite = a_suite(tmp_path_factory.mktemp("suite"), TYPED, *limits)
    batch = a_batch(TYPED, typed_frame(rows))

    result = validate(batch, suite)

    good = Batch(TYPED, "production", batch.window, result.good)
    recorded = result.bad[result.bad["field"].notna()]
    assert batch.values == good.values + len(recorded)
    assert multiset(batch.frame, TYPED) == sorted(
        multiset(result.good, TYPED)
        + [tuple(each) for each in recorded[["field", "text"]].to_numpy()]
    )
    assert result.good[list(TYPED.fields)].notna().any(axis=1).all()
    assert not result.good.duplicated(list(TYPED.key)).any()
    if len(result.good):
        pd.testing.assert_frame_equal(result.good, canonical(result.good, TYPED))


def multiset(frame: pd.DataFrame, measurement: Measurement) -> list[tuple[str, str]]:
    """(field, value as text) of every value."""
    return sorted(
        (name, str(value))
        for name in measurement.fields
        for value in frame[name].tolist()
        if not pd.isna(value)
    )


def big_frame(measurement: Measurement, series: int, samples: int) -> pd.DataFrame:
    codes = np.repeat(np.arange(series), samples)
    moments = np.tile(START.timestamp() * 1e6 + np.arange(samples) * 15e6, series).astype("int64")
    tags = {
        tag: pd.Categorical.from_codes(codes // 10**place % 10, list("0123456789"))
        for place, tag in enumerate(measurement.tags)
    }
    columns = {
        "time": pd.to_datetime(moments, unit="us", utc=True),
        "environment": pd.Categorical.from_codes(np.zeros(len(codes), int), ["production"]),
        **tags,
        "share_ratio": np.random.default_rng(1).random(len(codes)),
    }
    return build_frame(measurement, columns)
