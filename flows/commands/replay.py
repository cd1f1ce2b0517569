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
)
from flows.commands.running import run_command
from flows.commands.summary import finish


def replay(
    sink: Annotated[str, typer.Option(help="The sink to fill: influxdb.")],
    type: MetricTypes = "all",
    measurement: Measurements = None,
    start: Start = None,
    stop: Stop = None,
    environment: EnvironmentName = None,
    fail_on: FailOnOption = "high",
    json: AsJson = False,
) -> None:
    """Load any range of the lake into a sink, even a new or emptied one.

    Without --start it is all of the lake. Every hour of the range is sent, whatever the ledger
    records for the sink. A stopped replay can be started again: sending a value twice stores it
    once, and unsent values are pending for every later run. Examples:

    fedvitals replay --sink influxdb

    fedvitals replay --sink influxdb --start -30d --measurement http_latency --json
    """
    from tasks.runs.base.lake_plan import LakeRequest

    request = LakeRequest(type, measurement, start, stop, sink=sink)
    finish(run_command("replay", request, environment, fail_on), json)
