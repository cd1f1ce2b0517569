"""Figures of the ledger: its cells, and how many each sink lacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from tasks.ledger.ledger import Ledger
from tasks.ledger.pending import is_owed
from tasks.ledger.schema import cells


@dataclass(frozen=True)
class Known:
    """Cells of one measurement and environment, with the number pending for each sink."""

    measurement: str
    environment: str
    cells: int
    values: int
    first: datetime
    covered_until: datetime
    pending: dict[str, int]


def overview(ledger: Ledger, sinks_of: Callable[[str], Sequence[str]]) -> list[Known]:
    """List all known cells, by measurement and environment.

    sinks_of: gives the sinks of an environment. The ledger has only those that took something, maybe
    of another environment, or before another bucket was configured.
    """
    pair = (cells.c.measurement, cells.c.environment)
    query = (
        select(
            *pair,
            func.count().label("cells"),
            func.sum(cells.c["values"]).label("held"),
            func.min(cells.c.cell_start).label("first"),
            func.max(cells.c.covered_until).label("covered_until"),
        )
        .group_by(*pair)
        .order_by(*pair)
    )
    return [
        Known(
            measurement=row["measurement"],
            environment=row["environment"],
            cells=row["cells"],
            values=int(row["held"]),
            first=datetime.fromisoformat(row["first"]),
            covered_until=datetime.fromisoformat(row["covered_until"]),
            pending={
                sink: _pending(ledger, sink, row["measurement"], row["environment"])
                for sink in sinks_of(row["environment"])
            },
        )
        for row in ledger.ask(query)
    ]


def _pending(ledger: Ledger, sink: str, measurement: str, environment: str) -> int:
    is_pending = is_owed(sink, measurement, environment)
    return int(ledger.ask(select(func.count().label("cells")).where(is_pending))[0]["cells"])
