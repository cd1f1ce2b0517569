"""`lake repair`: fixes corrupt tables and marks their cells to be read again."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.batch import slice_cell
from tasks.core.errors import ConfigurationInvalid, LakeDamaged, UsageInvalid
from tasks.core.series import ALL_TIME
from tasks.core.state import CellState
from tasks.core.window import Cell
from tasks.lake.cells import Held
from tasks.lake.delta import existing_table, local_path, remove_missing_files
from tasks.lake.recorded_states import with_commits
from tasks.lake.repair import Damage, damage_of_files, damage_of_log, move_aside
from tasks.lake.tables import QUARANTINE
from tasks.lake.version import FILE, check_version, write_version
from tasks.lake.windows import WINDOWS, append_states, states_in_force
from tasks.ledger.maintenance import environments_of
from tasks.pipeline.cell_audit import AuditRequest, as_held, frames_of, stand, torn
from tasks.pipeline.recovery import Rebuilding

TORN_FOLDER = "_torn"
_DONE = "done"
_ALL = "."


@dataclass(frozen=True)
class TornTable:
    """One table, its corrupt files, and where they were moved (None: only examined)."""

    table: str
    damage: tuple[Damage, ...]
    moved_to: str | None = None


@dataclass(frozen=True)
class TornCells:
    """Cells that may have lost rows, with the number of missing values."""

    measurement: str
    environment: str
    start: datetime
    stop: datetime
    cells: int
    values: int


@dataclass(frozen=True)
class Repaired:
    """The corrupt tables, and the cells to read again if the source can."""

    tables: tuple[TornTable, ...]
    cells: tuple[TornCells, ...]


def find_damage(work: Rebuilding, only: str | None = None) -> Repaired:
    """Find corrupt files in each table of a local lake; raise as `repair`."""
    _check_known(work, only)
    found = [(name, _damage(folder)) for name, folder in _tables(work, only)]
    found += [(FILE, (Damage(FILE, "it has no version"),))] * _is_version_torn(work)
    return Repaired(tuple(TornTable(name, damage) for name, damage in found if damage), ())


def repair(work: Rebuilding, only: str | None = None) -> Repaired:
    """Move corrupt files aside and restore each table's last good state.

    Cells that lost rows are marked torn in the lake and the ledger: the next run reads them again.
    After a crash anywhere, run it again to complete the repair. Raises ConfigurationInvalid when
    the lake is on an object store, UsageInvalid when no measurement has the name `only`, LockHeld
    when a run is under way, with nothing changed; LakeDamaged, LakeBusy, LedgerUnavailable.
    """
    root = _root(work)
    _check_known(work, only)
    if _is_version_torn(work):
        move_aside(root, root / TORN_FOLDER / work.run_id, [Damage(FILE, "")])
        write_version(work.lake.url)
    with ExitStack() as stack:
        folders = dict(_tables(work, only))
        for name in _measurements(folders):
            for environment in sorted(environments_of(work.ledger, name)):
                stack.enter_context(work.locks.hold(name, environment, work.run_id))
        tables = tuple(_fixed(work, name, folder) for name, folder in folders.items())
        broken = {table.table for table in tables if table.damage} | _unfinished(work)
        if broken:
            _retell(work)
        cells = tuple(
            found for name in _measurements(broken) for found in _recount(work, name, broken)
        )
        for run in (_root(work) / TORN_FOLDER).glob("*"):
            (run / _DONE).touch()
    return Repaired(tuple(table for table in tables if table.damage), cells)


def _damage(folder: Path) -> tuple[Damage, ...]:
    log = damage_of_log(folder)
    files = damage_of_files(folder, log)
    if files is None:
        return (Damage(_ALL, "it has no readable state"),)
    return (*log, *files)


def _fixed(work: Rebuilding, name: str, folder: Path) -> TornTable:
    damage = _damage(folder)
    if not damage:
        return TornTable(name, ())
    target = _root(work) / TORN_FOLDER / work.run_id / name
    if damage[0].path == _ALL:
        move_aside(folder.parent, target.parent, [Damage(folder.name, damage[0].problem)])
        return TornTable(name, damage, str(target))
    target.mkdir(parents=True, exist_ok=True)
    move_aside(folder, target, list(damage))
    table = existing_table(str(folder), name)
    assert table is not None
    remove_missing_files(table, name)
    return TornTable(name, damage, str(target))


def _retell(work: Rebuilding) -> None:
    """Append the ledger's states that `_windows` lacks, since it may be corrupt."""
    recorded = {
        (s.measurement, s.environment, s.cell): s.run_id for s in states_in_force(work.lake)
    }
    missing = [
        state
        for name in work.lake.names()
        for environment in environments_of(work.ledger, name)
        for state in work.ledger.cells(name, environment, ALL_TIME).values()
        if recorded.get((name, environment, state.cell), "") < state.run_id
    ]
    append_states(work.lake, missing)


