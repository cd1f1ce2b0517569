"""What the flow collect does up to its report, without Prefect's engine, which takes seconds."""

from collections.abc import Mapping

from tasks.core.receipt import Receipt
from tasks.core.settings import load_settings
from tasks.run.plan import make_plan
from tasks.run.self_watch import watch
from tasks.stages import _keep, receipt_of, work_through


def one_run(variables: Mapping[str, str], start: str | None, stop: str | None) -> Receipt:
    """One run with these environment variables, over a window or over what is due.

    Raises:
        FedvitalsError: as the command would say it, SumsDiffer among them.
    """
    plan = make_plan(load_settings(variables), None, "all", (), start, stop)
    worked = work_through(plan, lambda *_: None)
    receipt = receipt_of("collect", plan, worked)
    _keep(plan, receipt)
    return watch(plan, receipt)
