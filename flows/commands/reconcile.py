"""`fedvitals reconcile`: an ad-hoc run of the flow reconcile."""

from typing import Annotated

import typer

from flows.commands.options import AsJson, EnvironmentName, FailOnOption, Measurements, Start, Stop
from flows.commands.running import run_command
from flows.commands.summary import finish


def reconcile(
    sink: Annotated[str, typer.Option(help="Sink to compare.")] = "influxdb",
    fix: Annotated[bool, typer.Option("--fix", help="Fix differing hours.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare every value, not only hours whose sums differ.")
    ] = False,
    measurement: Measurements = None,
    start: Start = None,
    stop: Stop = None,
    environment: EnvironmentName = None,
    fail_on: FailOnOption = "high",
    json: AsJson = False,
) -> None:
    """Compare a sink with the lake hour by hour, report why they differ, and fix it.

    Reasons, and what --fix does:

    - `pending`, `missing`: not loaded yet, or gone from the bucket; loads the hour
    - `changed`, `extra`: the sink has other or more values; erases the hour and loads it
    - `refused`, `expired`: explained by quarantine or the bucket's retention; nothing

    Without --deep it compares counts and sums of each series, which swapped values and changed
    strings do not alter. Exit code 0: equal, fixed or explained; 1: differences remain; 3: only
    `pending` remains.

    Examples:

        fedvitals reconcile --start -7d

        fedvitals reconcile --fix --measurement http_latency --json
    """
    from tasks.runs.reconcile.run import ReconcileRequest

    request = ReconcileRequest(
        measurements=measurement, start=start, stop=stop, sink=sink, deep=deep, fix=fix
    )
    finish(run_command("reconcile", request, environment, fail_on), json)
