"""The pipeline watches itself: a run's receipt as the measurement fedvitals_pipeline.

It goes the way of every other: checked, landed, loaded. It stands outside of the sums that it tells.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from tasks.chunk.work import Chunk, Tools
from tasks.core.batch import Batch, build_frame
from tasks.core.catalogue import Measurement
from tasks.core.errors import FedvitalsError, LockHeld, defect
from tasks.core.own import LEDGER_ID, OWN, own_measurement
from tasks.core.receipt import MeasurementReceipt, Outcome, Receipt, SinkValues, Values
from tasks.core.window import Window
from tasks.lake.windows import append_states
from tasks.ledger.locks import RunLock
from tasks.ledger.pending import pending_cells
from tasks.ledger.reach import loaded_until
from tasks.process import load_pending, process
from tasks.run.home import ledger_id
from tasks.run.plan import Plan
from tasks.run.toolbox import Toolbox, opened_toolbox

logger = logging.getLogger(__name__)

# runs that end at the same moment hold the lock for some tens of milliseconds each
LOCK_PATIENCE_SECONDS = 5.0
# a sample is worth no longer wait for a sink; what is pending comes with the next run
SINK_PATIENCE = timedelta(seconds=5)
MOST_PENDING = 168
_MOMENT = timedelta(microseconds=1)
_STAGES = ("extract", "validate", "land", "load")


def watch(plan: Plan, receipt: Receipt) -> Receipt:
    """Lands and loads the run's own figures, one row at the run's time; the receipt gets its lag.

    Whatever goes wrong is a note on the receipt that comes back. What fedvitals expects to go wrong
    leaves a good run good; a defect is a failed line of the receipt.
    """
    problems: tuple[str, ...]
    try:
        receipt, problems = _watch(plan, receipt)
    except FedvitalsError as error:
        problems = (str(error),)
    # one measurement of many: what the run did stays told, and a defect makes it one that ended in part
    except Exception as error:
        logger.exception("measurement=%s unexpected error", OWN)
        problems = (defect(error),)
        receipt = _ended_in_part(receipt, problems)
    notes = (f"{OWN} is not whole: {problem}" for problem in problems)
    return receipt.model_copy(update={"notes": (*receipt.notes, *notes)})


def _ended_in_part(receipt: Receipt, problems: tuple[str, ...]) -> Receipt:
    line = MeasurementReceipt(
        name=OWN, state="failed", rows=0, values=Values(), verdict=None, problems=problems
    )
    status = "failed" if receipt.status == "failed" else "degraded"
    lines = (*receipt.measurements, line)
    return receipt.model_copy(update={"status": status, "measurements": lines})


def measured(receipt: Receipt, moment: datetime, duration_seconds: float, ledger_id: str) -> Batch:
    """The receipt's figures as a batch of one row at the moment, which is the run's own time."""
    measurement = own_measurement()
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
        "kept_values": values.kept,
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
        LEDGER_ID: ledger_id,
    }
    frame = build_frame(measurement, {name: [value] for name, value in row.items()})
    return Batch(measurement, receipt.environment, Window(moment, moment + _MOMENT), frame)


@dataclass
class _ThisRun:
    """The source of a run's own figures: one batch, and no past."""

    batch: Batch
    name: str = "receipt"

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        return self.batch


def _watch(plan: Plan, receipt: Receipt) -> tuple[Receipt, tuple[str, ...]]:
    """The receipt with its lag, and what could not be done."""
    environment = receipt.environment
    with (
        opened_toolbox(_impatient(plan)) as toolbox,
        _held(toolbox, environment, plan.run_id) as lock,
    ):
        now = datetime.now(UTC)
        receipt = receipt.model_copy(update={"lag_seconds": _lag(receipt, toolbox, now)})
        home = ledger_id(toolbox.lake, toolbox.ledger)
        batch = measured(receipt, plan.now, (now - plan.now).total_seconds(), home)
        is_away = any(counts.pending for counts in receipt.sinks.values())
        tools = Tools(
            source=_ThisRun(batch),
            suite=plan.suites[OWN],
            lake=toolbox.lake,
            ledger=toolbox.ledger,
            # the run waited for it once, and is not to wait again
            sinks=() if is_away else toolbox.sinks,
            lock=lock,
            run_id=plan.run_id,
            record=toolbox.states.extend,
        )
        problems = [problem for one in _outcomes(plan, batch, tools) for problem in _told(one)]
        append_states(toolbox.lake, toolbox.states)
    return receipt, tuple(problems)


def _lag(receipt: Receipt, toolbox: Toolbox, now: datetime) -> float | None:
    names = [line.name for line in receipt.measurements]
    targets = [sink.target for sink in toolbox.sinks]
    reached = loaded_until(toolbox.ledger, names, receipt.environment, targets)
    # a sample covers its slot, which may end after now
    return max(
        (max(0.0, (now - until).total_seconds()) for until in reached.values()), default=None
    )


def _told(outcome: Outcome) -> Iterator[str]:
    yield from outcome.problems
    if outcome.values.quarantined:
        yield f"{outcome.values.quarantined} of its values are in quarantine"


def _outcomes(plan: Plan, batch: Batch, tools: Tools) -> Iterator[Outcome]:
    """The run's row, then the cells that a sink still lacks."""
    measurement, environment = batch.measurement, batch.environment
    if tools.ledger.newest(OWN, environment) is not None and not tools.lake.has(OWN):
        # the table was moved away
        tools.ledger.forget(OWN, environment)
    tools.lake.prepare(measurement)
    cell = next(batch.window.cells(plan.settings.pipeline.cell))
    yield process(Chunk(measurement, environment, (cell,), batch.window), tools)
    for sink in tools.sinks:
        pending = pending_cells(tools.ledger, sink.target, OWN, environment)
        earlier = (state for state in pending if state.run_id != tools.run_id)
        states = list(islice(earlier, MOST_PENDING))
        if states:
            yield load_pending(measurement, environment, states, replace(tools, sinks=(sink,)))


def _impatient(plan: Plan) -> Plan:
    """The plan without sources to open, and with little patience for sinks."""
    pipeline = plan.settings.pipeline
    patience = min(pipeline.patience, SINK_PATIENCE)
    short = replace(plan.settings, pipeline=pipeline.model_copy(update={"patience": patience}))
    return replace(plan, settings=short, measurements=())


@contextmanager
def _held(toolbox: Toolbox, environment: str, run_id: str) -> Iterator[RunLock]:
    """The lock of the own measurement, waited for a little: every run takes it at its end.

    Raises:
        LockHeld: when it stayed with somebody else.
    """
    waiting = Retrying(
        retry=retry_if_exception_type(LockHeld),
        wait=wait_random(0.02, 0.2),
        stop=stop_after_delay(LOCK_PATIENCE_SECONDS),
        reraise=True,
    )
    with ExitStack() as stack:
        yield waiting(lambda: stack.enter_context(toolbox.locks.hold(OWN, environment, run_id)))
