"""The run `reconcile`: what a sink holds against the lake, measurement after measurement."""

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from tasks.core.artifact import MOST_ROWS, Artifact, artifact_key
from tasks.core.errors import FedvitalsError
from tasks.core.finding import Finding
from tasks.core.measurement import Measurement
from tasks.core.ports import Reader, Sink
from tasks.core.receipt import MeasurementState, Outcome, Receipt
from tasks.core.reconciliation import (
    CellDifference,
    MeasurementLine,
    MeasurementVerdict,
    Reconciliation,
)
from tasks.core.severity import Severity
from tasks.core.window import Window
from tasks.pipeline.recovery import require_tables
from tasks.runs.base.deliver import deliver
from tasks.runs.base.lake_plan import LakeRequest, plan_of_lake, sink_of, whole_cells
from tasks.runs.base.plan import Plan
from tasks.runs.base.registry import sinks_in
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.step import Step, plain
from tasks.runs.base.toolbox import opened_stores
from tasks.runs.reconcile import measurement as reconciling


@dataclass(frozen=True)
class ReconcileRequest(LakeRequest):
    """Which part of the lake is compared; `deep` compares every value, `fix` fixes what differs."""

    deep: bool = False
    fix: bool = False


def reconcile(run: Run, asked: ReconcileRequest, step: Step = plain) -> Receipt:
    """Compare a range of the lake with the sink; fix what differs if that is asked for."""
    plan = step("plan", plan_of_lake)(run, asked)
    name = f"lake and {asked.sink}: compare ({len(plan.measurements)})"
    found = step(name, _reconcile)(run, plan, asked)
    receipt = step("account", run.account)(plan.window, details=found)
    step("self metrics", land_self_metrics)(run, receipt)
    run.artifacts.append(_artifact(found, run.environment.name))
    return step("deliver", deliver)(run, receipt)


def _reconcile(run: Run, plan: Plan, asked: ReconcileRequest) -> Reconciliation:
    openings = sinks_in(run.settings, run.environment)
    kind, opening = next(each for each in openings if each[0].name == asked.sink)
    assert kind.reader is not None, "the plan refuses a sink without one"
    with closing(kind.reader(opening)) as reader, opened_stores(run) as sinks:
        sink = sink_of(sinks, asked.sink)
        found = [_compare(run, plan, asked, sink, reader, each) for each in plan.measurements]
    for each in found:
        run.add(_outcome(each))
    run.findings += [_finding(each) for each in found if each.line.state == "differs"]
    return Reconciliation(
        sink=asked.sink,
        deep=asked.deep,
        fix=asked.fix,
        measurements=tuple(each.line for each in found),
        differences=tuple(each for one in found for each in one.differences),
    )


def _compare(
    run: Run,
    plan: Plan,
    asked: ReconcileRequest,
    sink: Sink,
    reader: Reader,
    measurement: Measurement,
) -> reconciling.Found:
    name, environment, pipeline = measurement.name, plan.environment.name, plan.settings.pipeline
    # what the lake was reported to expire is not missing in it, and must stay in the sink
    kept_from = measurement.kept_from(plan.now, pipeline.cell)
    window = _since(whole_cells(plan), kept_from)
    if window is None:
        return reconciling.Found(MeasurementLine(name=name, state="equal"))
    wanted = reconciling.CompareRequest(
        measurement=measurement,
        environment=environment,
        window=window,
        cell=pipeline.cell,
        chunk_rows=pipeline.chunk_rows,
        now=plan.now,
        deep=asked.deep,
        fix=asked.fix,
    )
    try:
        require_tables(run.lake, run.ledger, name, environment)
    except FedvitalsError as error:
        line = MeasurementLine(name=name, state="failed", problems=(str(error),))
        return reconciling.Found(line)
    hold = partial(run.locks.hold, name, environment, run.id)
    sides = reconciling.Sides(run.lake, run.ledger, sink, reader, hold)
    return reconciling.reconcile(wanted, sides, run.progress)


def _since(window: Window, start: datetime | None) -> Window | None:
    if start is None or start <= window.start:
        return window
    return Window(start, window.stop) if start < window.stop else None


# differences are what the comparison was to find: the work is done, and the finding says how bad
_STATES: dict[MeasurementVerdict, MeasurementState] = {
    "equal": "unchanged",
    "differs": "unchanged",
    "pending": "pending",
    "failed": "failed",
}


def _outcome(found: reconciling.Found) -> Outcome:
    line = found.line
    is_empty = line.state == "equal" and not (line.cells or line.sink_values)
    state: MeasurementState = "no_data" if is_empty else _STATES[line.state]
    return Outcome(line.name, state, problems=line.problems)


def _finding(found: reconciling.Found) -> Finding:
    line = found.line
    left = line.differing - line.fixed
    return Finding(
        kind="sink_differs",
        severity=Severity.HIGH,
        sentence=f"{line.name}: {left} of {line.cells} cells differ from the lake",
        evidence={"cells": line.cells, "differing": line.differing, "fixed": line.fixed},
        subject=line.name,
        hint="fedvitals reconcile --fix",
    )


def _artifact(found: Reconciliation, environment: str) -> Artifact:
    """The differences, or a line a measurement when there are none."""
    rows = [_row(each) for each in found.differences[:MOST_ROWS]] or [
        line.model_dump(mode="json", exclude={"problems"}) for line in found.measurements
    ]
    return Artifact("table", artifact_key("reconcile", environment), rows, found.sentence)


def _row(each: CellDifference) -> dict[str, str | int]:
    return {
        "measurement": each.measurement,
        "start": each.start,
        "lake": each.lake.count,
        "sink": each.sink.count,
        "why": ", ".join(f"{count} {why}" for why, count in each.reasons.items()),
        "fixed": "yes" if each.fixed else "no",
    }
