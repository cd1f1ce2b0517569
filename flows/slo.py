"""The flow `slo`: the state of every SLO."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.core.receipt import FailOn, Receipt
from tasks.runs.slo import run as runs
from tasks.stages.flow_run import record


@flow(name="slo", persist_result=False)
def slo(environment: str | None = None, fail_on: FailOn = "high") -> State[Receipt]:
    """Judge the SLOs of slos.yaml by the samples of Prometheus, and record their burn rates."""
    request = runs.SloRequest()
    return record("slo", lambda run, step: runs.slo(run, request, step), environment, fail_on)
