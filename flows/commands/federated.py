"""`fedvitals federated`: an ad-hoc run of the flow federated."""

import sys
from typing import TYPE_CHECKING

import typer

from flows.commands.collect import summary
from flows.commands.options import AsJson, EnvironmentName, Output

if TYPE_CHECKING:
    from tasks.core.receipt import Receipt


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("federated")(federated)


def federated(
    environment: EnvironmentName = None, output: Output = None, json: AsJson = False
) -> None:
    """Follow the training: its new rounds, who takes part, what is left of the privacy budget.

    Rounds are read since the last poll, all of them when a training was begun anew. Writes
    fl-progress.json, fl-participation.json and fl-privacy.json beside the report. Examples:

    fedvitals federated

    fedvitals federated --output fl --json
    """
    from tasks.core.settings import load_settings
    from tasks.run.plan import make_plan

    # the user's mistakes are found here, before a flow run is begun
    plan = make_plan(load_settings(), environment, "federated", output=output)
    for warning in plan.warnings:
        print(f"fedvitals: {warning}", file=sys.stderr)
    receipt = run_flow(environment=environment, output=str(output) if output else None)
    print(receipt.model_dump_json(indent=2) if json else summary(receipt))
    raise typer.Exit(int(receipt.exit_code))


def run_flow(**parameters: object) -> "Receipt":
    """Runs the flow here and now; its receipt.

    Raises:
        FedvitalsError: what ended the flow before it had a receipt.
    """
    from flows.commands.prefect_server import require_server
    from flows.federated import federated as flow
    from tasks.core.receipt import Receipt

    require_server()
    state = flow(**parameters, return_state=True)
    result = state.result(raise_on_failure=False)
    if isinstance(result, Receipt):
        return result
    raise result if isinstance(result, Exception) else RuntimeError(str(state.message))
