"""Results of a `maintain` run, for each table and the ledger."""

from typing import Literal

from tasks.core.documents import Strict

# locked: by another run; pending: another writer or the database was in the way
TableState = Literal["done", "locked", "pending", "damaged"]


class TableUpkeep(Strict):
    """A measurement's table with its quarantine, or `_windows`, in files and rows.

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
    """Maintenance of the ledger; sizes are None where it is on a server."""

    state: Literal["done", "pending"] = "done"
    backup: str | None = None
    backups_removed: int = 0
    runs_removed: int = 0
    pages_removed: int = 0
    suites_removed: int = 0
    health_removed: int = 0
    bytes_before: int | None = None
    bytes_after: int | None = None
    problems: tuple[str, ...] = ()


class ReportsUpkeep(Strict):
    """Maintenance of the reports in FEDVITALS_HOME, in folders, one a run."""

    state: Literal["done", "pending"] = "done"
    retained: int = 0
    removed: int = 0
    bytes_removed: int = 0
    problems: tuple[str, ...] = ()


class Maintenance(Strict):
    """The details of a maintain's receipt, over all environments."""

    environments: tuple[str, ...]
    tables: tuple[TableUpkeep, ...]
    ledger: LedgerUpkeep
    reports: ReportsUpkeep = ReportsUpkeep()

    @property
    def sentence(self) -> str:
        """Summarise the maintained tables, expired rows, and skipped tables."""
        expired = sum(line.rows_expired + line.quarantine_expired for line in self.tables)
        left = [f"{line.name}: {line.state}" for line in self.tables if line.state != "done"]
        return "; ".join([f"{len(self.tables)} tables, {expired} rows expired", *left])
