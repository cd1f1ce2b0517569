"""A chunk worked on apart from the run: in another process, maybe on another machine."""

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
    """What a worker is reported. It holds no address and no secret: those are the worker's own."""

    run_id: str
    now: datetime
    chunk: Chunk
    suite_digest: str


def process_apart(order: Order, settings: Settings, gate: Callable[[int], Gate]) -> Done:
    """Works on one chunk with tools of this process, under the lock that the run holds.

    The worker looks before each commit whether the run still holds the lock, as far as that can be
    seen from here; of two commits to one table at once the lake lets one win, and the other is
    tried again.

    gate: makes of a number what lets so many queries of the whole run through at once.

    Raises:
        ConfigurationInvalid: when this worker has another suite than the run.
        FedvitalsError: as process.
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
            problem="the suite of this worker is not that of the run",
            fix="Give all workers the same configuration",
        )
    return suite
