"""Slices of a window: whole, of known size, and few enough for one message to a server."""

import io
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, select

from tasks.core.window import Window
from tasks.ledger.buckets import MOST_SLICES, SLICE_CELLS, slices_of
from tasks.ledger.schema import as_text
from tests.support.ledger_behaviours import HOUR, START


def rows(window: Window, length: timedelta) -> list[tuple[str, str, int]]:
    slices = slices_of(window, length)
    with create_engine("sqlite://").connect() as connection:
        query = select(slices.c.start, slices.c.stop, slices.c.cells).order_by(slices.c.start)
        return [tuple(row) for row in connection.execute(query)]


@pytest.mark.slow
@given(count=st.integers(1, 200_000), minutes=st.sampled_from([1, 30, 60]))
def test_slices_are_the_window_cut_up(count: int, minutes: int) -> None:
    length = timedelta(minutes=minutes)
    found = rows(Window(START, START + count * length), length)
    starts, stops, sizes = zip(*found, strict=True)
    assert (starts[0], stops[-1]) == (as_text(START), as_text(START + count * length))
    assert stops[:-1] == starts[1:]
    assert sum(sizes) == count
    assert len(found) <= MOST_SLICES
    assert len(found) == 1 or min(sizes[:-1]) >= SLICE_CELLS


def test_a_window_that_ends_within_a_cell_is_covered_to_its_end() -> None:
    assert rows(Window(START, START + 2.5 * HOUR), HOUR) == [
        (as_text(START), as_text(START + 3 * HOUR), 3)
    ]


def test_most_slices_leave_the_driver_in_one_piece_with_room_for_the_question() -> None:
    slices = slices_of(Window(START, START + 1_000_000 * HOUR), HOUR)
    assert len(str(select(slices))) < 0.75 * io.DEFAULT_BUFFER_SIZE
