"""What is turned away before any suite sees it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.batch import Batch
from tasks.core.quarantine import SCHEMA
from tasks.validation.structural_check import LARGEST_TEXT, check_structure
from tests.tasks.validation.examples import a_batch, a_frame, a_measurement

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


@pytest.mark.parametrize(
    ("wrong", "written"),
    [
        ("a\nb", "a\\nb"),
        ("a\tb", "a\\tb"),
        ("a\x00b", "a\\u0000b"),
        ("a\x7fb", "a\x7fb"),
        ("a\x85b", "a\x85b"),
        ("a\x9fb", "a\x9fb"),
        ("a\ud800b", "a\\\\ud800b"),
    ],
)
def test_a_control_character_takes_the_rows(wrong: str, written: str) -> None:
    good, bad = check_structure(methods("GET", wrong, "GET", wrong))

    assert good.frame["share_ratio"].tolist() == [0.0, 2.0]
    assert good.frame["method"].cat.categories.tolist() == ["GET"]
    assert good.frame.index.equals(pd.RangeIndex(2))
    tags = f'{{"method": "{written}"}}'
    assert taken(bad) == [
        (1.0, "structural", "row", "tag_control_character", tags),
        (3.0, "structural", "row", "tag_control_character", tags),
    ]
    assert bad["reason"].unique().tolist() == ["the tag method has a value that no store can hold"]
    assert bad["limit"].unique().tolist() == ["no control character and no lone surrogate"]


def test_the_first_character_beyond_the_control_characters_passes() -> None:
    batch = methods("a\xa0b", "a~b")

    assert check_structure(batch)[0] is batch


def test_a_backslash_at_the_end_takes_the_rows() -> None:
    good, bad = check_structure(methods("C:\\", "C:\\x"))

    assert good.frame["method"].tolist() == ["C:\\x"]
    assert taken(bad) == [
        (0.0, "structural", "row", "tag_trailing_backslash", '{"method": "C:\\\\"}')
    ]


def test_a_row_with_two_faults_is_recorded_once() -> None:
    good, bad = check_structure(methods("a\n\\", "GET"))

    assert good.frame["method"].tolist() == ["GET"]
    assert bad["check_id"].tolist() == ["tag_control_character"]


def test_every_tag_is_looked_at() -> None:
    two = a_measurement(tags=("method", "zone"))
    frame = a_frame(
        two, [0, 15, 30], method=["a\n", "b", "c"], zone=["x", "y\\", "z"],
        share_ratio=[0.0, 1.0, 2.0], size_bytes=[7, None, None],
    )  # fmt: skip

    good, bad = check_structure(a_batch(two, frame))

    assert good.frame["share_ratio"].tolist() == [2.0]
    assert bad["field"].tolist() == ["share_ratio", "size_bytes", "share_ratio"]
    assert bad["reason"].tolist()[-1] == "the tag zone has a value that no store can hold"


def test_the_environment_is_looked_at() -> None:
    frame = a_frame(MEASUREMENT, [0], share_ratio=[0.5])
    frame["environment"] = frame["environment"].cat.rename_categories(["prod\\"])

    good, bad = check_structure(a_batch(MEASUREMENT, frame))

    assert len(good.frame) == 0
    assert bad["environment"].tolist() == ["prod\\"]


def test_an_empty_tag_becomes_null_and_keeps_its_row() -> None:
    good, bad = check_structure(methods("GET", "", None))

    assert good.frame["method"].astype("object").where(good.frame["method"].notna(), None).tolist() == [
        None, None, "GET",
    ]  # fmt: skip
    assert good.frame["share_ratio"].tolist() == [1.0, 2.0, 0.0]
    assert len(bad) == 0


def test_a_category_that_no_row_has_is_no_fault() -> None:
    batch = methods("GET", "a\n")
    batch = Batch(MEASUREMENT, "production", batch.window, batch.frame.iloc[[0]])

    assert check_structure(batch)[0] is batch


@pytest.mark.parametrize("text", ["x" * LARGEST_TEXT, "é" * (LARGEST_TEXT // 2), "line\nbreak"])
def test_a_text_that_fits_passes(text: str) -> None:
    batch = a_batch(NOTED, a_frame(NOTED, [0, 15], share_ratio=[1.0, 2.0], note=[text, None]))

    assert check_structure(batch)[0] is batch


@pytest.mark.parametrize("text", ["x" * (LARGEST_TEXT + 1), "é" * (LARGEST_TEXT // 2) + "x"])
def test_a_text_that_is_too_long_goes_alone(text: str) -> None:
    batch = a_batch(NOTED, a_frame(NOTED, [0, 15], share_ratio=[1.0, 2.0], note=[text, "ok"]))

    good, bad = check_structure(batch)

    expected = a_frame(NOTED, [0, 15], share_ratio=[1.0, 2.0], note=[None, "ok"])
    pd.testing.assert_frame_equal(good.frame, expected)
    (record,) = bad.to_dict("records")
    assert (record["field"], record["scope"], record["check_id"]) == (
        "note", "value", "field_too_long",
    )  # fmt: skip
    assert record["text"] == text
    assert batch.frame["note"][0] == text


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
    assert all(text.isprintable() and text and not text.endswith("\\") for text in kept)
    pd.testing.assert_frame_equal(batch.frame, before)
