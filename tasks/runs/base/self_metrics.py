"""Self metrics: a run's receipt as the measurement fedvitals_pipeline.

It is validated, landed and loaded like any other, outside of the sums that it reports.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from tasks.core.batch import Batch, build_frame
from tasks.core.errors import LockHeld
from tasks.core.receipt import Outcome, Receipt, SinkValues
from tasks.core.self_metrics import LEDGER_ID, SELF_METRICS, self_measurement
from tasks.core.settings import Settings
from tasks.core.window import Window
from tasks.ledger.locks import RunLock
from tasks.ledger.pending import pending_cells
from tasks.pipeline.chunk import Chunk, OneBatch, Tools
from tasks.pipeline.process import load_pending, process
from tasks.pipeline.recovery import require_tables
from tasks.runs.base.home import ledger_id
from tasks.runs.base.plan import verified_suites
from tasks.runs.base.run import Run
from tasks.runs.base.toolbox import opened_sinks, tools_of

# runs that end at the same moment hold the lock for some tens of milliseconds each
LOCK_PATIENCE_SECONDS = 5.0
# not worth a longer wait for a sink; pending rows come with the next run
SINK_RETRY_TIMEOUT = timedelta(seconds=5)
MOST_PENDING = 168
_MOMENT = timedelta(microseconds=1)
_STAGES = ("extract", "validate", "land", "load")


def land_self_metrics(run: Run, receipt: Receipt) -> None:
    """Land and load the run's self metrics; a failure is a failed delivery."""
    with run.delivery("self metrics", f"{SELF_METRICS} is incomplete: ") as problems:
        problems += _land(run, receipt)


def measured(receipt: Receipt, moment: datetime, duration_seconds: float, ledger_id: str) -> Batch:
    """Return the receipt's figures as a batch of one row at the run's own time."""
    measurement = self_measurement()
    sinks = sum(receipt.sinks.values(), SinkValues())
    values = receipt.values
    failed = sum(line.state == "failed" for line in receipt.measurements)
    row = {
        "time": moment,
        "environment": receipt.environment,
        "flow": receipt.flow,
        "duration_seconds": duration_seconds,
        **{f"{name}_seconds": receipt.seconds.get(name, 0.0) for name in _STAGES},
        "lag_seconds": receipt.lag_seconds,
        "extracted_values": values.extracted,
        "landed_values": values.landed,
        "quarantined_values": values.quarantined,
        "dropped_values": values.dropped_by_rule,
        "unchanged_values": values.unchanged,
        "retained_values": values.retained,
        "owed_values": sinks.owed,
        "loaded_values": sinks.loaded,
        "pending_values": sinks.pending,
        "refused_values": sinks.refused,
        "skipped_values": sinks.skipped_by_rule,
        "measurements": len(receipt.measurements),
        "failed_measurements": failed,
        "retries": receipt.retries,
        "exit_code": int(receipt.exit_code),
        "status": receipt.status,
        "worst": receipt.worst.value if receipt.worst else None,
        LEDGER_ID: ledger_id,
    }
    frame = build_frame(measurement, {name: [value] for name, value in row.items()})
    return Batch(measurement, receipt.environment, Window(moment, moment + _MOMENT), frame)


def _land(run: Run, receipt: Receipt) -> tuple[str, ...]:
    environment, settings = receipt.environment, _impatient(run.settings)
    with opened_sinks(settings, run.environment) as sinks, _held(run, environment) as lock:
        seconds = (datetime.now(UTC) - run.now).total_seconds()
        batch = measured(receipt, run.now, seconds, ledger_id(run.lake, run.ledger))
        is_away = any(counts.pending for counts in receipt.sinks.values())
        own = self_measurement()
        suite = verified_suites(settings, run.ledger, (own,))[SELF_METRICS]
        # the run has waited once for an unavailable sink, and must not wait again
        tools = tools_of(run, OneBatch(batch, "receipt"), suite, () if is_away else sinks, lock)
        cell = settings.pipeline.cell
        problems = [problem for one in _outcomes(batch, cell, tools) for problem in _reported(one)]
        run.append_states(is_last=False)
    return tuple(problems)


def _reported(outcome: Outcome) -> Iterator[str]:
    yield from outcome.problems
    if outcome.values.quarantined:
        yield f"{outcome.values.quarantined} of its values are in quarantine"


def _outcomes(batch: Batch, length: timedelta, tools: Tools) -> Iterator[Outcome]:
    """Yield the run's row, then the cells that a sink still lacks."""
    measurement, environment = batch.measurement, batch.environment
    require_tables(tools.lake, tools.ledger, SELF_METRICS, environment)
    tools.lake.prepare(measurement)
    cell = next(batch.window.cells(length))
    yield process(Chunk(measurement, environment, (cell,), batch.window), tools)
    for sink in tools.sinks:
        pending = pending_cells(tools.ledger, sink.target, SELF_METRICS, environment)
        earlier = (one for one in pending if sink.in_order or one.run_id != tools.run_id)
        states = list(islice(earlier, MOST_PENDING))
        if states:
            yield load_pending(measurement, environment, states, replace(tools, sinks=(sink,)))


def _impatient(settings: Settings) -> Settings:
    """Return the settings with a short retry_timeout for sinks."""
    retry_timeout = min(settings.pipeline.retry_timeout, SINK_RETRY_TIMEOUT)
    return replace(
        settings, pipeline=settings.pipeline.model_copy(update={"retry_timeout": retry_timeout})
    )


@contextmanager
def _held(run: Run, environment: str) -> Iterator[RunLock]:
    """Lock the self metrics, after a short wait at most; raise LockHeld."""
    waiting = Retrying(
        retry=retry_if_exception_type(LockHeld),
        wait=wait_random(0.02, 0.2),
        stop=stop_after_delay(LOCK_PATIENCE_SECONDS),
        reraise=True,
    )
    with ExitStack() as stack:
        yield waiting(
            lambda: stack.enter_context(run.locks.hold(SELF_METRICS, environment, run.id))
        )
