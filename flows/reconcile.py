"""The flow `reconcile`: compare a sink with the lake, and fix it on demand."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.core.receipt import FailOn, Receipt
from tasks.runs.reconcile import run as runs
from tasks.stages.flow_run import record


@flow(name="reconcile", persist_result=False)
def reconcile(
    sink: str = "influxdb",
    environment: str | None = None,
    measurements: list[str] | None = None,
    start: str | None = None,
    stop: str | None = None,
    deep: bool = False,
    fix: bool = False,
    fail_on: FailOn = "high",
) -> State[Receipt]:
    """Explain each hour in which a sink differs from the lake.

    Args:
        sink: Which sink.
        environment: Environment of config/environments.yaml; empty: the default one.
        measurements: Only these measurements; empty: the whole catalogue.
        start: ISO 8601 (UTC) or relative to now, such as -7d; empty: all that either side has.
        stop: ISO 8601 (UTC), relative to now, or now; empty: now.
        deep: Compare every value, not only those of hours whose counts or sums differ.
        fix: Load missing values; erase and reload hours that hold other or more values.
        fail_on: Lowest severity in the data that ends the run as Findings.
    """
    request = runs.ReconcileRequest(
        measurements=measurements, start=start, stop=stop, sink=sink, deep=deep, fix=fix
    )
    return record(
        "reconcile", lambda run, step: runs.reconcile(run, request, step), environment, fail_on
    )
