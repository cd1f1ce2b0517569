"""The Prefect tasks around the work: coarse, uncached, each a thin wrapper of plain functions."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from tasks import plan as planning
from tasks.core.errors import LockHeld
from tasks.core.receipt import Outcome, Receipt, write_receipt
from tasks.core.settings import Settings
from tasks.core.window import Window, floor
from tasks.lake.windows import append_states
from tasks.plan import CollectType, Plan, Toolbox, opened_ledger, opened_toolbox
from tasks.progress import shown_progress
from tasks.rounds import Job, Progress, work
from tasks.telling import final_state, publish_artifacts, write_report

# what travels between stages stays in this process: nothing is cached, stored or run again
PLAIN: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


@dataclass(frozen=True)
class Worked:
    """What became of each measurement, and how many seconds all of it took."""

    outcomes: tuple[Outcome, ...]
    seconds: float


@task(name="plan", **PLAIN)
def plan(
    settings: Settings,
    environment: str | None,
    type: CollectType,
    measurements: tuple[str, ...],
    start: str | None,
    stop: str | None,
    output: Path | None,
) -> Plan:
    """Checks the whole configuration and says what the run will do."""
    return planning.make_plan(settings, environment, type, measurements, start, stop, output)


@task(name="collect", **PLAIN)
def collect(plan: Plan) -> Worked:
    """Extracts, validates, lands and loads every measurement of the plan."""
    with shown_progress() as progress:
        return work_through(plan, progress)


@task(name="account", **PLAIN)
def account(flow: str, plan: Plan, worked: Worked) -> Receipt:
    """Adds up what became of every value."""
    return receipt_of(flow, plan, worked)


@task(name="report", **PLAIN)
def report(plan: Plan, receipt: Receipt, worked: Worked) -> Receipt:
    """Writes the report, publishes it as artifacts, and puts its path on the receipt."""
    written = write_report(plan, covered_window(plan), receipt, worked.outcomes)
    publish_artifacts(written, receipt)
    return receipt.model_copy(update={"report": str(written.files.html)})


def close(plan: Plan, receipt: Receipt) -> State[Receipt]:
    """Keeps the receipt in the ledger and says how the run ended."""
    with opened_ledger(plan.settings) as ledger:
        ledger.keep_run(
            receipt.run_id, receipt.flow, receipt.environment, receipt.model_dump_json()
        )
    return final_state(receipt)


def work_through(plan: Plan, progress: Progress) -> Worked:
    """Works through every measurement of the plan, one lock each; one append to _windows for all.

    Raises:
        FedvitalsError: when the tools cannot be opened; nothing was done then.
    """
    started = time.perf_counter()
    with opened_toolbox(plan) as toolbox:
        try:
            outcomes = tuple(_work(job, plan, toolbox, progress) for job in _jobs(plan))
        finally:
            append_states(toolbox.lake, toolbox.states)
    return Worked(outcomes=outcomes, seconds=time.perf_counter() - started)


def receipt_of(flow: str, plan: Plan, worked: Worked) -> Receipt:
    """The run's receipt.

    Raises:
        SumsDiffer: when a value is unaccounted for.
    """
    return write_receipt(
        flow=flow,
        run_id=plan.run_id,
        environment=plan.environment.name,
        window=covered_window(plan),
        outcomes=worked.outcomes,
        seconds={"collect": worked.seconds},
    )


def covered_window(plan: Plan) -> Window:
    """The window that the run is about: the given one, else the cells of a first run up to now."""
    if plan.window is not None:
        return plan.window
    pipeline = plan.settings.pipeline
    newest = floor(plan.now - pipeline.settle_delay, pipeline.cell)
    return Window(newest - pipeline.start_at * pipeline.cell, plan.now)


def _jobs(plan: Plan) -> list[Job]:
    return [
        Job(entry, plan.environment.name, plan.window, plan.now, plan.settings.pipeline)
        for entry in plan.measurements
    ]


def _work(job: Job, plan: Plan, toolbox: Toolbox, progress: Progress) -> Outcome:
    name = job.measurement.name
    try:
        with toolbox.locks.hold(name, job.environment, plan.run_id) as lock:
            return work(job, toolbox.tools(plan, job.measurement, lock), progress)
    except LockHeld as error:
        return Outcome(measurement=name, state="failed", problems=(str(error),))
