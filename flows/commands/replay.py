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
    sink: Annotated[str, typer.Option(help="The sink to fill, such as influxdb.")],
    type: MetricTypes = "all",
    measurement: Measurements = None,
    start: Start = None,
    stop: Stop = None,
    environment: EnvironmentName = None,
    fail_on: FailOnOption = "high",
    json: AsJson = False,
) -> None:
    """Load any range of the lake into a sink, a new or an emptied one too; no source is asked.

    Without --start it is all that the lake has. Every hour of the range is sent, whatever the ledger
    believes that the sink has. A replay that was stopped can be started again: sending a value twice
    stores it once, and what it left is pending for every later run. Examples:

    fedvitals replay --sink influxdb

    fedvitals replay --sink influxdb --start -30d --measurement http_latency --json
    """
    from tasks.runs.base.lake_plan import LakeRequest

    asked = LakeRequest(type, measurement, start, stop, sink=sink)
    finish(run_command("replay", asked, environment, fail_on), json)
