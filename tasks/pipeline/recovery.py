"""Recovery of the ledger's cells from the lake: all, or those that it missed."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from tasks.core.batch import arrow_schema
from tasks.core.catalogue import Catalogue
from tasks.core.errors import LakeBusy, LakeDamaged, LakeDiffers, LakeUnavailable, LockHeld
from tasks.core.measurement import Measurement
from tasks.core.series import ALL_TIME
from tasks.core.settings import Settings
from tasks.core.state import CellState
from tasks.core.window import Cell
from tasks.lake.delta import existing_table, misfits
from tasks.lake.maintenance import environments_of
from tasks.lake.recorded_states import newest_run, with_commits
from tasks.lake.tables import QUARANTINE, Lake
from tasks.lake.version import check_id
from tasks.lake.windows import append_states, states_in_force
from tasks.ledger import maintenance as ledger_side
from tasks.ledger.gaps import most_of
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import DatabaseLocks, FileLocks
from tasks.ledger.overview import overview
from tasks.pipeline.cell_audit import AuditRequest, CellAudit, stand

# measurement and environment
Pair = tuple[str, str]


@dataclass(frozen=True)
class Rebuilding:
    """Tools to rebuild a ledger; only measurements in `catalogue` are audited."""

    lake: Lake
    ledger: Ledger
    locks: FileLocks | DatabaseLocks
    catalogue: Mapping[str, Measurement]
    length: timedelta
    run_id: str


@dataclass(frozen=True)
class Rebuilt:
    """The recovered cells of one measurement and environment.

    `corrected` cells had other rows than recorded in the lake. Of these, `torn` cells lack rows, with
    `lost` values: they are read again. `unchecked` is the reason why rows were not counted, or empty.
    """

    measurement: str
    environment: str
    cells: int
    values: int
    corrected: int
    torn: int
    lost: int
    unchecked: str


def rebuild(work: Rebuilding) -> list[Rebuilt]:
    """Replace the ledger's cells with the lake's; every sink is treated as empty.

    No source is queried. Cells of measurements without a table in the lake stay, unless it is another
    lake than the ledger's: then the ledger is that one's from now on.
    Raises LockHeld when a run is under way, LakeDiffers when the lake of a ledger with cells is empty,
    with nothing changed; LakeDamaged, LedgerUnavailable.
    """
    found, known = work.lake.ledger_id(), work.ledger.lake_id()
    is_other = known not in (None, found)
    if is_other and not work.lake.names():
        check_id(work.lake.url, str(known))
    _note_loss(work.ledger)
    with ExitStack() as stack:
        # otherwise the ledger would miss what another run lands in the meantime
        locks = {
            pair: stack.enter_context(work.locks.hold(*pair, work.run_id)) for pair in _pairs(work)
        }
        recorded = _recorded(states_in_force(work.lake))
        rebuilt = []
        if is_other:
            work.ledger.forget_all()
        for pair, lock in locks.items():
            audit, unchecked = _audit(work, pair, recorded.get(pair, {}))
            lock.check()
            work.ledger.relearn(*pair, audit.states, is_all=True)
            append_states(work.lake, audit.corrected)
            rebuilt.append(_rebuilt(pair, audit, unchecked))
        if is_other:
            share_id(work.lake, work.ledger)
        return rebuilt


def _note_loss(ledger: Ledger) -> None:
    """Note in a ledger without cells that sinks may have been sent anything before now."""
    if not ledger.newest_run():
        ledger.note_rebuilt(datetime.now(UTC))


def share_id(lake: Lake, ledger: Ledger) -> None:
    """Give the lake's id to the ledger, or a new one to both."""
    known = lake.ledger_id() or uuid4().hex[:16]
    # first, so that a crash leaves the lake without an id
    ledger.take_id(known)
    if lake.ledger_id() is None:
        lake.keep_ledger_id(known)


def require_tables(lake: Lake, ledger: Ledger, measurement: str, environment: str) -> None:
    """Raise LakeDamaged when the lake lacks a table that the ledger knows, or its quarantine."""
    label, of = f"{QUARANTINE}/{measurement}", (measurement, environment)
    problem = "it is missing, and the ledger knows cells of it"
    if ledger.newest(*of) and not lake.has(measurement):
        raise LakeDamaged(table=measurement, problem=problem)
    is_there = existing_table(lake.quarantine_url(measurement), label) is not None
    if not is_there and most_of(ledger, "quarantined", *of):
        raise LakeDamaged(table=label, problem=problem)


def require_lake(lake: Lake, ledger: Ledger) -> None:
    """Raise LakeDiffers or LakeDamaged unless the lake is the ledger's, with every table it knows."""
    if known := ledger.lake_id():
        check_id(lake.url, known)
    for each in overview(ledger, lambda _: ()):
        require_tables(lake, ledger, each.measurement, each.environment)


def is_behind(lake: Lake, ledger: Ledger) -> bool:
    """Return whether the lake has a newer run than the ledger; raise LakeDamaged."""
    return newest_run(lake) > ledger.newest_run()


def catch_up(work: Rebuilding) -> tuple[str, ...]:
    """Add the lake's missing cells to the ledger, except those of runs in progress.

    Returns warnings. Raises LakeDamaged, LedgerUnavailable.
    """
    notes, is_complete = [], True
    recorded = _recorded(states_in_force(work.lake))
    if recorded:
        _note_loss(work.ledger)
    for pair in sorted(recorded or _held_pairs(work.lake)):
        try:
            with work.locks.hold(*pair, work.run_id) as lock:
                news = _news(work, pair, recorded.get(pair, {}))
                lock.check()
                work.ledger.relearn(*pair, news, is_all=False)
                append_states(work.lake, [s for s in news if s.run_id == work.run_id])
        except LockHeld:
            is_complete = False
            continue
        if news:
            notes.append(_note(pair, news))
    work.ledger.keep_complete(is_complete)
    return tuple(notes)


