"""A re-read never destroys: every older value stays, is replaced, or is counted as lost."""

from datetime import datetime
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.batch import count_values
from tasks.pipeline.merge import retain_older, united
from tests.support.suite_examples import a_measurement
from tests.support.workbench import FIELDS, START, at, rows

M = a_measurement(fields=FIELDS)
Key = tuple[str | None, datetime]
# of each field, values by which one tells old from new
VALUES: dict[str, list[Any]] = {
    "share_ratio": [0.25, 0.5, -0.0],
    "size_bytes": [1, 2**60 + 1, 0],
    "note": ["a", "", "ü"],
    "is_ready": [True, False],
}
keys = st.tuples(st.sampled_from([None, "GET", "PUT"]), st.sampled_from([at(0), at(0.5), at(0.9)]))
row = st.fixed_dictionaries({name: st.sampled_from([None, *VALUES[name]]) for name in FIELDS})
tables = st.dictionaries(keys, row, max_size=6)


def frame(table: dict[Key, dict[str, Any]]) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {name: [r[name] for r in table.values()] for name in FIELDS}
    columns["method"] = [method for method, _ in table]
    return rows(M, [moment for _, moment in table], "production", **columns)


def values(data: pd.DataFrame) -> dict[tuple[str | None, datetime, str], Any]:
    """Every value by tag, time and field."""
    found = {}
    for each in data.to_dict("records"):
        method = None if pd.isna(each["method"]) else each["method"]
        for name in FIELDS:
            if not pd.isna(each[name]):
                found[method, each["time"].to_pydatetime(), name] = each[name]
    return found


@pytest.mark.slow
@pytest.mark.promise("Landing: values that vanished from the source are kept and counted")
@settings(max_examples=40, deadline=None)
@given(older=tables, seen=tables, refused=st.sets(st.tuples(keys, st.sampled_from(list(FIELDS)))))
def test_every_older_value_stays_is_replaced_or_is_counted(
    older: dict[Key, dict[str, Any]],
    seen: dict[Key, dict[str, Any]],
    refused: set[tuple[Key, str]],
) -> None:
    good = {
        key: {name: None if (key, name) in refused else value for name, value in each.items()}
        for key, each in seen.items()
    }
    good = {k: v for k, v in good.items() if any(value is not None for value in v.values())}
    kept = retain_older(frame(good), frame(older), frame(seen), M)
    result = values(united([frame(good), kept.rows], M))
    before, now, let_through = values(frame(older)), values(frame(seen)), values(frame(good))
    assert values(kept.rows) == {key: before[key] for key in before if key not in now}
    assert kept.values == len(before.keys() - now.keys()) == count_values(kept.rows, M)
    assert kept.lost == len((before.keys() & now.keys()) - let_through.keys())
    assert result == {**values(kept.rows), **let_through}


def test_null_tag_is_a_key_of_its_own() -> None:
    older = frame({(None, START): {**dict.fromkeys(FIELDS), "share_ratio": 0.25}})
    tagged = frame({("GET", START): {**dict.fromkeys(FIELDS), "share_ratio": 0.5}})
    assert retain_older(tagged, older, tagged, M).values == 1
    untagged = frame({(None, START): {**dict.fromkeys(FIELDS), "share_ratio": 0.5}})
    kept = retain_older(untagged, older, untagged, M)
    assert (kept.values, kept.lost, len(kept.rows)) == (0, 0, 0)


def test_fields_of_one_row_stay_one_by_one() -> None:
    older = rows(M, [at(0)], share_ratio=[0.25], size_bytes=[2**60 + 1])
    new = rows(M, [at(0)], share_ratio=[0.5])
    kept = retain_older(new, older, new, M)
    assert kept.rows["share_ratio"].isna().tolist() == [True]
    both = united([new, kept.rows], M)
    assert both["share_ratio"].tolist() == [0.5]
    assert both["size_bytes"].tolist() == [2**60 + 1]


def test_repeated_key_of_the_source_does_not_upset_it() -> None:
    older = rows(M, [at(0), at(0.5)], share_ratio=[0.25, 0.3])
    seen = rows(M, [at(0), at(0)], share_ratio=[0.5, 0.6])
    kept = retain_older(seen.iloc[:0], older, seen, M)
    assert (kept.values, kept.lost) == (1, 1)
    assert kept.rows["time"].tolist() == [at(0.5)]


def test_other_environment_is_another_key() -> None:
    older = rows(M, [at(0)], "staging", share_ratio=[0.25])
    new = rows(M, [at(0)], "production", share_ratio=[0.5])
    assert retain_older(new, older, new, M).values == 1


@pytest.mark.parametrize("first", [0, 1])
def test_of_one_key_the_first_part_wins(first: int) -> None:
    parts = [rows(M, [at(0)], share_ratio=[0.25]), rows(M, [at(0)], share_ratio=[0.5])]
    assert united([parts[first], parts[1 - first]], M)["share_ratio"].tolist() == [
        [0.25, 0.5][first]
    ]


def test_united_is_in_canonical_order_with_the_types_of_a_batch() -> None:
    late = rows(M, [at(0.5)], method=["PUT"], note=["x"], is_ready=[True])
    early = rows(M, [at(0)], method=["GET"], size_bytes=[3])
    both = united([late, early], M)
    assert both["method"].tolist() == ["GET", "PUT"]
    assert both.dtypes.astype(str).to_dict() == early.dtypes.astype(str).to_dict()
    pd.testing.assert_frame_equal(both, united([early, late], M))
