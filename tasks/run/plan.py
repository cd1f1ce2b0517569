"""A run's plan: everything checked before any work, and the tools to do it with."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from tasks.core.catalogue import Catalogue, Measurement, MetricType
from tasks.core.errors import ConfigurationInvalid, UsageInvalid
from tasks.core.own import own_measurement
from tasks.core.places import check_output
from tasks.core.receipt import Outcome, new_run_id
from tasks.core.settings import Environment, InfluxService, Settings
from tasks.core.window import Window, floor, iso, parse_time
from tasks.ledger.ledger import Ledger
from tasks.validation.suites import Suite, read_suite, verify

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


def make_plan(
    settings: Settings,
    environment: str | None,
    types: PlanType,
    names: tuple[str, ...] = (),
    start: str | None = None,
    stop: str | None = None,
    output: Path | None = None,
) -> Plan:
    """Checks the configuration whole and says what a run will do.

    Raises:
        ConfigurationInvalid, UsageInvalid, SuiteInvalid: naming what to mend.
    """
    chosen = settings.environment(environment)
    check_source(chosen)
    catalogue = Catalogue.read(settings.config / "metrics.yaml")
    selected = _selected(catalogue, types, names, settings)
    _check_asked(selected)
    measurements = tuple(entry for entry in selected if _has_source(entry, chosen))
    if selected and not measurements:
        raise _without_source(
            chosen, "FED_VIT_API_URL, which all of these measurements are read from"
        )
    warnings = _warnings(chosen, settings, selected)
    return _plan(settings, chosen, types, measurements, (start, stop), output, warnings)


def make_report_plan(
    settings: Settings,
    environment: str | None,
    types: PlanType,
    names: tuple[str, ...] = (),
    start: str | None = None,
    stop: str | None = None,
    output: Path | None = None,
) -> Plan:
    """Says what a report from the lake is about; no source needs to be configured for it.

    Raises:
        ConfigurationInvalid, UsageInvalid, SuiteInvalid: naming what to mend.
    """
    chosen = settings.environment(environment)
    catalogue = Catalogue.read(settings.config / "metrics.yaml")
    measurements = _selected(catalogue, types, names, settings)
    return _plan(settings, chosen, types, measurements, (start, stop), output, ())


def _selected(
    catalogue: Catalogue, types: PlanType, names: tuple[str, ...], settings: Settings
) -> tuple[Measurement, ...]:
    """The measurements of the type, or the named ones; none of single clients when these are off."""
    if names:
        chosen = catalogue.select(frozenset(), tuple(dict.fromkeys(names)))
    else:
        wanted = TYPES[types]
        with_curve = "performance" in wanted
        chosen = tuple(
            entry
            for entry in catalogue.values()
            if entry.type in wanted
            or (with_curve and entry.type == "federated" and entry.name == LEARNING_CURVE)
        )
    if settings.client_ids == "off":
        chosen = tuple(entry for entry in chosen if entry.identity is None)
    return chosen


def _plan(
    settings: Settings,
    environment: Environment,
    types: PlanType,
    measurements: tuple[Measurement, ...],
    times: tuple[str | None, str | None],
    output: Path | None,
    warnings: tuple[str, ...],
) -> Plan:
    if not measurements:
        raise UsageInvalid(
            argument="--type",
            problem=f"the catalogue has no measurement of type {types}",
            mend="See what there is: fedvitals catalogue",
        )
    _check_steps(measurements, settings)
    check_output(output)
    now = datetime.now(UTC)
    run_id = new_run_id(now)
    return Plan(
        run_id=run_id,
        now=now,
        settings=settings,
        environment=environment,
        measurements=measurements,
        # what a run says of itself is checked like the rest, so a fault in its suite is told now
        suites=verified_suites(settings, (*measurements, own_measurement())),
        window=_window(*times, now, settings),
        output=output or settings.reports / run_id,
        warnings=warnings,
    )


def covered_window(plan: Plan, outcomes: tuple[Outcome, ...]) -> Window:
    """The window that the run is about: the given one, else from the oldest cell read; up to now.

    It reaches back at least as far as a first run would, so that a chart shows more than a sample.
    """
    if plan.window is not None:
        # a chart up to a stop in the future would be empty there
        return plan.window.clipped(plan.now) or plan.window
    pipeline = plan.settings.pipeline
    newest = floor(plan.now - pipeline.settle_delay, pipeline.cell)
    starts = [outcome.start for outcome in outcomes if outcome.start is not None]
    return Window(min([newest - pipeline.start_at * pipeline.cell, *starts]), plan.now)


def verified_suites(settings: Settings, measurements: tuple[Measurement, ...]) -> dict[str, Suite]:
    """The measurements' suites; those that the ledger does not know as sound are verified.

    Raises:
        SuiteInvalid: naming the file and what to mend.
    """
    suites = {entry.name: read_suite(settings.expectations, entry) for entry in measurements}
    proofs = {entry.name: proof_of(suites[entry.name], entry) for entry in measurements}
    with opened_ledger(settings) as ledger:
        known = ledger.verified(proofs.values())
        for entry in measurements:
            if proofs[entry.name] not in known:
                verify(suites[entry.name], entry)
                ledger.keep_verified(proofs[entry.name])
    return suites


def proof_of(suite: Suite, entry: Measurement) -> str:
    """What the ledger keeps of a suite that was found sound for a measurement."""
    return f"{suite.digest}-{entry.digest}-{_version_of_checks()}"


@cache
def _version_of_checks() -> str:
    # another Great Expectations may know other expectations
    return version("great-expectations")


@contextmanager
def opened_ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger, closed at the end.

    Raises:
        ConfigurationInvalid: when there can be no folder for it.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationInvalid(
            where="FEDVITALS_HOME",
            problem=f"{settings.home} cannot be made: {error.strerror}",
            mend="Name a folder that can be written",
        ) from error
    ledger = Ledger(settings.ledger_url)
    try:
        yield ledger
    finally:
        ledger.close()


def check_source(environment: Environment) -> None:
    """Refuses an environment that has nothing to read.

    Raises:
        ConfigurationInvalid: naming the variables that give it a source.
    """
    if environment.prometheus is None and environment.api is None:
        mend = "PROMETHEUS_URL, or FED_VIT_API_URL to read the service's /metrics directly"
        raise _without_source(environment, mend)


def _without_source(environment: Environment, variables: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        where=f"environment {environment.name}",
        problem="no source is configured",
        mend=f"Set {variables}",
    )


def _check_asked(selected: tuple[Measurement, ...]) -> None:
    own = [entry.name for entry in selected if entry.source == "receipt"]
    if own:
        raise UsageInvalid(
            argument="--measurement",
            problem=f"{own[0]} is not collected: every run writes it of itself",
            mend=f"See it: fedvitals report --measurement {own[0]}",
        )


def _has_source(entry: Measurement, environment: Environment) -> bool:
    return entry.source == "prometheus" or environment.api is not None


def _warnings(
    environment: Environment, settings: Settings, selected: tuple[Measurement, ...]
) -> tuple[str, ...]:
    """What is off because it is not configured whole."""
    left_out = [entry.name for entry in selected if not _has_source(entry, environment)]
    warnings = []
    if left_out:
        warnings.append(f"left out, since FED_VIT_API_URL is not set: {', '.join(left_out)}")
    service = environment.influxdb
    if service is not None and service.token is None and settings.influxdb.enabled:
        warnings.append(_untold_token(service))
    if environment.grafana is not None and environment.grafana.token is None:
        warnings.append(
            f"Grafana is off: {environment.grafana.origin} names one, and its token is not set "
            "(GRAFANA_API_KEY, or the variable that environments.yaml names)"
        )
    return tuple(warnings)


def _untold_token(service: InfluxService) -> str:
    return (
        f"InfluxDB is off: {service.origin} names one, and its token is not set. Values are landed, "
        "and loaded once INFLUXDB_TOKEN (or the variable that environments.yaml names) is set"
    )


def _check_steps(measurements: tuple[Measurement, ...], settings: Settings) -> None:
    for entry in measurements:
        for name, length in (("step", entry.step), ("every", entry.every)):
            if settings.pipeline.cell % length:
                raise ConfigurationInvalid(
                    where=f"metrics.yaml: measurements.{entry.name}.{name}",
                    problem="does not divide the cell (environments.yaml: pipeline.cell)",
                    mend="Choose a length that goes into the cell without a rest",
                )


def _window(
    start: str | None, stop: str | None, now: datetime, settings: Settings
) -> Window | None:
    if start is None and stop is None:
        return None
    if start is None:
        raise UsageInvalid(
            argument="--start",
            problem="is missing while --stop is given",
            mend="Give both, or none",
        )
    window = Window(parse_time(start, now, "--start"), parse_time(stop or "now", now, "--stop"))
    if window.start > now - settings.pipeline.settle_delay:
        raise UsageInvalid(
            argument="--start",
            problem=f"{iso(window.start)} is later than now less the settle delay: there is nothing to read yet",
            mend="Give an earlier start",
        )
    return window
