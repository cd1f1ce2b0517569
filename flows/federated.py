"""Follows a federated training: its rounds, its clients and its privacy budget."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import stages
from tasks.core.receipt import Receipt
from tasks.core.settings import load_settings
from tasks.run.telling import final_state
from tasks.training import stages as federated_stages


@flow(name="federated", persist_result=False)
def federated(environment: str | None = None, output: str | None = None) -> State[Receipt]:
    """Reads the rounds since the last poll and the totals of now, checks, lands and loads them, and
    tells how the training stands.

    A poll reads what earlier ones missed as far as the service's history goes, so runs may be
    started by hand at any time. Beside the report it writes fl-progress.json, fl-participation.json,
    fl-privacy.json, convergence-analysis.json and the convergence report.

    Args:
        environment: Environment of config/environments.yaml; empty: the default one.
        output: Folder for the files and the report; empty: reports/<run> in FEDVITALS_HOME.
    """
    folder = Path(output) if output else None
    plan = stages.plan(load_settings(), environment, "federated", (), None, None, folder)
    worked = stages.collect(plan, False)
    receipt = stages.account(federated.name, plan, worked)
    receipt = stages.watch(plan, receipt)
    if output or not receipt.is_idle:
        seen = federated_stages.look(plan)
        receipt = federated_stages.tell(plan, receipt, seen)
        receipt = federated_stages.judge(plan, receipt, seen)
        receipt = stages.report(plan, receipt, worked)
    return final_state(receipt)
