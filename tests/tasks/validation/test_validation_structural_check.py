"""What is turned away before any suite sees it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.batch import Batch
from tasks.core.quarantine import SCHEMA
from tasks.validation.structural_check import check_structure
from tests.support.suite_examples import a_batch, a_frame, a_measurement

MEASUREMENT = a_measurement()
NOTED = a_measurement(fields={"share_ratio": "float", "note": "string"})


def methods(*values: str | None) -> Batch:
    """A row a value, with the shares 0, 1, 2, …"""
    known = sorted({value for value in values if value is not None})
    # a lone surrogate is no text to pandas, only an object
    categories = pd.Index(known, dtype="object")
    codes = [-1 if value is None else known.index(value) for value in values]
    frame = a_frame(
        MEASUREMENT,
        [15 * position for position in range(len(values))],
        method=pd.Categorical.from_codes([0] * len(values), ["GET"]),
        share_ratio=[float(position) for position in range(len(values))],
    )
    return a_batch(
        MEASUREMENT, frame.assign(method=pd.Categorical.from_codes(codes, categories=categories))
    )


def with_surrogate(tags: pd.Series, value: str) -> pd.Series:
    """The tags with a lone surrogate behind the value; no text to pandas, only an object."""
    texts = [f"{text}\ud800" if text == value else text for text in tags.cat.categories]
    return tags.cat.rename_categories(pd.Index(texts, dtype="object"))


def taken(bad: pd.DataFrame) -> list[tuple[Any, ...]]:
    """(number, stage, scope, check_id, tags) of each record."""
    columns = ["number", "stage", "scope", "check_id", "tags"]
    return [tuple(row) for row in bad[columns].to_numpy()]


def test_nothing_wrong_gives_the_batch_itself() -> None:
    batch = methods("GET", None, "with space, comma=equals \"quoted\" 'too' \\ inside", "🚗 é 中")

    good, bad = check_structure(batch)

    assert good is batch
    assert len(bad) == 0
    assert bad.columns.tolist() == SCHEMA.names


def test_a_lone_surrogate_takes_the_rows() -> None:
    good, bad = check_structure(methods("GET", "a\ud800b", "GET", "a\ud800b"))

    assert good.frame["share_ratio"].tolist() == [0.0, 2.0]
    assert good.frame["method"].cat.categories.tolist() == ["GET"]
    assert good.frame.index.equals(pd.RangeIndex(2))
    tags = '{"method": "a\\\\ud800b"}'
    assert taken(bad) == [
        (1.0, "structural", "row", "tag_lone_surrogate", tags),
        (3.0, "structural", "row", "tag_lone_surrogate", tags),
    ]
    assert bad["reason"].unique().tolist() == ["the tag method has a value that no store can hold"]
    assert bad["limit"].unique().tolist() == ["no lone surrogate"]


@pytest.mark.parametrize("text", ["C:\\", "a\nb", "a\tb", "a\x7fb", "x" * 70_000])
def test_what_only_a_sink_cannot_hold_passes(text: str) -> None:
    batch = methods("GET", text)

    assert check_structure(batch)[0] is batch


def test_every_tag_is_looked_at() -> None:
    two = a_measurement(tags=("method", "zone"))
    frame = a_frame(
        two, [0, 15, 30], method=["a", "b", "c"], zone=["x", "y", "z"],
        share_ratio=[0.0, 1.0, 2.0], size_bytes=[7, None, None],
    )  # fmt: skip
    frame["method"] = with_surrogate(frame["method"], "a")
    frame["zone"] = with_surrogate(frame["zone"], "y")

    good, bad = check_structure(a_batch(two, frame))

    assert good.frame["share_ratio"].tolist() == [2.0]
    assert bad["field"].tolist() == ["share_ratio", "size_bytes", "share_ratio"]
    assert bad["reason"].tolist()[-1] == "the tag zone has a value that no store can hold"


def test_the_environment_is_looked_at() -> None:
    frame = a_frame(MEASUREMENT, [0], share_ratio=[0.5])
    frame["environment"] = with_surrogate(frame["environment"], "production")

    good, bad = check_structure(a_batch(MEASUREMENT, frame))

    assert len(good.frame) == 0
    assert bad["environment"].tolist() == ["production\\ud800"]


def test_an_empty_tag_becomes_null_and_keeps_its_row() -> None:
    good, bad = check_structure(methods("GET", "", None))

    assert good.frame["method"].astype("object").where(good.frame["method"].notna(), None).tolist() == [
        None, None, "GET",
    ]  # fmt: skip
    assert good.frame["share_ratio"].tolist() == [1.0, 2.0, 0.0]
    assert len(bad) == 0


def test_a_category_that_no_row_has_is_no_fault() -> None:
    batch = methods("GET", "a\ud800")
    batch = Batch(MEASUREMENT, "production", batch.window, batch.frame.iloc[[0]])

    assert check_structure(batch)[0] is batch


@pytest.mark.parametrize("text", ["x" * 70_000, "line\nbreak"])
def test_a_text_of_any_length_passes(text: str) -> None:
    batch = a_batch(NOTED, a_frame(NOTED, [0, 15], share_ratio=[1.0, 2.0], note=[text, None]))

    assert check_structure(batch)[0] is batch


@pytest.mark.slow
@given(
    st.lists(
        st.one_of(st.none(), st.text(st.sampled_from('aé\\\n\x00\x85\ud800 ,="'), max_size=3)),
        min_size=1,
        max_size=6,
    )
)
def test_every_value_is_let_in_or_recorded(values: list[str | None]) -> None:
    batch = methods(*values)
    before = batch.frame.copy(deep=True)

    good, bad = check_structure(batch)

    assert batch.values == good.values + len(bad)
    assert np.isin(good.frame["share_ratio"], batch.frame["share_ratio"]).all()
    kept = [text for text in good.frame["method"].dropna().tolist()]
    assert all(text and "\ud800" not in text for text in kept)
    pd.testing.assert_frame_equal(batch.frame, before)
