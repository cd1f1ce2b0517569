"""How a cell stands: what was extracted, what was landed, and how far it is covered."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.core.window import Cell, iso


@dataclass(frozen=True)
class CellState:
    """The state of one measurement's cell in one environment.

    `source_digest` is of what was extracted, the suite and the catalogue entry; `landed_digest` of
    the good rows, which is what sinks are compared with. `erasures` counts the landings that took
    values away: a sink that saw fewer must erase before it writes. `quarantined` counts values.
    """

    measurement: str
    environment: str
    cell: Cell
    source: str
    covered_until: datetime
    state: str
    source_digest: str
    landed_digest: str
    rows: int
    values: int
    quarantined: int
    erasures: int
    catalogue_digest: str
    run_id: str

    def brief(self) -> dict[str, Any]:
        """What a commit's metadata say of the cell."""
        return {
            "cell": iso(self.cell.start),
            "stop": iso(self.cell.stop),
            "covered_until": iso(self.covered_until),
            "source": self.source_digest,
            "landed": self.landed_digest,
            "rows": self.rows,
            "values": self.values,
            "quarantined": self.quarantined,
            "erasures": self.erasures,
        }


@dataclass(frozen=True)
class LoadState:
    """What one sink has of a cell; `sink` is its target."""

    sink: str
    measurement: str
    environment: str
    cell: Cell
    landed_digest: str
    erasures: int
    loaded: int
    refused: int
