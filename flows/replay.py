"""Load what is landed into a sink again, from the lake alone."""

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
    """Load any range of the lake into a sink, whatever the ledger believes that it has.

    For a new or an emptied InfluxDB. No source is asked. A replay that was stopped may be started
    again: sending a value twice stores it once.

    Args:
        sink: Which sink.
        environment: Environment of config/environments.yaml; empty: the default one.
        type: Which measurements of the catalogue; all: every one of it.
        measurements: Only these measurements, whatever their type; empty: all of the type.
        start: ISO 8601 (UTC) or relative to now, such as -24h; empty: all that the lake has.
        stop: ISO 8601 (UTC), relative to now, or now; empty: now.
        fail_on: The least severity of what the data say that names the end of the run Findings.
    """
    asked = LakeRequest(type, measurements, start, stop, sink=sink)
    return record("replay", lambda run, step: runs.replay(run, asked, step), environment, fail_on)
