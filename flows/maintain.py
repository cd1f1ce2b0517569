"""The flow `maintain`: compaction, retention and backup of lake and ledger."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.core.receipt import Receipt
from tasks.runs import maintain as runs
from tasks.stages.flow_run import record


@flow(name="maintain", persist_result=False)
def maintain() -> State[Receipt]:
    """Maintain all tables of the lake, the ledger and the reports.

    All environments share them. May be started at any time, also during a collect: a measurement
    locked by another run is skipped until the next time, and reported.
    """
    request = runs.MaintainRequest()
    return record("maintain", lambda run, step: runs.maintain(run, request, step))
