"""Collects measurements: extract, validate, land, load, report."""

from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks import stages
from tasks.core.receipt import Receipt
from tasks.core.settings import load_settings
from tasks.plan import CollectType

EnvironmentName = Annotated[
    str | None,
    Field(description="Environment of config/environments.yaml; the default one when empty"),
]
Moment = Annotated[
    str | None,
    Field(description="ISO 8601 (UTC) or relative to now, such as -24h; empty: what is due"),
]


@flow(name="collect", persist_result=False)
def collect(
    environment: EnvironmentName = None,
    type: Annotated[
        CollectType, Field(description="Which measurements of the catalogue")
    ] = "performance",
    measurements: Annotated[
        list[str] | None, Field(description="Only these measurements; empty: all of the type")
    ] = None,
    start: Moment = None,
    stop: Moment = None,
    output: Annotated[
        str | None,
        Field(description="Folder for the report; empty: reports/<run> in FEDVITALS_HOME"),
    ] = None,
) -> State[Receipt]:
    """Reads what is due, or a window, checks it, lands it in the lake, and loads it into the sinks.

    A run covers what earlier runs missed, so runs may be started by hand at any time, and a second
    run over the same time finds nothing to do.
    """
    folder = Path(output) if output else None
    names = tuple(measurements or ())
    plan = stages.plan(load_settings(), environment, type, names, start, stop, folder)
    worked = stages.collect(plan)
    receipt = stages.account(collect.name, plan, worked)
    receipt = stages.report(plan, receipt, worked)
    return stages.close(plan, receipt)
