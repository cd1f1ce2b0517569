"""Events of a chart: quarantined, without data, not read, other catalogue entry."""

from collections.abc import Iterator, Mapping
from datetime import timedelta

from tasks.core.state import CellState
from tasks.core.units import counted
from tasks.core.window import Cell, Window
from tasks.reports.records import Event, EventKind


def events_of(
    states: Mapping[Cell, CellState], window: Window, cell: timedelta
) -> tuple[Event, ...]:
    """List the window's events; neighbouring cells of one kind are one event."""
    found: list[Event] = []
    for event in _of_cells(states, window, cell):
        last = next((one for one in reversed(found) if one.kind == event.kind), None)
        if last is not None and last.stop == event.start and last.text == event.text:
            found[found.index(last)] = Event(event.kind, last.start, event.stop, event.text)
        else:
            found.append(event)
    return tuple(found)


def _of_cells(
    states: Mapping[Cell, CellState], window: Window, length: timedelta
) -> Iterator[Event]:
    known = sorted(states)
    before: CellState | None = None
    for cell in window.cells(length):
        start, stop = max(cell.start, window.start), min(cell.stop, window.stop)
        state = states.get(cell)
        if state is None:
            # before the first cell, fedvitals was not in use
            if known and cell > known[0]:
                yield Event("not_collected", start, stop, "not collected yet")
            continue
        for kind, text in _reported(state, before):
            yield Event(kind, start, stop, text)
        before = state


def _reported(state: CellState, before: CellState | None) -> Iterator[tuple[EventKind, str]]:
    if before is not None and before.catalogue_digest != state.catalogue_digest:
        yield "catalogue", "another catalogue entry from here on"
    if state.quarantined:
        yield "quarantined", f"{counted(state.quarantined, 'value')} quarantined"
    if state.state == "no_data":
        yield "no_data", "the source had no data"
    if state.state == "lost":
        yield "not_collected", "missed and lost: the source no longer had it"
