"""Batches: types from the catalogue, one canonical order, cells cut half open."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.batch import (
    Batch,
    arrow_schema,
    build_frame,
    canonical,
    columns_of,
    count_values,
    empty_frame,
    slice_cell,
    split_cells,
    time_micros,
)
from tasks.core.measurement import FieldSpec, Measurement
from tasks.core.window import Cell, Window

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
M = Measurement(
    name="example",
    type="performance",
    tags=("method", "status"),
    fields={
        "ratio": FieldSpec(query="q"),
        "count": FieldSpec(query="q", type="int"),
        "note": FieldSpec(query="q", type="string"),
        "ready": FieldSpec(query="q", type="bool"),
    },
    step=timedelta(seconds=15),
    every=timedelta(seconds=60),
    max_series=10,
)


def frame(seconds: list[float], **columns: Any) -> pd.DataFrame:
    count = len(seconds)
    base: dict[str, Any] = {
        "time": [START + timedelta(seconds=each) for each in seconds],
        "environment": ["production"] * count,
        "method": ["GET"] * count,
        "status": ["200"] * count,
    }
    return build_frame(M, {**base, **columns})


def test_columns_have_their_order_and_types_with_and_without_rows() -> None:
    types = {
        "time": "datetime64[us, UTC]",
        "environment": "category",
        "method": "category",
        "status": "category",
        "ratio": "float64",
        "count": "Int64",
        "note": "str",
        "ready": "boolean",
    }
    for data in (empty_frame(M), frame([0]), frame([0], count=[1], ready=[True])):
        assert list(data) == columns_of(M) == list(types)
        assert data.dtypes.astype(str).to_dict() == types
        assert isinstance(data.index, pd.RangeIndex)
    assert arrow_schema(M).names == list(types)
    assert arrow_schema(M).field("time").type == pa.timestamp("us", tz="UTC")


def test_large_integers_beside_nulls_stay_exact() -> None:
    assert frame([0, 15], count=[2**63 - 1, None])["count"].tolist()[0] == 2**63 - 1


@pytest.mark.parametrize(("column", "value"), [("count", 1.5), ("count", "x"), ("ratio", "x")])
def test_value_of_another_type_is_refused(column: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        frame([0], **{column: [value]})


def test_other_zones_and_precisions_become_microseconds_of_utc() -> None:
    india = pd.Series(pd.date_range("2026-01-01 05:30", periods=1, tz="Asia/Kolkata", unit="ns"))
    data = build_frame(
        M, {"time": india, "environment": ["p"], "method": ["GET"], "status": ["200"]}
    )
    assert data["time"].tolist() == [START]
    assert list(time_micros(data)) == [1767225600000000]


def test_order_is_by_tags_then_time_and_null_tags_come_first() -> None:
    data = frame(
        [30, 0, 15, 0], method=["PUT", "GET", None, "PUT"], status=["200", "500", "200", "200"]
    )
    assert data["method"].astype("object").where(data["method"].notna(), None).tolist() == [
        None, "GET", "PUT", "PUT",
    ]  # fmt: skip
    assert [(t - START).total_seconds() for t in data["time"]] == [15, 0, 0, 30]
    assert data["method"].cat.categories.tolist() == ["GET", "PUT"]


rows = st.lists(
    st.tuples(
        st.integers(0, 7200),
        st.sampled_from([None, "GET", "PUT", "ü"]),
        st.sampled_from(["200", "500"]),
        st.sampled_from([None, 0.5, 1.5]),
    ),
    max_size=12,
    unique_by=lambda row: row[:3],
)


def of_rows(drawn: list[tuple[int, str | None, str, float | None]]) -> pd.DataFrame:
    return frame(
        [row[0] for row in drawn],
        method=[row[1] for row in drawn],
        status=[row[2] for row in drawn],
        ratio=[row[3] for row in drawn],
    )


@settings(max_examples=40, deadline=None)
@given(rows, st.randoms())
def test_order_of_arrival_does_not_matter(
    drawn: list[tuple[int, str | None, str, float | None]], random: Any
) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)
    pd.testing.assert_frame_equal(of_rows(drawn), of_rows(shuffled))


@settings(max_examples=40, deadline=None)
@given(rows)
def test_canonical_again_changes_nothing(
    drawn: list[tuple[int, str | None, str, float | None]],
) -> None:
    data = of_rows(drawn)
    pd.testing.assert_frame_equal(canonical(data, M), data)
    # nor do categories that are not used, in any order
    loose = data.assign(method=data["method"].cat.set_categories(["zzz", "ü", "PUT", "GET"]))
    pd.testing.assert_frame_equal(canonical(loose, M), data)


@settings(max_examples=40, deadline=None)
@given(rows)
def test_cells_share_out_the_rows(drawn: list[tuple[int, str | None, str, float | None]]) -> None:
    data = of_rows(drawn)
    cells = list(Window(START, START + 2 * HOUR).cells(HOUR))
    parts = split_cells(data, cells)
    for cell in cells:
        pd.testing.assert_frame_equal(parts[cell], slice_cell(data, cell))
    inside = data["time"] < START + 2 * HOUR
    assert sum(map(len, parts.values())) == int(inside.sum())
    whole = canonical(pd.concat([parts[cell] for cell in cells]), M)
    pd.testing.assert_frame_equal(whole, canonical(data[inside], M))


def test_cell_is_half_open() -> None:
    data = build_frame(
        M,
        {
            "time": [START - MICROSECOND, START, START + HOUR - MICROSECOND, START + HOUR],
            "environment": ["p"] * 4,
            "method": ["GET"] * 4,
            "status": ["200"] * 4,
        },
    )
    cell = Cell(START, START + HOUR)
    for found in (slice_cell(data, cell), split_cells(data, [cell])[cell]):
        assert found["time"].tolist() == [START, START + HOUR - MICROSECOND]
        assert found.index.tolist() == [0, 1]


def test_cells_with_a_gap_between_leave_out_what_lies_in_it() -> None:
    data = frame([0, 3600, 7200])
    cells = [Cell(START, START + HOUR), Cell(START + 2 * HOUR, START + 3 * HOUR)]
    assert [len(part) for part in split_cells(data, cells).values()] == [1, 1]
    assert split_cells(empty_frame(M), []) == {}


def test_values_are_non_null_fields_and_dropped_ones_are_summed() -> None:
    data = frame([0, 15], ratio=[0.5, None], note=["", None])
    assert count_values(data, M) == 2
    batch = Batch(M, "production", Window(START, START + HOUR), data, {"nan": 2, "inf": 1})
    assert (batch.values, batch.dropped_values) == (2, 3)
    later = batch.with_frame(data.iloc[1:])
    assert (later.values, later.frame.index.tolist(), later.dropped_values) == (0, [0], 3)
    assert batch.values == 2
