"""`lake migrate`: a table made to fit the catalogue, then the states of its cells."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tasks.core.batch import empty_frame
from tasks.core.catalogue import Catalogue
from tasks.core.measurement import Measurement
from tasks.core.ports import CellToLoad
from tasks.core.series import ALL_TIME
from tasks.core.settings import Settings
from tasks.core.state import CellState
from tasks.core.window import Cell, iso
from tasks.lake.delta import existing_table
from tasks.lake.maintenance import environments_of
from tasks.lake.migration import (
    Change,
    check_change,
    find_change,
    make_change,
    rename_in_quarantine,
)
from tasks.lake.recorded_states import with_commits
from tasks.lake.windows import append_states, states_in_force
from tasks.ledger.locks import RunLock
from tasks.pipeline.cell_audit import AuditRequest, CellAudit, stand
from tasks.pipeline.recovery import Rebuilding
from tasks.runs.base.registry import sinks_in, source_in

# of a measurement and environment these cells, in every sink
Erase = Callable[[Measurement, str, Sequence[Cell]], None]


@dataclass(frozen=True)
class Migrated:
    """What was changed, or would be; cells are those that sinks get again, erased first.

    `untagged` are the hours of each environment whose rows lack an added tag until they are read again.
    """

    measurement: str
    renamed: Mapping[str, str]
    added: tuple[str, ...]
    dropped: tuple[str, ...]
    cast: Mapping[str, tuple[str, str]]
    sources: Mapping[str, tuple[str, str]]
    untagged: Mapping[str, str]
    quarantine: int = 0
    cells: int = 0


@dataclass(frozen=True)
class _Migration:
    work: Rebuilding
    measurement: Measurement
    renames: Mapping[str, str]
    sources: Mapping[str, str]
    reported: Mapping[str, Mapping[Cell, CellState]]

    def moved(self) -> dict[str, tuple[str, str]]:
        """By environment the source it was filled from and the one it is to be filled from."""
        newest = {
            env: states[max(states)].source for env, states in self.reported.items() if states
        }
        return {
            environment: (source, wanted)
            for environment, source in newest.items()
            if (wanted := self.sources.get(environment)) not in (None, source)
        }

    def hours(self) -> dict[str, str]:
        """By environment the time from the first to the last cell with rows."""
        return {
            environment: f"{iso(min(held).start)} to {iso(max(held).stop)}"
            for environment, states in self.reported.items()
            if (held := [cell for cell, state in states.items() if state.rows])
        }


def migrate(
    work: Rebuilding,
    name: str,
    renames: Mapping[str, str],
    sources: Mapping[str, str],
    *,
    dry: bool,
    erase: Erase,
) -> Migrated:
    """Makes the measurement's table fit the catalogue; with `dry` only says what would be done.

    `sources` is what each environment's runs read it from now. The table changes in one commit.
    After a crash anywhere the same command ends the work, and until then a run refuses the table.
    After a change of type all cells are erased in the sinks by `erase` before any is loaded again:
    InfluxDB refuses a type while its shard holds another.

    Raises:
        UsageInvalid, MigrationRefused: nothing was changed.
        LockHeld: when a run is under way; nothing was changed.
        LakeBusy, LakeDamaged, LedgerUnavailable, SinkUnavailable, SinkRefused: try again.
    """
    Catalogue(work.catalogue).require(name)
    measurement, table = work.catalogue[name], work.lake.required_table(name)
    change = find_change(table, measurement, renames)
    check_change(table, measurement, change)
    migration = _Migration(work, measurement, renames, sources, _reported(work, name))
    columns = (change.renamed, change.added, change.dropped, change.cast)
    untagged = migration.hours() if set(change.added) & set(measurement.tags) else {}
    reported = Migrated(name, *columns, migration.moved(), untagged)
    if dry:
        return reported
    environments = sorted(environments_of(table, name) | set(migration.reported))
    with ExitStack() as stack:
        locks = {
            environment: stack.enter_context(work.locks.hold(name, environment, work.run_id))
            for environment in environments
        }
        # what was read before the locks were held may be old
        migration = replace(migration, reported=_reported(work, name))
        return _migrated(migration, change, locks, reported, erase)


def erase_with(settings: Settings) -> Erase:
    """Erases cells in the configured sinks of their environment."""

    def erase(measurement: Measurement, environment: str, cells: Sequence[Cell]) -> None:
        known = settings.environments.get(environment)
        nothing = empty_frame(measurement)
        gone = [CellToLoad(cell, nothing, erase_first=True) for cell in cells]
        for kind, opening in sinks_in(settings, known) if known is not None else ():
            with closing(kind.open(opening)) as sink:
                errors = [each.error for each in sink.load(measurement, environment, gone)]
            for error in errors:
                if error is not None:
                    raise error

    return erase


def sources_of(settings: Settings, measurement: Measurement) -> dict[str, str]:
    """What each environment's runs read the measurement from."""
    return {
        name: kind.name
        for name, environment in settings.environments.items()
        if (kind := source_in(measurement.source, environment)) is not None
    }


