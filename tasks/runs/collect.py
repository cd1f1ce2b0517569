"""The run `collect`: what is due, or a window, from every source into lake and sinks."""

from dataclasses import dataclass

from tasks.core.receipt import Receipt
from tasks.runs.base.collecting import collect_by_source
from tasks.runs.base.deliver import deliver
from tasks.runs.base.plan import Request, covered_window, make_plan
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.step import Step, plain


@dataclass(frozen=True)
class CollectRequest(Request):
    """What is collected; with `allow_deletes` values that a source no longer has are taken out."""

    allow_deletes: bool = False


def collect(run: Run, asked: CollectRequest, step: Step = plain) -> Receipt:
    """Extract, validate, land and load what is due; report it."""
    plan = step("plan", make_plan)(run, asked)
    collect_by_source(run, plan, step, allow_deletes=asked.allow_deletes)
    receipt = step("account", run.account)(covered_window(plan, run.outcomes))
    step("self metrics", land_self_metrics)(run, receipt)
    if asked.output or not receipt.is_idle:
        # a run with nothing to do does not pay for the imports
        from tasks.runs.base.report import report_run

        step("report", report_run)(run, plan, receipt)
    return step("deliver", deliver)(run, receipt)
