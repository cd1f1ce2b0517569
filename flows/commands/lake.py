"""`fedvitals lake`: inspect, export, migrate and repair the lake."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.commands.options import AsJson, EnvironmentName, Start, Stop
from flows.commands.show import print_json, print_table
from tasks.core.errors import UsageInvalid
from tasks.core.window import asked_window

if TYPE_CHECKING:
    from tasks.core.settings import Settings
    from tasks.pipeline.recovery import Rebuilding


group = typer.Typer(help="Query, export, migrate or repair the lake.", no_args_is_help=True)


@group.command("ls")
def ls(json: AsJson = False) -> None:
    """List the lake's tables with rows, size and range of time.

    Example:

        fedvitals lake ls --json
    """
    from tasks.core.settings import load_settings
    from tasks.lake.query import describe
    from tasks.lake.tables import Lake

    rows = [asdict(facts) for facts in describe(Lake(load_settings().lake_url))]
    print_json({"tables": rows}) if json else print_table(rows, empty="the lake is empty")


@group.command("query")
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT statement.")],
    json: AsJson = False,
) -> None:
    """Query the lake in SQL (DuckDB), read-only.

    Each measurement is a table with `time`, `environment`, its tags and its fields; its quarantine
    is `NAME_quarantine`, and `_windows` has the states of all cells. Memory and rows are limited by
    `lake_query` in environments.yaml.

    Example:

        fedvitals lake query "SELECT method, avg(latency_p95_seconds) FROM http_latency GROUP BY method"
    """
    from tasks.core.settings import load_settings
    from tasks.lake.query import query as ask
    from tasks.lake.tables import Lake

    settings = load_settings()
    found = ask(Lake(settings.lake_url), sql, settings.lake_query, settings.home)
    rows: list[dict[str, Any]] = found.to_pylist()
    print_json({"rows": rows}) if json else print_table(rows, empty="no rows")


@group.command("export")
def export(
    measurement: Annotated[str, typer.Argument(help="Name of the measurement.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    start: Start = None,
    stop: Stop = None,
    format: Annotated[
        Literal["csv", "parquet", "jsonl"], typer.Option(help="Format of the file.")
    ] = "csv",
    environment: EnvironmentName = None,
    safe_csv: Annotated[
        bool, typer.Option("--safe-csv", help="Put an apostrophe before texts that are formulas.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Write landed rows to a file for other tools, ordered by time.

    Without --environment it writes all environments, without --start all time. To a spreadsheet a
    text that begins with = + - or @ is a formula: tags come from the services, so give --safe-csv
    for a file that one opens.

    Examples:

        fedvitals lake export http_latency --start -7d --output latency.csv

        fedvitals lake export training --format parquet --output training.parquet
    """
    from tasks.core.settings import load_settings
    from tasks.lake.export import environments
    from tasks.lake.export import export as write
    from tasks.lake.tables import Lake

    window = asked_window(start, stop, datetime.now(UTC)) if start or stop else None
    settings = load_settings()
    lake = Lake(settings.lake_url)
    # catches typing errors; an environment that is no longer configured still has rows
    if environment is not None and environment not in environments(lake, measurement):
        settings.environment(environment)
    written = write(lake, measurement, environment, window, format, output, safe_csv)
    print_json(asdict(written)) if json else print(f"{written.rows} rows in {written.file}")


