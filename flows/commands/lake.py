"""`fedvitals lake`: what is in the lake."""

from typing import Annotated, Any

import typer

from flows.commands.options import AsJson
from flows.commands.show import print_json, print_table


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Look into the lake.", no_args_is_help=True)
    group.command("ls")(ls)
    group.command("query")(query)
    app.add_typer(group, name="lake")


def ls(json: AsJson = False) -> None:
    """List the lake's tables with rows, size and range of time."""
    from dataclasses import asdict

    from tasks.core.settings import load_settings
    from tasks.lake.query import describe
    from tasks.lake.tables import Lake

    rows = [asdict(facts) for facts in describe(Lake(load_settings().lake_url))]
    print_json({"tables": rows}) if json else print_table(rows, empty="the lake is empty")


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT; a measurement is a table of its name.")],
    json: AsJson = False,
) -> None:
    """Ask the lake in SQL, read-only.

    A measurement's quarantine is the table <name>_quarantine, the state of the cells is _windows.
    Example:

    fedvitals lake query "SELECT method, avg(latency_p95_seconds) FROM http_latency GROUP BY method"
    """
    from tasks.core.settings import load_settings
    from tasks.lake.query import query as ask
    from tasks.lake.tables import Lake

    rows: list[dict[str, Any]] = ask(Lake(load_settings().lake_url), sql).to_pylist()
    print_json({"rows": rows}) if json else print_table(rows, empty="no rows")
