"""The opened tools of a run: its sources and sinks, closed at the end."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import BoundedSemaphore
from typing import Any

from tasks.core.errors import FedvitalsError, LakeDamaged, LedgerAway
from tasks.core.measurement import Measurement
from tasks.core.ports import Sink, Source, SourceKind, SourceOpening
from tasks.core.receipt import Outcome, given_up
from tasks.core.self_metrics import SELF_METRICS
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.lake.landed_rounds import known_run
from tasks.lake.tables import Lake
from tasks.lake.windows import WINDOWS
from tasks.ledger import health
from tasks.ledger.incidents import changes_in
from tasks.ledger.locks import RunLock
from tasks.pipeline.chunk import Tools
from tasks.pipeline.recovery import caught_up, require_tables
from tasks.runs.base.home import ledger_id, other_writer
from tasks.runs.base.plan import Plan
from tasks.runs.base.registry import sinks_in, source_in
from tasks.runs.base.run import Run
from tasks.sources.health import Recorded
from tasks.sources.patient import PatientSource
from tasks.sources.pseudonyms import NamedSource, Namer, namer_of
from tasks.validation.model import Suite


@dataclass(frozen=True)
class Toolbox:
    """The opened tools of a run: what it reads from and loads into."""

    run: Run
    sources: Mapping[str, Source | FedvitalsError]
    sinks: tuple[Sink, ...]
    namer: Namer | None = None

    def tools(self, plan: Plan, measurement: Measurement, lock: RunLock) -> Tools:
        """Return the tools of one measurement; raise why its source could not be opened."""
        source = self.sources[measurement.source]
        if isinstance(source, FedvitalsError):
            raise source
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
        # another process of the run compared them before
        opened = opened_stores(run) if gate is None else opened_sinks(run.settings, run.environment)
        sinks = stack.enter_context(opened)
        toolbox = Toolbox(
            run=run,
            sources=dict(_open_sources(run, plan, gate, stack)),
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
    try:
        ledger_id(run.lake, run.ledger)
        require_tables(run.lake, run.ledger, SELF_METRICS, run.environment.name)
    except LakeDamaged as error:
        run.add(given_up(SELF_METRICS, error))
    except FedvitalsError:
        # every measurement will meet it
        pass
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
        openings = sinks_in(settings, environment)
        yield tuple(stack.enter_context(closing(kind.open(how))) for kind, how in openings)


def _open_sources(
    run: Run, plan: Plan, gate: AbstractContextManager[Any] | None, stack: ExitStack
) -> Iterator[tuple[str, Source | FedvitalsError]]:
    """Open the sources that the plan needs, by their names in the catalogue.

    One that cannot be opened fails its own measurements; raises its error when all are so.
    """
    retry_timeout = plan.settings.pipeline.retry_timeout.total_seconds()
    gate = gate or BoundedSemaphore(plan.settings.pipeline.queries_at_once)
    opened: dict[str, Source | FedvitalsError] = {}
    for name in dict.fromkeys(entry.source for entry in plan.measurements):
        kind = source_in(name, plan.environment)
        assert kind is not None, "the plan leaves out what has no source"
        try:
            source = kind.open(_opening(run, kind, plan, gate, stack))
        except FedvitalsError as error:
            opened[name] = error
        else:
            stack.callback(source.close)
            opened[name] = PatientSource(source, retry_timeout)
    errors = [each for each in opened.values() if isinstance(each, FedvitalsError)]
    if errors and len(errors) == len(opened):
        raise errors[0]
    return iter(opened.items())


def _opening(
    run: Run,
    kind: SourceKind,
    plan: Plan,
    gate: AbstractContextManager[Any],
    stack: ExitStack,
) -> SourceOpening:
    # a flow's rates span the time since its own last run, however often another flow reads
    reader = f"{plan.environment.name} {run.flow}"

    def keep_page(url: str, time: datetime, text: bytes) -> None:
        # only a run that ends well may move the page that the next rates are measured from
        def keep(error: object, *_: object) -> None:
            # the next rates span more time, if the ledger's server is away
            with suppress(LedgerAway):
                if error is None:
                    run.ledger.keep_page(reader, url, time, text)

        stack.push(keep)

    return SourceOpening(
        service=plan.environment.services.get(kind.service_name),
        retry_timeout=plan.settings.pipeline.retry_timeout,
        environment=plan.environment.name,
        now=plan.now,
        gate=gate,
        landed=partial(known_run, Lake(plan.settings.lake_url)),
        last_page=partial(run.ledger.last_page, reader),
        keep_page=keep_page,
        recorded=Recorded(
            partial(health.samples, run.ledger),
            partial(health.intervals, run.ledger),
            partial(health.host_samples, run.ledger),
        ),
        changes=partial(changes_in, run.ledger),
        cell=plan.settings.pipeline.cell,
    )
