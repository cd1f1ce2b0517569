"""The flow `backfill`: read a long window of the past, chunk by chunk."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.workers import workers_of
from tasks.core.receipt import FailOn, Receipt
from tasks.runs.backfill import run as runs
from tasks.runs.backfill.plan import FLOW, BackfillRequest, Runner
from tasks.runs.base.plan import PlanType
from tasks.stages.flow_run import record


@flow(name=FLOW, persist_result=False)
def backfill(
    start: str,
    stop: str = "now",
    environment: str | None = None,
    type: PlanType = "all",
    measurements: list[str] | None = None,
    chunk: str | None = None,
    replace: bool = False,
    runner: Runner = "threads",
    workers: int | None = None,
    address: str | None = None,
    fail_on: FailOn = "high",
) -> State[Receipt]:
    """Read the unread part of a past window, validate it, land it, and load it.

    It may be killed and restarted at any time: landed cells are not read again.

    Args:
        start: ISO 8601 (UTC) or relative to now, such as -30d.
        stop: ISO 8601 (UTC), relative to now, or now.
        environment: Environment of config/environments.yaml; empty: the default one.
        type: Type of measurements in the catalogue; those whose source has no history are skipped.
        measurements: Only these measurements, whatever their type; empty: all of the type.
        chunk: Length of a chunk, such as 6h; empty: about pipeline.chunk_rows rows.
        replace: Read every cell again, and delete values that the source no longer has.
        runner: threads of this process, or a Dask cluster.
        workers: Concurrent chunks; empty: pipeline.workers.
        address: Dask scheduler, such as tcp://127.0.0.1:8786; empty: a cluster for this run.
        fail_on: Lowest severity in the data that ends the run as Findings.
    """
    request = BackfillRequest(
        start, stop, type, measurements, chunk, replace, runner, workers, address
    )
    return record(
        FLOW,
        lambda run, step: runs.backfill(run, request, step, workers_of(runner)),
        environment,
        fail_on,
    )
