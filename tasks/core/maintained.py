"""What a `maintain` run says at the end: of each table what it was and is, and of the ledger."""

from typing import Literal

from pydantic import Field

from tasks.core.documents import Strict
from tasks.core.receipt import ExitCode

# locked: another run works on it; pending: another writer or the database was in the way
TableState = Literal["done", "locked", "pending", "damaged"]
Status = Literal["ok", "degraded", "pending"]


class TableUpkeep(Strict):
    """A measurement's table and its quarantine together, or `_windows`, in files and rows.

    `files_compacted` became part of others, `files_removed` were replaced long ago.
    """

    name: str
    state: TableState = "done"
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    rows_expired: int = 0
    quarantine_expired: int = 0
    cells_expired: int = 0
    files_compacted: int = 0
    files_removed: int = 0
    problems: tuple[str, ...] = ()


class LedgerUpkeep(Strict):
    """What became of the ledger. Sizes are None where it is on a server."""

    state: Literal["done", "pending"] = "done"
    backup: str | None = None
    backups_removed: int = 0
    runs_removed: int = 0
    pages_removed: int = 0
    suites_removed: int = 0
    bytes_before: int | None = None
    bytes_after: int | None = None
    problems: tuple[str, ...] = ()


class ReportsUpkeep(Strict):
    """What became of the reports in FEDVITALS_HOME, in folders, one a run."""

    state: Literal["done", "pending"] = "done"
    kept: int = 0
    removed: int = 0
    bytes_removed: int = 0
    problems: tuple[str, ...] = ()


class Maintained(Strict):
    """The receipt of a `maintain` run, over all environments, which share the tables."""

    flow: str
    run_id: str
    environments: tuple[str, ...]
    status: Status
    tables: tuple[TableUpkeep, ...]
    ledger: LedgerUpkeep
    reports: ReportsUpkeep = ReportsUpkeep()
    notes: tuple[str, ...] = ()
    seconds: float = Field(ge=0)

    @property
    def exit_code(self) -> ExitCode:
        """0 ok; 1 when a table is damaged; 3 when something was in another run's hands."""
        return {
            "ok": ExitCode.GOOD,
            "degraded": ExitCode.BAD_FOUND,
            "pending": ExitCode.PARTIAL,
        }[self.status]


def status_of(
    tables: tuple[TableUpkeep, ...],
    ledger: LedgerUpkeep,
    reports: ReportsUpkeep,
) -> Status:
    """The worst of all: damage before what is left for another run."""
    states = {ledger.state, reports.state, *(table.state for table in tables)}
    if "damaged" in states:
        return "degraded"
    return "ok" if states == {"done"} else "pending"
