"""The flow `replay`: load landed data into a sink again, from the lake alone."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.core.receipt import FailOn, Receipt
from tasks.runs.base.lake_plan import LakeRequest
from tasks.runs.base.plan import CollectType
from tasks.runs.replay import run as runs
from tasks.stages.flow_run import record


@flow(name="replay", persist_result=False)
def replay(
    sink: str = "influxdb",
    environment: str | None = None,
    type: CollectType = "all",
    measurements: list[str] | None = None,
    start: str | None = None,
    stop: str | None = None,
    fail_on: FailOn = "high",
) -> State[Receipt]:
    """Load any range of the lake into a sink, whatever the ledger records for it.

    For a new or an emptied InfluxDB. No source is queried. A stopped replay may be started again:
    sending a value twice stores it once.

    Args:
        sink: Name of the sink.
        environment: Environment of config/environments.yaml; empty: the default one.
        type: Type of measurements in the catalogue; all: the whole catalogue.
        measurements: Only these measurements, whatever their type; empty: all of the type.
        start: ISO 8601 (UTC) or relative to now, such as -24h; empty: all that the lake has.
        stop: ISO 8601 (UTC), relative to now, or now; empty: now.
        fail_on: Lowest severity in the data that ends the run as Findings.
    """
    request = LakeRequest(type, measurements, start, stop, sink=sink)
    return record("replay", lambda run, step: runs.replay(run, request, step), environment, fail_on)
