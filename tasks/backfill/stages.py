"""The Prefect tasks of a backfill."""

import sys
import time

from prefect import get_run_logger, runtime
from prefect.artifacts import create_table_artifact

from tasks.backfill.backfilling import Crew, Threads, work_through
from tasks.backfill.plan import Asked, Backfill, make_backfill
from tasks.backfill.progress import shown_course
from tasks.backfill.survey import Survey, survey
from tasks.core.receipt import Receipt
from tasks.core.settings import Settings
from tasks.run.plan import opened_ledger
from tasks.run.staging import log_setup, stage
from tasks.run.toolbox import opened_toolbox
from tasks.stages import Worked

NO_REPORT = (
    "a backfill writes no report, since its window may be longer than memory: fedvitals report "
    "makes one of any window"
)


@stage("plan")
def plan(settings: Settings, asked: Asked) -> Backfill:
    """Checks the whole configuration and says what the run will do."""
    made = make_backfill(settings, asked)
    log_setup(settings, made.plan.warnings)
    return made


@stage("survey")
def look(wanted: Backfill) -> Survey:
    """Counts what there is to do, and estimates how long it will take."""
    with opened_ledger(wanted.plan.settings) as ledger:
        found = survey(wanted, ledger)
    logger = get_run_logger()
    for problem in found.problems:
        logger.warning(problem)
    logger.info(found.line())
    if sys.stderr.isatty():
        print(found.line(), file=sys.stderr)
    return found


@stage("backfill")
def work(wanted: Backfill, found: Survey) -> Worked:
    """Extracts, validates, lands and loads every cell that is still to be read, in threads."""
    with Threads.at_work(wanted.manner.workers) as crew:
        return _work(wanted, found, crew)


def work_on_cluster(wanted: Backfill, found: Survey) -> Worked:
    """The same on a Dask cluster, where each chunk is a task.

    It is no task itself: Prefect would send its parameters along with each chunk, and the workers
    have addresses and secrets of their own.
    """
    # Dask is an extra, and slow to import
    from tasks.backfill.cluster import Cluster

    with Cluster.at_work(wanted) as crew:
        return _work(wanted, found, crew)


def _work(wanted: Backfill, found: Survey, crew: Crew) -> Worked:
    started = time.perf_counter()
    with (
        opened_toolbox(wanted.plan) as toolbox,
        shown_course(found, get_run_logger().info) as tell,
    ):
        notes = (*toolbox.caught_up, *toolbox.other_writer(wanted.plan))
        outcomes = work_through(wanted, found, toolbox, crew, tell)
    seconds = time.perf_counter() - started
    return Worked(outcomes, seconds, sinks=toolbox.sink_names, notes=notes)


@stage("publish")
def publish(receipt: Receipt) -> Receipt:
    """Puts a table of the measurements beside the flow run in Prefect."""
    receipt = receipt.model_copy(update={"notes": (*receipt.notes, NO_REPORT)})
    if runtime.flow_run.id is not None and receipt.measurements:
        create_table_artifact(
            [
                {
                    "measurement": line.name,
                    "state": line.state,
                    "landed": line.values.landed,
                    "unchanged": line.values.unchanged,
                    "quarantined": line.values.quarantined,
                }
                for line in receipt.measurements
            ],
            key="backfill-measurements",
        )
    return receipt
