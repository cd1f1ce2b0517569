"""Keeps lake, ledger and reports up: compaction, retention, expiry of quarantine, clean-up, backup."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.core.maintained import Maintained
from tasks.core.settings import load_settings
from tasks.upkeep import stages


@flow(name="maintain", persist_result=False)
def maintain() -> State[Maintained]:
    """Keeps every table of the lake, the ledger and the reports up, for all environments, which share
    them.

    May be started at any time, also while measurements are collected: a measurement that another
    run works on is left for the next time, and the run says so.
    """
    plan = stages.plan(load_settings())
    maintained = stages.maintain(plan)
    return stages.final_state(stages.tell(maintained))
