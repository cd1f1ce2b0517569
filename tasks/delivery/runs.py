"""The runs `replay` and `reconcile`: their plan, their measurements one after the other, their end."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from tasks.core.catalogue import Catalogue, Measurement
from tasks.core.errors import FedvitalsError, NothingConfigured, UsageInvalid
from tasks.core.loading import Sink
from tasks.core.points import ALL_TIME, Reader
from tasks.core.receipt import Outcome, Receipt, given_up, write_receipt
from tasks.core.reconciliation import MeasurementLine, Reconciliation
from tasks.core.settings import Environment, Settings
from tasks.core.window import Window, iso
from tasks.delivery.reconciling import Found, Sides, Wanted, reconcile
from tasks.delivery.replaying import Replay, Stores, replay
from tasks.run.plan import CollectType, Plan, covered_window, make_report_plan
from tasks.run.toolbox import SINKS, Toolbox, opened_toolbox
from tasks.sinks.influxdb_read import InfluxReader

REPLAY = "replay"
Progress = Callable[[str, int, int], None]


def plan_of_lake(
    settings: Settings,
    sink: str,
    environment: str | None,
    type: CollectType = "all",
    names: tuple[str, ...] = (),
    start: str | None = None,
    stop: str | None = None,
) -> Plan:
    """What of the lake is brought to, or compared with, the sink; no source has to be configured.

    All types are the whole catalogue, also what `collect` takes only by name.

    Raises:
        ConfigurationInvalid, UsageInvalid, SuiteInvalid: naming what to mend.
    """
    if sink not in SINKS:
        raise UsageInvalid(
            argument="--sink",
            problem=f"there is no sink {sink!r}",
            mend=f"Known: {', '.join(SINKS)}",
        )
    if type == "all" and not names:
        names = tuple(Catalogue.read(settings.config / "metrics.yaml"))
    plan = make_report_plan(settings, environment, type, names, start, stop)
    check_influxdb(settings, plan.environment)
    return plan


def check_influxdb(settings: Settings, environment: Environment) -> None:
    """Refuse an InfluxDB that is not configured whole: it would take nothing in silence.

    Raises:
        NothingConfigured: naming what is missing.
    """
    service, name = environment.influxdb, environment.name
    if service is None:
        raise NothingConfigured(
            where=f"environment {name}",
            problem="no InfluxDB is configured",
            mend="Set INFLUXDB_URL and INFLUXDB_TOKEN, or influxdb_url in environments.yaml",
        )
    if service.token is None:
        raise NothingConfigured(
            where=service.origin,
            problem="names an InfluxDB whose token is not set",
            mend="Set INFLUXDB_TOKEN, or the variable that environments.yaml names",
        )
    if not settings.influxdb.enabled:
        raise NothingConfigured(
            where="sinks.yaml: influxdb.enabled",
            problem="InfluxDB is off",
            mend="Set it to true",
        )


def run_replay(plan: Plan, sink: str, progress: Progress) -> Receipt:
    """Brings the plan's range into the sink, one measurement and lock after the other.

    Raises:
        FedvitalsError: when the tools cannot be opened; nothing was done then.
        SumsDiffer: when a value is unaccounted for.
    """
    started = time.perf_counter()
    # without measurements no source is opened
    with opened_toolbox(replace(plan, measurements=())) as toolbox:
        target = _sink(toolbox, sink)
        outcomes = tuple(
            _replayed(measurement, plan, target, toolbox, progress)
            for measurement in plan.measurements
        )
        receipt = write_receipt(
            flow=REPLAY,
            run_id=plan.run_id,
            environment=plan.environment.name,
            window=covered_window(plan, outcomes),
            outcomes=outcomes,
            seconds={REPLAY: time.perf_counter() - started},
        )
        notes = (*receipt.notes, *toolbox.caught_up, *_left_out(plan, toolbox))
        receipt = receipt.model_copy(update={"notes": notes})
        toolbox.ledger.keep_receipt(receipt)
    return receipt


def _replayed(
    measurement: Measurement, plan: Plan, sink: Sink, toolbox: Toolbox, progress: Progress
) -> Outcome:
    name, environment = measurement.name, plan.environment.name
    pipeline = plan.settings.pipeline
    wanted = Replay(
        measurement=measurement,
        environment=environment,
        window=_whole_cells(plan),
        cell=pipeline.cell,
        chunk_rows=pipeline.chunk_rows,
        workers=pipeline.workers,
    )
    try:
        with toolbox.locks.hold(name, environment, plan.run_id) as lock:
            return replay(wanted, Stores(toolbox.lake, toolbox.ledger, sink, lock), progress)
    except FedvitalsError as error:
        return given_up(name, error)


def _sink(toolbox: Toolbox, name: str) -> Sink:
    return next(each for each in toolbox.sinks if each.name == name)


def _whole_cells(plan: Plan) -> Window:
    return ALL_TIME if plan.window is None else plan.window.widened(plan.settings.pipeline.cell)


def _left_out(plan: Plan, toolbox: Toolbox) -> list[str]:
    """Tables that nobody can read as a measurement any more, when all was asked for."""
    catalogue = Catalogue.read(plan.settings.config / "metrics.yaml")
    if len(plan.measurements) < len(catalogue):
        return []
    gone = [name for name in toolbox.lake.names() if name not in catalogue]
    return [f"left out, since no longer in the catalogue: {', '.join(gone)}"] if gone else []


@dataclass(frozen=True)
class How:
    """How a reconcile goes about it: `deep` compares every value, `fix` mends what differs."""

    deep: bool
    fix: bool


def run_reconcile(plan: Plan, sink: str, how: How, progress: Progress) -> Reconciliation:
    """Compares the plan's range with the sink, one measurement after the other.

    Raises:
        FedvitalsError: when the tools cannot be opened; nothing was done then.
    """
    started, service = time.perf_counter(), plan.environment.influxdb
    assert service is not None, "the plan is checked for it"
    patience = plan.settings.pipeline.patience.total_seconds()
    reader = InfluxReader(service, plan.settings.influxdb, deadline_seconds=patience)
    with closing(reader), opened_toolbox(replace(plan, measurements=())) as toolbox:
        found = [
            _reconciled(measurement, plan, how, toolbox, _sink(toolbox, sink), reader, progress)
            for measurement in plan.measurements
        ]
    window = plan.window
    return Reconciliation(
        run_id=plan.run_id,
        environment=plan.environment.name,
        sink=sink,
        deep=how.deep,
        fix=how.fix,
        window={"start": iso(window.start), "stop": iso(window.stop)} if window else None,
        measurements=tuple(each.line for each in found),
        differences=tuple(each for one in found for each in one.differences),
        seconds=round(time.perf_counter() - started, 4),
    )


def _reconciled(
    measurement: Measurement,
    plan: Plan,
    how: How,
    toolbox: Toolbox,
    sink: Sink,
    reader: Reader,
    progress: Progress,
) -> Found:
    name, environment, pipeline = measurement.name, plan.environment.name, plan.settings.pipeline
    # what the lake was told to expire is not missing in it, and must stay in the sink
    kept_from = measurement.kept_from(plan.now, pipeline.cell)
    whole = _whole_cells(plan)
    window = _since(whole, kept_from)
    if window is None:
        return Found(MeasurementLine(name=name, state="equal"))
    wanted = Wanted(
        measurement=measurement,
        environment=environment,
        window=window,
        cell=pipeline.cell,
        chunk_rows=pipeline.chunk_rows,
        now=plan.now,
        deep=how.deep,
        fix=how.fix,
    )
    hold = partial(toolbox.locks.hold, name, environment, plan.run_id)
    return reconcile(wanted, Sides(toolbox.lake, toolbox.ledger, sink, reader, hold), progress)


def _since(window: Window, start: datetime | None) -> Window | None:
    if start is None or start <= window.start:
        return window
    return Window(start, window.stop) if start < window.stop else None
