"""Watermarks: when reading began, and up to when every sink has a measurement."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, or_, select

from tasks.core.run_id import moment_of
from tasks.ledger.ledger import Ledger
from tasks.ledger.pending import digest_in
from tasks.ledger.schema import cells, of_measurement


def begins_at(
    ledger: Ledger, measurement: str, environment: str, source_retention: timedelta
) -> datetime | None:
    """Return the start of the oldest cell that shows when reading began.

    An empty cell counts only if the source could still have had data when it was read: a run of a
    mistyped year must not turn all time since into a gap.
    """
    blank: set[str] = set()
    while True:
        rows = ledger.ask(_oldest(measurement, environment, blank))
        if not rows:
            return None
        run_id = rows[0]["run_id"]
        read_at, stop = moment_of(run_id), datetime.fromisoformat(rows[0]["cell_stop"])
        was_in_reach = read_at is None or read_at - stop <= source_retention
        if rows[0]["found"] or was_in_reach:
            return datetime.fromisoformat(rows[0]["cell_start"])
        blank.add(run_id)


def _oldest(measurement: str, environment: str, blank: set[str]) -> Select[Any]:
    """Select the oldest cell with data, or read by another run than these."""
    # a torn cell had rows
    has_something = or_(cells.c.rows > 0, cells.c.quarantined > 0, cells.c.state == "torn")
    query = select(
        cells.c.cell_start, cells.c.cell_stop, cells.c.run_id, has_something.label("found")
    ).where(of_measurement(cells, measurement, environment))
    if blank:
        query = query.where(or_(has_something, cells.c.run_id.not_in(sorted(blank))))
    return query.order_by(cells.c.cell_start).limit(1)


def loaded_until(
    ledger: Ledger, measurements: Iterable[str], environment: str, sinks: Iterable[str]
) -> dict[str, datetime]:
    """Return the covered end of the newest loaded cell by measurement.

    `sinks` are targets; without any, the newest landed cell counts. A measurement without loads is
    left out.
    """
    targets = tuple(sinks)
    found = {name: _until(ledger, name, environment, targets) for name in measurements}
    return {name: until for name, until in found.items() if until is not None}


def _until(
    ledger: Ledger, measurement: str, environment: str, sinks: tuple[str, ...]
) -> datetime | None:
    query = (
        select(cells.c.covered_until)
        .where(of_measurement(cells, measurement, environment), cells.c.rows > 0)
        .order_by(cells.c.cell_start.desc())
        .limit(1)
    )
    for sink in sinks:
        query = query.where(cells.c.landed_digest == digest_in(sink))
    rows = ledger.ask(query)
    return datetime.fromisoformat(rows[0]["covered_until"]) if rows else None
