"""`fedvitals federated`: an ad-hoc run of the flow federated."""

from typing import Annotated, Literal

import typer

from flows.commands.options import (
    AsJson,
    EnvironmentName,
    FailOnOption,
    Output,
    Target,
    TotalRounds,
)
from flows.commands.running import run_command
from flows.commands.summary import finish


def federated(
    environment: EnvironmentName = None,
    target: Target = None,
    metric: Annotated[
        Literal["accuracy", "loss"] | None, typer.Option(help="Metric to judge the training by.")
    ] = None,
    total_rounds: TotalRounds = None,
    output: Output = None,
    fail_on: FailOnOption = "high",
    json: AsJson = False,
) -> None:
    """Follow the training: new rounds, participation, remaining privacy budget.

    Reads the rounds since the last poll, all of them after a restart of the training. Writes
    fl-progress.json, fl-participation.json and fl-privacy.json beside the report. Target, metric and
    total rounds are by default those of environments.yaml. Examples:

    fedvitals federated

    fedvitals federated --target 90% --output fl --json
    """
    from tasks.runs.federated import FederatedRequest

    request = FederatedRequest(target, metric, total_rounds, str(output) if output else None)
    finish(run_command("federated", request, environment, fail_on), json)
