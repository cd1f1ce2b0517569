"""How a cell stands: what was extracted, what was landed, and how far it is covered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tasks.core.measurement import Measurement
from tasks.core.window import Cell, iso

# torn: rows that were landed are gone, so the cell is read again, and what sinks have of it stays;
# migrating: of the newest cell during a migration, and a run that finds it refuses the table
CellStateName = Literal["landed", "no_data", "lost", "torn", "migrating"]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class CellState:
    """The state of one measurement's cell in one environment.

    `source_digest` is of what was extracted, the suite and the catalogue entry; `landed_digest` of
    the good rows, which is what sinks are compared with. `delete_count` counts the landings that took
    values away: a sink that saw fewer must erase before it writes. `quarantined` counts values.
    `made_at` is when this was found out, under the lock: of two states of a cell the later is in force.
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
        """Of a cell of which nothing is known: landed nothing, and read nothing."""
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
        """What a commit's metadata say of the cell: all of its state but measurement and run."""
        facts = {key: getattr(self, name) for key, name in _BRIEF.items()}
        reported = {n: iso(f) if isinstance(f, datetime) else f for n, f in facts.items()}
        return {**reported, "cell": iso(self.cell.start), "stop": iso(self.cell.stop)}

    @classmethod
    def from_brief(cls, measurement: str, run_id: str, brief: Mapping[str, Any]) -> "CellState":
        """The state that a commit's metadata tell.

        Raises KeyError, ValueError when it is not what `brief` gives.
        """
        facts = {name: brief[key] for key, name in _BRIEF.items()}
        facts |= {
            name: datetime.fromisoformat(facts[name]) for name in ("covered_until", "made_at")
        }
        cell = Cell(*(datetime.fromisoformat(brief[key]) for key in ("cell", "stop")))
        return cls(measurement=measurement, run_id=run_id, cell=cell, **facts)


# what a commit calls the facts of a cell's state
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
    """What one sink has of a cell; `sink` is its target."""

    sink: str
    measurement: str
    environment: str
    cell: Cell
    landed_digest: str
    delete_count: int
    loaded: int
    refused: int
