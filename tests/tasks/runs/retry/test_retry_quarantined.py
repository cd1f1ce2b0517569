"""Quarantine records as rows again, beside what is landed."""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.measurement import Measurement
from tasks.core.quarantine import Reason, no_records, records
from tasks.core.severity import Severity
from tasks.runs.retry.quarantined import take_up
from tests.support.suite_examples import a_measurement
from tests.support.workbench import FIELDS, at, rows

REASON = Reason("suite", "row", "limit", "between", Severity.CRITICAL, "0 to 1", "why not")
MEASUREMENT = a_measurement(fields=dict(FIELDS))
NO_ROWS = rows(MEASUREMENT, [])


def held(frame: pd.DataFrame, measurement: Measurement = MEASUREMENT) -> pd.DataFrame:
    """Records of all values of the frame."""
    return records(frame, measurement, np.arange(len(frame)), list(measurement.fields), REASON)


def one(hour: float = 0.5, **columns: Any) -> pd.DataFrame:
    """One row."""
    values: dict[str, Any] = {name: [value] for name, value in columns.items()}
    return rows(MEASUREMENT, [at(hour)], **values)


def test_every_type_comes_back_exactly() -> None:
    times: list[datetime] = [at(0.25), at(0.5)]
    frame = rows(
        MEASUREMENT,
        times,
        method=["GET", None],
        share_ratio=[0.1 + 0.2, None],
        size_bytes=[2**63 - 1, -(2**53) - 1],
        note=["ä 1.0", "True"],
        is_ready=[False, True],
    )
    taken = take_up(NO_ROWS, held(frame), MEASUREMENT)
    pd.testing.assert_frame_equal(taken.frame, frame)
    assert taken.left.empty


def test_values_go_back_into_their_landed_row() -> None:
    landed = rows(MEASUREMENT, [at(0.25), at(0.5)], size_bytes=[1, 2])
    taken = take_up(landed, held(one(share_ratio=1.5)), MEASUREMENT)
    expected = rows(MEASUREMENT, [at(0.25), at(0.5)], size_bytes=[1, 2], share_ratio=[None, 1.5])
    pd.testing.assert_frame_equal(taken.frame, expected)


def test_a_row_that_held_no_value_is_one_again() -> None:
    taken = take_up(NO_ROWS, held(one()), MEASUREMENT)
    pd.testing.assert_frame_equal(taken.frame, one())


def test_a_repeated_key_is_repeated_again() -> None:
    twice = rows(MEASUREMENT, [at(0.5), at(0.5)], share_ratio=[0.1, 0.2], size_bytes=[1, 2])
    taken = take_up(NO_ROWS, held(twice), MEASUREMENT)
    assert taken.frame["time"].tolist() == [at(0.5), at(0.5)]
    assert sorted(taken.frame["share_ratio"]) == [0.1, 0.2]
    assert sorted(taken.frame["size_bytes"]) == [1, 2]


def test_a_repeated_key_does_not_push_out_what_is_landed() -> None:
    twice = rows(MEASUREMENT, [at(0.5), at(0.5)], share_ratio=[0.1, 0.2])
    landed = one(size_bytes=7)
    taken = take_up(landed, held(twice), MEASUREMENT)
    pd.testing.assert_frame_equal(taken.frame, landed)
    assert sorted(taken.left["number"]) == [0.1, 0.2]


def test_what_is_landed_too_is_taken_once() -> None:
    landed = one(share_ratio=0.5, note="a")
    taken = take_up(landed, held(one(share_ratio=0.5)), MEASUREMENT)
    pd.testing.assert_frame_equal(taken.frame, landed)
    assert taken.left.empty


def test_another_value_in_its_place_stays_there() -> None:
    landed = one(share_ratio=0.5, note="a")
    taken = take_up(landed, held(one(share_ratio=0.6, size_bytes=1)), MEASUREMENT)
    pd.testing.assert_frame_equal(taken.frame, one(share_ratio=0.5, note="a", size_bytes=1))
    assert taken.left["number"].tolist() == [0.6]


def test_what_the_catalogue_no_longer_has_is_left() -> None:
    wider = a_measurement(tags=("method", "room"), fields={"share_ratio": "float", "old": "float"})
    both = rows(wider, [at(0.5)], room=[None], share_ratio=[0.5], old=[1.0])
    other_tag = rows(wider, [at(0.5)], room=["a"], share_ratio=[0.25])
    found = pd.concat([held(both, wider), held(other_tag, wider)], ignore_index=True)
    taken = take_up(NO_ROWS, found, MEASUREMENT)
    pd.testing.assert_frame_equal(taken.frame, one(share_ratio=0.5))
    assert taken.left[["field", "number"]].to_numpy().tolist() == [["old", 1.0], ["share_ratio", 0.25]]  # fmt: skip


def test_a_text_of_another_type_is_left() -> None:
    texts = a_measurement(fields={"size_bytes": "string", "is_ready": "string"})
    found = held(rows(texts, [at(0.5)], size_bytes=["1.5"], is_ready=["yes"]), texts)
    taken = take_up(NO_ROWS, found, MEASUREMENT)
    assert (len(taken.frame), len(taken.left)) == (0, 2)


def test_without_records_nothing_changes() -> None:
    landed = one(share_ratio=0.5)
    pd.testing.assert_frame_equal(take_up(landed, no_records(), MEASUREMENT).frame, landed)
