"""What the ledger's states of cells say of a chart's hours."""

from datetime import timedelta
from typing import Any

from tasks.core.state import CellState
from tasks.core.window import Cell, Window
from tasks.reports.events import events_of
from tasks.reports.records import Event
from tests.support.ledger_behaviours import START, cell, state

HOUR = timedelta(hours=1)
MORNING = Window(START, START + 4 * HOUR)


def reported(window: Window, *states: CellState) -> list[Event]:
    return list(events_of({each.cell: each for each in states}, window, HOUR))


def good(hour: int, **more: Any) -> CellState:
    return state(hour, **{"quarantined": 0, "state": "landed", **more})


def test_hours_like_the_others_have_no_event() -> None:
    assert reported(MORNING, *(good(hour) for hour in range(4))) == []


def test_quarantine_no_data_and_what_was_not_collected() -> None:
    states = (good(0), good(1, quarantined=1), good(2, state="no_data"))
    assert reported(MORNING, *states) == [
        Event("quarantined", START + HOUR, START + 2 * HOUR, "1 value quarantined"),
        Event("no_data", START + 2 * HOUR, START + 3 * HOUR, "the source had no data"),
        Event("not_collected", START + 3 * HOUR, START + 4 * HOUR, "not collected yet"),
    ]


def test_an_hour_may_have_two() -> None:
    found = reported(
        MORNING, *(good(h) for h in range(3)), good(3, quarantined=7, catalogue_digest="x")
    )
    assert [(each.kind, each.text) for each in found] == [
        ("catalogue", "another catalogue entry from here on"),
        ("quarantined", "7 values quarantined"),
    ]


def test_neighbouring_hours_of_one_kind_are_one() -> None:
    assert reported(MORNING, good(0), good(3)) == [
        Event("not_collected", START + HOUR, START + 3 * HOUR, "not collected yet")
    ]


def test_the_same_kind_after_a_good_hour_is_another() -> None:
    states = (good(0, state="no_data"), good(1), good(2, state="no_data"), good(3))
    assert [(each.start, each.stop) for each in reported(MORNING, *states)] == [
        (START, START + HOUR),
        (START + 2 * HOUR, START + 3 * HOUR),
    ]


def test_hours_before_the_first_that_was_ever_read_are_no_event() -> None:
    assert reported(MORNING, good(2), good(3)) == []
    assert reported(MORNING) == []


def test_events_end_with_the_window() -> None:
    part = Window(START + HOUR / 4, START + HOUR / 2)
    assert reported(part, good(0, quarantined=2)) == [
        Event("quarantined", part.start, part.stop, "2 values quarantined")
    ]
    assert cell(0) == Cell(START, START + HOUR)
