"""`fedvitals federated`: an ad-hoc run of the flow federated."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.commands.collect import summary
from flows.commands.options import AsJson, EnvironmentName, Output, Target, TotalRounds
from flows.commands.running import run_flow

if TYPE_CHECKING:
    from tasks.core.receipt import Receipt


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("federated")(federated)


def federated(
    environment: EnvironmentName = None,
    target: Target = None,
    metric: Annotated[
        Literal["accuracy", "loss"] | None, typer.Option(help="What the training is judged by.")
    ] = None,
    total_rounds: TotalRounds = None,
    output: Output = None,
    json: AsJson = False,
) -> None:
    """Follow the training: its new rounds, who takes part, what is left of the privacy budget.

    Rounds are read since the last poll, all of them when a training was begun anew. Writes
    fl-progress.json, fl-participation.json and fl-privacy.json beside the report. What is not given
    of target, metric and total rounds is as environments.yaml has it. Examples:

    fedvitals federated

    fedvitals federated --target 90% --output fl --json
    """
    from tasks.core.settings import load_settings
    from tasks.run.plan import make_plan

    # the user's mistakes are found here, before a flow run is begun
    settings = load_settings()
    settings.training.asked(metric, target, total_rounds)
    plan = make_plan(settings, environment, "federated", output=output)
    for warning in plan.warnings:
        print(f"fedvitals: {warning}", file=sys.stderr)
    receipt: Receipt = run_flow(
        "federated",
        environment=environment,
        target=target,
        metric=metric,
        total_rounds=total_rounds,
        output=str(output) if output else None,
    )
    print(receipt.model_dump_json(indent=2) if json else summary(receipt, settings))
    raise typer.Exit(int(receipt.exit_code))
