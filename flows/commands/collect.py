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
    Verbose,
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
            help="Delete from lake and sinks the values that the source no longer has.",
        ),
    ] = False,
    fail_on: FailOnOption = "high",
    verbose: Verbose = False,
    json: AsJson = False,
) -> None:
    """Collect due data, or a window: extract, validate, land, load, report.

    Without --start it reads what is due: the newest hour, earlier hours that may have late rows,
    then missed hours, oldest first, `max_gaps_per_run` of them. A window is read in whole hours.
    Sources without history (`/metrics`, REST API, certificate) give one sample of now. A
    measurement whose source is not configured is left out with a warning; types `health` and
    `pipeline` are collected by name only.

    --allow-deletes removes from the window all values that the source lacks, so the source must be
    complete.

    Examples:

        fedvitals collect

        fedvitals collect --start -24h --stop now --json

        fedvitals collect --measurement training --start -24h --allow-deletes
    """
    from tasks.runs.collect import CollectRequest

    request = CollectRequest(
        type, measurement, start, stop, str(output) if output else None, allow_deletes
    )
    finish(run_command("collect", request, environment, fail_on), json, verbose)
