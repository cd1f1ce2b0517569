"""`fedvitals collect`: an ad-hoc run of the flow collect."""

from typing import Annotated

import typer

from flows.commands.options import (
    AsJson,
    EnvironmentName,
    FailOnOption,
    Measurements,
    MetricTypes,
    Output,
    Start,
    Stop,
)
from flows.commands.running import run_command
from flows.commands.summary import finish


def collect(
    type: MetricTypes = "all",
    measurement: Measurements = None,
    start: Start = None,
    stop: Stop = None,
    environment: EnvironmentName = None,
    output: Output = None,
    allow_deletes: Annotated[
        bool,
        typer.Option(
            "--allow-deletes",
            help="Delete from lake and sinks what the source no longer has; otherwise it is retained.",
        ),
    ] = False,
    fail_on: FailOnOption = "high",
    json: AsJson = False,
) -> None:
    """Collect due data, or a window: extract, validate, land, load, report.

    Without --start it reads due data: the newest hour, the one before it again for late values,
    and the gaps of earlier runs. Examples:

    fedvitals collect

    fedvitals collect --start -24h --stop now --json

    fedvitals collect --measurement training --start -24h --allow-deletes
    """
    from tasks.runs.collect import CollectRequest

    request = CollectRequest(
        type, measurement, start, stop, str(output) if output else None, allow_deletes
    )
    finish(run_command("collect", request, environment, fail_on), json)