@group.command("migrate")
def migrate(
    measurement: Annotated[str, typer.Argument(help="Name of the measurement.")],
    rename: Annotated[
        list[str] | None,
        typer.Option(help="Rename a tag or field; may be repeated.", metavar="OLD:NEW"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and exit.")] = False,
    json: AsJson = False,
) -> None:
    """Change a table as the catalogue changed: tags, fields, names, types, source.

    - a new tag or field is null in old rows; a removed one is dropped, a tag only if rows stay
      distinct
    - another name needs --rename; without it, one column is dropped and one is new
    - int to float and float to int only where no number changes; other types are refused
    - with another source the rows stay

    The table changes in one commit; the next run erases and loads the changed hours in every sink.
    Until the command completes, runs refuse the table. Exit code 2 when the change is refused.

    Examples:

        fedvitals lake migrate training --dry-run

        fedvitals lake migrate training --rename loss:training_loss
    """
    from tasks.runs.migrate import erase_with, sources_of
    from tasks.runs.migrate import migrate as change

    renames = _renames(rename or [])
    with _opened() as (settings, work):
        entry = work.catalogue.get(measurement)
        sources = sources_of(settings, entry) if entry is not None else {}
        erase = erase_with(settings)
        done = asdict(change(work, measurement, renames, sources, dry=dry_run, erase=erase))
    if json:
        print_json({"is_dry_run": dry_run, **done})
        return
    facts = [f"{name:<12} {_short(value)}" for name, value in done.items() if value]
    if len(facts) == 1:
        facts.append("nothing to change: the table fits the catalogue")
    elif dry_run:
        facts.append("nothing was changed: --dry-run")
    if done["untagged"]:
        fix = "fedvitals backfill --start START --stop STOP"
        facts.append(f"these hours lack the new tag until they are read again: {fix}")
    print("\n".join(facts))


@group.command("repair")
def repair(
    measurement: Annotated[str | None, typer.Option(help="Only this measurement.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is damaged and exit.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Repair torn and missing tables, and have their data read again.

    Nothing is deleted: corrupt files go to `_torn` in the lake, and the table returns to its last
    good state; on an object store missing objects are left out. A table that the ledger knows and
    the lake lacks is created anew. The next runs read the missing hours, as far as the source has
    them; what no source has any more is listed as lost. Exit code 1 when something was damaged.

    Examples:

        fedvitals lake repair --dry-run

        fedvitals lake repair
    """
    from tasks.runs.repair import find_damage, reach_of
    from tasks.runs.repair import repair as fix

    with _opened() as (settings, work):
        reach = reach_of(settings, datetime.now(UTC))
        done = (find_damage if dry_run else fix)(work, measurement, reach)
        limit = settings.pipeline.max_gaps_per_run
    if json:
        print_json({"is_dry_run": dry_run, **asdict(done)})
    else:
        torn = [
            {"table": t.table, "file": d.path, "problem": d.problem, "moved to": t.moved_to}
            for t in done.tables
            for d in t.damage
        ]
        print_table(torn, empty="nothing is damaged")
        if torn:
            print("\nnothing was changed" if dry_run else "\nrepaired: runs go on")
        heads = {
            False: f"read again by the next runs, {limit} cells each (max_gaps_per_run), or at once by "
            "fedvitals backfill --start START --stop STOP:",
            True: "lost, since the source has no history, or none that goes back so far (source_retention):",
        }
        for is_lost, head in heads.items():
            rows = [asdict(each) for each in done.cells if each.is_lost is is_lost]
            if rows:
                print(f"\n{head}")
                print_table(rows, empty="")
    raise typer.Exit(1 if done.tables or done.cells else 0)


@contextmanager
def _opened() -> "Iterator[tuple[Settings, Rebuilding]]":
    from tasks.core.run_id import new_run_id
    from tasks.core.settings import load_settings
    from tasks.lake.tables import Lake
    from tasks.ledger.opening import opened_ledger
    from tasks.pipeline.recovery import rebuilding

    settings = load_settings()
    run_id = new_run_id(datetime.now(UTC))
    with opened_ledger(settings) as ledger:
        lake = Lake(settings.lake_url, ledger.lake_id)
        yield settings, rebuilding(settings, lake, ledger, run_id)


def _renames(pairs: list[str]) -> dict[str, str]:
    renames = {}
    for pair in pairs:
        old, colon, new = pair.partition(":")
        if not (old and colon and new):
            problem = "is not a pair of names"
            fix = "Write OLD:NEW, the name in the table and the name in the catalogue"
            raise UsageInvalid(argument=f"--rename {pair}", problem=problem, fix=fix)
        renames[old] = new
    return renames


def _short(value: Any) -> str:
    if isinstance(value, dict):
        parts = {k: " → ".join(v) if isinstance(v, tuple | list) else v for k, v in value.items()}
        return ", ".join(f"{name}: {text}" for name, text in parts.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
