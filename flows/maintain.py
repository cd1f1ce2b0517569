"""Maintain lake, ledger and reports: compaction, retention, expiry of quarantine, clean-up, backup."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.core.receipt import Receipt
from tasks.runs import maintain as runs
from tasks.stages.flow_run import record


@flow(name="maintain", persist_result=False)
def maintain() -> State[Receipt]:
    """Maintain every table of the lake, the ledger and the reports, for all environments, which
    share them.

    May be started at any time, also while measurements are collected: a measurement that another
    run works on is left for the next time, and the run says so.
    """
    asked = runs.MaintainRequest()
    return record("maintain", lambda run, step: runs.maintain(run, asked, step))
