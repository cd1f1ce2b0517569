"""Follows a federated training: its rounds, its clients and its privacy budget."""

from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import stages
from tasks.core.receipt import Receipt
from tasks.core.settings import load_settings
from tasks.run.telling import final_state
from tasks.training import stages as federated_stages


@flow(name="federated", persist_result=False)
def federated(
    environment: str | None = None,
    target: str | None = None,
    metric: Literal["accuracy", "loss"] | None = None,
    total_rounds: int | None = None,
    output: str | None = None,
) -> State[Receipt]:
    """Reads the rounds since the last poll and the totals of now, checks, lands and loads them, and
    tells how the training stands.

    A poll reads what earlier ones missed as far as the service's history goes, so runs may be
    started by hand at any time. Beside the report it writes fl-progress.json, fl-participation.json,
    fl-privacy.json, convergence-analysis.json and the convergence report. A poll that is told nothing
    new of the training writes none of them, unless it is asked to by `output`.

    Args:
        environment: Environment of config/environments.yaml; empty: the default one.
        target: Level to reach, such as 0.9, 90% or, of a loss, 0.25; empty: training.target of
            config/environments.yaml. Without one there is no chance to reach it within the budget.
        metric: What the training is judged by; empty: training.metric, else accuracy where it is told.
        total_rounds: How many rounds are planned (400 for rounds 1 to 400, and for 0 to 399), where
            the service does not say; empty: training.total_rounds.
        output: Folder for the files and the report; empty: reports/<run> in FEDVITALS_HOME.
    """
    settings = load_settings()
    goal = settings.training.asked(metric, target, total_rounds)
    folder = Path(output) if output else None
    plan = stages.plan(settings, environment, "federated", (), None, None, folder)
    worked = stages.collect(plan, False)
    receipt = stages.account(federated.name, plan, worked)
    receipt = stages.watch(plan, receipt)
    seen = federated_stages.look(plan)
    if output or not federated_stages.stands_still(plan, receipt, seen):
        receipt = federated_stages.tell(plan, receipt, seen)
        receipt = federated_stages.judge(plan, receipt, seen, goal)
        receipt = stages.report(plan, receipt, worked)
    return final_state(receipt)
