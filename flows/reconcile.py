"""Compares what InfluxDB holds with the lake, and mends it on demand."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.core.reconciliation import Reconciliation
from tasks.core.settings import load_settings
from tasks.delivery import stages
from tasks.delivery.runs import How

SINK = "influxdb"


@flow(name="reconcile", persist_result=False)
def reconcile(
    environment: str | None = None,
    measurements: list[str] | None = None,
    start: str | None = None,
    stop: str | None = None,
    deep: bool = False,
    fix: bool = False,
) -> State[Reconciliation]:
    """Says for each hour in which InfluxDB differs from the lake why it does.

    Args:
        environment: Environment of config/environments.yaml; empty: the default one.
        measurements: Only these measurements; empty: the whole catalogue.
        start: ISO 8601 (UTC) or relative to now, such as -7d; empty: all that either side has.
        stop: ISO 8601 (UTC), relative to now, or now; empty: now.
        deep: Compares every value, not only those of hours whose counts or sums differ.
        fix: Loads what is missing; erases and loads hours that hold other or more values.
    """
    names = tuple(measurements or ())
    plan = stages.plan(load_settings(), SINK, environment, "all", names, start, stop)
    found = stages.reconcile(plan, SINK, How(deep=deep, fix=fix))
    return stages.final_state(stages.tell(found))
