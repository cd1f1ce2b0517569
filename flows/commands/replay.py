"""`fedvitals replay`: an ad-hoc run of the flow replay."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.collect import Type
from flows.commands.options import AsJson, EnvironmentName, Start, Stop
from flows.commands.running import announce, run_flow

if TYPE_CHECKING:
    from tasks.core.receipt import Receipt


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("replay")(replay)


def replay(
    sink: Annotated[str, typer.Option(help="The sink to fill: influxdb.")],
    type: Annotated[Type, typer.Option(help="Which measurements; all is every one.")] = Type.ALL,
    measurement: Annotated[
        list[str] | None, typer.Option(help="Only this measurement; may be repeated.")
    ] = None,
    start: Start = None,
    stop: Stop = None,
    environment: EnvironmentName = None,
    json: AsJson = False,
) -> None:
    """Load any range of the lake into a sink, a new or an emptied one too; no source is asked.

    Without --start it is all that the lake has. Every hour of the range is sent, whatever the ledger
    believes that the sink has. A replay that was stopped can be started again: sending a value twice
    stores it once, and what it left is pending for every later run. Examples:

    fedvitals replay --sink influxdb

    fedvitals replay --sink influxdb --start -30d --measurement http_latency --json
    """
    from tasks.core.settings import load_settings
    from tasks.delivery.runs import plan_of_lake

    names = tuple(measurement or ())
    # the user's mistakes are found here, before a flow run is begun
    announce(plan_of_lake(load_settings(), sink, environment, type.value, names, start, stop))
    receipt: Receipt = run_flow(
        "replay",
        sink=sink,
        environment=environment,
        type=type.value,
        measurements=list(names) or None,
        start=start,
        stop=stop,
    )
    print(receipt.model_dump_json(indent=2) if json else summary(receipt))
    raise typer.Exit(int(receipt.exit_code))


def summary(receipt: "Receipt") -> str:
    """The receipt in a few lines; measurements of which the lake has nothing are left out."""
    lines = [
        f"{receipt.flow} {receipt.run_id} in {receipt.environment}: {receipt.status}",
        f"window   {receipt.window['start']} to {receipt.window['stop']}",
    ]
    for name, counts in receipt.sinks.items():
        lines.append(
            f"{name:<8} {counts.owed} owed: {counts.loaded} loaded, {counts.pending} pending, "
            f"{counts.refused} refused"
        )
    for line in receipt.measurements:
        if line.state != "no_data":
            state = "sent" if line.state == "unchanged" else line.state
            lines.append(f"  {line.name:<28} {state:<12} {line.rows:>9} rows")
            lines += [f"    {problem}" for problem in line.problems]
    lines += [f"note     {note}" for note in receipt.notes]
    return "\n".join(lines)
