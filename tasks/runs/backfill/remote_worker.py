"""Processing of a chunk by a remote worker, maybe on another machine."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.core.errors import ConfigurationInvalid
from tasks.core.settings import Settings
from tasks.pipeline.chunk import Chunk
from tasks.pipeline.process import process
from tasks.runs.backfill.plan import FLOW
from tasks.runs.backfill.run import Done
from tasks.runs.base.plan import Plan
from tasks.runs.base.run import Run
from tasks.runs.base.toolbox import opened_toolbox
from tasks.validation.model import Suite
from tasks.validation.suites import read_suite

Gate = AbstractContextManager[Any]


@dataclass(frozen=True)
class Order:
    """The order for a worker, without addresses and secrets: the worker has its own."""

    run_id: str
    now: datetime
    chunk: Chunk
    suite_digest: str


def process_apart(order: Order, settings: Settings, gate: Callable[[int], Gate]) -> Done:
    """Process one chunk with tools of this process, under the lock that the run holds.

    Before each commit the worker checks, as far as it can see from here, that the run still holds
    the lock; of two commits to one table at once the lake lets one win, and the other is retried.

    gate: makes a limit on concurrent queries of the whole run. Raises ConfigurationInvalid when
    this worker has another suite than the run; FedvitalsError as process.
    """
    chunk = order.chunk
    with Run(FLOW, settings, chunk.environment, run_id=order.run_id, now=order.now) as run:
        plan = _plan(run, order)
        with opened_toolbox(run, plan, gate(settings.pipeline.queries_at_once)) as toolbox:
            lock = run.locks.watch(chunk.measurement.name, chunk.environment, order.run_id)
            outcome = process(chunk, toolbox.tools(plan, chunk.measurement, lock))
            return Done(outcome, run.take_states())


def _plan(run: Run, order: Order) -> Plan:
    entry, settings = order.chunk.measurement, run.settings
    return Plan(
        run_id=order.run_id,
        now=order.now,
        settings=settings,
        environment=run.environment,
        measurements=(entry,),
        suites={entry.name: _same_suite(order, settings)},
        window=order.chunk.window,
        output=settings.home,
        warnings=(),
    )


def _same_suite(order: Order, settings: Settings) -> Suite:
    suite = read_suite(settings.expectations, order.chunk.measurement)
    if suite.digest != order.suite_digest:
        raise ConfigurationInvalid(
            where=str(settings.expectations / f"{order.chunk.measurement.suite_name}.json"),
            problem="this worker has another suite than the run",
            fix="Give all workers the same configuration",
        )
    return suite
