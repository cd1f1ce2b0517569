"""Summaries of cells by their rows, since a ledger may be lost or behind."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from tasks.core.batch import count_values
from tasks.core.digest import digest_rows
from tasks.core.measurement import Measurement
from tasks.core.ports import CellToLoad
from tasks.core.state import CellState
from tasks.core.window import Cell
from tasks.lake.cells import Held

# all of a ledger, whatever its times
NOTHING_HELD = Held(rows=0, values=0)


@dataclass(frozen=True)
class CellSummary:
    """One cell's landed rows, in the layout of a Batch, and its state.

    `is_known` says whether the ledger knows these very rows; if not, the state is made from them,
    and it is unknown what sinks have.
    """

    state: CellState
    frame: pd.DataFrame
    is_known: bool

    def to_load(self) -> CellToLoad:
        """Return the whole cell for a sink whose content is unknown."""
        return CellToLoad(
            self.state.cell, self.frame, not self.is_known or self.state.delete_count > 0
        )


def standing(
    measurement: Measurement,
    environment: str,
    cell: Cell,
    frame: pd.DataFrame,
    known: Mapping[Cell, CellState],
) -> CellSummary:
    """Summarise the cell from its rows and the ledger's state."""
    state, digest = known.get(cell), digest_rows(frame, measurement)
    rows, values = len(frame), count_values(frame, measurement)
    if state is not None and state.landed_digest:
        # after a new field in the catalogue the same rows have another digest
        is_older = state.catalogue_digest != measurement.digest
        is_same = is_older and (state.rows, state.values) == (rows, values)
        if is_same or state.landed_digest == digest:
            return CellSummary(state, frame, is_known=True)
        changed = replace(state, landed_digest=digest, rows=rows, values=values)
        return CellSummary(changed, frame, is_known=False)
    found = replace(
        CellState.of_nothing(measurement, environment, cell, source="", run_id=""),
        covered_until=cell.stop,
        landed_digest=digest,
        rows=rows,
        values=values,
    )
    return CellSummary(found, frame, is_known=False)


def emptied_cells(known: Mapping[Cell, CellState], held: Mapping[Cell, Held]) -> list[Cell]:
    """Return landed cells without rows left, which sinks may still have."""
    return [c for c, s in known.items() if s.landed_digest and not s.rows and c not in held]
