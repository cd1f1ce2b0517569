"""`fedvitals maintain`: an ad-hoc run of the flow maintain."""

from typing import TYPE_CHECKING

import typer

from flows.commands.options import AsJson
from flows.commands.running import announce, run_flow

if TYPE_CHECKING:
    from tasks.core.maintained import LedgerUpkeep, Maintained, TableUpkeep


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("maintain")(maintain)


def maintain(json: AsJson = False) -> None:
    """Keep lake and ledger up: compact, expire what is old, clean up, back the ledger up.

    No row changes but those that expire: rows by `retention` of their measurement in metrics.yaml,
    quarantine by `maintenance.quarantine` in environments.yaml. Reports go by
    `maintenance.reports`. It is about all environments, which
    share the tables. A measurement that another run works on is left alone (exit code 3), a damaged
    table is told (exit code 1), and the others go on. `fedvitals serve` runs it daily. Examples:

    fedvitals maintain

    fedvitals maintain --json
    """
    from tasks.core.settings import load_settings
    from tasks.upkeep.maintaining import make_upkeep_plan

    # the user's mistakes are found here, before a flow run is begun
    announce(make_upkeep_plan(load_settings()))
    maintained: Maintained = run_flow("maintain")
    print(maintained.model_dump_json(indent=2) if json else summary(maintained))
    raise typer.Exit(int(maintained.exit_code))


def summary(maintained: "Maintained") -> str:
    """The receipt in a few lines."""
    lines = [f"{maintained.flow} {maintained.run_id}: {maintained.status}"]
    for table in maintained.tables:
        lines.append(f"  {table.name:<28} {table.state:<8} {_table(table)}")
        lines += [f"    {problem}" for problem in table.problems]
    lines.append(f"ledger   {_ledger(maintained.ledger)}")
    lines += [f"    {problem}" for problem in maintained.ledger.problems]
    reports = maintained.reports
    gone = f"; removed: {reports.removed}, {reports.bytes_removed} bytes" if reports.removed else ""
    lines.append(f"reports  {reports.state}, {reports.kept} kept{gone}")
    lines += [f"    {problem}" for problem in reports.problems]
    lines += [f"note     {note}" for note in maintained.notes]
    return "\n".join(lines)


def _table(table: "TableUpkeep") -> str:
    expired = {
        "rows": table.rows_expired,
        "of quarantine": table.quarantine_expired,
        "cells": table.cells_expired,
    }
    gone = ", ".join(f"{count} {what}" for what, count in expired.items() if count)
    return (
        f"{table.files_before} → {table.files_after} files, "
        f"{table.bytes_before} → {table.bytes_after} bytes"
        f"{f'; expired: {gone}' if gone else ''}"
    )


def _ledger(ledger: "LedgerUpkeep") -> str:
    kept = f"backup {ledger.backup}" if ledger.backup else "no backup"
    removed = {
        "backups": ledger.backups_removed,
        "receipts": ledger.runs_removed,
        "pages": ledger.pages_removed,
        "proofs of suites": ledger.suites_removed,
    }
    gone = ", ".join(f"{count} {what}" for what, count in removed.items() if count)
    return f"{ledger.state}, {kept}{f'; removed: {gone}' if gone else ''}"
