"""A run's plan: everything checked before any work, and the tools to do it with."""

import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from tasks.core.catalogue import Catalogue, Measurement, MetricType
from tasks.core.errors import ConfigurationInvalid, UsageInvalid
from tasks.core.loading import Sink
from tasks.core.receipt import run_id_of
from tasks.core.settings import Environment, Settings
from tasks.core.state import CellState
from tasks.core.window import Window, iso, parse_time
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import DatabaseLocks, FileLocks, RunLock
from tasks.patience import PatientSink, PatientSource
from tasks.sinks.influxdb import InfluxSink
from tasks.sources.prometheus import PrometheusSource
from tasks.sources.scrape import Page, ScrapeSource, fetch_page
from tasks.validation.suites import Suite, read_suite, verify
from tasks.work import Source, Tools

logger = logging.getLogger(__name__)

CollectType = Literal["all", "performance", "business", "security"]
# the learning curve belongs to the first look at a training, so performance takes it along
TYPES: Mapping[CollectType, frozenset[MetricType]] = {
    "all": frozenset({"performance", "federated", "business", "security"}),
    "performance": frozenset({"performance", "federated"}),
    "business": frozenset({"business"}),
    "security": frozenset({"security"}),
}


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


@dataclass(frozen=True)
class Toolbox:
    """The opened tools of a run."""

    source: Source
    sinks: tuple[Sink, ...]
    lake: Lake
    ledger: Ledger
    locks: FileLocks | DatabaseLocks
    states: list[CellState]

    def tools(self, plan: Plan, measurement: Measurement, lock: RunLock) -> Tools:
        """What one measurement is processed with."""
        return Tools(
            source=self.source,
            suite=plan.suites[measurement.name],
            lake=self.lake,
            ledger=self.ledger,
            sinks=self.sinks,
            lock=lock,
            run_id=plan.run_id,
            record=self.states.extend,
        )


def make_plan(
    settings: Settings,
    environment: str | None,
    types: CollectType,
    names: tuple[str, ...] = (),
    start: str | None = None,
    stop: str | None = None,
    output: Path | None = None,
) -> Plan:
    """Checks the configuration whole and says what a run will do.

    Raises:
        ConfigurationInvalid, UsageInvalid, SuiteInvalid: naming what to mend.
    """
    now = datetime.now(UTC)
    run_id = run_id_of(now, uuid.uuid4().hex[:6])
    chosen = settings.environment(environment)
    catalogue = Catalogue.read(settings.config / "metrics.yaml")
    measurements = catalogue.select(TYPES[types], names)
    if not measurements:
        raise UsageInvalid(
            argument="--type",
            problem=f"the catalogue has no measurement of type {types}",
            mend="See what there is: fedvitals catalogue",
        )
    _check_steps(measurements, settings)
    return Plan(
        run_id=run_id,
        now=now,
        settings=settings,
        environment=chosen,
        measurements=measurements,
        suites=verified_suites(settings, measurements),
        window=_window(start, stop, now, settings),
        output=output or settings.home / "reports" / run_id,
    )


def verified_suites(settings: Settings, measurements: tuple[Measurement, ...]) -> dict[str, Suite]:
    """The measurements' suites; those that the ledger does not know as sound are verified.

    Raises:
        SuiteInvalid: naming the file and what to mend.
    """
    suites = {entry.name: read_suite(settings.expectations, entry) for entry in measurements}
    # another Great Expectations may know other expectations
    checker = version("great-expectations")
    with opened_ledger(settings) as ledger:
        for entry in measurements:
            proof = f"{suites[entry.name].digest}-{entry.digest}-{checker}"
            if not ledger.is_verified(proof):
                verify(suites[entry.name], entry)
                ledger.keep_verified(proof)
    return suites


@contextmanager
def opened_ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger, closed at the end."""
    settings.home.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(settings.ledger_url)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def opened_toolbox(plan: Plan) -> Iterator[Toolbox]:
    """The tools of a run, closed at the end.

    Raises:
        ConfigurationInvalid: when the environment has no source.
        FedvitalsError: when the ledger or a source without history does not answer.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(opened_ledger(plan.settings))
        sinks = tuple(_open_sinks(plan, stack))
        yield Toolbox(
            source=_open_source(plan, ledger, stack),
            sinks=sinks,
            lake=Lake(plan.settings.lake_url),
            ledger=ledger,
            locks=ledger.locks(plan.settings.home / "locks"),
            states=[],
        )


def _open_source(plan: Plan, ledger: Ledger, stack: ExitStack) -> Source:
    environment = plan.environment
    if environment.prometheus is not None:
        source = PrometheusSource(environment.prometheus)
        stack.callback(source.close)
        return PatientSource(source)
    if environment.api is None:
        raise ConfigurationInvalid(
            where=f"environment {environment.name}",
            problem="no source is configured",
            mend="Set PROMETHEUS_URL, or FED_VIT_API_URL to read the service's /metrics directly",
        )
    page = fetch_page(environment.api)
    kept = ledger.last_page(environment.name, page.url)
    previous = Page(url=page.url, time=kept[0], text=kept[1].decode()) if kept else None
    # only a run that ends well may move the page that the next rates are measured from
    stack.push(
        lambda kind, error, trace: (
            _keep_page(ledger, environment.name, page) if kind is None else None
        )
    )
    return PatientSource(ScrapeSource(page, previous))


def _keep_page(ledger: Ledger, environment: str, page: Page) -> None:
    ledger.keep_page(environment, page.url, page.time, page.text.encode())


def _open_sinks(plan: Plan, stack: ExitStack) -> Iterator[Sink]:
    service = plan.environment.influxdb
    if service is None or not plan.settings.influxdb.enabled:
        return
    if service.token is None:
        logger.warning(
            "sink=influxdb off: INFLUXDB_URL is set and no token is; set INFLUXDB_TOKEN to load"
        )
        return
    sink = InfluxSink(service, plan.settings.influxdb)
    stack.callback(sink.close)
    yield PatientSink(sink)


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
