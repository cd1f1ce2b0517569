"""A run's plan: everything checked before any work, and the tools to do it with."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from tasks.core.addresses import check_output
from tasks.core.catalogue import Catalogue
from tasks.core.errors import (
    ConfigurationInvalid,
    NothingConfigured,
    PluginInvalid,
    UsageInvalid,
)
from tasks.core.measurement import Measurement, MetricType
from tasks.core.receipt import Outcome
from tasks.core.self_metrics import self_measurement
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.window import Window, floor, iso, parse_time
from tasks.ledger.ledger import Ledger
from tasks.pipeline.due import Job
from tasks.runs.base.home import begin
from tasks.runs.base.registry import configured_sources, mistakes, source, source_in
from tasks.runs.base.run import Run
from tasks.validation.model import Suite
from tasks.validation.suites import read_suite, verify

# apart from the run's other lines, so that a terminal shows what is off before the work begins
logger = logging.getLogger("fedvitals.plan")

CollectType = Literal["all", "performance", "business", "security"]
# what collect takes, and the type that has a flow of its own
PlanType = Literal[CollectType, "federated"]
TYPES: Mapping[PlanType, frozenset[MetricType]] = {
    "all": frozenset({"performance", "business", "security"}),
    "performance": frozenset({"performance"}),
    "business": frozenset({"business"}),
    "security": frozenset({"security"}),
    "federated": frozenset({"federated"}),
}
# the learning curve belongs to the first look at a training, so collect takes it along
LEARNING_CURVE = "training"


@dataclass(frozen=True)
class Plan:
    """What a run will do; everything in it was checked."""

    run_id: str
    now: datetime
    settings: Settings
    environment: Environment
    measurements: tuple[Measurement, ...]
    suites: Mapping[str, Suite]
    window: Window | None
    output: Path
    warnings: tuple[str, ...]

    def job(self, measurement: Measurement, allow_deletes: bool) -> Job:
        """Return what the run wants of one measurement."""
        environment, pipeline = self.environment.name, self.settings.pipeline
        return Job(measurement, environment, self.window, self.now, pipeline, allow_deletes)


@dataclass(frozen=True)
class Request:
    """The options of a run, as its flow takes them: names, times and paths."""

    type: PlanType = "all"
    measurements: list[str] | None = None
    start: str | None = None
    stop: str | None = None
    output: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The measurements that are named, each once."""
        return tuple(dict.fromkeys(self.measurements or ()))


def make_plan(run: Run, asked: Request) -> Plan:
    """Check the whole configuration, and plan what a run reads from its sources."""
    selected, measurements = choose_measurements(run.settings, run.environment, asked)
    wrong = list(mistakes(run.settings, run.environment))
    # what another package brings was to be used, and cannot be
    run.is_partial |= any(isinstance(error, PluginInvalid) for error in wrong)
    off = (*_warnings(run.environment, selected), *map(str, wrong))
    for warning in off:
        logger.warning(warning)
    return _plan(run, asked, measurements, off)


def choose_measurements(
    settings: Settings, environment: Environment, asked: Request
) -> tuple[tuple[Measurement, ...], tuple[Measurement, ...]]:
    """Return the measurements that a run is asked for, and those of them that have a source.

    Raises:
        NothingConfigured: when there are none, with what would give some.
        ConfigurationInvalid, UsageInvalid: naming what is wrong.
    """
    check_source(environment)
    catalogue = Catalogue.read(settings.config / "metrics.yaml")
    selected = _selected(catalogue, asked, settings)
    _check_asked(selected)
    measurements = tuple(entry for entry in selected if source_in(entry.source, environment))
    if not measurements:
        raise NothingConfigured(
            where=f"environment {environment.name}",
            problem="no service that these measurements are read from is configured",
            fix=f"Set {' and '.join(_left_out(environment, selected))}",
        )
    return selected, measurements


def make_report_plan(run: Run, asked: Request) -> Plan:
    """Plan what is read from the lake; no source needs to be configured for it."""
    catalogue = Catalogue.read(run.settings.config / "metrics.yaml")
    return _plan(run, asked, _selected(catalogue, asked, run.settings), ())


