"""`fedvitals quarantine`: the values that were held back, and why."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import AsJson, EnvironmentName, Start, Stop
from flows.commands.show import print_json, print_table

if TYPE_CHECKING:
    import pandas as pd

    from tasks.core.window import Window

Measurement = Annotated[str, typer.Argument(help="Name of the measurement.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Look at the values that were held back.", no_args_is_help=True)
    group.command("ls")(ls)
    group.command("show")(show)
    app.add_typer(group, name="quarantine")


def ls(environment: EnvironmentName = None, json: AsJson = False) -> None:
    """Count what is in quarantine, by measurement, check and environment."""
    from tasks.core.settings import load_settings
    from tasks.lake.tables import Lake

    lake = Lake(load_settings().lake_url)
    rows: list[dict[str, Any]] = []
    for name in lake.names():
        records = lake.quarantined(name, environment)
        columns = ["environment", "stage", "check_id", "severity"]
        for key, group in records.groupby(columns, sort=True):
            facts = dict(zip(columns, key, strict=True))
            first, last = group["time"].min().to_pydatetime(), group["time"].max().to_pydatetime()
            rows.append(
                {"measurement": name, **facts, "values": len(group), "first": first, "last": last}
            )
    print_json({"quarantine": rows}) if json else print_table(
        rows, empty="nothing is in quarantine"
    )


def show(
    measurement: Measurement,
    start: Start = None,
    stop: Stop = None,
    limit: Annotated[int, typer.Option(min=1, help="Values to show at most, the newest.")] = 20,
    environment: EnvironmentName = None,
    json: AsJson = False,
) -> None:
    """Show the values of one measurement with key, check, limit and reason."""
    from tasks.core.errors import UsageInvalid
    from tasks.core.settings import load_settings
    from tasks.lake.tables import Lake

    lake = Lake(load_settings().lake_url)
    if measurement not in lake.names():
        raise UsageInvalid(
            argument="MEASUREMENT",
            problem=f"the lake has no table {measurement!r}",
            mend="See the tables: fedvitals lake ls",
        )
    records = lake.quarantined(measurement, environment, _window(start, stop)).tail(limit)
    rows = _rows(records)
    print_json({"values": rows}) if json else print_table(rows, empty="nothing is in quarantine")


def _window(start: str | None, stop: str | None) -> "Window | None":
    from datetime import UTC, datetime

    from tasks.core.window import EPOCH, Window, parse_time

    if start is None and stop is None:
        return None
    now = datetime.now(UTC)
    since = parse_time(start, now, "--start") if start else EPOCH
    return Window(since, parse_time(stop or "now", now, "--stop"))


def _rows(records: "pd.DataFrame") -> list[dict[str, Any]]:
    columns = [
        "time",
        "environment",
        "tags",
        "field",
        "text",
        "check_id",
        "severity",
        "limit",
        "reason",
    ]
    named = records[columns].rename(columns={"text": "value"})
    return [
        {**row, "time": row["time"].to_pydatetime()}
        for row in named.astype("object").where(named.notna(), None).to_dict("records")
    ]
