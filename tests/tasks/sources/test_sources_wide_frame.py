"""The step grid, and the frame made of series, against the slow way of making it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.batch import build_frame
from tasks.core.errors import SeriesExceeded
from tasks.core.measurement import FieldSpec, FieldType, Measurement
from tasks.core.window import EPOCH, Window, micros
from tasks.sources.prometheus import MAX_POINTS
from tasks.sources.wide_frame import Grid, Wide, key_of, unfit

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = Window(START, START + timedelta(days=1))
STEPS = [
    timedelta(milliseconds=500),
    timedelta(seconds=7),
    timedelta(seconds=15),
    timedelta(hours=1),
]
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def measurement(tags: tuple[str, ...], fields: dict[str, FieldType]) -> Measurement:
    return Measurement(
        name="m",
        type="performance",
        tags=tags,
        fields={name: FieldSpec(query="q", type=kind) for name, kind in fields.items()},
        step=timedelta(seconds=15),
        every=timedelta(seconds=60),
        max_series=3,
    )


@given(moments, st.integers(1, 30_000_000_000), st.sampled_from(STEPS))
def test_pages_cover_the_window_once(start: datetime, length: int, step: timedelta) -> None:
    window = Window(start, start + timedelta(microseconds=length) * (step / STEPS[0]))
    grid = Grid.of(window, step)
    pages = list(grid.pages(MAX_POINTS))
    assert all(1 <= page.slots <= MAX_POINTS for page in pages)
    assert all((page.last - page.first) // step + 1 == page.slots for page in pages)
    asked = [moment for page in pages for moment in page.micros.tolist()]
    width = step // timedelta(microseconds=1)
    first = -(-micros(window.start) // width) * width
    assert asked == list(range(first, micros(window.stop), width))
    assert asked == grid.micros.tolist()


def test_the_stop_belongs_to_the_next_window() -> None:
    step = timedelta(seconds=15)
    grid = Grid.of(Window(EPOCH, EPOCH + timedelta(seconds=30)), step)
    assert (grid.first, grid.slots, grid.last) == (EPOCH, 2, EPOCH + step)
    longer = Grid.of(Window(EPOCH, EPOCH + timedelta(seconds=30, microseconds=1)), step)
    assert longer.slots == 3


def test_slots_of_times() -> None:
    grid = Grid(START, timedelta(seconds=15), 3)
    assert grid.slots_of(grid.micros[::-1]) is not None
    assert np.array_equal(grid.slots_of(grid.micros[::-1]), [2, 1, 0])  # type: ignore[arg-type]
    for beside in (grid.micros - 1, grid.micros + 15_000_000, grid.micros - 15_000_000):
        assert grid.slots_of(beside) is None


tag = st.one_of(st.none(), st.text(min_size=1, max_size=3))
value = st.one_of(st.none(), st.integers(-3, 3))


@pytest.mark.slow
@given(
    st.lists(st.tuples(tag, tag), max_size=3, unique=True),
    st.data(),
)
def test_the_frame_is_what_build_frame_makes(
    keys: list[tuple[str | None, str | None]], data: st.DataObject
) -> None:
    entry = measurement(("a", "b"), {"x": "float", "n": "int", "ok": "bool", "text": "string"})
    grid = Grid(START, timedelta(seconds=15), 4)
    wide, rows = Wide(entry, DAY), []
    table = {
        (key, slot, field): data.draw(value if field != "ok" else st.sampled_from([None, 0, 1]))
        for key in keys
        for slot in range(grid.slots)
        for field in ("x", "n", "ok")
    }
    for field in ("x", "n", "ok"):
        mine = list(data.draw(st.permutations(keys)))
        index = wide.index(mine)
        for number, key in zip(index, mine, strict=True):
            slots = [s for s in range(grid.slots) if table[key, s, field] is not None]
            values = np.array([table[key, s, field] for s in slots], dtype="float64")
            wide.add(field, np.full(len(slots), number), np.array(slots, dtype="int64"), values)
    for key in keys:
        for slot in range(grid.slots):
            cells = {field: table[key, slot, field] for field in ("x", "n", "ok")}
            if any(cell is not None for cell in cells.values()):
                rows.append((grid.micros[slot], *key, *cells.values()))
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [[]] * 6
    expected = build_frame(
        entry,
        {
            "time": pd.to_datetime(list(columns[0]), unit="us", utc=True),
            "environment": ["production"] * len(rows),
            "a": list(columns[1]),
            "b": list(columns[2]),
            "x": pd.Series(list(columns[3]), dtype="float64"),
            "n": pd.Series(list(columns[4]), dtype="Int64"),
            "ok": pd.Series([None if c is None else bool(c) for c in columns[5]], dtype="boolean"),
        },
    )
    frame = wide.frame("production", grid.micros)
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)


def test_series_without_a_value_leave_no_trace() -> None:
    entry = measurement(("a",), {"x": "float"})
    wide = Wide(entry, DAY)
    index = wide.index([("kept",), ("bare",)])
    wide.add("x", index[:1], np.array([0]), np.array([1.0]))
    frame = wide.frame("production", np.array([micros(START)]))
    assert frame["a"].cat.categories.tolist() == ["kept"]


def test_the_series_that_is_one_too_many() -> None:
    wide = Wide(measurement(("a", "b"), {"x": "float"}), DAY)
    wide.index([("1", "1"), ("1", "2"), ("1", None)])
    with pytest.raises(SeriesExceeded) as caught:
        wide.index([("1", "3")])
    assert caught.value.facts == {
        "measurement": "m",
        "series": 4,
        "start": "2026-03-01T00:00:00Z",
        "stop": "2026-03-02T00:00:00Z",
        "limit": 3,
        "label": "b",
        "distinct": 4,
    }


def test_key_of_labels() -> None:
    entry = measurement(("a", "b", "c"), {"x": "float"})
    assert key_of({"b": "2", "a": "", "other": "3"}, entry) == (None, "2", None)


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([1.0, 2.5, 3.5], "int", 2.5),
        ([-(2.0**63)], "int", -(2.0**63)),
        ([2.0**63 - 1024, -0.0], "int", None),
        ([0.0, 1.0], "bool", None),
        ([0.0, -1.0], "bool", -1.0),
        ([0.5], "float", None),
        ([], "int", None),
    ],
)
def test_unfit(values: list[float], kind: FieldType, found: float | None) -> None:
    assert unfit(np.array(values), kind) == found
