"""`lake repair`: fixes corrupt and missing tables; marks their cells to be read again."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.batch import slice_cell
from tasks.core.errors import LakeDamaged, LakeRefused, UsageInvalid
from tasks.core.measurement import Measurement
from tasks.core.series import ALL_TIME
from tasks.core.settings import Settings
from tasks.core.state import CellState
from tasks.core.window import EPOCH, Cell, floor
from tasks.lake.cells import Held
from tasks.lake.delta import existing_table, local_path, remove_missing_files
from tasks.lake.recorded_states import with_commits
from tasks.lake.repair import Damage, damage_of_files, damage_of_log, move_aside
from tasks.lake.tables import LOG, QUARANTINE
from tasks.lake.version import FILE, check_version, write_version
from tasks.lake.windows import WINDOWS, append_states, states_in_force
from tasks.ledger.gaps import most_of
from tasks.ledger.maintenance import environments_of
from tasks.pipeline.cell_audit import AuditRequest, as_held, frames_of, stand, torn
from tasks.pipeline.recovery import Rebuilding, retell, share_id
from tasks.runs.base.registry import source, source_in

TORN_FOLDER = "_torn"
_DONE = "done"
_ALL = "."
_MISSING = Damage(_ALL, "the table is missing", is_there=False)
# from when on the source of a measurement in an environment can be read again
Reach = Callable[[Measurement, str], datetime]


@dataclass(frozen=True)
class TornTable:
    """One table, its corrupt files, and where they were moved (None: only examined)."""

    table: str
    damage: tuple[Damage, ...]
    moved_to: str | None = None


@dataclass(frozen=True)
class TornCells:
    """Cells that may have lost rows, with the number of missing values.

    `is_lost` when their source has no history, or none that goes back so far.
    """

    measurement: str
    environment: str
    start: datetime
    stop: datetime
    cells: int
    values: int
    is_lost: bool = False


@dataclass(frozen=True)
class Repaired:
    """The corrupt tables, and the cells to read again if the source can."""

    tables: tuple[TornTable, ...]
    cells: tuple[TornCells, ...]


def reach_of(settings: Settings, now: datetime) -> Reach:
    """Return a function for the start of what a measurement's source still has."""
    pipeline = settings.pipeline
    oldest = floor(now - pipeline.settle_delay - pipeline.source_retention, pipeline.cell)

    def reach(measurement: Measurement, environment: str) -> datetime:
        if measurement.is_own:
            return now
        known = settings.environments.get(environment)
        kind = source_in(measurement.source, known) if known else None
        history = (kind or source(measurement.source)).history
        return {"range": oldest, "rounds": EPOCH}.get(history, now)

    return reach


def find_damage(
    work: Rebuilding, only: str | None = None, reach: Reach = lambda *_: EPOCH
) -> Repaired:
    """Find corrupt and missing files and tables; raise as `repair`."""
    _check_lake(work, only)
    found = [TornTable(name, _damage(work, name, url)) for name, url in _tables(work, only)]
    found += [TornTable(FILE, (Damage(FILE, "it has no version"),))] * _is_version_torn(work)
    missing = [table.table for table in found if _MISSING in table.damage]
    cells = [each for name in missing for each in _all_cells(work, name, reach)]
    return Repaired(tuple(table for table in found if table.damage), tuple(cells))


def repair(work: Rebuilding, only: str | None = None, reach: Reach = lambda *_: EPOCH) -> Repaired:
    """Move corrupt files aside, restore each table's last good state, create missing tables.

    Cells that lost rows are marked torn in the lake and the ledger: the next runs read them again, as
    far as `reach` goes. After a crash anywhere, run it again to complete the repair. Raises
    LakeDiffers when the lake has another id, LakeRefused when a log on an object store is corrupt,
    UsageInvalid when no measurement has the name `only`, LockHeld when a run is under way, with
    nothing changed; LakeDamaged, LakeBusy, LedgerUnavailable.
    """
    _check_lake(work, only)
    with ExitStack() as stack:
        found = dict(_tables(work, only))
        for name in _measurements(found):
            for environment in sorted(environments_of(work.ledger, name)):
                stack.enter_context(work.locks.hold(name, environment, work.run_id))
        _give_version(work)
        tables = tuple(_fixed(work, name, url) for name, url in found.items())
        broken = {table.table for table in tables if table.damage} | _unfinished(work)
        if broken:
            retell(work)
        cells = tuple(
            lost for name in _measurements(broken) for lost in _recount(work, name, broken, reach)
        )
        for run in _torn_runs(work):
            (run / _DONE).touch()
    return Repaired(tuple(table for table in tables if table.damage), cells)


def _check_lake(work: Rebuilding, only: str | None) -> None:
    _check_known(work, only)
    # one without an id was lost, and is repaired
    if not _is_version_torn(work) and work.lake.ledger_id() is not None:
        work.lake.table_url(WINDOWS)


def _give_version(work: Rebuilding) -> None:
    """Write a lost version file; a lost lake becomes another one, with an id of its own."""
    root = local_path(work.lake.url)
    if _is_version_torn(work):
        if root is not None:
            move_aside(root, root / TORN_FOLDER / work.run_id, [Damage(FILE, "")])
        write_version(work.lake.url, work.ledger.known_id())
    elif work.ledger.lake_id() is not None and work.lake.ledger_id() is None:
        share_id(work.lake, work.ledger)


