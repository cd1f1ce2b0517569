"""Fills back: reads a long stretch of the past, chunk by chunk."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.backfill import stages
from tasks.backfill.plan import FLOW, Asked, Runner
from tasks.core.receipt import Receipt
from tasks.core.settings import load_settings
from tasks.run.plan import PlanType
from tasks.run.telling import final_state
from tasks.stages import account, watch


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
) -> State[Receipt]:
    """Reads a window of the past that is not yet read, checks it, lands it, and loads it.

    It may be killed and started again at any time: what is landed is not read again.

    Args:
        start: ISO 8601 (UTC) or relative to now, such as -30d.
        stop: ISO 8601 (UTC), relative to now, or now.
        environment: Environment of config/environments.yaml; empty: the default one.
        type: Which measurements of the catalogue; those whose source has no past are left out.
        measurements: Only these measurements, whatever their type; empty: all of the type.
        chunk: Length of a chunk, such as 6h; empty: about as many rows as pipeline.chunk_rows.
        replace: Read every cell again, and take out what the source no longer has.
        runner: threads of this process, or a Dask cluster.
        workers: How many chunks at once; empty: pipeline.workers.
        address: Of a Dask scheduler, such as tcp://127.0.0.1:8786; empty: a cluster for this run.
    """
    asked = Asked(
        start, stop, environment, type, measurements, chunk, replace, runner, workers, address
    )
    wanted = stages.plan(load_settings(), asked)
    found = stages.look(wanted)
    on_cluster = wanted.manner.runner == "dask"
    worked = (stages.work_on_cluster if on_cluster else stages.work)(wanted, found)
    receipt = watch(wanted.plan, account(FLOW, wanted.plan, worked))
    receipt = stages.publish(receipt)
    return final_state(receipt)
