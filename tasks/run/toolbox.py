"""The opened tools of a run: its sources, sinks, lake, ledger and locks, closed at the end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from tasks.chunk.work import Source, Tools
from tasks.core.catalogue import Measurement, SourceName
from tasks.core.errors import FedvitalsError
from tasks.core.loading import Sink
from tasks.core.retry import retrying
from tasks.core.settings import Service
from tasks.core.state import CellState
from tasks.lake.runs import known_run
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import DatabaseLocks, FileLocks, RunLock
from tasks.run.home import other_writer
from tasks.run.patience import PatientSource
from tasks.run.plan import Plan, opened_ledger
from tasks.sinks.influxdb import InfluxSink
from tasks.sources.federated import FederatedSource
from tasks.sources.prometheus import PrometheusSource
from tasks.sources.rest import RestSource
from tasks.sources.scrape import AbsentPage, Page, ScrapeSource, fetch_page
from tasks.training.identity import NamedSource, Namer, namer_of
from tasks.upkeep.rebuilding import caught_up

if TYPE_CHECKING:
    from tasks.sources.tls import TlsSource


@dataclass(frozen=True)
class Toolbox:
    """The opened tools of a run. `caught_up` is what is to be said of a ledger that missed runs."""

    sources: Mapping[SourceName, Source]
    sinks: tuple[Sink, ...]
    lake: Lake
    ledger: Ledger
    locks: FileLocks | DatabaseLocks
    states: list[CellState]
    namer: Namer | None = None
    caught_up: tuple[str, ...] = ()

    @property
    def sink_names(self) -> tuple[str, ...]:
        """Name the sinks that are in use."""
        return tuple(sink.name for sink in self.sinks)

    def other_writer(self, plan: Plan) -> tuple[str, ...]:
        """Warn when another home wrote the environment's bucket last; asked once a run."""
        return other_writer(plan.settings, plan.environment, self.lake, self.ledger)

    def tools(self, plan: Plan, measurement: Measurement, lock: RunLock) -> Tools:
        """What one measurement is processed with."""
        source = self.sources[measurement.source]
        if measurement.identity is not None and self.namer is not None:
            source = NamedSource(source, self.namer)
        return Tools(
            source=source,
            suite=plan.suites[measurement.name],
            lake=self.lake,
            ledger=self.ledger,
            sinks=self.sinks,
            lock=lock,
            run_id=plan.run_id,
            record=self.states.extend,
        )


@contextmanager
def opened_toolbox(
    plan: Plan, gate: AbstractContextManager[Any] | None = None
) -> Iterator[Toolbox]:
    """The tools of a run, closed at the end.

    gate: lets queries to Prometheus through, for a run of several processes; by default
    `queries_at_once` of them.

    Raises:
        FedvitalsError: when the ledger or a source without history does not answer.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(opened_ledger(plan.settings))
        lake = Lake(plan.settings.lake_url)
        notes = caught_up(plan.settings, lake, ledger, plan.run_id)
        sinks = tuple(_open_sinks(plan, stack))
        yield Toolbox(
            sources=dict(_open_sources(plan, ledger, gate, stack)),
            sinks=sinks,
            lake=lake,
            ledger=ledger,
            locks=ledger.locks(plan.settings.home / "locks"),
            states=[],
            namer=namer_of(plan.settings) if any(m.identity for m in plan.measurements) else None,
            caught_up=notes,
        )


def _open_sources(
    plan: Plan, ledger: Ledger, gate: AbstractContextManager[Any] | None, stack: ExitStack
) -> Iterator[tuple[SourceName, Source]]:
    """The sources that the plan's measurements need, by the name that the catalogue gives them."""
    patience = plan.settings.pipeline.patience.total_seconds()
    gate = gate or BoundedSemaphore(plan.settings.pipeline.queries_at_once)
    for name in dict.fromkeys(entry.source for entry in plan.measurements):
        source = _open_source(name, plan, ledger, gate, stack)
        stack.callback(source.close)
        # that it did not answer was waited for already
        is_absent = isinstance(source, AbsentPage)
        yield name, source if is_absent else PatientSource(source, patience)


def _open_source(
    name: SourceName,
    plan: Plan,
    ledger: Ledger,
    gate: AbstractContextManager[Any],
    stack: ExitStack,
) -> "PrometheusSource | RestSource | TlsSource | FederatedSource | ScrapeSource | AbsentPage":
    environment = plan.environment
    if name == "prometheus" and environment.prometheus is not None:
        return PrometheusSource(environment.prometheus, gate=gate)
    assert environment.api is not None, "the plan leaves out what has no source"
    if name == "rest":
        return RestSource(environment.api, now=plan.now)
    if name == "tls":
        # most runs need no reader of certificates
        from tasks.sources.tls import TlsSource

        return TlsSource(environment.api, now=plan.now)
    if name == "federated":
        return FederatedSource(environment.api, partial(known_run, Lake(plan.settings.lake_url)))
    try:
        return _open_scrape(environment.name, environment.api, plan, ledger, stack)
    except FedvitalsError as error:
        # a training whose history can be read is followed without its metrics page too
        if any(entry.source == "federated" for entry in plan.measurements):
            return AbsentPage(error)
        raise


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
    for open_sink in SINKS.values():
        sink = open_sink(plan)
        if sink is not None:
            stack.callback(sink.close)
            yield sink


def _open_influxdb(plan: Plan) -> Sink | None:
    service = plan.settings.influxdb_of(plan.environment)
    if service is None:
        return None
    patience = plan.settings.pipeline.patience.total_seconds()
    return InfluxSink(service, plan.settings.influxdb, deadline_seconds=patience)


# every sink by name, and what opens it; None when it is off or not configured whole
SINKS: Mapping[str, Callable[[Plan], Sink | None]] = {InfluxSink.name: _open_influxdb}
