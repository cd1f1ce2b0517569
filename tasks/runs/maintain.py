"""The run `maintain`: every table of the lake, the ledger, the reports."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import starmap

from deltalake import DeltaTable

from tasks.core.artifact import Artifact
from tasks.core.catalogue import Catalogue
from tasks.core.errors import FedvitalsError, LockHeld, LockLost, Transient, defect
from tasks.core.maintenance import LedgerUpkeep, Maintenance, TableState, TableUpkeep
from tasks.core.receipt import MeasurementState, Outcome, Receipt
from tasks.core.settings import Settings
from tasks.core.window import floor
from tasks.lake.delta import existing_table
from tasks.lake.maintenance import Rules, Upkeep, environments_of, keep_states_up, keep_up
from tasks.lake.tables import QUARANTINE, Lake
from tasks.lake.windows import WINDOWS
from tasks.ledger import maintenance as ledger_upkeep
from tasks.ledger.health import forget_health
from tasks.ledger.incidents import forget_incidents
from tasks.ledger.ledger import Ledger
from tasks.pipeline.recovery import require_tables
from tasks.reports.expiry import clean_reports
from tasks.runs.base.deliver import deliver
from tasks.runs.base.home import begin
from tasks.runs.base.plan import proof_of
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.step import Step, plain
from tasks.validation.suites import read_suite

logger = logging.getLogger("fedvitals")


@dataclass(frozen=True)
class UpkeepPlan:
    """The checked configuration of a maintenance."""

    run_id: str
    now: datetime
    settings: Settings
    catalogue: Catalogue

    def rules(self, name: str) -> Rules:
        """Return the retention of the measurement's table; for ever outside the catalogue."""
        pipeline, entry = self.settings.pipeline, self.catalogue.get(name)
        newest = floor(self.now - pipeline.settle_delay, pipeline.cell)
        return Rules(
            kept_from=None if entry is None else entry.kept_from(self.now, pipeline.cell),
            until=newest - pipeline.late_data_cells * pipeline.cell,
            files=self.settings.maintenance.files,
        )

    def quarantine_rules(self, name: str) -> Rules:
        """Return its quarantine's retention: no longer than the rows', nor than is set."""
        rules = self.rules(name)
        own = floor(self.now - self.settings.maintenance.quarantine, self.settings.pipeline.cell)
        return replace(rules, kept_from=max(own, rules.kept_from or own))


@dataclass(frozen=True)
class MaintainRequest:
    """Has no options: all tables are maintained."""


def maintain(run: Run, request: MaintainRequest, step: Step = plain) -> Receipt:
    """Maintain every table, then `_windows`, the ledger and the reports.

    A measurement locked by another run is skipped until the next time; a damaged one fails alone.
    """
    plan = step("plan", make_upkeep_plan)(run)
    details = step("tables, ledger, reports: compact, expire, back up", maintain_tables)(run, plan)
    receipt = step("account", run.account)(None, details=details)
    step("self metrics", land_self_metrics)(run, receipt)
    rows = [line.model_dump(mode="json", exclude={"problems"}) for line in details.tables]
    run.artifacts.append(Artifact("table", "maintain-tables", rows))
    return step("deliver", deliver)(run, receipt)


def make_upkeep_plan(run: Run) -> UpkeepPlan:
    """Check the whole configuration."""
    catalogue = Catalogue.read(run.settings.config / "metrics.yaml")
    begin(run)
    return UpkeepPlan(run.id, run.now, run.settings, catalogue)


def maintain_tables(run: Run, plan: UpkeepPlan) -> Maintenance:
    """Maintain every table, the ledger and the reports; each table is an outcome."""
    settings = plan.settings
    names = dict.fromkeys([*run.lake.names(), *plan.catalogue])
    lines = [line for name in names if (line := _measurement(name, plan, run)) is not None]
    done = {line.name for line in lines if line.state == "done"}
    lines += _windows(plan, run, done)
    kept, notes = _ledger(plan, run.ledger)
    reports = clean_reports(settings.reports, plan.now - settings.maintenance.reports)
    run.notes += notes
    for line in lines:
        run.add(_outcome(line.name, line.state, line.problems))
    for part, upkeep in (("ledger", kept), ("reports", reports)):
        if upkeep.state != "done":
            run.add(_outcome(part, upkeep.state, upkeep.problems))
    return Maintenance(
        environments=tuple(settings.environments), tables=tuple(lines), ledger=kept, reports=reports
    )


_STATES: dict[TableState, MeasurementState] = {
    "done": "unchanged",
    "locked": "pending",
    "pending": "pending",
    "damaged": "failed",
}


def _outcome(name: str, state: TableState, problems: tuple[str, ...]) -> Outcome:
    return Outcome(name, _STATES[state], problems=problems)


def _measurement(name: str, plan: UpkeepPlan, run: Run) -> TableUpkeep | None:
    with _guarded(TableUpkeep(name=name)) as work:
        tables = _opened(name, run.lake)
        known = ledger_upkeep.environments_of(run.ledger, name)
        if not tables and not known:
            return None
        for environment in known:
            require_tables(run.lake, run.ledger, name, environment)
        environments = known.union(plan.settings.environments, *starmap(environments_of, tables))
        with _locked(name, environments, plan, run) as check:
            work.line = _forgotten(work.line, plan, run)
            for table, label in tables:
                is_quarantine = label != name
                rules = plan.quarantine_rules(name) if is_quarantine else plan.rules(name)
                done = keep_up(table, label, rules, check)
                work.line = _with(work.line, done, is_quarantine)
    return work.line


