"""Quarantine records: one a value, with what it was, where, and why it was quarantined."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.core.batch import build_frame
from tasks.core.quarantine import SCHEMA, Reason, Scope, no_records, records
from tasks.core.severity import Severity
from tests.support.suite_examples import a_measurement

START = datetime(2026, 1, 1, tzinfo=UTC)
M = a_measurement(
    tags=("method", "status"),
    fields={"share_ratio": "float", "size_bytes": "int", "note": "string", "is_ready": "bool"},
)
FIELDS = list(M.fields)


def frame(**columns: list[Any]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    base: dict[str, list[Any]] = {
        "time": [START + timedelta(minutes=n) for n in range(count)],
        "environment": ["production"] * count,
        "method": ["GET"] * count,
        "status": ["200"] * count,
    }
    return build_frame(M, {**base, **columns})


def reason(scope: Scope = "value") -> Reason:
    return Reason("suite", scope, "limit", "expect", Severity.CRITICAL, "0 to 1", "too much")


def found(data: pd.DataFrame, *positions: int, scope: Scope = "value") -> pd.DataFrame:
    return records(data, M, np.array(positions, dtype=int), FIELDS, reason(scope))


def test_there_is_one_record_for_each_value() -> None:
    data = frame(
        share_ratio=[0.5, None, 2.0], size_bytes=[1, 2**60 + 1, None], note=["a", None, ""]
    )
    made = found(data, 0, 1, 2)
    assert made["field"].tolist() == ["share_ratio"] * 2 + ["size_bytes"] * 2 + ["note"] * 2
    assert made["text"].tolist() == ["0.5", "2.0", "1", "1152921504606846977", "a", ""]
    assert made["number"].fillna(-1).tolist() == [0.5, 2.0, 1.0, float(2**60), -1, -1]
    assert made["time"].tolist() == [START + timedelta(minutes=n) for n in (0, 2, 0, 1, 0, 2)]
    assert set(made["environment"]) == {"production"}


def test_a_record_says_why() -> None:
    made = found(frame(is_ready=[True]), 0)
    reported = made.drop(columns="quarantined_at").to_dict("records")
    assert reported == [
        {
            "time": pd.Timestamp(START),
            "environment": "production",
            "tags": '{"method": "GET", "status": "200"}',
            "field": "is_ready",
            "number": 1.0,
            "text": "True",
            "stage": "suite",
            "scope": "value",
            "check_id": "limit",
            "expectation": "expect",
            "severity": "critical",
            "limit": "0 to 1",
            "reason": "too much",
        }
    ]
    assert (datetime.now(UTC) - made["quarantined_at"][0]) < timedelta(minutes=1)


@pytest.mark.parametrize(("scope", "count"), [("value", 1), ("row", 2), ("batch", 2)])
def test_row_without_a_value_is_reported_where_rows_are_refused(scope: Scope, count: int) -> None:
    made = found(frame(share_ratio=[None, 0.5]), 0, 1, scope=scope)
    assert len(made) == count
    hollow = made[made["field"].isna()]
    assert hollow["time"].tolist() == ([START] if count == 2 else [])
    assert hollow["number"].isna().all()
    assert hollow["text"].isna().all()


def test_only_the_positions_are_taken() -> None:
    data = frame(share_ratio=[0.1, 0.2, 0.3])
    assert found(data, 1)["number"].tolist() == [0.2]
    assert found(data).equals(no_records())
    only = records(data.assign(size_bytes=[1, 2, 3]), M, np.array([0]), ["size_bytes"], reason())
    assert only["field"].tolist() == ["size_bytes"]


def test_null_tags_are_left_out_and_odd_ones_stay_readable() -> None:
    data = frame(method=[None, 'a"ü'], status=[None, "5"], share_ratio=[0.1, 0.2])
    tags = found(data, 0, 1)["tags"].tolist()
    assert sorted(tags) == ['{"method": "a\\"ü", "status": "5"}', "{}"]


def test_records_fit_the_schema_of_their_table() -> None:
    data = frame(share_ratio=[0.5, None])
    for made in (found(data, 0, 1, scope="row"), no_records()):
        table = pa.Table.from_pandas(made, schema=SCHEMA, preserve_index=False)
        assert table.schema.equals(SCHEMA, check_metadata=False)
    assert len(no_records()) == 0
