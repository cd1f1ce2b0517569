"""Deferred gaps: cells whose source returns an unusable answer."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import bindparam, delete, select

from tasks.core.window import Cell
from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import as_text, of_measurement, set_aside

_IS_ONE = set_aside.c.cell_start == bindparam("start")


def deferred_cells(ledger: Ledger, measurement: str, environment: str) -> dict[Cell, str]:
    """Return the cells, oldest first, each with the last run that tried it."""
    query = (
        select(set_aside.c.cell_start, set_aside.c.cell_stop, set_aside.c.run_id)
        .where(of_measurement(set_aside, measurement, environment))
        .order_by(set_aside.c.cell_start)
    )
    return {
        Cell(*map(datetime.fromisoformat, (row["cell_start"], row["cell_stop"]))): row["run_id"]
        for row in ledger.ask(query)
    }


def put_aside(
    ledger: Ledger,
    measurement: str,
    environment: str,
    cells: Iterable[Cell],
    run_id: str,
    problem: str,
) -> None:
    """Defer the cells, or update the run that tried them last, in one transaction."""
    _replace(ledger, measurement, environment, list(cells), {"run_id": run_id, "problem": problem})


def take_up(ledger: Ledger, measurement: str, environment: str, cells: Iterable[Cell]) -> None:
    """Remove the cells from the deferred ones."""
    _replace(ledger, measurement, environment, list(cells), None)


def _replace(
    ledger: Ledger,
    measurement: str,
    environment: str,
    cells: list[Cell],
    found: dict[str, str] | None,
) -> None:
    names = {"measurement": measurement, "environment": environment}
    with ledger.transaction() as connection:
        known = delete(set_aside).where(
            of_measurement(set_aside, measurement, environment), _IS_ONE
        )
        connection.execute(known, [{"start": as_text(cell.start)} for cell in cells])
        if found is not None:
            spans = [{"cell_start": as_text(c.start), "cell_stop": as_text(c.stop)} for c in cells]
            connection.execute(set_aside.insert(), [{**names, **span, **found} for span in spans])
