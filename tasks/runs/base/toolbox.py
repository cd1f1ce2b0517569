"""The opened tools of a run: its sources and sinks, closed at the end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from tasks.core.errors import FedvitalsError
from tasks.core.measurement import Measurement, SourceName
from tasks.core.ports import Sink, Source
from tasks.core.receipt import Outcome
from tasks.core.retry import retrying
from tasks.core.settings import Environment, Service, Settings
from tasks.lake.landed_rounds import known_run
from tasks.lake.tables import Lake
from tasks.lake.windows import WINDOWS
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import RunLock
from tasks.pipeline.chunk import Tools
from tasks.pipeline.recovery import caught_up
from tasks.runs.base.home import other_writer
from tasks.runs.base.plan import Plan
from tasks.runs.base.run import Run
from tasks.sinks.influxdb import InfluxSink
from tasks.sources.federated import FederatedSource
from tasks.sources.patient import PatientSource
from tasks.sources.prometheus import PrometheusSource
from tasks.sources.pseudonyms import NamedSource, Namer, namer_of
from tasks.sources.rest import RestSource
from tasks.sources.scrape import AbsentPage, Page, ScrapeSource, fetch_page
from tasks.validation.model import Suite

if TYPE_CHECKING:
    from tasks.sources.tls import TlsSource


@dataclass(frozen=True)
class Toolbox:
    """The opened tools of a run: what it reads from and loads into."""

    run: Run
    sources: Mapping[SourceName, Source]
    sinks: tuple[Sink, ...]
    namer: Namer | None = None

    def tools(self, plan: Plan, measurement: Measurement, lock: RunLock) -> Tools:
        """What one measurement is processed with."""
        source = self.sources[measurement.source]
        if measurement.identity is not None and self.namer is not None:
            source = NamedSource(source, self.namer)
        return tools_of(self.run, source, plan.suites[measurement.name], self.sinks, lock)


def tools_of(
    run: Run, source: Source, suite: Suite, sinks: tuple[Sink, ...], lock: RunLock
) -> Tools:
    """What one measurement is processed with, from any source."""
    return Tools(
        source=source,
        suite=suite,
        lake=run.lake,
        ledger=run.ledger,
        sinks=sinks,
        lock=lock,
        run_id=run.id,
        record=run.record,
    )


@contextmanager
def opened_toolbox(
    run: Run, plan: Plan, gate: AbstractContextManager[Any] | None = None
) -> Iterator[Toolbox]:
    """Open the run's sources and sinks for a block; at its end the lake knows all changed cells.

    gate: lets queries to Prometheus through, for a run of several processes; by default
    `queries_at_once` of them.
    """
    with ExitStack() as stack:
        sinks = stack.enter_context(opened_stores(run))
        toolbox = Toolbox(
            run=run,
            sources=dict(_open_sources(plan, run.ledger, gate, stack)),
            sinks=sinks,
            namer=namer_of(plan.settings) if any(m.identity for m in plan.measurements) else None,
        )
        try:
            yield toolbox
        finally:
            # what is landed has to be in the lake's own state, even of a run that is interrupted
            run.append_states()


@contextmanager
def opened_stores(run: Run) -> Iterator[tuple[Sink, ...]]:
    """Open what a run loads into, for a block; look first whether lake, ledger and bucket agree.

    A ledger that is behind its lake is taught what it missed, and an outcome says so. That another
    home wrote the bucket last is a note.
    """
    missed = caught_up(run.settings, run.lake, run.ledger, run.id)
    if missed:
        run.outcomes.append(Outcome(WINDOWS, "unchanged", warnings=missed))
    run.notes += other_writer(run.settings, run.environment, run.lake, run.ledger)
    with opened_sinks(run.settings, run.environment) as sinks:
        run.targets = {sink.name: sink.target for sink in sinks}
        yield sinks


@contextmanager
def opened_sinks(settings: Settings, environment: Environment) -> Iterator[tuple[Sink, ...]]:
    """Open the environment's sinks for a block."""
    with ExitStack() as stack:
        opened = (open_sink(settings, environment) for open_sink in SINKS.values())
        sinks = tuple(sink for sink in opened if sink is not None)
        for sink in sinks:
            stack.callback(sink.close)
        yield sinks


def _open_sources(
    plan: Plan, ledger: Ledger, gate: AbstractContextManager[Any] | None, stack: ExitStack
) -> Iterator[tuple[SourceName, Source]]:
    """The sources that the plan's measurements need, by the name that the catalogue gives them."""
    retry_timeout = plan.settings.pipeline.retry_timeout.total_seconds()
    gate = gate or BoundedSemaphore(plan.settings.pipeline.queries_at_once)
    for name in dict.fromkeys(entry.source for entry in plan.measurements):
        source = _open_source(name, plan, ledger, gate, stack)
        stack.callback(source.close)
        # that it did not answer was waited for already
        is_absent = isinstance(source, AbsentPage)
        yield name, source if is_absent else PatientSource(source, retry_timeout)


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
    retry_timeout = plan.settings.pipeline.retry_timeout.total_seconds()
    page = retrying(retry_timeout)(fetch_page, service)
    kept = ledger.last_page(environment, page.url)
    previous = Page(url=page.url, time=kept[0], text=kept[1].decode()) if kept else None
    # only a run that ends well may move the page that the next rates are measured from
    stack.push(partial(_keep_page, ledger, environment, page))
    return ScrapeSource(page, previous, plan.now)


def _keep_page(ledger: Ledger, environment: str, page: Page, error: object, *_: object) -> None:
    if error is None:
        ledger.keep_page(environment, page.url, page.time, page.text.encode())


def _open_influxdb(settings: Settings, environment: Environment) -> Sink | None:
    service = settings.influxdb_of(environment)
    if service is None:
        return None
    retry_timeout = settings.pipeline.retry_timeout.total_seconds()
    return InfluxSink(service, settings.influxdb, deadline_seconds=retry_timeout)


# every sink by name, and what opens it; None when it is off or not configured whole
SINKS: Mapping[str, Callable[[Settings, Environment], Sink | None]] = {
    InfluxSink.name: _open_influxdb
}
