"""`fedvitals backfill`: read a long window of the past, chunk by chunk."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from flows.commands.options import (
    AsJson,
    EnvironmentName,
    FailOnOption,
    Measurements,
    MetricTypes,
    Verbose,
)
from flows.commands.running import run_command, show_warnings
from flows.commands.show import print_json, print_table
from flows.commands.summary import finish

if TYPE_CHECKING:
    from tasks.runs.backfill.plan import Backfill, BackfillRequest
    from tasks.runs.backfill.survey import Share, Survey


def backfill(
    start: Annotated[str, typer.Option(help="Start: ISO 8601 (UTC), or relative such as -30d.")],
    stop: Annotated[str, typer.Option(help="Stop: ISO 8601 (UTC), relative, or now.")] = "now",
    type: MetricTypes = "all",
    measurement: Measurements = None,
    chunk: Annotated[str | None, typer.Option(help="Length of a chunk, such as 6h.")] = None,
    environment: EnvironmentName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and exit.")] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Read all again; delete values that the source lacks."),
    ] = False,
    runner: Annotated[
        Literal["threads", "dask"], typer.Option(help="Where chunks are processed.")
    ] = "threads",
    workers: Annotated[
        int | None, typer.Option(help="Chunks at once; pipeline.workers when not given.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Dask scheduler; a local cluster when not given.")
    ] = None,
    fail_on: FailOnOption = "high",
    verbose: Verbose = False,
    json: AsJson = False,
) -> None:
    """Fill the past: read the cells of a window that are missing, oldest first.

    It can be killed and started again: landed cells are not read again, except with --replace. Only
    Prometheus has a past to read. Dask workers need the same configuration and variables. It writes
    no report; use `fedvitals report`.

    Examples:

        fedvitals backfill --start -30d --dry-run

        fedvitals backfill --start 2026-01-01 --stop 2026-02-01 --chunk 6h --workers 4

        fedvitals backfill --start -7d --measurement http_latency --replace
    """
    from tasks.runs.backfill.plan import BackfillRequest

    request = BackfillRequest(
        start, stop, type, measurement, chunk, replace, runner, workers, address
    )
    if dry_run:
        _look(request, environment, json)
    from flows.workers import workers_of

    made = workers_of(runner)
    finish(run_command("backfill", request, environment, fail_on, workers=made), json, verbose)


def _look(request: "BackfillRequest", environment: str | None, json: bool) -> NoReturn:
    """Print the plan and exit; exit code 1 if something could not be counted."""
    from tasks.core.settings import load_settings
    from tasks.runs.backfill.plan import FLOW, make_backfill
    from tasks.runs.backfill.survey import survey
    from tasks.runs.base.run import Run

    show_warnings()
    with Run(FLOW, load_settings(), environment) as run:
        wanted = make_backfill(run, request)
        found = survey(wanted, run.ledger)
    for problem in found.problems:
        print(f"fedvitals: {problem}", file=sys.stderr)
    if json:
        print_json(document(wanted, found))
    else:
        print_table([_row(share, found) for share in found.shares], "nothing to read")
        print(found.line())
    raise typer.Exit(1 if found.problems else 0)


def document(wanted: "Backfill", found: "Survey") -> dict[str, Any]:
    """Return the plan as JSON; times in seconds, null where nothing could be counted."""
    plan, options = wanted.plan, wanted.options
    assert plan.window is not None, "a backfill always has a window"
    rows = [_row(share, found) for share in found.shares]
    return {
        "environment": plan.environment.name,
        "window": {"start": plan.window.start, "stop": plan.window.stop},
        "replace": options.replace,
        "runner": options.runner,
        "workers": options.workers,
        "cells": sum(row["cells"] for row in rows),
        "to_read": sum(row["to_read"] for row in rows),
        "chunks": sum(row["chunks"] for row in rows),
        "values": found.values,
        "seconds": round(found.seconds, 1),
        "values_per_second": round(found.pace.values_per_second),
        "origin": found.pace.origin,
        "measurements": rows,
        "problems": found.problems,
    }


def _row(share: "Share", found: "Survey") -> dict[str, Any]:
    seconds = None if share.values is None else share.values / found.pace.values_per_second
    return {
        "measurement": share.measurement,
        "cells": share.cells,
        "to_read": share.due,
        "chunks": share.chunks,
        "series": share.series,
        "values": share.values,
        "seconds": None if seconds is None else round(seconds, 1),
    }
