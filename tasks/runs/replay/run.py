"""The run `replay`: what is landed, into a sink again, whatever the ledger believes that it has."""

from functools import partial

from tasks.core.catalogue import Catalogue
from tasks.core.measurement import Measurement
from tasks.core.ports import Sink
from tasks.core.receipt import Outcome, Receipt
from tasks.ledger.locks import RunLock
from tasks.runs.base.deliver import deliver
from tasks.runs.base.lake_plan import LakeRequest, plan_of_lake, sink_of, whole_cells
from tasks.runs.base.plan import Plan, covered_window
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.step import Step, plain
from tasks.runs.base.toolbox import opened_stores
from tasks.runs.replay import measurement as replaying


def replay(run: Run, asked: LakeRequest, step: Step = plain) -> Receipt:
    """Load a range of the lake into the sink, whatever the ledger believes that it has."""
    plan = step("plan", plan_of_lake)(run, asked)
    step(f"lake: load into {asked.sink} ({len(plan.measurements)})", _replay)(run, plan, asked)
    receipt = step("account", run.account)(covered_window(plan, run.outcomes))
    step("self metrics", land_self_metrics)(run, receipt)
    return step("deliver", deliver)(run, receipt)


def _replay(run: Run, plan: Plan, asked: LakeRequest) -> None:
    with opened_stores(run) as sinks:
        sink = sink_of(sinks, asked.sink)
        for measurement in plan.measurements:
            run.work(measurement.name, partial(_replay_one, run, plan, sink, measurement))
    run.notes += _left_out(run, plan)


def _replay_one(
    run: Run, plan: Plan, sink: Sink, measurement: Measurement, lock: RunLock
) -> Outcome:
    pipeline = plan.settings.pipeline
    wanted = replaying.Replay(
        measurement=measurement,
        environment=plan.environment.name,
        window=whole_cells(plan),
        cell=pipeline.cell,
        chunk_rows=pipeline.chunk_rows,
        workers=pipeline.workers,
    )
    stores = replaying.Stores(run.lake, run.ledger, sink, lock)
    return replaying.replay(wanted, stores, run.progress)


def _left_out(run: Run, plan: Plan) -> list[str]:
    """Return the tables without a measurement in the catalogue, for a run of all."""
    catalogue = Catalogue.read(plan.settings.config / "metrics.yaml")
    if len(plan.measurements) < len(catalogue):
        return []
    gone = [name for name in run.lake.names() if name not in catalogue]
    return [f"left out, since no longer in the catalogue: {', '.join(gone)}"] if gone else []
