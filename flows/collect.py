"""Collects measurements: extract, validate, land, load, tell, report."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import stages
from tasks.core.receipt import Receipt
from tasks.core.settings import load_settings
from tasks.plan import CollectType
from tasks.telling import final_state


@flow(name="collect", persist_result=False)
def collect(
    environment: str | None = None,
    type: CollectType = "all",
    measurements: list[str] | None = None,
    start: str | None = None,
    stop: str | None = None,
    output: str | None = None,
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
    """
    folder = Path(output) if output else None
    names = tuple(measurements or ())
    plan = stages.plan(load_settings(), environment, type, names, start, stop, folder)
    worked = stages.collect(plan)
    receipt = stages.account(collect.name, plan, worked)
    if plan.environment.grafana is not None:
        receipt = stages.annotate(plan, receipt)
    receipt = stages.report(plan, receipt, worked)
    return final_state(receipt)
