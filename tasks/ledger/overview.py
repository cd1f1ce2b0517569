"""The ledger in figures: which cells it knows, and how many each sink lacks."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, or_, select

from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import cells, loads


@dataclass(frozen=True)
class Known:
    """The cells of one measurement and environment. `pending` counts those that a sink lacks, by
    sink; sinks that never took anything of any measurement are not known."""

    measurement: str
    environment: str
    cells: int
    values: int
    first: datetime
    covered_until: datetime
    pending: dict[str, int]


def overview(ledger: Ledger) -> list[Known]:
    """All that is known, by measurement and environment.

    Raises:
        LedgerUnavailable.
    """
    sinks = [row["sink"] for row in ledger.ask(select(loads.c.sink).distinct())]
    pending = {sink: _pending(ledger, sink) for sink in sorted(sinks)}
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
                sink: counts.get((row["measurement"], row["environment"]), 0)
                for sink, counts in pending.items()
            },
        )
        for row in ledger.ask(query)
    ]


def _pending(ledger: Ledger, sink: str) -> dict[tuple[str, str], int]:
    pair = (cells.c.measurement, cells.c.environment)
    same = and_(
        loads.c.sink == sink,
        loads.c.measurement == cells.c.measurement,
        loads.c.environment == cells.c.environment,
        loads.c.cell_start == cells.c.cell_start,
    )
    differs = or_(loads.c.landed_digest.is_(None), loads.c.landed_digest != cells.c.landed_digest)
    query = (
        select(*pair, func.count().label("cells"))
        .outerjoin(loads, same)
        .where(cells.c.landed_digest != "", differs)
        .group_by(*pair)
    )
    return {(row["measurement"], row["environment"]): row["cells"] for row in ledger.ask(query)}