def _damage(work: Rebuilding, name: str, url: str) -> tuple[Damage, ...]:
    folder = local_path(url)
    files: list[Damage] | None
    log: list[Damage] = []
    if folder is None:
        files = _missing_objects(name, url)
    elif not folder.is_dir() or not any(folder.iterdir()):
        files = [_MISSING]
    elif (folder / LOG).is_dir():
        log = damage_of_log(folder)
        files = damage_of_files(folder, log)
    else:
        files = None
    if files is None:
        return (Damage(_ALL, "it has no readable state"),)
    if files == [_MISSING] and not _is_known(work, name):
        return ()
    return (*log, *files)


def _missing_objects(name: str, url: str) -> list[Damage]:
    try:
        table = existing_table(url, name)
    except LakeDamaged as error:
        fix = "Move all its objects to another bucket, then run `fedvitals lake repair` again"
        raise LakeRefused(table=name, problem=error.problem, fix=fix) from error
    if table is None:
        return [_MISSING]
    missing = remove_missing_files(table, name, dry=True)
    return [Damage(path, "a missing object", is_there=False) for path in missing]


def _fixed(work: Rebuilding, name: str, url: str) -> TornTable:
    damage, root, target = _damage(work, name, url), local_path(work.lake.url), None
    if damage and root is not None:
        # names the table to the next repair after a crash
        target = root / TORN_FOLDER / work.run_id / name
        target.mkdir(parents=True, exist_ok=True)
        whole = [Damage(path.name, "") for path in (root / name).glob("*")]
        move_aside(root / name, target, whole if damage[0].path == _ALL else list(damage))
    if damage and (table := existing_table(url, name)) is not None:
        remove_missing_files(table, name)
    elif damage and name.startswith(QUARANTINE):
        work.lake.prepare_quarantine(name.removeprefix(f"{QUARANTINE}/"))
    is_moved = target is not None and _MISSING not in damage
    return TornTable(name, damage, str(target) if is_moved else None)


def _recount(work: Rebuilding, name: str, broken: set[str], reach: Reach) -> Iterator[TornCells]:
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
        yield from _mark(work, scope, states, reach)


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
    work: Rebuilding, scope: AuditRequest, recorded: dict[Cell, CellState], reach: Reach
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
    gone = {s.cell: recorded[s.cell].values - s.values for s in marked if s.state == "torn"}
    yield from _summed(scope, gone, reach)


def _all_cells(work: Rebuilding, name: str, reach: Reach) -> Iterator[TornCells]:
    for environment in sorted(environments_of(work.ledger, name)):
        scope = AuditRequest(work.catalogue[name], environment, work.length, work.run_id)
        known = work.ledger.cells(name, environment, ALL_TIME).values()
        yield from _summed(scope, {s.cell: s.values for s in known if s.rows}, reach)


def _summed(scope: AuditRequest, gone: dict[Cell, int], reach: Reach) -> Iterator[TornCells]:
    """Sum up the missing values of cells that can be read again, and of those that cannot."""
    since = reach(scope.measurement, scope.environment)
    for is_lost in (False, True):
        cells = [cell for cell in gone if (cell.start < since) is is_lost]
        if cells:
            yield TornCells(
                measurement=scope.measurement.name,
                environment=scope.environment,
                start=min(cell.start for cell in cells),
                stop=max(cell.stop for cell in cells),
                cells=len(cells),
                values=sum(max(0, gone[cell]) for cell in cells),
                is_lost=is_lost,
            )


def _tables(work: Rebuilding, only: str | None) -> Iterator[tuple[str, str]]:
    """Yield all tables that may be there, `_windows` first, with their URLs."""
    root = local_path(work.lake.url)
    # a table that lost its log is there too
    here = work.lake.names() if root is None else [path.name for path in root.glob("[!_]*")]
    names = {*here, *work.catalogue}
    for name in [WINDOWS, *sorted(names)] if only is None else [only]:
        for label in (name, f"{QUARANTINE}/{name}"):
            yield label, f"{work.lake.url}/{label}"


def _is_known(work: Rebuilding, label: str) -> bool:
    """Return whether the ledger knows something that must be in the table."""
    name = label.removeprefix(f"{QUARANTINE}/")
    environments = environments_of(work.ledger, name) if name in work.catalogue else ()
    return any(
        name == label or most_of(work.ledger, "quarantined", name, each) for each in environments
    )


def _check_known(work: Rebuilding, only: str | None) -> None:
    # a table that a crash left moved aside is only in the catalogue
    if only is None or only in work.catalogue or only in work.lake.names():
        return
    raise UsageInvalid(
        argument="--measurement",
        problem=f"neither the catalogue nor the lake has {only!r}",
        fix="List them: fedvitals catalogue, fedvitals lake ls",
    )


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
    """Return the tables that an earlier repair fixed without marking their cells.

    On an object store nothing says so, and every table is counted.
    """
    if local_path(work.lake.url) is None:
        return set(work.lake.names())
    found = set()
    for run in _torn_runs(work):
        if not (run / _DONE).exists():
            quarantined = {f"{QUARANTINE}/{path.name}" for path in (run / QUARANTINE).glob("*")}
            found |= {path.name for path in run.glob("[!_]*")} | quarantined
    return found


def _torn_runs(work: Rebuilding) -> list[Path]:
    root = local_path(work.lake.url)
    return [] if root is None else list((root / TORN_FOLDER).glob("*"))
