"""The run `collect`: due data, or a window, from every source into lake and sinks."""

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
    """Options of a collect; `allow_deletes` deletes values lost by their source."""

    allow_deletes: bool = False


def collect(run: Run, request: CollectRequest, step: Step = plain) -> Receipt:
    """Extract, validate, land and load due data; report it."""
    plan = step("plan", make_plan)(run, request)
    collect_by_source(run, plan, step, allow_deletes=request.allow_deletes)
    receipt = step("account", run.account)(covered_window(plan, run.outcomes))
    step("self metrics", land_self_metrics)(run, receipt)
    if request.output or not receipt.is_idle:
        # an idle run skips the imports
        from tasks.runs.base.report import report_run

        step("report", report_run)(run, plan, receipt)
    return step("deliver", deliver)(run, receipt)
