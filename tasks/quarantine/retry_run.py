"""The run `quarantine retry`: its plan, its measurements one after the other, its receipt."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from tasks.chunk.work import Tools
from tasks.core.batch import Batch
from tasks.core.catalogue import Catalogue, Measurement
from tasks.core.errors import FedvitalsError, UsageInvalid
from tasks.core.own import own_measurement
from tasks.core.receipt import Outcome, Receipt, given_up, new_run_id, write_receipt
from tasks.core.settings import Settings
from tasks.core.window import Window
from tasks.lake.tables import Lake
from tasks.lake.windows import WINDOWS, append_states
from tasks.quarantine.retrying import Retry, retry
from tasks.run.plan import Plan, opened_ledger, run_warnings, verified_suites
from tasks.run.self_watch import watch
from tasks.run.toolbox import Toolbox, opened_toolbox

FLOW = "quarantine retry"


@dataclass
class _Unasked:
    """The source of a run that works from the lake alone."""

    name: str = "none"

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        raise AssertionError("a retry asks no source")


def plan_retry(
    settings: Settings, environment: str | None, name: str | None, window: Window, now: datetime
) -> Plan:
    """What there is to try again: the named measurement, else each that has something in quarantine.

    Only their suites are read and, when they are new, verified.

    Raises:
        ConfigurationInvalid, UsageInvalid, SuiteInvalid, LakeDamaged.
    """
    chosen = settings.environment(environment)
    catalogue = Catalogue.read(settings.config / "metrics.yaml")
    if name is not None and name not in catalogue:
        raise UsageInvalid(
            argument="MEASUREMENT",
            problem=f"{name!r} is not in the catalogue",
            mend="List them: fedvitals catalogue",
        )
    lake, span = Lake(settings.lake_url), window.widened(settings.pipeline.cell)
    names = [name] if name is not None else dict.fromkeys([*catalogue, *lake.names()])
    held = [each for each in names if _holds(lake, each, chosen.name, span)]
    measurements = tuple(catalogue[each] for each in held if each in catalogue)
    return Plan(
        run_id=new_run_id(now),
        now=now,
        settings=settings,
        environment=chosen,
        measurements=measurements,
        suites=verified_suites(settings, (*measurements, own_measurement())),
        window=window,
        output=settings.home,
        warnings=(*run_warnings(settings), *_left_out(held, catalogue)),
    )


def _left_out(names: Iterable[str], catalogue: Catalogue) -> Iterator[str]:
    for name in names:
        if name not in catalogue:
            yield f"{name} is no longer in the catalogue; what is in its quarantine stays"


def _holds(lake: Lake, name: str, environment: str, span: Window) -> bool:
    """Whether there is anything that a retry could take up."""
    return bool((lake.quarantined(name, environment, span)["stage"] != "door").any())


def run_retry(plan: Plan) -> Receipt:
    """Tries the plan's measurements again, one lock each, and keeps the receipt in the ledger.

    One append to _windows tells the lake of all cells whose state changed. At the end the run's own
    figures are landed and loaded; when that fails, a note on the receipt says so.

    Raises:
        FedvitalsError: when the tools cannot be opened; nothing was done then.
        SumsDiffer: when a value is unaccounted for.
    """
    assert plan.window is not None, "a retry always has a window"
    started = time.perf_counter()
    outcomes: list[Outcome] = []
    # without measurements no source is opened
    with opened_toolbox(replace(plan, measurements=())) as toolbox:
        notes = toolbox.other_writer(plan)
        if toolbox.caught_up:
            outcomes.append(
                Outcome(measurement=WINDOWS, state="unchanged", warnings=toolbox.caught_up)
            )
        try:
            for measurement in plan.measurements:
                outcomes.append(_retry(plan, plan.window, measurement, toolbox))
        finally:
            # what is landed has to be told, even by a run that is interrupted
            outcomes += _told(toolbox)
        receipt = write_receipt(
            flow=FLOW,
            run_id=plan.run_id,
            environment=plan.environment.name,
            window=plan.window,
            outcomes=outcomes,
            seconds={"retry": time.perf_counter() - started},
            sinks=toolbox.sink_names,
            places=plan.settings.places,
            notes=notes,
        )
        toolbox.ledger.keep_receipt(receipt)
    receipt = watch(plan, receipt)
    with opened_ledger(plan.settings) as ledger:
        ledger.keep_receipt(receipt)
    return receipt


def _retry(plan: Plan, window: Window, measurement: Measurement, toolbox: Toolbox) -> Outcome:
    name, environment = measurement.name, plan.environment.name
    pipeline = plan.settings.pipeline
    wanted = Retry(measurement, environment, window.widened(pipeline.cell), pipeline.chunk_rows)
    try:
        with toolbox.locks.hold(name, environment, plan.run_id) as lock:
            tools = Tools(
                source=_Unasked(),
                suite=plan.suites[name],
                lake=toolbox.lake,
                ledger=toolbox.ledger,
                sinks=toolbox.sinks,
                lock=lock,
                run_id=plan.run_id,
                record=toolbox.states.extend,
            )
            return retry(wanted, tools)
    except FedvitalsError as error:
        return given_up(name, error)


def _told(toolbox: Toolbox) -> list[Outcome]:
    """One append for all cells; a failure is an outcome, since it must not hide the others."""
    try:
        append_states(toolbox.lake, toolbox.states)
    except FedvitalsError as error:
        return [Outcome(measurement=WINDOWS, state="failed", problems=(str(error),))]
    return []
