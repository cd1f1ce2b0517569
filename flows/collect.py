"""The flow `collect`: extract, validate, land, load, report."""

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
    """Read due data, or a window, validate it, land it, and load it into the sinks.

    A run covers the gaps of earlier runs, so runs may be started by hand at any time, and a second
    run over the same time finds nothing to do.

    Args:
        environment: Environment of config/environments.yaml; empty: the default one.
        type: Type of measurements in the catalogue.
        measurements: Only these measurements, whatever their type; empty: all of the type.
        start: ISO 8601 (UTC) or relative to now, such as -24h; empty: due data.
        stop: ISO 8601 (UTC), relative to now, or now; empty: now.
        output: Folder for the report; empty: reports/<run> in FEDVITALS_HOME.
        allow_deletes: Delete values that the source no longer has from lake and sinks; otherwise they
            are retained.
        fail_on: Lowest severity in the data that ends the run as Findings.
    """
    request = runs.CollectRequest(type, measurements, start, stop, output, allow_deletes)
    return record(
        "collect", lambda run, step: runs.collect(run, request, step), environment, fail_on
    )
