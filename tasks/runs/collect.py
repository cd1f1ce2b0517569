"""The run `collect`: what is due, or a window, from every source into lake and sinks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tasks.core.measurement import Measurement
from tasks.core.receipt import Outcome, Receipt
from tasks.ledger.locks import RunLock
from tasks.pipeline.collect import work
from tasks.pipeline.due import Job
from tasks.runs.base.deliver import deliver_everywhere
from tasks.runs.base.plan import Plan, Request, by_source, covered_window, make_plan
from tasks.runs.base.run import Run, logger
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.step import Step, plain
from tasks.runs.base.toolbox import Toolbox, opened_toolbox


@dataclass(frozen=True)
class CollectRequest(Request):
    """What is collected; with `accept_shrink` values that a source no longer has are taken out."""

    accept_shrink: bool = False


def collect(run: Run, asked: CollectRequest, step: Step = plain) -> Receipt:
    """Extract, validate, land and load what is due; report it."""
    plan = step("plan", make_plan)(run, asked)
    collect_by_source(run, plan, step, accept_shrink=asked.accept_shrink)
    receipt = step("account", run.account)(covered_window(plan, run.outcomes))
    step("self metrics", land_self_metrics)(run, receipt)
    if asked.output or not receipt.is_idle:
        # a run with nothing to do does not pay for the imports
        from tasks.runs.base.report import report_run

        step("report", report_run)(run, plan, receipt)
    return step("deliver", deliver_everywhere)(run, receipt)


def collect_by_source(
    run: Run, plan: Plan, step: Step = plain, *, accept_shrink: bool = False
) -> None:
    """Take the measurements of each source all the way, one step for each source."""
    with opened_toolbox(run, plan) as toolbox:
        for source, entries in by_source(plan.measurements):
            name = f"{source}: extract, validate, land, load ({len(entries)})"
            step(name, collect_measurements)(run, plan, toolbox, entries, accept_shrink)


def collect_measurements(
    run: Run,
    plan: Plan,
    toolbox: Toolbox,
    entries: Sequence[Measurement],
    accept_shrink: bool = False,
) -> None:
    """Take the measurements all the way, one lock each."""
    before = len(run.outcomes)
    for entry in entries:
        job = Job(
            entry,
            plan.environment.name,
            plan.window,
            plan.now,
            plan.settings.pipeline,
            accept_shrink,
        )
        run.work(entry.name, partial(_work, run, plan, toolbox, job))
    _log_sum(entries[0].source, run.outcomes[before:])


def _work(run: Run, plan: Plan, toolbox: Toolbox, job: Job, lock: RunLock) -> Outcome:
    return work(job, toolbox.tools(plan, job.measurement, lock), run.progress)


def _log_sum(source: str, outcomes: Sequence[Outcome]) -> None:
    values = [outcome.values for outcome in outcomes]
    loaded = sum(counts.loaded for outcome in outcomes for counts in outcome.sinks.values())
    logger.info(
        "%s: %d measurements read, %d values extracted, %d landed, %d loaded, %d failed",
        source,
        len(outcomes),
        sum(one.extracted for one in values),
        sum(one.landed for one in values),
        loaded,
        sum(outcome.state == "failed" for outcome in outcomes),
    )
