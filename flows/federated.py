"""Follow a federated training: its rounds, its clients and its privacy budget."""

from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.core.receipt import FailOn, Receipt
from tasks.runs import federated as runs
from tasks.stages.flow_run import record


@flow(name="federated", persist_result=False)
def federated(
    environment: str | None = None,
    target: str | None = None,
    metric: Literal["accuracy", "loss"] | None = None,
    total_rounds: int | None = None,
    output: str | None = None,
    fail_on: FailOn = "high",
) -> State[Receipt]:
    """Read the rounds since the last poll and the totals of now, check, land and load them, and
    report how the training stands.

    A poll reads what earlier ones missed as far as the service's history goes, so runs may be
    started by hand at any time. Beside the report it writes fl-progress.json, fl-participation.json,
    fl-privacy.json, convergence-analysis.json and the convergence report. A poll that finds nothing
    new of the training writes none of them, unless `output` asks for it.

    Args:
        environment: Environment of config/environments.yaml; empty: the default one.
        target: Level to reach, such as 0.9, 90% or, of a loss, 0.25; empty: training.target of
            config/environments.yaml. Without one there is no chance to reach it within the budget.
        metric: What the training is judged by; empty: training.metric, else accuracy where there is
            one.
        total_rounds: How many rounds are planned (400 for rounds 1 to 400, and for 0 to 399), where
            the service does not say; empty: training.total_rounds.
        output: Folder for the files and the report; empty: reports/<run> in FEDVITALS_HOME.
        fail_on: The least severity of what the data say that names the end of the run Findings.
    """
    asked = runs.FederatedRequest(target, metric, total_rounds, output)
    return record(
        "federated", lambda run, step: runs.federated(run, asked, step), environment, fail_on
    )
