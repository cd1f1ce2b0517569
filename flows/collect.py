"""Collects measurements: extract, validate, land, load, tell, report."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import stages
from tasks.core.receipt import Receipt
from tasks.core.settings import load_settings
from tasks.run.plan import CollectType
from tasks.run.telling import final_state


@flow(name="collect", persist_result=False)
def collect(
    environment: str | None = None,
    type: CollectType = "all",
    measurements: list[str] | None = None,
    start: str | None = None,
    stop: str | None = None,
    output: str | None = None,
    accept_shrink: bool = False,
) -> State[Receipt]:
    """Reads what is due, or a window, checks it, lands it in the lake, and loads it into the sinks.

    A run covers what earlier runs missed, so runs may be started by hand at any time, and a second
    run over the same time finds nothing to do.

    Args:
        environment: Environment of config/environments.yaml; empty: the default one.
        type: Which measurements of the catalogue.
        measurements: Only these measurements, whatever their type; empty: all of the type.
        start: ISO 8601 (UTC) or relative to now, such as -24h; empty: what is due.
        stop: ISO 8601 (UTC), relative to now, or now; empty: now.
        output: Folder for the report; empty: reports/<run> in FEDVITALS_HOME.
        accept_shrink: Values that the source no longer has go from lake and sinks; otherwise they
            are kept.
    """
    folder = Path(output) if output else None
    names = tuple(measurements or ())
    plan = stages.plan(load_settings(), environment, type, names, start, stop, folder)
    worked = stages.collect(plan, accept_shrink)
    receipt = stages.account(collect.name, plan, worked)
    receipt = stages.watch(plan, receipt)
    if plan.environment.grafana is not None:
        receipt = stages.annotate(plan, receipt)
    if output or not receipt.is_idle:
        receipt = stages.report(plan, receipt, worked)
    if plan.settings.heartbeat_url is not None:
        receipt = stages.heartbeat(plan, receipt)
    return final_state(receipt)
