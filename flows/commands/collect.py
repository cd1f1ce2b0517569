"""`fedvitals collect`: an ad-hoc run of the flow collect."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import AsJson, EnvironmentName, Output, Start, Stop
from flows.commands.running import run_flow
from flows.commands.show import shown_report

if TYPE_CHECKING:
    from tasks.core.receipt import Receipt
    from tasks.core.settings import Settings


class Type(StrEnum):
    """Which measurements of the catalogue."""

    ALL = "all"
    PERFORMANCE = "performance"
    BUSINESS = "business"
    SECURITY = "security"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("collect")(collect)


def collect(
    type: Annotated[Type, typer.Option(help="Which measurements.")] = Type.ALL,
    measurement: Annotated[
        list[str] | None, typer.Option(help="Only this measurement; may be repeated.")
    ] = None,
    start: Start = None,
    stop: Stop = None,
    environment: EnvironmentName = None,
    output: Output = None,
    accept_shrink: Annotated[
        bool,
        typer.Option(
            "--accept-shrink",
            help="Take out of lake and sinks what the source no longer has; otherwise it is kept.",
        ),
    ] = False,
    json: AsJson = False,
) -> None:
    """Collect what is due, or a window: extract, validate, land, load, report.

    Without --start it reads what is due: the newest hour, the one before it again for late values,
    and what earlier runs missed. Examples:

    fedvitals collect

    fedvitals collect --start -24h --stop now --json

    fedvitals collect --measurement training --start -24h --accept-shrink
    """
    from tasks.core.settings import load_settings
    from tasks.run.plan import make_plan

    names = tuple(measurement or ())
    # the user's mistakes are found here, before a flow run is begun
    settings = load_settings()
    plan = make_plan(settings, environment, type.value, names, start, stop, output)
    for warning in plan.warnings:
        print(f"fedvitals: {warning}", file=sys.stderr)
    receipt: Receipt = run_flow(
        "collect",
        environment=environment,
        type=type.value,
        measurements=list(names) or None,
        start=start,
        stop=stop,
        output=str(output) if output else None,
        accept_shrink=accept_shrink,
    )
    print(receipt.model_dump_json(indent=2) if json else summary(receipt, settings))
    raise typer.Exit(int(receipt.exit_code))


def summary(receipt: "Receipt", settings: "Settings | None" = None) -> str:
    """Summarise the receipt in a few lines; with settings the report's URL is among them."""
    values = receipt.values
    lines = [
        f"{receipt.flow} {receipt.run_id} in {receipt.environment}: {receipt.status}",
        f"window   {receipt.window['start']} to {receipt.window['stop']}",
        f"values   {values.extracted} extracted: {values.landed} landed, {values.quarantined} quarantined, "
        f"{values.dropped_by_rule} dropped by rule, {values.unchanged} unchanged; {values.kept} kept"
        + (f", {values.erased} erased" if values.erased else ""),
    ]
    for name, counts in receipt.sinks.items():
        lines.append(
            f"{name:<8} {counts.owed} owed: {counts.loaded} loaded, {counts.pending} pending, "
            f"{counts.refused} refused, {counts.skipped_by_rule} skipped by rule"
        )
    for line in receipt.measurements:
        verdict = line.verdict or {}
        worst = f", worst {verdict['worst']}" if verdict.get("worst") else ""
        lines.append(f"  {line.name:<28} {line.state:<12} {line.values.landed:>9} values{worst}")
        lines += [f"    {problem}" for problem in (*line.problems, *line.warnings)]
    lines += [f"note     {note}" for note in receipt.notes]
    if receipt.report is not None:
        lines.append(f"report   {shown_report(receipt.report, settings)}")
    elif receipt.flow == "collect" and receipt.is_idle:
        lines.append(
            "report   none, since nothing changed; fedvitals report makes one of any window"
        )
    elif receipt.flow == "federated":
        lines.append("report   none, since nothing is new of the training; --output writes one")
    return "\n".join(lines)
