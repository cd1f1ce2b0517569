"""The state of a cell: what was extracted and landed, and how far it is covered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tasks.core.measurement import Measurement
from tasks.core.window import Cell, iso

# torn: landed rows are lost, so the cell is read again while sinks keep theirs;
# migrating: the newest cell during a migration; a run that finds it refuses the table
CellStateName = Literal["landed", "no_data", "lost", "torn", "migrating"]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class CellState:
    """The state of one measurement's cell in one environment.

    `source_digest` covers the extracted rows, the suite and the catalogue entry; `landed_digest` the
    good rows, which sinks are compared with. `delete_count` counts the landings that deleted
    values: a sink that saw fewer must erase before it writes. `quarantined` counts values.
    `made_at` is set under the lock: of two states of a cell the later is in force.
    """

    measurement: str
    environment: str
    cell: Cell
    source: str
    covered_until: datetime
    state: CellStateName
    source_digest: str
    landed_digest: str
    rows: int
    values: int
    quarantined: int
    delete_count: int
    catalogue_digest: str
    run_id: str
    made_at: datetime = field(default_factory=_now, compare=False, repr=False)

    @classmethod
    def of_nothing(
        cls, measurement: Measurement, environment: str, cell: Cell, source: str, run_id: str
    ) -> "CellState":
        """Return the state of an unknown cell: nothing read, nothing landed."""
        return cls(
            measurement=measurement.name,
            environment=environment,
            cell=cell,
            source=source,
            covered_until=cell.start,
            state="landed",
            source_digest="",
            landed_digest="",
            rows=0,
            values=0,
            quarantined=0,
            delete_count=0,
            catalogue_digest=measurement.digest,
            run_id=run_id,
        )

    def brief(self) -> dict[str, Any]:
        """Return the state for a commit's metadata, without measurement and run."""
        facts = {key: getattr(self, name) for key, name in _BRIEF.items()}
        texts = {n: iso(f) if isinstance(f, datetime) else f for n, f in facts.items()}
        return {**texts, "cell": iso(self.cell.start), "stop": iso(self.cell.stop)}

    @classmethod
    def from_brief(cls, measurement: str, run_id: str, brief: Mapping[str, Any]) -> "CellState":
        """Build the state from a commit's metadata; KeyError or ValueError if malformed."""
        facts = {name: brief[key] for key, name in _BRIEF.items()}
        facts |= {
            name: datetime.fromisoformat(facts[name]) for name in ("covered_until", "made_at")
        }
        cell = Cell(*(datetime.fromisoformat(brief[key]) for key in ("cell", "stop")))
        return cls(measurement=measurement, run_id=run_id, cell=cell, **facts)


# names of a cell's state in a commit
_BRIEF = {
    "environment": "environment",
    "from": "source",
    "state": "state",
    "covered_until": "covered_until",
    "source": "source_digest",
    "landed": "landed_digest",
    "rows": "rows",
    "values": "values",
    "quarantined": "quarantined",
    "delete_count": "delete_count",
    "catalogue": "catalogue_digest",
    "made_at": "made_at",
}


@dataclass(frozen=True)
class LoadState:
    """State of a cell in one sink; `sink` is its target.

    `sent_until` is how far rows were sent to a sink that takes nothing twice.
    """

    sink: str
    measurement: str
    environment: str
    cell: Cell
    landed_digest: str
    delete_count: int
    loaded: int
    refused: int
    sent_until: datetime | None = None