def make_own_plan(
    run: Run, measurements: tuple[Measurement, ...], output: str | None = None
) -> Plan:
    """Plan what is read of fedvitals' own records."""
    Catalogue.read(run.settings.config / "metrics.yaml")
    wrong = tuple(map(str, mistakes(run.settings, run.environment)))
    for warning in wrong:
        logger.warning(warning)
    return _plan(run, Request(output=output), measurements, wrong)


def _selected(catalogue: Catalogue, asked: Request, settings: Settings) -> tuple[Measurement, ...]:
    """The measurements of the type, or the named ones; none of single clients when these are off."""
    if asked.names:
        chosen = catalogue.select(frozenset(), asked.names)
    else:
        wanted = TYPES[asked.type]
        curve = {(LEARNING_CURVE, "federated")} if "performance" in wanted else set()
        entries = catalogue.values()
        chosen = tuple(e for e in entries if e.type in wanted or (e.name, e.type) in curve)
    if settings.client_ids == "off":
        off = [entry.name for entry in chosen if entry.identity is not None]
        if asked.names and off:
            raise _clients_off(off)
        chosen = tuple(entry for entry in chosen if entry.name not in off)
    if not chosen:
        raise _nothing_selected(settings, asked)
    return chosen


def _clients_off(names: list[str]) -> UsageInvalid:
    are = "is" if len(names) == 1 else "are"
    return UsageInvalid(
        argument="--measurement",
        problem=f"{', '.join(names)} {are} of single clients, which are off (client_ids)",
        fix="Name others, or set client_ids to hashed or plain in environments.yaml",
    )


def _nothing_selected(settings: Settings, asked: Request) -> NothingConfigured:
    off = ", but for those of single clients, which are off (client_ids)"
    return NothingConfigured(
        where=settings.config / "metrics.yaml",
        problem=f"there is no measurement of type {' or '.join(sorted(TYPES[asked.type]))}"
        + (off if settings.client_ids == "off" else ""),
        fix="Add one, or see what there is: fedvitals catalogue",
    )


def _plan(
    run: Run, asked: Request, measurements: tuple[Measurement, ...], warnings: tuple[str, ...]
) -> Plan:
    settings, output = run.settings, Path(asked.output) if asked.output else None
    _check_steps(measurements, settings)
    check_output(output)
    window = _window(asked.start, asked.stop, run.now, settings)
    # what a run says of itself is checked like the rest, so a fault in its suite is found now
    entries = (*measurements, self_measurement())
    suites = read_suites(settings, entries)
    plan = Plan(
        run_id=run.id,
        now=run.now,
        settings=settings,
        environment=run.environment,
        measurements=measurements,
        suites=suites,
        window=window,
        # of a relative path no link could be made
        output=(output or settings.reports / run.id).absolute(),
        warnings=warnings,
    )
    # only now, so that what is refused above leaves no home
    verify_new(suites, entries, run.ledger)
    begin(run)
    run.log_due(len(measurements), window)
    return plan


def covered_window(plan: Plan, outcomes: Iterable[Outcome]) -> Window:
    """The window that the run is about: the given one, else from the oldest cell read; up to now.

    It reaches back at least as far as a first run would, so that a chart shows more than a sample.
    """
    if plan.window is not None:
        # a chart up to a stop in the future would be empty there
        return plan.window.clipped(plan.now) or plan.window
    pipeline = plan.settings.pipeline
    newest = floor(plan.now - pipeline.settle_delay, pipeline.cell)
    starts = [outcome.start for outcome in outcomes if outcome.start is not None]
    return Window(min([newest - pipeline.first_run_cells * pipeline.cell, *starts]), plan.now)


def by_source(measurements: Iterable[Measurement]) -> Iterator[tuple[str, tuple[Measurement, ...]]]:
    """Group the measurements by source; samples first, since the past can wait and their time not."""
    ordered = sorted(measurements, key=lambda entry: source(entry.source).history == "range")
    for name in dict.fromkeys(entry.source for entry in ordered):
        yield name, tuple(entry for entry in ordered if entry.source == name)


