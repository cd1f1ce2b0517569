"""The flow `federated`: a federated training's rounds, clients and privacy budget."""

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
    """Read new rounds and totals, validate, land and load them, judge the training.

    A poll reads gaps of earlier ones as far as the service's history goes, so runs may be started by
    hand at any time. Beside the report it writes fl-progress.json, fl-participation.json,
    fl-privacy.json, convergence-analysis.json and the convergence report; none of them without news
    of the training, unless `output` is set.

    Args:
        environment: Environment of config/environments.yaml; empty: the default one.
        target: Level to reach, such as 0.9, 90% or, of a loss, 0.25; empty: training.target of
            config/environments.yaml. Without one there is no chance to reach it within the budget.
        metric: Metric to judge the training by; empty: training.metric, else accuracy if there is one.
        total_rounds: Planned number of rounds (400 for rounds 1 to 400, and for 0 to 399), where the
            service does not report it; empty: training.total_rounds.
        output: Folder for the files and the report; empty: reports/<run> in FEDVITALS_HOME.
        fail_on: Lowest severity in the data that ends the run as Findings.
    """
    request = runs.FederatedRequest(target, metric, total_rounds, output)
    return record(
        "federated", lambda run, step: runs.federated(run, request, step), environment, fail_on
    )
