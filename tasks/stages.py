"""The Prefect tasks around the work: coarse, uncached, each a thin wrapper of plain functions."""

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks import plan as planning
from tasks.channels.grafana import GrafanaChannel, annotation_of
from tasks.core.errors import FedvitalsError
from tasks.core.receipt import Outcome, Receipt, write_receipt
from tasks.core.settings import Settings
from tasks.lake.windows import WINDOWS, append_states
from tasks.plan import CollectType, Plan, covered_window, opened_ledger
from tasks.progress import shown_progress
from tasks.reporting import read_lake, write_report
from tasks.rounds import Job, Progress, work
from tasks.telling import publish_artifacts
from tasks.toolbox import Toolbox, opened_toolbox
from tasks.work import SOURCES_WITH_HISTORY

# what travels between stages stays in this process: nothing is cached, stored or run again
PLAIN: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
# a mark on a dashboard is worth no longer wait
CHANNEL_PATIENCE = timedelta(seconds=10)


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
    made = planning.make_plan(settings, environment, type, measurements, start, stop, output)
    for warning in made.warnings:
        get_run_logger().warning(warning)
    return made


@task(name="collect", **PLAIN)
def collect(plan: Plan) -> Worked:
    """Extracts, validates, lands and loads every measurement of the plan."""
    with shown_progress() as progress:
        return work_through(plan, progress)


@task(name="account", **PLAIN)
def account(flow: str, plan: Plan, worked: Worked) -> Receipt:
    """Adds up what became of every value, and keeps the receipt in the ledger."""
    receipt = receipt_of(flow, plan, worked)
    _keep(plan, receipt)
    return receipt


@task(name="annotate", **PLAIN)
def annotate(plan: Plan, receipt: Receipt) -> Receipt:
    """Marks the run on Grafana's dashboards; when that fails, a note on the receipt says so."""
    service = plan.environment.grafana
    if service is None or service.token is None:
        return receipt
    patience = min(plan.settings.pipeline.patience, CHANNEL_PATIENCE)
    try:
        with closing(GrafanaChannel(service, patience)) as channel:
            channel.send(annotation_of(receipt, datetime.now(UTC)))
    except FedvitalsError as error:
        get_run_logger().warning(str(error))
        return receipt.model_copy(update={"notes": (*receipt.notes, str(error))})
    return receipt


@task(name="report", **PLAIN)
def report(plan: Plan, receipt: Receipt, worked: Worked) -> Receipt:
    """Writes the report, publishes it as artifacts, and puts its path on the receipt."""
    window = covered_window(plan, worked.outcomes)
    held = read_lake(plan, window)
    written = write_report(plan, window, receipt, worked.outcomes, held)
    publish_artifacts(written, receipt)
    receipt = receipt.model_copy(update={"report": str(written.files.html)})
    _keep(plan, receipt)
    return receipt


def _keep(plan: Plan, receipt: Receipt) -> None:
    with opened_ledger(plan.settings) as ledger:
        ledger.keep_run(
            receipt.run_id, receipt.flow, receipt.environment, receipt.model_dump_json()
        )


def work_through(plan: Plan, progress: Progress) -> Worked:
    """Works through every measurement of the plan, one lock each; one append to _windows for all.

    Raises:
        FedvitalsError: when the tools cannot be opened; nothing was done then.
    """
    started = time.perf_counter()
    outcomes: list[Outcome] = []
    with opened_toolbox(plan) as toolbox:
        try:
            for job in _jobs(plan):
                outcomes.append(_work(job, plan, toolbox, progress))
        finally:
            # what is landed has to be told, even by a run that is interrupted
            outcomes += _append_states(toolbox)
    return Worked(outcomes=tuple(outcomes), seconds=time.perf_counter() - started)


def _append_states(toolbox: Toolbox) -> list[Outcome]:
    """One append for all cells; a failure is an outcome, since it must not hide the others."""
    try:
        append_states(toolbox.lake, toolbox.states)
    except FedvitalsError as error:
        return [Outcome(measurement=WINDOWS, state="failed", problems=(str(error),))]
    return []


def receipt_of(flow: str, plan: Plan, worked: Worked) -> Receipt:
    """The run's receipt.

    Raises:
        SumsDiffer: when a value is unaccounted for.
    """
    return write_receipt(
        flow=flow,
        run_id=plan.run_id,
        environment=plan.environment.name,
        window=covered_window(plan, worked.outcomes),
        outcomes=worked.outcomes,
        seconds={"collect": worked.seconds},
    )


def _jobs(plan: Plan) -> list[Job]:
    """Samples come first, since they are dated with the run's time; the past can wait."""
    entries = sorted(plan.measurements, key=lambda entry: entry.source in SOURCES_WITH_HISTORY)
    return [
        Job(entry, plan.environment.name, plan.window, plan.now, plan.settings.pipeline)
        for entry in entries
    ]


def _work(job: Job, plan: Plan, toolbox: Toolbox, progress: Progress) -> Outcome:
    name = job.measurement.name
    try:
        with toolbox.locks.hold(name, job.environment, plan.run_id) as lock:
            return work(job, toolbox.tools(plan, job.measurement, lock), progress)
    except FedvitalsError as error:
        return Outcome(measurement=name, state="failed", problems=(str(error),))
