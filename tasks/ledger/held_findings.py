"""Findings that the last run of a flow made, as notices."""

from collections.abc import Sequence

from pydantic import TypeAdapter
from sqlalchemy import Connection, delete, select

from tasks.core.incidents import Notice
from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import held_findings

_NOTICE: TypeAdapter[Notice] = TypeAdapter(Notice)
_ROW = held_findings.c


def held(ledger: Ledger, flow: str, environment: str) -> dict[str, Notice]:
    """Return what the last run of a flow found in an environment, by fingerprint."""
    query = select(held_findings).where(_ROW.flow == flow, _ROW.environment == environment)
    return {row["fingerprint"]: _NOTICE.validate_json(row["notice"]) for row in ledger.ask(query)}


def all_held(ledger: Ledger) -> list[tuple[str, Notice]]:
    """Return all that holds, each with its flow."""
    rows = ledger.ask(select(held_findings))
    return [(row["flow"], _NOTICE.validate_json(row["notice"])) for row in rows]


def hold(ledger: Ledger, flow: str, environment: str, notices: Sequence[Notice]) -> None:
    """Keep what the newest run of a flow found, in place of what the one before did."""
    rows = [
        {
            "flow": flow,
            "environment": environment,
            "fingerprint": one.fingerprint,
            "notice": _NOTICE.dump_json(one).decode(),
        }
        for one in notices
    ]

    def do(connection: Connection) -> None:
        mine = (_ROW.flow == flow) & (_ROW.environment == environment)
        connection.execute(delete(held_findings).where(mine))
        if rows:
            connection.execute(ledger.upsert(held_findings), rows)

    ledger.patiently(do)
