"""What is judged without Great Expectations is judged as Great Expectations would."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.batch import Batch, build_frame
from tasks.core.self_metrics import SELF_METRICS, self_measurement
from tasks.core.settings import shipped
from tasks.core.window import Window
from tasks.validation import engine, plain
from tasks.validation.model import IN_SET
from tasks.validation.suites import read_suite
from tasks.validation.validate import validate
from tests.support.suite_examples import (
    BETWEEN,
    a_frame,
    a_measurement,
    a_suite,
    an_expectation,
)

M = self_measurement()
SUITE = read_suite(shipped("expectations"), M)
START = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS = st.none() | st.sampled_from([-1.0, 0.0, 0.5, 3.0, 7200.0, 7201.0, 1e9, 1e18, 2e18])


def own_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    base = {"time": START, "environment": "production", "flow": "collect"}
    frame = pd.DataFrame([{**base, **row} for row in rows])
    return build_frame(M, {name: frame[name] for name in frame})


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "flow": st.sampled_from(["collect", "backfill"]),
                **dict.fromkeys(
                    ["duration_seconds", "lag_seconds", "pending_values", "exit_code"], NUMBERS
                ),
            }
        ),
        min_size=1,
        max_size=4,
    )
)
def test_it_says_what_great_expectations_says(rows: list[dict[str, Any]]) -> None:
    frame = own_frame(rows)

    ours, theirs = plain.run(frame, SUITE), engine.run(frame, SUITE)

    assert ours is not None
    assert list(ours) == list(theirs)
    for check_id, other in theirs.items():
        mine = ours[check_id]
        assert (mine.success, mine.observed, mine.problem) == (
            other.success,
            other.observed,
            other.problem,
        ), check_id
        assert (mine.positions is None) == (other.positions is None), check_id
        if mine.positions is not None and other.positions is not None:
            assert mine.positions.tolist() == np.sort(other.positions).tolist(), check_id


@pytest.mark.parametrize(
    "more",
    [
        an_expectation("method", IN_SET, column="method", value_set=["GET"]),
        an_expectation("share", BETWEEN, column="share_ratio", min_value=0, strict_min=True),
        an_expectation("text", BETWEEN, column="method", min_value=0),
        an_expectation("most", BETWEEN, column="share_ratio", min_value=0, mostly=0.9),
    ],
)
def test_what_is_not_plain_is_left_to_great_expectations(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    measurement = a_measurement()
    frame = a_frame(measurement, [0], share_ratio=[0.5])

    assert plain.run(frame, a_suite(tmp_path, measurement, more)) is None
    assert plain.run(frame, a_suite(tmp_path, measurement)) is not None


def test_only_the_own_measurement_is_judged_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run(frame: pd.DataFrame, suite: Any) -> Any:
        asked.append(suite.name)
        return plain.run(frame, suite)

    monkeypatch.setattr(engine, "run", run)
    measurement = a_measurement()
    window = Window(START, START.replace(hour=1))
    other = Batch(measurement, "production", window, a_frame(measurement, [0], share_ratio=[0.5]))

    own = validate(Batch(M, "production", window, own_frame([{"duration_seconds": 1.0}])), SUITE)
    validate(other, a_suite(tmp_path, measurement))

    assert SUITE.name == SELF_METRICS
    assert own.bad.empty
    assert own.verdict.failed == ()
    assert asked == [measurement.suite_name]
