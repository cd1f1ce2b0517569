"""Digests: the same for the same rows, however they came; another for any other value."""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.core.batch import build_frame, canonical, empty_frame, slice_cell
from tasks.core.digest import digest_rows
from tasks.core.window import Cell
from tests.support.suite_examples import a_measurement

START = datetime(2026, 1, 1, tzinfo=UTC)
M = a_measurement(
    tags=("method", "status"),
    fields={"share_ratio": "float", "size_bytes": "int", "note": "string", "is_ready": "bool"},
)
Row = dict[str, Any]

row = st.fixed_dictionaries(
    {
        "time": st.integers(0, 5),
        "environment": st.just("production"),
        "method": st.sampled_from([None, "GET", "PUT"]),
        "status": st.sampled_from(["200", "500", ""]),
        "share_ratio": st.one_of(st.none(), st.floats(allow_nan=False)),
        "size_bytes": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        "note": st.one_of(st.none(), st.text(max_size=3)),
        "is_ready": st.sampled_from([None, True, False]),
    }
)
tables = st.lists(
    row, min_size=1, max_size=6, unique_by=lambda r: (r["time"], r["method"], r["status"])
)


def frame(rows: list[Row]) -> pd.DataFrame:
    columns = {name: [each[name] for each in rows] for name in rows[0]}
    columns["time"] = [START + timedelta(minutes=each["time"]) for each in rows]
    return build_frame(M, columns)


def one(**values: Any) -> str:
    base: Row = {"time": 0, "environment": "production", "method": "GET", "status": "200"}
    nothing = {"share_ratio": None, "size_bytes": None, "note": None, "is_ready": None}
    return digest_rows(frame([{**base, **nothing, **values}]), M)


@settings(max_examples=40, deadline=None)
@given(tables, st.randoms())
def test_order_of_arrival_and_of_categories_does_not_matter(rows: list[Row], random: Any) -> None:
    digest = digest_rows(frame(rows), M)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert digest_rows(frame(shuffled), M) == digest
    data = frame(rows)
    loose = data.assign(
        method=data["method"].cat.set_categories(["zzz", "PUT", "GET"]),
        status=data["status"].cat.set_categories(["500", "", "404", "200"]),
    )
    assert digest_rows(loose, M) == digest


@settings(max_examples=40, deadline=None)
@given(tables)
def test_rows_digest_the_same_alone_and_cut_from_more(rows: list[Row]) -> None:
    early = [each for each in rows if each["time"] < 3]
    assume(early)
    cut = slice_cell(frame(rows), Cell(START, START + timedelta(minutes=3)))
    assert digest_rows(cut, M) == digest_rows(frame(early), M)


@settings(max_examples=40, deadline=None)
@given(tables, tables)
def test_other_rows_have_another_digest(rows: list[Row], others: list[Row]) -> None:
    mine, other = frame(rows), frame(others)
    same = mine.astype("object").equals(other.astype("object"))
    assert (digest_rows(mine, M) == digest_rows(other, M)) == same


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(tables, st.data())
def test_any_changed_value_changes_the_digest(rows: list[Row], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(["share_ratio", "size_bytes", "note", "is_ready"]))
    other = data.draw(row)[name]
    assume(other != rows[position][name])
    changed = [dict(each) for each in rows]
    changed[position][name] = other
    assert digest_rows(frame(changed), M) != digest_rows(frame(rows), M)


def test_zeros_and_nans_are_one_each() -> None:
    assert one(share_ratio=-0.0) == one(share_ratio=0.0)
    quiet, loud = np.nan, struct.unpack("<d", struct.pack("<Q", 0x7FF8DEADBEEF0001))[0]
    assert np.isnan(loud)
    data = frame(
        [{"time": 0, "environment": "p", "method": "GET", "status": "200", "share_ratio": 1.0}]
    )
    digests = {
        digest_rows(data.assign(share_ratio=np.array([value])), M) for value in (quiet, loud)
    }
    assert digests == {digest_rows(data.assign(share_ratio=[None]).astype(data.dtypes), M)}
    assert one(share_ratio=0.0) != one()


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ({"share_ratio": 0.1}, {"share_ratio": 0.1 + 2**-56}),
        ({"size_bytes": 2**60}, {"size_bytes": 2**60 + 1}),
        ({"size_bytes": 0}, {}),
        ({"note": ""}, {}),
        ({"note": "a"}, {"note": "A"}),
        ({"is_ready": False}, {}),
        ({"is_ready": True}, {"is_ready": False}),
        ({"method": None}, {}),
        ({"method": ""}, {"method": None}),
        ({"method": "200", "status": "GET"}, {}),
        ({"time": 1}, {}),
        ({"environment": "staging"}, {}),
    ],
)
def test_near_misses_differ(mine: Row, other: Row) -> None:
    assert one(**mine) != one(**other)


def test_salt_and_columns_are_part_of_it() -> None:
    empty = empty_frame(M)
    assert digest_rows(empty, M) == digest_rows(canonical(empty, M), M)
    assert digest_rows(empty, M, "a") != digest_rows(empty, M, "b")
    other = a_measurement(tags=("method",))
    assert digest_rows(empty_frame(other), other) != digest_rows(empty, M)


def test_digest_does_not_change_from_release_to_release() -> None:
    """The lake holds digests: another way to make them would load every cell again."""
    assert (
        one(share_ratio=0.5, size_bytes=7, note="a", is_ready=True)
        == "cd1704ffd7c9e6ef1f4614df8a4814bf"
    )
