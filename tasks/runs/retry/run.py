"""The run `quarantine retry`: its plan, its measurements in turn, its receipt."""

from dataclasses import dataclass
from functools import partial

from tasks.core.batch import Batch
from tasks.core.catalogue import Catalogue
from tasks.core.measurement import Measurement
from tasks.core.ports import History, Sink
from tasks.core.receipt import Outcome, Receipt
from tasks.core.self_metrics import self_measurement
from tasks.core.window import Window, asked_window
from tasks.lake.tables import Lake
from tasks.ledger.locks import RunLock
from tasks.runs.base import plan as planning
from tasks.runs.base.deliver import deliver
from tasks.runs.base.home import begin
from tasks.runs.base.plan import Plan
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.step import Step, plain
from tasks.runs.base.toolbox import opened_stores, tools_of
from tasks.runs.retry import measurement as retrying
from tasks.runs.retry.measurement import Retry

FLOW = "quarantine retry"


@dataclass
class _Unasked:
    """The source of a run that works from the lake alone."""

    name: str = "none"
    history: History = "sample"

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        raise AssertionError("a retry does not query its source")


@dataclass(frozen=True)
class RetryRequest:
    """The measurement to retry, else each with quarantined values."""

    measurement: str | None = None
    start: str | None = None
    stop: str | None = None


def retry(run: Run, request: RetryRequest, step: Step = plain) -> Receipt:
    """Retry quarantined values through suites and sinks, without a source."""
    plan = step("plan", plan_retry)(run, request)
    name = f"quarantine: validate, land, load ({len(plan.measurements)})"
    step(name, _retry_all)(run, plan)
    receipt = step("account", run.account)(plan.window)
    step("self metrics", land_self_metrics)(run, receipt)
    return step("deliver", deliver)(run, receipt)


def plan_retry(run: Run, request: RetryRequest) -> Plan:
    """Plan the retry of the named measurement, else of each with quarantined values."""
    settings, chosen, name = run.settings, run.environment, request.measurement
    window = asked_window(request.start, request.stop, run.now)
    catalogue = Catalogue.read(settings.config / "metrics.yaml")
    if name is not None:
        catalogue.require(name)
    span = window.widened(settings.pipeline.cell)
    names = [name] if name is not None else dict.fromkeys([*catalogue, *run.lake.names()])
    held = [each for each in names if _holds(run.lake, each, chosen.name, span)]
    measurements = tuple(catalogue[each] for each in held if each in catalogue)
    warnings = tuple(
        f"{each} is no longer in the catalogue; its quarantine stays"
        for each in held
        if each not in catalogue
    )
    for warning in warnings:
        planning.logger.warning(warning)
    begin(run)
    return Plan(
        run_id=run.id,
        now=run.now,
        settings=settings,
        environment=chosen,
        measurements=measurements,
        suites=planning.verified_suites(settings, run.ledger, (*measurements, self_measurement())),
        window=window,
        output=settings.home,
        warnings=warnings,
    )


def _holds(lake: Lake, name: str, environment: str, span: Window) -> bool:
    return bool((lake.quarantined(name, environment, span)["stage"] != "structural").any())


def _retry_all(run: Run, plan: Plan) -> None:
    with opened_stores(run) as sinks:
        try:
            for measurement in plan.measurements:
                run.work(measurement.name, partial(_retry_one, run, plan, sinks, measurement))
        finally:
            # the lake must record landed cells even of an interrupted run
            run.append_states()


def _retry_one(
    run: Run, plan: Plan, sinks: tuple[Sink, ...], measurement: Measurement, lock: RunLock
) -> Outcome:
    assert plan.window is not None, "a retry always has a window"
    pipeline = plan.settings.pipeline
    window = plan.window.widened(pipeline.cell)
    wanted = Retry(measurement, plan.environment.name, window, pipeline.chunk_rows)
    suite = plan.suites[measurement.name]
    return retrying.retry(wanted, tools_of(run, _Unasked(), suite, sinks, lock))