def _opened(name: str, lake: Lake) -> list[tuple[DeltaTable, str]]:
    quarantine = f"{QUARANTINE}/{name}"
    urls = {name: lake.table_url(name), quarantine: lake.quarantine_url(name)}
    found = [(existing_table(url, label), label) for label, url in urls.items()]
    return [(table, label) for table, label in found if table is not None]


@contextmanager
def _locked(
    name: str, environments: frozenset[str], plan: UpkeepPlan, run: Run
) -> Iterator[Callable[[], None]]:
    """Lock the measurement in all environments, which share tables; yield the check."""
    with ExitStack() as stack:
        held = [
            stack.enter_context(run.locks.hold(name, environment, plan.run_id))
            for environment in sorted(environments)
        ]

        def check() -> None:
            for lock in held:
                lock.check()

        yield check


def _forgotten(line: TableUpkeep, plan: UpkeepPlan, run: Run) -> TableUpkeep:
    """Remove the ledger's cells before their rows.

    After a crash between, the next run finds the rows; a cell without rows would be loaded as empty.
    """
    kept_from = plan.rules(line.name).kept_from
    if kept_from is None:
        return line
    cells = ledger_upkeep.forget_before(run.ledger, line.name, kept_from)
    return line.model_copy(update={"cells_expired": cells})


def _with(line: TableUpkeep, done: Upkeep, is_quarantine: bool) -> TableUpkeep:
    expired = "quarantine_expired" if is_quarantine else "rows_expired"
    return line.model_copy(
        update={
            "files_before": line.files_before + done.before.files,
            "files_after": line.files_after + done.after.files,
            "bytes_before": line.bytes_before + done.before.bytes,
            "bytes_after": line.bytes_after + done.after.bytes,
            "files_compacted": line.files_compacted + done.compacted,
            "files_removed": line.files_removed + done.removed,
            expired: done.expired,
        }
    )


def _windows(plan: UpkeepPlan, run: Run, done: set[str]) -> list[TableUpkeep]:
    """Maintain `_windows`; states of cells with rows are retained for a rebuild."""
    kept_from = {name: moment for name in done if (moment := plan.rules(name).kept_from)}
    with _guarded(TableUpkeep(name=WINDOWS)) as work:
        upkeep = keep_states_up(run.lake, kept_from, plan.settings.maintenance.files)
        if not upkeep.before.files:
            return []
        work.line = _with(work.line, upkeep, is_quarantine=False)
    return [work.line]


@dataclass
class _Line:
    """Holds a table's line in its present state."""

    line: TableUpkeep


@contextmanager
def _guarded(line: TableUpkeep) -> Iterator[_Line]:
    """Put an error on the table's line, so that the other tables are maintained."""
    work = _Line(line)
    try:
        yield work
    except FedvitalsError as error:
        state = "locked" if isinstance(error, LockHeld) else "damaged"
        if isinstance(error, Transient | LockLost):
            state = "pending"
        work.line = _problem(work.line, state, str(error))
    # a defect in one table must not stop the others; the run is degraded
    except Exception as error:
        logger.exception("table=%s unexpected error", line.name)
        work.line = _problem(work.line, "damaged", defect(error))


def _problem(line: TableUpkeep, state: str, problem: str) -> TableUpkeep:
    return line.model_copy(update={"state": state, "problems": (*line.problems, problem)})


def _ledger(plan: UpkeepPlan, ledger: Ledger) -> tuple[LedgerUpkeep, tuple[str, ...]]:
    """Back up the ledger, then remove expired rows."""
    rules, notes = plan.settings.maintenance, []
    before = ledger_upkeep.bytes_of(ledger)
    if before is None:
        notes.append("the ledger is in PostgreSQL: back it up there, with pg_dump")
    line = LedgerUpkeep(bytes_before=before, bytes_after=before)
    try:
        folder = plan.settings.home / "backups"
        backup = ledger_upkeep.back_up(ledger, folder, plan.run_id, rules.backups)
        if backup is not None:
            line = line.model_copy(update={"backup": str(backup.path), "backups_removed": backup.removed})  # fmt: skip
        proofs, problem = _proofs(plan)
        notes += [problem] if problem else []
        cleaned = ledger_upkeep.clean(ledger, plan.now - rules.runs, proofs)
        forgotten = forget_health(ledger, plan.now)
        forget_incidents(ledger, plan.now)
        ledger_upkeep.shrink(ledger)
        counts = {
            "runs_removed": cleaned.runs,
            "pages_removed": cleaned.pages,
            "suites_removed": cleaned.suites,
            "health_removed": forgotten,
            "bytes_after": ledger_upkeep.bytes_of(ledger),
        }
        return line.model_copy(update=counts), tuple(notes)
    except FedvitalsError as error:
        update = {"state": "pending", "problems": (str(error),)}
        return line.model_copy(update=update), tuple(notes)


def _proofs(plan: UpkeepPlan) -> tuple[frozenset[str] | None, str]:
    """Return the proofs that runs need; None, and why, when a suite cannot be read."""
    folder = plan.settings.expectations
    try:
        entries = plan.catalogue.values()
        return frozenset(proof_of(read_suite(folder, entry), entry) for entry in entries), ""
    except FedvitalsError as error:
        return None, f"the proofs of suites were not expired: {error}"
