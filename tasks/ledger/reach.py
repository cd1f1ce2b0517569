"""How far each measurement has come: its newest cell that has rows and is in every sink."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import exists, select

from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import cells, loads


def loaded_until(
    ledger: Ledger, measurements: Iterable[str], environment: str, sinks: Iterable[str]
) -> dict[str, datetime]:
    """Up to when the newest such cell is covered, by measurement; without sinks, the newest landed.

    `sinks` are targets. A measurement of which nothing is loaded is left out.

    Raises:
        LedgerUnavailable.
    """
    targets = tuple(sinks)
    found = {name: _until(ledger, name, environment, targets) for name in measurements}
    return {name: until for name, until in found.items() if until is not None}


def _until(
    ledger: Ledger, measurement: str, environment: str, sinks: tuple[str, ...]
) -> datetime | None:
    query = (
        select(cells.c.covered_until)
        .where(
            cells.c.measurement == measurement,
            cells.c.environment == environment,
            cells.c.rows > 0,
        )
        .order_by(cells.c.cell_start.desc())
        .limit(1)
    )
    for sink in sinks:
        query = query.where(
            exists().where(
                loads.c.sink == sink,
                loads.c.measurement == cells.c.measurement,
                loads.c.environment == cells.c.environment,
                loads.c.cell_start == cells.c.cell_start,
                loads.c.landed_digest == cells.c.landed_digest,
            )
        )
    rows = ledger.ask(query)
    return datetime.fromisoformat(rows[0]["covered_until"]) if rows else None
