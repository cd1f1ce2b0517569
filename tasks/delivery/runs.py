"""The runs `replay` and `reconcile`: their plan, their measurements one after the other, their end."""

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from tasks.core.artifact import MOST_ROWS, Artifact, artifact_key
from tasks.core.catalogue import Catalogue, Measurement
from tasks.core.errors import ConfigurationInvalid, UsageInvalid
from tasks.core.finding import Finding
from tasks.core.loading import Sink
from tasks.core.points import ALL_TIME, Reader
from tasks.core.receipt import MeasurementState, Outcome, Receipt
from tasks.core.reconciliation import (
    CellDifference,
    MeasurementLine,
    MeasurementVerdict,
    Reconciliation,
)
from tasks.core.severity import Severity
from tasks.core.window import Window
from tasks.delivery import reconciling, replaying
from tasks.ledger.locks import RunLock
from tasks.run.plan import Plan, Request, covered_window, make_report_plan
from tasks.run.self_watch import land_self_metrics
from tasks.run.toolbox import SINKS, catch_up, opened_sinks
from tasks.runs.base.deliver import deliver
from tasks.runs.base.run import Run
from tasks.runs.base.step import Step, plain
from tasks.sinks.influxdb_read import InfluxReader

INFLUXDB = "influxdb"


@dataclass(frozen=True)
class ReplayRequest(Request):
    """Which part of the lake goes to which sink."""

    sink: str = INFLUXDB


@dataclass(frozen=True)
class ReconcileRequest(Request):
    """Which part of the lake is compared; `deep` compares every value, `fix` mends what differs."""

    sink: str = INFLUXDB
    deep: bool = False
    fix: bool = False


def plan_of_lake(run: Run, asked: ReplayRequest | ReconcileRequest) -> Plan:
    """Plan what of the lake is brought to, or compared with, the sink; no source has to be configured.

    All types are the whole catalogue, also what `collect` takes only by name.

    Raises:
        ConfigurationInvalid, UsageInvalid, SuiteInvalid: naming what to mend.
    """
    if asked.sink not in SINKS:
        raise UsageInvalid(
            argument="--sink",
            problem=f"there is no sink {asked.sink!r}",
            mend=f"Known: {', '.join(SINKS)}",
        )
    names = asked.measurements
    if asked.type == "all" and not names:
        names = list(Catalogue.read(run.settings.config / "metrics.yaml"))
    plan = make_report_plan(run, Request(asked.type, names, asked.start, asked.stop))
    _check_influxdb(plan)
    return plan


def _check_influxdb(plan: Plan) -> None:
    """That what names the sink is there whole; a sink that is off would take nothing in silence."""
    service, name = plan.environment.influxdb, plan.environment.name
    if service is None:
        raise ConfigurationInvalid(
            where=f"environment {name}",
            problem="no InfluxDB is configured",
            mend="Set INFLUXDB_URL and INFLUXDB_TOKEN, or influxdb_url in environments.yaml",
        )
    if service.token is None:
        raise ConfigurationInvalid(
            where=service.origin,
            problem="names an InfluxDB whose token is not set",
            mend="Set INFLUXDB_TOKEN, or the variable that environments.yaml names",
        )
    if not plan.settings.influxdb.enabled:
        raise ConfigurationInvalid(
            where="sinks.yaml: influxdb.enabled",
            problem="InfluxDB is off",
            mend="Set it to true",
        )


def replay(run: Run, asked: ReplayRequest, step: Step = plain) -> Receipt:
    """Load a range of the lake into the sink, whatever the ledger believes that it has."""
    plan = step("plan", plan_of_lake)(run, asked)
    step(f"lake: load into {asked.sink} ({len(plan.measurements)})", _replay)(run, plan, asked)
    receipt = step("account", run.account)(covered_window(plan, run.outcomes))
    step("self metrics", land_self_metrics)(run, receipt)
    return step("deliver", deliver)(run, receipt)


def _replay(run: Run, plan: Plan, asked: ReplayRequest) -> None:
    catch_up(run)
    with opened_sinks(run.settings, run.environment) as sinks:
        run.targets = tuple(each.target for each in sinks)
        sink = _named(sinks, asked.sink)
        for measurement in plan.measurements:
            run.work(measurement.name, partial(_replay_one, run, plan, sink, measurement))
    run.notes += _left_out(run, plan)


def _replay_one(
    run: Run, plan: Plan, sink: Sink, measurement: Measurement, lock: RunLock
) -> Outcome:
    pipeline = plan.settings.pipeline
    wanted = replaying.Replay(
        measurement=measurement,
        environment=plan.environment.name,
        window=_whole_cells(plan),
        cell=pipeline.cell,
        chunk_rows=pipeline.chunk_rows,
        workers=pipeline.workers,
    )
    stores = replaying.Stores(run.lake, run.ledger, sink, lock)
    return replaying.replay(wanted, stores, run.progress)


def _named(sinks: tuple[Sink, ...], name: str) -> Sink:
    return next(each for each in sinks if each.name == name)


def _whole_cells(plan: Plan) -> Window:
    return ALL_TIME if plan.window is None else plan.window.widened(plan.settings.pipeline.cell)


def _left_out(run: Run, plan: Plan) -> list[str]:
    """Tables that nobody can read as a measurement any more, when all was asked for."""
    catalogue = Catalogue.read(plan.settings.config / "metrics.yaml")
    if len(plan.measurements) < len(catalogue):
        return []
    gone = [name for name in run.lake.names() if name not in catalogue]
    return [f"left out, since no longer in the catalogue: {', '.join(gone)}"] if gone else []


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
    catch_up(run)
    service = plan.environment.influxdb
    assert service is not None, "the plan is checked for it"
    patience = plan.settings.pipeline.patience.total_seconds()
    reader = InfluxReader(service, plan.settings.influxdb, deadline_seconds=patience)
    with closing(reader), opened_sinks(run.settings, run.environment) as sinks:
        sink = _named(sinks, asked.sink)
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
    # what the lake was told to expire is not missing in it, and must stay in the sink
    kept_from = measurement.kept_from(plan.now, pipeline.cell)
    window = _since(_whole_cells(plan), kept_from)
    if window is None:
        return reconciling.Found(MeasurementLine(name=name, state="equal"))
    wanted = reconciling.Wanted(
        measurement=measurement,
        environment=environment,
        window=window,
        cell=pipeline.cell,
        chunk_rows=pipeline.chunk_rows,
        now=plan.now,
        deep=asked.deep,
        fix=asked.fix,
    )
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
    left = line.differing - line.mended
    return Finding(
        kind="sink_differs",
        severity=Severity.HIGH,
        sentence=f"{line.name}: {left} of {line.cells} cells differ from the lake",
        evidence={"cells": line.cells, "differing": line.differing, "mended": line.mended},
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
        "mended": "yes" if each.mended else "no",
    }