def verified_suites(
    settings: Settings, ledger: Ledger, measurements: tuple[Measurement, ...]
) -> dict[str, Suite]:
    """Return the measurements' suites; those that the ledger does not know as sound are verified."""
    suites = read_suites(settings, measurements)
    verify_new(suites, measurements, ledger)
    return suites


def read_suites(settings: Settings, measurements: tuple[Measurement, ...]) -> dict[str, Suite]:
    """Return the measurements' suites."""
    return {entry.name: read_suite(settings.expectations, entry) for entry in measurements}


def verify_new(
    suites: Mapping[str, Suite], measurements: tuple[Measurement, ...], ledger: Ledger
) -> None:
    """Verify the suites that the ledger does not know as sound."""
    proofs = {entry.name: proof_of(suites[entry.name], entry) for entry in measurements}
    known = ledger.verified(proofs.values())
    for entry in measurements:
        if proofs[entry.name] not in known:
            verify(suites[entry.name], entry)
            ledger.keep_verified(proofs[entry.name])


def proof_of(suite: Suite, entry: Measurement) -> str:
    """What the ledger keeps of a suite that was found sound for a measurement."""
    return f"{suite.digest}-{entry.digest}-{_version_of_checks()}"


@cache
def _version_of_checks() -> str:
    # another Great Expectations may know other expectations
    return version("great-expectations")


def check_source(environment: Environment) -> None:
    """Refuses an environment that has nothing to read."""
    if not any(configured_sources(environment)):
        prometheus, api = environment.setting("prometheus_url"), environment.setting("api_url")
        problem = "no source is configured"
        fix = f"Set {prometheus}, or {api} to read the service's /metrics directly"
        raise NothingConfigured(where=f"environment {environment.name}", problem=problem, fix=fix)


def _check_asked(selected: tuple[Measurement, ...]) -> None:
    own = [entry.name for entry in selected if entry.is_own]
    if own:
        problem = f"{own[0]} is not collected: it is built in, and runs write it by themselves"
        fix = f"See it: fedvitals report --measurement {own[0]}"
        raise UsageInvalid(argument="--measurement", problem=problem, fix=fix)


def _left_out(environment: Environment, selected: tuple[Measurement, ...]) -> dict[str, list[str]]:
    """Return the measurements without a source, by the setting that is missing."""
    missing: dict[str, list[str]] = {}
    for entry in selected:
        if source_in(entry.source, environment) is None:
            setting = environment.setting(f"{source(entry.source).service_name}_url")
            missing.setdefault(setting, []).append(entry.name)
    return missing


def _warnings(environment: Environment, selected: tuple[Measurement, ...]) -> Iterator[str]:
    """Yield which measurements are off because their source is not configured."""
    for what, left in _left_out(environment, selected).items():
        yield f"left out, since {what} is not set: {', '.join(left)}"


def _check_steps(measurements: tuple[Measurement, ...], settings: Settings) -> None:
    for entry in measurements:
        for name, length in (("step", entry.step), ("every", entry.every)):
            if settings.pipeline.cell % length:
                raise ConfigurationInvalid(
                    where=f"metrics.yaml: measurements.{entry.name}.{name}",
                    problem="does not divide the cell (environments.yaml: pipeline.cell)",
                    fix="Choose a length that goes into the cell without a rest",
                )


def _window(
    start: str | None, stop: str | None, now: datetime, settings: Settings
) -> Window | None:
    if start is None and stop is None:
        return None
    if start is None:
        problem = "is missing while --stop is given"
        raise UsageInvalid(argument="--start", problem=problem, fix="Give both, or none")
    begin = parse_time(start, now, "--start")
    if begin > now - settings.pipeline.settle_delay:
        raise UsageInvalid(
            argument="--start",
            problem=f"{iso(begin)} is later than now less the settle delay: there is nothing to read yet",
            fix="Give an earlier start",
        )
    return Window(begin, parse_time(stop or "now", now, "--stop"))