def _migrated(
    migration: _Migration,
    change: Change,
    locks: Mapping[str, RunLock],
    reported: Migrated,
    erase: Erase,
) -> Migrated:
    work, name = migration.work, migration.measurement.name
    marks = {environment: _mark(migration, environment) for environment in locks}
    for lock in locks.values():
        lock.check()
    quarantine = rename_in_quarantine(work.lake, migration.measurement, migration.renames)
    table = existing_table(work.lake.table_url(name), name)
    assert table is not None
    if not change.is_none:
        metadata = {"run_id": work.run_id, "migrated": name}
        make_change(table, migration.measurement, change, metadata)
    standings = {environment: _stand(migration, environment) for environment in locks}
    # whether an unfinished migration changed types is not known
    if change.cast or any(
        mark is not None and mark.state == "migrating" for mark in marks.values()
    ):
        for environment, standing in standings.items():
            erase(migration.measurement, environment, [s.cell for s in standing.corrected])
    moved = migration.moved()
    for environment, standing in standings.items():
        source = moved[environment][1] if environment in moved else None
        _restate(migration, environment, standing, source, marks[environment])
    cells = sum(len(standing.corrected) for standing in standings.values())
    return replace(reported, sources=moved, quarantine=quarantine, cells=cells)


def _stand(migration: _Migration, environment: str) -> CellAudit:
    work = migration.work
    look = AuditRequest(migration.measurement, environment, work.length, work.run_id)
    return stand(work.lake, look, migration.reported.get(environment, {}))


def _mark(migration: _Migration, environment: str) -> CellState | None:
    """Marks the newest cell, so that a run does not take a table for sound whose states are old;
    returns its state before. Without a landed digest no sink is touched for it."""
    ledger = migration.work.ledger
    newest = ledger.newest(migration.measurement.name, environment)
    if newest is not None:
        ledger.record([replace(newest, state="migrating", landed_digest="", source_digest="")])
    return newest


def _restate(
    migration: _Migration,
    environment: str,
    standing: CellAudit,
    source: str | None,
    mark: CellState | None,
) -> None:
    """Writes the states of the rows as they are now to the lake, then to the ledger."""
    work, states = migration.work, standing.states
    changed = {state.cell for state in standing.corrected}
    if source is not None:
        fresh: dict[str, Any] = {"run_id": work.run_id, "made_at": datetime.now(UTC)}
        states = tuple(replace(s, source=source, source_digest="", **fresh) for s in states)
        changed = {state.cell for state in states}
    append_states(work.lake, [s for s in states if s.cell in changed])
    # what the ledger knows of the others is at least as new
    known = work.ledger.cells(migration.measurement.name, environment, ALL_TIME).keys()
    kept = known - changed - ({mark.cell} if mark else set())
    work.ledger.record(s for s in states if s.cell not in kept)


def _reported(work: Rebuilding, name: str) -> dict[str, dict[Cell, CellState]]:
    states = [state for state in states_in_force(work.lake) if state.measurement == name]
    keyed = {(state.environment, state.cell): state for state in states}
    reported: dict[str, dict[Cell, CellState]] = {}
    for (environment, cell), state in with_commits(work.lake, name, keyed).items():
        reported.setdefault(environment, {})[cell] = state
    return reported
