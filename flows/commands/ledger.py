"""`fedvitals ledger`: inspect the ledger, or rebuild it from the lake."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import typer

from flows.commands.options import AsJson
from flows.commands.show import print_json, print_table

group = typer.Typer(help="List the ledger, or rebuild it from the lake.", no_args_is_help=True)


@group.command("ls")
def ls(json: AsJson = False) -> None:
    """List the ledger's cells and values by measurement, and what each sink lacks.

    Example:

        fedvitals ledger ls --json
    """
    from tasks.core.settings import load_settings
    from tasks.ledger.opening import opened_ledger
    from tasks.ledger.overview import overview
    from tasks.ledger.version import LEDGER_VERSION

    settings = load_settings()
    with opened_ledger(settings) as ledger:
        known = overview(ledger, settings.sink_targets)
        url, own, rows = ledger.url, ledger.known_id(), [asdict(each) for each in known]
    if json:
        facts = {"ledger": url, "version": LEDGER_VERSION, "id": own}
        print_json({**facts, "measurements": rows})
        return
    print(f"{url}, version {LEDGER_VERSION}, id {own}")
    print_table(
        [_as_line(row) for row in rows], empty="the ledger has no cells", zone=settings.timezone
    )


@group.command("rebuild")
def rebuild(json: AsJson = False) -> None:
    """Read the ledger's cells back from the lake; every cell is pending for every sink.

    For a ledger that was deleted, damaged or restored from a backup. No source is asked. Loaded
    values are sent again, which changes nothing there. Receipts of runs are not in the lake. Exit
    code 1 when the lake lost values.

    Example:

        fedvitals ledger rebuild
    """
    from tasks.core.run_id import new_run_id
    from tasks.core.settings import load_settings
    from tasks.lake.tables import Lake
    from tasks.ledger.opening import opened_ledger
    from tasks.pipeline.recovery import rebuild as read_back
    from tasks.pipeline.recovery import rebuilding

    settings = load_settings()
    run_id = new_run_id(datetime.now(UTC))
    with opened_ledger(settings) as ledger:
        url = ledger.url
        found = read_back(rebuilding(settings, Lake(settings.lake_url), ledger, run_id))
    rows = [asdict(each) for each in found]
    if json:
        print_json({"ledger": url, "measurements": rows})
    else:
        print_table(rows, empty="the lake has no cells")
    raise typer.Exit(1 if any(each.lost for each in found) else 0)


def _as_line(row: dict[str, Any]) -> dict[str, Any]:
    pending = [f"{count} for {sink}" for sink, count in row["pending"].items() if count]
    return {**row, "pending": pending}
