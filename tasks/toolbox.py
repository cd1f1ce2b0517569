"""The opened tools of a run: its sources, sinks, lake, ledger and locks, closed at the end."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tasks.core.catalogue import Measurement, SourceName
from tasks.core.loading import Sink
from tasks.core.retry import retrying
from tasks.core.settings import Service
from tasks.core.state import CellState
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import DatabaseLocks, FileLocks, RunLock
from tasks.patience import PatientSource
from tasks.plan import Plan, opened_ledger
from tasks.sinks.influxdb import InfluxSink
from tasks.sources.prometheus import PrometheusSource
from tasks.sources.rest import RestSource
from tasks.sources.scrape import Page, ScrapeSource, fetch_page
from tasks.sources.tls import TlsSource
from tasks.work import Source, Tools


@dataclass(frozen=True)
class Toolbox:
    """The opened tools of a run."""

    sources: Mapping[SourceName, Source]
    sinks: tuple[Sink, ...]
    lake: Lake
    ledger: Ledger
    locks: FileLocks | DatabaseLocks
    states: list[CellState]

    def tools(self, plan: Plan, measurement: Measurement, lock: RunLock) -> Tools:
        """What one measurement is processed with."""
        return Tools(
            source=self.sources[measurement.source],
            suite=plan.suites[measurement.name],
            lake=self.lake,
            ledger=self.ledger,
            sinks=self.sinks,
            lock=lock,
            run_id=plan.run_id,
            record=self.states.extend,
        )


@contextmanager
def opened_toolbox(plan: Plan) -> Iterator[Toolbox]:
    """The tools of a run, closed at the end.

    Raises:
        FedvitalsError: when the ledger or a source without history does not answer.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(opened_ledger(plan.settings))
        sinks = tuple(_open_sinks(plan, stack))
        yield Toolbox(
            sources=dict(_open_sources(plan, ledger, stack)),
            sinks=sinks,
            lake=Lake(plan.settings.lake_url),
            ledger=ledger,
            locks=ledger.locks(plan.settings.home / "locks"),
            states=[],
        )


def _open_sources(
    plan: Plan, ledger: Ledger, stack: ExitStack
) -> Iterator[tuple[SourceName, Source]]:
    """The sources that the plan's measurements need, by the name that the catalogue gives them."""
    patience = plan.settings.pipeline.patience.total_seconds()
    for name in dict.fromkeys(entry.source for entry in plan.measurements):
        source = _open_source(name, plan, ledger, stack)
        stack.callback(source.close)
        yield name, PatientSource(source, patience)


def _open_source(
    name: SourceName, plan: Plan, ledger: Ledger, stack: ExitStack
) -> PrometheusSource | RestSource | TlsSource | ScrapeSource:
    environment = plan.environment
    if name == "prometheus" and environment.prometheus is not None:
        return PrometheusSource(environment.prometheus)
    assert environment.api is not None, "the plan leaves out what has no source"
    if name == "rest":
        return RestSource(environment.api, now=plan.now)
    if name == "tls":
        return TlsSource(environment.api, now=plan.now)
    return _open_scrape(environment.name, environment.api, plan, ledger, stack)


def _open_scrape(
    environment: str, service: Service, plan: Plan, ledger: Ledger, stack: ExitStack
) -> ScrapeSource:
    """The service's /metrics page, and the one kept before, for rates."""
    patience = plan.settings.pipeline.patience.total_seconds()
    page = retrying(patience)(fetch_page, service)
    kept = ledger.last_page(environment, page.url)
    previous = Page(url=page.url, time=kept[0], text=kept[1].decode()) if kept else None
    # only a run that ends well may move the page that the next rates are measured from
    stack.push(
        lambda kind, error, trace: _keep_page(ledger, environment, page) if kind is None else None
    )
    return ScrapeSource(page, previous, plan.now)


def _keep_page(ledger: Ledger, environment: str, page: Page) -> None:
    ledger.keep_page(environment, page.url, page.time, page.text.encode())


def _open_sinks(plan: Plan, stack: ExitStack) -> Iterator[Sink]:
    service = plan.environment.influxdb
    if service is None or service.token is None or not plan.settings.influxdb.enabled:
        return
    patience = plan.settings.pipeline.patience.total_seconds()
    sink = InfluxSink(service, plan.settings.influxdb, deadline_seconds=patience)
    stack.callback(sink.close)
    yield sink
