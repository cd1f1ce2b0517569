"""`fedvitals reconcile`: an ad-hoc run of the flow reconcile."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import AsJson, EnvironmentName, Start, Stop
from flows.commands.running import announce, run_flow

if TYPE_CHECKING:
    from tasks.core.reconciliation import CellDifference, Reconciliation

MOST_LINES = 40


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("reconcile")(reconcile)


def reconcile(
    fix: Annotated[bool, typer.Option("--fix", help="Mend the hours that differ.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare every value, not only where sums differ.")
    ] = False,
    measurement: Annotated[
        list[str] | None, typer.Option(help="Only this measurement; may be repeated.")
    ] = None,
    start: Start = None,
    stop: Stop = None,
    environment: EnvironmentName = None,
    json: AsJson = False,
) -> None:
    """Compare InfluxDB with the lake hour by hour, say why they differ, and mend it.

    Exit code 0: equal, or what differs is known (refused, older than the bucket keeps); 1: differences
    are left; 3: only what is not loaded yet. --fix erases and loads an hour again only when InfluxDB
    holds other or more values in it than were landed. Examples:

    fedvitals reconcile --start -7d

    fedvitals reconcile --fix --measurement http_latency --json
    """
    from flows.reconcile import SINK
    from tasks.core.settings import load_settings
    from tasks.delivery.runs import plan_of_lake

    names = tuple(measurement or ())
    # the user's mistakes are found here, before a flow run is begun
    announce(plan_of_lake(load_settings(), SINK, environment, "all", names, start, stop))
    found: Reconciliation = run_flow(
        "reconcile",
        environment=environment,
        measurements=list(names) or None,
        start=start,
        stop=stop,
        deep=deep,
        fix=fix,
    )
    print(found.model_dump_json(indent=2) if json else summary(found))
    raise typer.Exit(int(found.exit_code))


def summary(found: "Reconciliation") -> str:
    """What was found in a table: a line a measurement, and below it its first cells that differ."""
    left, shown = MOST_LINES, [line for line in found.measurements if line.cells or line.problems]
    lines = [f"reconcile {found.run_id} in {found.environment} with {found.sink}"]
    lines.append(
        f"  {'measurement':<28} {'state':<9} {'cells':>6} {'lake':>10} {'sink':>10} {'differ':>7} {'mended':>7}"
    )
    for line in shown:
        lines.append(
            f"  {line.name:<28} {line.state:<9} {line.cells:>6} {line.lake_values:>10} "
            f"{line.sink_values:>10} {line.differing:>7} {line.mended:>7}"
        )
        lines += [f"    {problem}" for problem in line.problems]
        cells = [each for each in found.differences if each.measurement == line.name]
        lines += [f"    {_cell(each)}" for each in cells[:left]]
        left -= min(left, len(cells))
    hidden = max(0, len(found.differences) - MOST_LINES)
    if hidden:
        lines.append(f"{hidden} more cells differ: --json lists them all")
    if not shown:
        lines.append("neither side has anything")
    lines += [f"note     {note}" for note in found.notes]
    return "\n".join(lines)


def _cell(each: "CellDifference") -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in each.reasons.items())
    what = "; mended" if each.mended else ""
    return f"{each.start}  lake {each.lake.count}, sink {each.sink.count}: {why}{what}"
