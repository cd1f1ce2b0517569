"""`fedvitals report`: build the report of any window from the lake."""

import typer

from flows.commands.options import (
    AsJson,
    EnvironmentName,
    Measurements,
    MetricTypes,
    Output,
    Start,
    Stop,
)
from flows.commands.running import show_warnings
from flows.commands.show import print_json
from flows.commands.summary import summary


def report(
    type: MetricTypes = "all",
    measurement: Measurements = None,
    start: Start = None,
    stop: Stop = None,
    environment: EnvironmentName = None,
    output: Output = None,
    json: AsJson = False,
) -> None:
    """Make the report of any window from the lake; no source or sink is asked.

    Without --start it covers the newest hour and the hour before. The checks run over landed
    values; quarantined values are shown beside them. Exit code 0 also for a window without data or
    with failed checks; 3 when a measurement could not be shown.

    Examples:

        fedvitals report --start -24h

        fedvitals report --start 2026-01-31 --stop 2026-02-01 --measurement training -o yesterday
    """
    from tasks.core.receipt import ExitCode
    from tasks.core.settings import load_settings
    from tasks.runs.base.plan import Request
    from tasks.runs.base.report import report as steps
    from tasks.runs.base.run import Run

    request = Request(type, measurement, start, stop, str(output) if output else None)
    show_warnings()
    settings = load_settings()
    with Run("report", settings, environment) as run:
        receipt = steps(run, request)
    if json:
        export = (receipt.report or "").removesuffix(".html") + ".json"
        print_json({**receipt.model_dump(mode="json"), "export": export})
    else:
        print(summary(receipt, settings))
    if receipt.status == "degraded":
        raise typer.Exit(ExitCode.PARTIAL)