def _recount(work: Rebuilding, name: str, broken: set[str]) -> Iterator[TornCells]:
    """Mark cells that lost rows or records, or got older rows back."""
    measurement = work.catalogue.get(name)
    if measurement is None:
        return
    # without a table the next run would assume that it was removed on purpose
    work.lake.prepare(measurement)
    recorded = {
        (s.environment, s.cell): s for s in states_in_force(work.lake) if s.measurement == name
    }
    later = with_commits(work.lake, name, recorded)
    for environment in sorted({environment for environment, _ in later}):
        states = {cell: state for (where, cell), state in later.items() if where == environment}
        scope = AuditRequest(measurement, environment, work.length, work.run_id)
        if f"{QUARANTINE}/{name}" in broken:
            states |= _without_records(work, scope, states)
        yield from _mark(work, scope, states)


def _without_records(
    work: Rebuilding, scope: AuditRequest, recorded: dict[Cell, CellState]
) -> dict[Cell, CellState]:
    """Mark the cells with fewer quarantined values than recorded to be read again."""
    found = work.lake.quarantined(scope.measurement.name, scope.environment)
    found = found[found["field"].notna() & (found["stage"] != "sink")]
    fresh: dict[str, Any] = {"run_id": work.run_id, "made_at": datetime.now(UTC)}
    lacking = {
        cell: replace(state, covered_until=cell.start, source_digest="", **fresh)
        for cell, state in recorded.items()
        if len(slice_cell(found, cell)) < state.quarantined
    }
    append_states(work.lake, lacking.values())
    work.ledger.record(lacking.values())
    return lacking


def _mark(
    work: Rebuilding, scope: AuditRequest, recorded: dict[Cell, CellState]
) -> Iterator[TornCells]:
    states = {state.cell: state for state in stand(work.lake, scope, recorded).states}
    # an equal number of rows may predate a lost commit
    for cell, frame in frames_of(work.lake, scope, [c for c in recorded if recorded[c].rows]):
        if (
            states[cell].state != "torn"
            and as_held(recorded[cell], frame, scope) is not recorded[cell]
        ):
            states[cell] = torn(recorded[cell], Held(len(frame), states[cell].values), work.run_id)
    # restored rows without a record are read again too
    marked = [
        state if state.state == "torn" else replace(state, covered_until=cell.start)
        for cell, state in states.items()
        if state is not recorded.get(cell)
    ]
    append_states(work.lake, marked)
    work.ledger.record(marked)
    lost = [state for state in marked if state.state == "torn"]
    if lost:
        yield TornCells(
            measurement=scope.measurement.name,
            environment=scope.environment,
            start=min(state.cell.start for state in lost),
            stop=max(state.cell.stop for state in lost),
            cells=len(lost),
            values=sum(max(0, recorded[state.cell].values - state.values) for state in lost),
        )


def _tables(work: Rebuilding, only: str | None) -> Iterator[tuple[str, Path]]:
    """Yield the folders with a log, `_windows` first, by their names in messages."""
    root = _root(work)
    here = sorted(path.parent.name for path in root.glob("[!_]*/_delta_log") if path.is_dir())
    for name in [WINDOWS, *here] if only is None else {only}.intersection(here):
        for label in (name, f"{QUARANTINE}/{name}"):
            if (root / label / "_delta_log").is_dir():
                yield label, root / label


def _check_known(work: Rebuilding, only: str | None) -> None:
    # a table that a crash left moved aside is only in the catalogue
    if only is None or only in work.catalogue or any(_tables(work, only)):
        return
    raise UsageInvalid(
        argument="--measurement",
        problem=f"neither the catalogue nor the lake has {only!r}",
        fix="List them: fedvitals catalogue, fedvitals lake ls",
    )


def _root(work: Rebuilding) -> Path:
    path = local_path(work.lake.url)
    if path is None:
        raise ConfigurationInvalid(
            where="FEDVITALS_LAKE_URL",
            problem="names an object store; repair fixes a lake in a local folder",
            fix="Restore a missing object from the bucket's own versions. Or move all "
            "objects of the table to another bucket: the next collect begins it "
            "anew with due data, and fedvitals backfill reads older data from the source",
        )
    return path


def _measurements(labels: Iterable[str]) -> list[str]:
    names = {label.removeprefix(f"{QUARANTINE}/") for label in labels}
    return sorted(name for name in names if not name.startswith("_"))


def _is_version_torn(work: Rebuilding) -> bool:
    try:
        check_version(work.lake.url)
    except LakeDamaged:
        return True
    return False


def _unfinished(work: Rebuilding) -> set[str]:
    """Return the tables that an earlier repair fixed without marking their cells."""
    found = set()
    for run in (_root(work) / TORN_FOLDER).glob("*"):
        if not (run / _DONE).exists():
            quarantined = {f"{QUARANTINE}/{path.name}" for path in (run / QUARANTINE).glob("*")}
            found |= {path.name for path in run.glob("[!_]*")} | quarantined
    return found
