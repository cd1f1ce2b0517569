"""The Prefect tasks around the work: coarse, uncached, each a thin wrapper of plain functions."""

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import get_run_logger

from tasks.chunk.work import SOURCES_WITH_HISTORY
from tasks.core.errors import FedvitalsError
from tasks.core.receipt import ExitCode, Outcome, Receipt, given_up, write_receipt
from tasks.core.retry import counted_retries
from tasks.core.settings import Settings
from tasks.lake.windows import WINDOWS, append_states
from tasks.run import plan as planning
from tasks.run import self_watch
from tasks.run.plan import Plan, PlanType, covered_window, opened_ledger
from tasks.run.progress import shown_progress
from tasks.run.rounds import Job, Progress, work
from tasks.run.staging import stage
from tasks.run.toolbox import Toolbox, opened_toolbox

# a mark on a dashboard is worth no longer wait
CHANNEL_PATIENCE = timedelta(seconds=10)


@dataclass(frozen=True)
class Worked:
    """What became of each measurement, how many seconds all of it took, and what was tried again."""

    outcomes: tuple[Outcome, ...]
    seconds: float
    retries: int = 0


@stage("plan")
def plan(
    settings: Settings,
    environment: str | None,
    type: PlanType,
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


@stage("collect")
def collect(plan: Plan, accept_shrink: bool) -> Worked:
    """Extracts, validates, lands and loads every measurement of the plan."""
    with shown_progress() as progress:
        return work_through(plan, progress, accept_shrink=accept_shrink)


@stage("account")
def account(flow: str, plan: Plan, worked: Worked) -> Receipt:
    """Adds up what became of every value, and keeps the receipt in the ledger."""
    receipt = receipt_of(flow, plan, worked)
    _keep(plan, receipt)
    return receipt


@stage("watch")
def watch(plan: Plan, receipt: Receipt) -> Receipt:
    """Lands and loads the run's own figures; when that fails, a note on the receipt says so."""
    watched = self_watch.watch(plan, receipt)
    for note in watched.notes[len(receipt.notes) :]:
        get_run_logger().warning(note)
    _keep(plan, watched)
    return watched


@stage("heartbeat")
def heartbeat(plan: Plan, receipt: Receipt) -> Receipt:
    """Tells the heartbeat's address of a good run; when that fails, a note on the receipt says so."""
    from tasks.channels.heartbeat import Heartbeat

    url = plan.settings.heartbeat_url
    if url is None or receipt.exit_code != ExitCode.GOOD:
        return receipt
    try:
        Heartbeat(url).send()
    except FedvitalsError as error:
        get_run_logger().warning(str(error))
        receipt = receipt.model_copy(update={"notes": (*receipt.notes, str(error))})
        _keep(plan, receipt)
    return receipt


@stage("annotate")
def annotate(plan: Plan, receipt: Receipt) -> Receipt:
    """Marks the run on Grafana's dashboards; when that fails, a note on the receipt says so."""
    from tasks.channels.grafana import GrafanaChannel, annotation_of

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


@stage("report")
def report(plan: Plan, receipt: Receipt, worked: Worked) -> Receipt:
    """Writes the report, publishes it as artifacts, and puts its path on the receipt."""
    # a run with nothing to do does not pay for the imports
    from tasks.run.reporting import read_lake, write_report
    from tasks.run.telling import publish_artifacts

    window = covered_window(plan, worked.outcomes)
    held = read_lake(plan, window)
    written = write_report(plan, window, receipt, worked.outcomes, held)
    publish_artifacts(written, receipt, plan.settings)
    receipt = receipt.model_copy(update={"report": str(written.files.html)})
    _keep(plan, receipt)
    return receipt


def _keep(plan: Plan, receipt: Receipt) -> None:
    with opened_ledger(plan.settings) as ledger:
        ledger.keep_receipt(receipt)


def work_through(plan: Plan, progress: Progress, *, accept_shrink: bool = False) -> Worked:
    """Works through every measurement of the plan, one lock each; one append to _windows for all.

    With `accept_shrink` landed values that their source no longer has are taken out.

    Raises:
        FedvitalsError: when the tools cannot be opened; nothing was done then.
    """
    started = time.perf_counter()
    outcomes: list[Outcome] = []
    with counted_retries() as retries, opened_toolbox(plan) as toolbox:
        outcomes += told_of(toolbox)
        try:
            for job in _jobs(plan, accept_shrink):
                outcomes.append(_work(job, plan, toolbox, progress))
        finally:
            # what is landed has to be told, even by a run that is interrupted
            outcomes += _append_states(toolbox)
    seconds = time.perf_counter() - started
    return Worked(outcomes=tuple(outcomes), seconds=seconds, retries=retries.value)


def told_of(toolbox: Toolbox) -> list[Outcome]:
    """What is to be said of a ledger that was taught what it had missed."""
    if not toolbox.caught_up:
        return []
    return [Outcome(measurement=WINDOWS, state="unchanged", warnings=toolbox.caught_up)]


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
        retries=worked.retries,
    )


def _jobs(plan: Plan, accept_shrink: bool) -> list[Job]:
    """Samples come first, since they are dated with the run's time; the past can wait."""
    entries = sorted(plan.measurements, key=lambda entry: entry.source in SOURCES_WITH_HISTORY)
    return [
        Job(
            entry,
            plan.environment.name,
            plan.window,
            plan.now,
            plan.settings.pipeline,
            accept_shrink,
        )
        for entry in entries
    ]


def _work(job: Job, plan: Plan, toolbox: Toolbox, progress: Progress) -> Outcome:
    name = job.measurement.name
    try:
        with toolbox.locks.hold(name, job.environment, plan.run_id) as lock:
            return work(job, toolbox.tools(plan, job.measurement, lock), progress)
    except FedvitalsError as error:
        return given_up(name, error)
