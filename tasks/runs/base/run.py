"""A run: its id, clock, settings, ledger, lake and locks, and its results."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self

from tasks.core.artifact import Artifact
from tasks.core.clocks import CLOCK, clock_findings
from tasks.core.disk import FULL, disk_full
from tasks.core.errors import FedvitalsError, LedgerAway, defect
from tasks.core.finding import Finding
from tasks.core.health import read_health
from tasks.core.maintenance_windows import Maintenance, covering, maintenance_at
from tasks.core.progress import Progress, no_progress
from tasks.core.receipt import (
    Delivery,
    FailOn,
    MeasurementState,
    Outcome,
    Receipt,
    given_up,
    joined,
    write_receipt,
)
from tasks.core.retry import counted_retries
from tasks.core.run_id import new_run_id
from tasks.core.settings import Settings
from tasks.core.state import CellState
from tasks.core.whole_file import PRIVATE
from tasks.core.window import Window, iso
from tasks.lake.tables import Lake
from tasks.lake.windows import WINDOWS, append_states
from tasks.ledger.health import started_maintenance
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import DatabaseLocks, FileLocks, RunLock
from tasks.ledger.opening import opened_ledger
from tasks.ledger.watermark import loaded_until
from tasks.pipeline.recovery import require_tables
from tasks.runs.base.space import low_space, require_disks

logger = logging.getLogger("fedvitals")

Publish = Callable[[Iterable[Artifact]], None]

# earlier runs to search for a measurement: a day of hourly ones
EARLIER_RUNS = 24
GOOD_STATES = frozenset({"landed", "unchanged", "no_data", "retained"})


class Run:
    """Shares what all steps of a run need, and closes it in one order.

    `account` makes the receipt; after it only deliveries and the report's path are added.
    """

    def __init__(
        self,
        flow: str,
        settings: Settings,
        environment: str | None = None,
        *,
        fail_on: FailOn = "high",
        progress: Progress = no_progress,
        publish: Publish | None = None,
        run_id: str | None = None,
        now: datetime | None = None,
    ) -> None:
        """Begin a run; `publish` shows its artifacts, None without a user interface."""
        self.flow, self.settings, self.fail_on = flow, settings, fail_on
        self.environment = settings.environment(environment)
        self.now = now or datetime.now(UTC)
        self.id = run_id or new_run_id(self.now)
        self.progress, self.publish = progress, publish
        self.lake = Lake(settings.lake_url, lambda: self.ledger.lake_id())
        self.outcomes: list[Outcome] = []
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.deliveries: list[Delivery] = []
        self.artifacts: list[Artifact] = []
        # sinks in use, by name
        self.targets: dict[str, str] = {}
        self.report: str | None = None
        # a part that no measurement stands for was left undone
        self.is_partial = False
        self._states: list[CellState] = []
        self._began = time.perf_counter()
        self._stack = ExitStack()
        self._retries = self._stack.enter_context(counted_retries())

    def __enter__(self) -> Self:
        # in a worker too; it holds for the libraries, which create most files
        os.umask(PRIVATE)
        require_disks(self.settings)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @cached_property
    def ledger(self) -> Ledger:
        """Return the one handle on the ledger."""
        return self._stack.enter_context(opened_ledger(self.settings))

    @cached_property
    def locks(self) -> FileLocks | DatabaseLocks:
        """Return the locks that go with the ledger."""
        return self.ledger.locks(self.settings.home / "locks")

    def log_due(self, measurements: int, window: Window | None) -> None:
        """Log the work ahead."""
        about = f"{iso(window.start)} to {iso(window.stop)}" if window else "due data"
        where = f"{self.flow} {self.id} in {self.environment.name}"
        logger.info("%s: %d measurements, %s", where, measurements, about)

    def work(self, measurement: str, do: Callable[[RunLock], Outcome]) -> None:
        """Process one measurement under its lock; an error becomes its outcome.

        With a ledger's server that was away the lock is lost: the rest is done under a new one.
        """
        outcome, is_lost = self._attempted(measurement, do)
        if is_lost and self.ledger.is_on_server:
            state: MeasurementState = "landed" if outcome.values.landed else "unchanged"
            first = replace(outcome, state=state, problems=(), warnings=outcome.problems)
            outcome = joined(measurement, [first, self._attempted(measurement, do)[0]])
        self.add(outcome)

    def _attempted(
        self, measurement: str, do: Callable[[RunLock], Outcome]
    ) -> tuple[Outcome, bool]:
        """Return the outcome, and whether the lock was lost meanwhile."""
        name, lock = self.environment.name, None
        try:
            require_tables(self.lake, self.ledger, measurement, name)
            with self.locks.hold(measurement, name, self.id) as lock:
                return do(lock), lock.is_lost
        except FedvitalsError as error:
            return given_up(measurement, error), lock is not None and lock.is_lost
        except OSError as error:
            if error.errno not in FULL:
                raise
            return given_up(measurement, disk_full(self.settings.home)), False

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of a measurement, and log it when it is not good."""
        self.outcomes.append(outcome)
        log_outcome(outcome)

    def record(self, states: list[CellState]) -> None:
        """Remember changed cells for the next append to `_windows`."""
        self._states.extend(states)

    def take_states(self) -> tuple[CellState, ...]:
        """Return the changed cells, for another process to append."""
        states = tuple(self._states)
        self._states.clear()
        return states

    def append_states(self, *, is_last: bool = True) -> None:
        """Append the changed cells to `_windows` at once.

        A failure of the last append is an outcome, since it must not hide the others; an earlier
        one is logged, and the cells come with the next.
        """
        states = list(self._states)
        try:
            append_states(self.lake, states)
        except FedvitalsError as error:
            if is_last:
                self.outcomes.append(Outcome(WINDOWS, "failed", problems=(str(error),)))
            logger.warning("%s: %s", WINDOWS, error)
        else:
            # other threads may have added more meanwhile
            del self._states[: len(states)]
            # without it the next run compares ledger and lake
            with suppress(LedgerAway):
                if states and self.ledger.is_complete():
                    self.ledger.keep_complete(True)

    def account(self, window: Window | None, **details: Any) -> Receipt:
        """Build the receipt, and keep it in the ledger; raise SumsDiffer."""
        receipt = write_receipt(
            flow=self.flow,
            run_id=self.id,
            environment=self.environment.name,
            window=window,
            outcomes=self.outcomes,
            seconds={"work": time.perf_counter() - self._began},
            retries=self._retries.value,
            findings=(*self.findings, *self._clocks()),
            notes=(*self.notes, *low_space(self.settings)),
            fail_on=self.fail_on,
            sinks=self.targets,
            places=self.settings.places,
            lag_seconds=self._lag(),
            at=self.now.astimezone(self.settings.timezone),
            earlier=self._earlier,
            **details,
        )
        receipt = self._stored(receipt)
        logger.info("%s", receipt.sentence)
        return receipt

    def _clocks(self) -> Iterator[Finding]:
        """Yield what is wrong with clocks, but for those in maintenance."""
        found = list(clock_findings(self.environment))
        planned = self._planned() if found else []
        if covering(planned, self.environment.name, CLOCK, self.now) is None:
            yield from found

    def _planned(self) -> list[Maintenance]:
        """Return the maintenance that goes on; none where a wrong file or the ledger hides it."""
        try:
            windows = read_health(self.settings).maintenance
            return maintenance_at(windows, started_maintenance(self.ledger, self.now), self.now)
        except FedvitalsError:
            return []

    @contextmanager
    def delivery(self, what: str, failure: str = "") -> Iterator[list[str]]:
        """Note a delivery, or why it failed; a defect also makes the run degraded.

        The block may add problems of its own to the list; `failure` introduces them.
        """
        problems: list[str] = []
        try:
            yield problems
        except FedvitalsError as error:
            problems.append(str(error))
        # a defect in one delivery must lose neither the receipt nor the other deliveries
        except Exception as error:
            logger.exception("%s: unexpected error", what)
            problems.append(defect(error))
            self.is_partial = True
        message = f"{failure}{'; '.join(problems)}" if problems else ""
        if message:
            logger.warning("%s: %s", what, message)
        self.deliveries.append(Delivery(what, not message, message))

    def complete(self, receipt: Receipt) -> Receipt:
        """Return the receipt with its deliveries, stored in the same row of the ledger."""
        more = {"deliveries": tuple(self.deliveries), "report": self.report}
        return self._stored(receipt.model_copy(update=more))

    def _stored(self, receipt: Receipt) -> Receipt:
        if self.is_partial and receipt.status in ("ok", "no_data"):
            receipt = receipt.model_copy(update={"status": "degraded"})
        try:
            self.ledger.keep_receipt(receipt)
        except LedgerAway as error:
            self.deliveries.append(Delivery("receipt", False, f"it is not kept: {error}"))
        return receipt

    def _earlier(self, finding: Finding) -> Finding | None:
        """Return the finding of the last run that checked its measurement, if it found it too."""
        for receipt in self.receipts_before:
            lines = {line.name: line for line in receipt.measurements}
            line = lines.get(finding.evidence["measurement"])
            if line is not None and line.verdict is not None:
                same = (one for one in receipt.findings if one.fingerprint == finding.fingerprint)
                return next(same, None)
        return None

    @cached_property
    def receipts_before(self) -> list[Receipt]:
        """Return the receipts of earlier runs of this flow, newest first."""
        before: list[str] = []
        with suppress(LedgerAway):
            before = self.ledger.last_runs(self.flow, self.environment.name, self.id, EARLIER_RUNS)
        return [Receipt.model_validate_json(text) for text in before]

    def _lag(self) -> float | None:
        """Return the age of the newest loaded data of the slowest measurement."""
        names = [outcome.measurement for outcome in self.outcomes]
        targets = list(self.targets.values())
        reached: Iterable[datetime] = ()
        with suppress(LedgerAway):
            reached = loaded_until(self.ledger, names, self.environment.name, targets).values()
        # a sample covers its slot, which may end after now
        now = datetime.now(UTC)
        return max((max(0.0, (now - until).total_seconds()) for until in reached), default=None)


def log_outcome(outcome: Outcome) -> None:
    """Log a measurement that is not good; the others are only counted."""
    if outcome.state in GOOD_STATES and not outcome.values.quarantined and not outcome.problems:
        return
    counts = f"{outcome.values.landed} values landed, {outcome.values.quarantined} quarantined"
    problem = f": {outcome.problems[0]}" if outcome.problems else ""
    logger.warning("%s: %s, %s%s", outcome.measurement, outcome.state, counts, problem)