def caught_up(settings: Settings, lake: Lake, ledger: Ledger, run_id: str) -> tuple[str, ...]:
    """Let the ledger catch up before a run's work, and return warnings.

    An unreadable lake is only a warning: the run itself finds out what still works.
    Raises ConfigurationInvalid, LedgerUnavailable.
    """
    try:
        is_complete = ledger.is_complete()
        if is_complete and ledger.newest_run() and not newest_run(lake):
            retell(rebuilding(settings, lake, ledger, run_id))
            return (
                "the lake lacked the states of its cells: they are written again by the ledger",
            )
        if is_complete and not is_behind(lake, ledger):
            return ()
        return catch_up(rebuilding(settings, lake, ledger, run_id))
    except LakeDiffers:
        return ()
    except (LakeDamaged, LakeBusy, LakeUnavailable) as error:
        ledger.keep_complete(False)
        return (f"the ledger was not compared with the lake: {error}",)


def retell(work: Rebuilding) -> None:
    """Append the ledger's states that `_windows` lacks, since it may be corrupt."""
    recorded = {
        (s.measurement, s.environment, s.cell): s.run_id for s in states_in_force(work.lake)
    }
    missing = [
        state
        for name in {*work.lake.names(), *work.catalogue}
        for environment in ledger_side.environments_of(work.ledger, name)
        for state in work.ledger.cells(name, environment, ALL_TIME).values()
        if recorded.get((name, environment, state.cell), "") < state.run_id
    ]
    append_states(work.lake, missing)


def rebuilding(settings: Settings, lake: Lake, ledger: Ledger, run_id: str) -> Rebuilding:
    """Open the tools to rebuild a ledger; raise ConfigurationInvalid."""
    return Rebuilding(
        lake=lake,
        ledger=ledger,
        locks=ledger.locks(settings.home / "locks"),
        catalogue=Catalogue.read(settings.config / "metrics.yaml"),
        length=settings.pipeline.cell,
        run_id=run_id,
    )


def _news(work: Rebuilding, pair: Pair, recorded: Mapping[Cell, CellState]) -> list[CellState]:
    known = work.ledger.cells(*pair, ALL_TIME)
    is_told = any(_is_news(state, known.get(cell)) for cell, state in recorded.items())
    if not is_told and (recorded or known):
        return []
    audit, _ = _audit(work, pair, recorded)
    return [state for state in audit.states if _is_news(state, known.get(state.cell))]


def _is_news(state: CellState, known: CellState | None) -> bool:
    if known is None:
        return True
    is_later = known.run_id < state.run_id
    return is_later and (known.landed_digest, known.source_digest, known.delete_count) != (
        state.landed_digest,
        state.source_digest,
        state.delete_count,
    )


def _note(pair: Pair, news: list[CellState]) -> str:
    name, environment = pair
    return (
        f"the ledger lacked {len(news)} cells of {name} in {environment} that the lake has: "
        "they were recovered, and are loaded into every sink again"
    )


def _pairs(work: Rebuilding) -> list[Pair]:
    recorded = {(s.measurement, s.environment) for s in states_in_force(work.lake)}
    return sorted(recorded | set(_held_pairs(work.lake)))


def _held_pairs(lake: Lake) -> Iterator[Pair]:
    for name in lake.names():
        table = lake.table(name)
        if table is not None:
            yield from ((name, environment) for environment in environments_of(table, name))


def _recorded(states: Iterable[CellState]) -> dict[Pair, dict[Cell, CellState]]:
    recorded: dict[Pair, dict[Cell, CellState]] = {}
    for state in states:
        recorded.setdefault((state.measurement, state.environment), {})[state.cell] = state
    return recorded


def _audit(
    work: Rebuilding, pair: Pair, recorded: Mapping[Cell, CellState]
) -> tuple[CellAudit, str]:
    """Audit the cells, and say why rows were not counted if they were not."""
    name, environment = pair
    keyed = {(environment, cell): state for cell, state in recorded.items()}
    later = with_commits(work.lake, name, keyed)
    states = {cell: state for (where, cell), state in later.items() if where == environment}
    measurement = work.catalogue.get(name)
    unchecked = _unfit(work.lake, measurement)
    if measurement is None or unchecked:
        kept = tuple(states[cell] for cell in sorted(states))
        missed = tuple(state for state in kept if state is not recorded.get(state.cell))
        return CellAudit(kept, corrected=missed), unchecked
    scope = AuditRequest(measurement, environment, work.length, work.run_id)
    audit = stand(work.lake, scope, states)
    missed = tuple(s for s in audit.states if s is not recorded.get(s.cell))
    return CellAudit(audit.states, missed, audit.lost), ""


def _unfit(lake: Lake, measurement: Measurement | None) -> str:
    if measurement is None:
        return "no longer in the catalogue"
    table = lake.table(measurement.name)
    if table is None:
        return ""
    return "; ".join(misfits(table, arrow_schema(measurement), measurement.all_tags))


def _rebuilt(pair: Pair, audit: CellAudit, unchecked: str) -> Rebuilt:
    return Rebuilt(
        *pair,
        cells=len(audit.states),
        values=sum(state.values for state in audit.states),
        corrected=len(audit.corrected),
        torn=len(audit.torn),
        lost=audit.lost,
        unchecked=unchecked,
    )
