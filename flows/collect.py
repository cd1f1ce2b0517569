"""Collect measurements: extract, validate, land, load, report."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.core.receipt import FailOn, Receipt
from tasks.runs import collect as runs
from tasks.runs.base.plan import CollectType
from tasks.stages.flow_run import record


@flow(name="collect", persist_result=False)
def collect(
    environment: str | None = None,
    type: CollectType = "all",
    measurements: list[str] | None = None,
    start: str | None = None,
    stop: str | None = None,
    output: str | None = None,
    allow_deletes: bool = False,
    fail_on: FailOn = "high",
) -> State[Receipt]:
    """Read what is due, or a window, check it, land it in the lake, and load it into the sinks.

    A run covers what earlier runs missed, so runs may be started by hand at any time, and a second
    run over the same time finds nothing to do.

    Args:
        environment: Environment of config/environments.yaml; empty: the default one.
        type: Which measurements of the catalogue.
        measurements: Only these measurements, whatever their type; empty: all of the type.
        start: ISO 8601 (UTC) or relative to now, such as -24h; empty: what is due.
        stop: ISO 8601 (UTC), relative to now, or now; empty: now.
        output: Folder for the report; empty: reports/<run> in FEDVITALS_HOME.
        allow_deletes: Values that the source no longer has go from lake and sinks; otherwise they
            are kept.
        fail_on: The least severity of what the data say that names the end of the run Findings.
    """
    asked = runs.CollectRequest(type, measurements, start, stop, output, allow_deletes)
    return record("collect", lambda run, step: runs.collect(run, asked, step), environment, fail_on)
