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
    Verbose,
)
from flows.commands.running import run_command
from flows.commands.summary import finish


def federated(
    environment: EnvironmentName = None,
    target: Target = None,
    metric: Annotated[
        Literal["accuracy", "loss"] | None,
        typer.Option(help="Metric that the training is judged by."),
    ] = None,
    total_rounds: TotalRounds = None,
    output: Output = None,
    fail_on: FailOnOption = "high",
    verbose: Verbose = False,
    json: AsJson = False,
) -> None:
    """Follow the training: its new rounds, its clients, and its privacy budget.

    It reads the rounds since the last poll, or all when a new training began, and writes
    fl-progress.json, fl-participation.json, fl-privacy.json and the convergence report beside the
    report; a poll without news writes none of them unless --output is given. Target, metric and
    total rounds default to `training` in environments.yaml. Exit code 1 for a grave finding: a
    collapse, a divergence, an epsilon that came back or exceeds its budget.

    Examples:

        fedvitals federated

        fedvitals federated --target 90% --output fl --json
    """
    from tasks.runs.federated import FederatedRequest

    request = FederatedRequest(target, metric, total_rounds, str(output) if output else None)
    finish(run_command("federated", request, environment, fail_on), json, verbose)
