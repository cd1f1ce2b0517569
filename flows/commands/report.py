"""`fedvitals report`: build the report of any window from the lake."""

from typing import TYPE_CHECKING

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
from flows.commands.show import print_json, shown_report
from flows.commands.summary import window_line

if TYPE_CHECKING:
    from tasks.core.receipt import Receipt
    from tasks.core.settings import Settings


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
    with failed checks.

    Examples:

        fedvitals report --start -24h

        fedvitals report --start 2026-01-31 --stop 2026-02-01 --measurement training -o yesterday
    """
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
        print(_summary(receipt, settings))


def _summary(receipt: "Receipt", settings: "Settings") -> str:
    values = receipt.values
    lines = [
        f"report of {receipt.environment}: {receipt.status}",
        window_line(receipt, settings),
        f"values   {values.landed} landed, {values.quarantined} in quarantine",
    ]
    for line in receipt.measurements:
        failing = f"  fails: {', '.join(line.failing)}" if line.failing else ""
        lines.append(f"  {line.name:<28} {line.state:<8} {line.values.landed:>9} values{failing}")
    lines.append(f"report   {shown_report(receipt.report or '', settings)}")
    return "\n".join(lines)
