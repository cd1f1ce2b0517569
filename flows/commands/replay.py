"""`fedvitals replay`: an ad-hoc run of the flow replay."""

from typing import Annotated

import typer

from flows.commands.options import (
    AsJson,
    EnvironmentName,
    FailOnOption,
    Measurements,
    MetricTypes,
    Start,
    Stop,
    Verbose,
)
from flows.commands.running import run_command
from flows.commands.summary import finish


def replay(
    sink: Annotated[str, typer.Option(help="Sink to fill, such as influxdb.")],
    type: MetricTypes = "all",
    measurement: Measurements = None,
    start: Start = None,
    stop: Stop = None,
    environment: EnvironmentName = None,
    fail_on: FailOnOption = "high",
    verbose: Verbose = False,
    json: AsJson = False,
) -> None:
    """Load a range of the lake into a new or emptied sink; no source is asked.

    Without --start it sends all that the lake has, whatever the ledger says was loaded. It can be
    stopped and started again: a value sent twice is stored once, and the rest is pending for later
    runs.

    Examples:

        fedvitals replay --sink influxdb

        fedvitals replay --sink influxdb --start -30d --measurement http_latency --json
    """
    from tasks.runs.base.lake_plan import LakeRequest

    request = LakeRequest(type, measurement, start, stop, sink=sink)
    finish(run_command("replay", request, environment, fail_on), json, verbose)
