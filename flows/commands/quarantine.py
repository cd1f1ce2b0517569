"""`fedvitals quarantine`: list quarantined values with reasons, and retry them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import AsJson, EnvironmentName, FailOnOption, Start, Stop
from flows.commands.running import run_plain
from flows.commands.show import print_json, print_table
from flows.commands.summary import finish
from tasks.core.window import asked_window

if TYPE_CHECKING:
    import pandas as pd

Measurement = Annotated[str, typer.Argument(help="Name of the measurement.")]


group = typer.Typer(help="Show quarantined values, or retry them.", no_args_is_help=True)


@group.command("ls")
def ls(environment: EnvironmentName = None, json: AsJson = False) -> None:
    """Count the values in quarantine, by measurement, check and environment.

    Example:

        fedvitals quarantine ls --environment staging
    """
    from tasks.core.settings import load_settings
    from tasks.lake.tables import Lake

    settings = load_settings()
    lake = Lake(settings.lake_url)
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
    if not rows:
        # catches typing errors; an environment that is no longer configured still has rows
        settings.environment(environment)
    print_json({"quarantine": rows}) if json else print_table(
        rows, empty="nothing is in quarantine", zone=settings.timezone
    )


@group.command("show")
def show(
    measurement: Measurement,
    start: Start = None,
    stop: Stop = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest values to show at most.")] = 20,
    environment: EnvironmentName = None,
    json: AsJson = False,
) -> None:
    """Show the quarantined values of a measurement with key, check, limit and reason.

    Example:

        fedvitals quarantine show http_latency --start -24h --limit 50
    """
    from tasks.core.settings import load_settings
    from tasks.lake.tables import Lake

    settings = load_settings()
    lake = Lake(settings.lake_url)
    lake.required_table(measurement)
    window = asked_window(start, stop, datetime.now(UTC)) if start or stop else None
    rows = _rows(lake.quarantined(measurement, environment, window).tail(limit))
    if not rows:
        # catches typing errors; an environment that is no longer configured still has rows
        settings.environment(environment)
    print_json({"values": rows}) if json else print_table(
        rows, empty="nothing is in quarantine", zone=settings.timezone
    )


@group.command("retry")
def retry(
    measurement: Annotated[
        str | None, typer.Argument(help="Name of the measurement; all when not given.")
    ] = None,
    start: Start = None,
    stop: Stop = None,
    environment: EnvironmentName = None,
    fail_on: FailOnOption = "high",
    json: AsJson = False,
) -> None:
    """Retry quarantined values after a suite or sink was fixed; no source is asked.

    Each hour with quarantined values is validated again as a whole: values that pass are landed and
    loaded, the rest stay with their new reason. Values that a sink refused are sent to it again.
    Values of stage `structural` stay. Exit code 1 when something stays in quarantine.

    Example:

        fedvitals quarantine retry http_latency --start -7d
    """
    from tasks.runs.retry.run import FLOW, RetryRequest
    from tasks.runs.retry.run import retry as steps

    request = RetryRequest(measurement, start, stop)
    receipt = run_plain(FLOW, lambda run: steps(run, request), environment, fail_on)
    finish(receipt, json)


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
