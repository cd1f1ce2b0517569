"""Audit of a table's cells: the states recorded in the lake against its rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pandas as pd

from tasks.core.batch import count_values, slice_cell, split_cells
from tasks.core.digest import digest_rows
from tasks.core.measurement import Measurement
from tasks.core.series import ALL_TIME
from tasks.core.state import CellState
from tasks.core.window import Cell, Window, follows, groups_of
from tasks.lake.cells import Held, held_cells
from tasks.lake.tables import Lake

NOTHING = Held(0, 0)
_CELLS_AT_ONCE = 24


@dataclass(frozen=True)
class CellAudit:
    """The true states of the cells of one measurement and environment, oldest first.

    `corrected` are the cells that the lake records otherwise, among them `torn` ones, which lost
    rows. `lost` counts the values that these had and the lake no longer has.
    """

    states: tuple[CellState, ...]
    corrected: tuple[CellState, ...] = ()
    lost: int = 0

    @property
    def torn(self) -> tuple[CellState, ...]:
        """Return the cells that lack rows."""
        return tuple(state for state in self.corrected if state.state == "torn")


@dataclass(frozen=True)
class AuditRequest:
    """The part of a lake to audit, by which run, and the length of its cells."""

    measurement: Measurement
    environment: str
    length: timedelta
    run_id: str


def stand(lake: Lake, scope: AuditRequest, recorded: Mapping[Cell, CellState]) -> CellAudit:
    """Compare recorded states with the rows and values counted in the table.

    Rows are read only where they differ, or the catalogue entry changed. A cell that lacks rows is
    torn. One with other rows than recorded gets their digest, no source digest, so that the next
    read decides, and one more erasure, since it is unknown what sinks have. Raises LakeDamaged when
    the table cannot be read.
    """
    held = held_cells(lake, scope.measurement, scope.environment, ALL_TIME, scope.length)
    gone = [cell for cell, state in recorded.items() if held.get(cell, NOTHING).rows < state.rows]
    left = {cell: held.get(cell, NOTHING) for cell in gone}
    states = {**recorded, **{cell: torn(recorded[cell], left[cell], scope.run_id) for cell in gone}}
    others = [cell for cell in held if cell not in left]
    suspects = [cell for cell in others if _is_suspect(recorded.get(cell), held[cell], scope)]
    source = next((state.source for state in recorded.values()), scope.measurement.source)
    for cell, frame in frames_of(lake, scope, suspects):
        before = recorded[cell] if cell in recorded else _unknown(lake, scope, cell, source)
        states[cell] = as_held(before, frame, scope)
    corrected = [states[cell] for cell in sorted(states) if states[cell] is not recorded.get(cell)]
    return CellAudit(
        states=tuple(states[cell] for cell in sorted(states)),
        corrected=tuple(corrected),
        lost=sum(max(0, recorded[cell].values - left[cell].values) for cell in gone),
    )


def torn(state: CellState, left: Held, run_id: str) -> CellState:
    """Return the state of a cell that lost rows: unread, and owed to no sink."""
    return replace(
        state,
        state="torn",
        covered_until=state.cell.start,
        source_digest="",
        landed_digest="",
        rows=left.rows,
        values=left.values,
        run_id=run_id,
        made_at=datetime.now(UTC),
    )


def as_held(state: CellState, frame: pd.DataFrame, scope: AuditRequest) -> CellState:
    """Return the state with the digest of the rows held; itself when unchanged."""
    digest = digest_rows(frame, scope.measurement)
    if digest == state.landed_digest:
        return state
    return replace(
        state,
        state="landed",
        source_digest="",
        landed_digest=digest,
        rows=len(frame),
        values=count_values(frame, scope.measurement),
        delete_count=state.delete_count + 1,
        catalogue_digest=scope.measurement.digest,
        run_id=scope.run_id,
        made_at=datetime.now(UTC),
    )


def frames_of(
    lake: Lake, scope: AuditRequest, cells: list[Cell]
) -> Iterator[tuple[Cell, pd.DataFrame]]:
    """Yield the landed rows of each cell, read some adjacent cells at a time."""
    for group in groups_of(sorted(cells), _CELLS_AT_ONCE, fits=follows):
        window = Window(group[0].start, group[-1].stop)
        frame = lake.read(scope.measurement, scope.environment, window)
        yield from split_cells(frame, group).items()


def _is_suspect(state: CellState | None, held: Held, scope: AuditRequest) -> bool:
    if state is not None and state.state == "torn" and state.rows == held.rows:
        return False
    if state is None or state.catalogue_digest != scope.measurement.digest:
        return True
    return (state.rows, state.values) != (held.rows, held.values)


def _unknown(lake: Lake, scope: AuditRequest, cell: Cell, source: str) -> CellState:
    """Return the state of a cell without a record: unread."""
    records = slice_cell(lake.quarantined(scope.measurement.name, scope.environment, cell), cell)
    nothing = CellState.of_nothing(scope.measurement, scope.environment, cell, source, scope.run_id)
    return replace(nothing, quarantined=int(records["field"].notna().sum()))
