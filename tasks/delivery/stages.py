"""The Prefect tasks of `replay` and `reconcile`, and how a reconcile's flow run ends."""

import re

from prefect import get_run_logger, runtime
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.core.receipt import ExitCode, Receipt
from tasks.core.reconciliation import CellDifference, Reconciliation
from tasks.core.settings import Settings
from tasks.delivery import runs as sink_runs
from tasks.delivery.runs import How
from tasks.run.plan import CollectType, Plan
from tasks.run.progress import shown_progress
from tasks.run.staging import log_setup, stage

# an artifact of more than 64 KB would lose its event
MOST_ROWS = 200


@stage("plan")
def plan(
    settings: Settings,
    sink: str,
    environment: str | None,
    type: CollectType,
    measurements: tuple[str, ...],
    start: str | None,
    stop: str | None,
) -> Plan:
    """Checks the whole configuration and says which part of the lake it is about."""
    made = sink_runs.plan_of_lake(settings, sink, environment, type, measurements, start, stop)
    log_setup(settings, made.warnings)
    return made


@stage("replay")
def replay(plan: Plan, sink: str) -> Receipt:
    """Brings the range into the sink, group by group."""
    with shown_progress() as progress:
        receipt = sink_runs.run_replay(plan, sink, progress)
    problems = (problem for line in receipt.measurements for problem in line.problems)
    for warning in (*receipt.notes, *problems):
        get_run_logger().warning(warning)
    return receipt


@stage("reconcile")
def reconcile(plan: Plan, sink: str, how: How) -> Reconciliation:
    """Compares the range with the sink, and mends it if that was asked for."""
    with shown_progress() as progress:
        found = sink_runs.run_reconcile(plan, sink, how, progress)
    problems = (problem for line in found.measurements for problem in line.problems)
    for warning in (*found.notes, *problems):
        get_run_logger().warning(warning)
    return found


@stage("tell")
def tell(found: Reconciliation) -> Reconciliation:
    """Puts the differences, or a line a measurement when there are none, beside the flow run."""
    if runtime.flow_run.id is None:
        return found
    rows = [_row(each) for each in found.differences[:MOST_ROWS]] or [
        line.model_dump(mode="json", exclude={"problems"})
        for line in found.measurements[:MOST_ROWS]
    ]
    key = re.sub(r"[^a-z0-9]+", "-", f"reconcile-{found.environment}".lower())
    create_table_artifact(rows, key=key, description=_message(found))
    return found


def _row(each: CellDifference) -> dict[str, str | int]:
    return {
        "measurement": each.measurement,
        "start": each.start,
        "lake": each.lake.count,
        "sink": each.sink.count,
        "why": ", ".join(f"{count} {why}" for why, count in each.reasons.items()),
        "mended": "yes" if each.mended else "no",
    }


def _message(found: Reconciliation) -> str:
    differing = sum(line.differing for line in found.measurements)
    mended = sum(line.mended for line in found.measurements)
    cells = sum(line.cells for line in found.measurements)
    return f"{cells} cells compared, {differing} differ, {mended} mended"


def final_state(found: Reconciliation) -> State[Reconciliation]:
    """Failed when a measurement could not be compared, a Completed named Degraded when differences
    are left, else Completed."""
    failed = [line.name for line in found.measurements if line.state == "failed"]
    if failed:
        return Failed(message=f"{_message(found)}; failed: {', '.join(failed)}", data=found)
    if found.exit_code != ExitCode.GOOD:
        return Completed(name="Degraded", message=_message(found), data=found)
    return Completed(message=_message(found), data=found)
