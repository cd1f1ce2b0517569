"""Collecting the measurements of a plan, by source, into lake and sinks."""

from collections.abc import Sequence
from functools import partial

from tasks.core.measurement import Measurement
from tasks.core.receipt import Outcome, Values
from tasks.ledger.locks import RunLock
from tasks.pipeline.collect import work
from tasks.pipeline.due import Job
from tasks.runs.base.plan import Plan, by_source
from tasks.runs.base.run import Run, logger
from tasks.runs.base.step import Step, plain
from tasks.runs.base.toolbox import Toolbox, opened_toolbox


def collect_by_source(
    run: Run, plan: Plan, step: Step = plain, *, allow_deletes: bool = False
) -> None:
    """Process the measurements of each source, one step a source."""
    with opened_toolbox(run, plan) as toolbox:
        for source, entries in by_source(plan.measurements):
            name = f"{source}: extract, validate, land, load ({len(entries)})"
            step(name, collect_measurements)(run, plan, toolbox, entries, allow_deletes)


def collect_measurements(
    run: Run, plan: Plan, toolbox: Toolbox, entries: Sequence[Measurement], allow_deletes: bool
) -> None:
    """Process the measurements, one lock each."""
    before = len(run.outcomes)
    for entry in entries:
        job = plan.job(entry, allow_deletes)
        run.work(entry.name, partial(_work, run, plan, toolbox, job))
    _log_sum(entries[0].source, run.outcomes[before:])


def _work(run: Run, plan: Plan, toolbox: Toolbox, job: Job, lock: RunLock) -> Outcome:
    return work(job, toolbox.tools(plan, job.measurement, lock), run.progress)


def _log_sum(source: str, outcomes: Sequence[Outcome]) -> None:
    values = sum((outcome.values for outcome in outcomes), Values())
    loaded = sum(counts.loaded for outcome in outcomes for counts in outcome.sinks.values())
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    logger.info(
        f"{source}: {len(outcomes)} measurements read, {values.extracted} values extracted, "
        f"{values.landed} landed, {loaded} loaded, {failed} failed"
    )
