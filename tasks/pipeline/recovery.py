"""The ledger's cells, read back from the lake: all of them, or those that a ledger missed."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta

from tasks.core.batch import arrow_schema
from tasks.core.catalogue import Catalogue
from tasks.core.errors import LakeBusy, LakeDamaged, LakeUnavailable, LockHeld
from tasks.core.measurement import Measurement
from tasks.core.self_metrics import SELF_METRICS, self_measurement
from tasks.core.series import ALL_TIME
from tasks.core.settings import Settings
from tasks.core.state import CellState
from tasks.core.window import Cell
from tasks.lake.delta import misfits
from tasks.lake.maintenance import environments_of
from tasks.lake.recorded_states import newest_run, with_commits
from tasks.lake.tables import Lake
from tasks.lake.windows import append_states, states_in_force
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import DatabaseLocks, FileLocks
from tasks.pipeline.cell_audit import AuditRequest, CellAudit, stand

# measurement and environment
Pair = tuple[str, str]


@dataclass(frozen=True)
class Rebuilding:
    """What a ledger is rebuilt with. Measurements that are not in `catalogue` are taken as reported."""

    lake: Lake
    ledger: Ledger
    locks: FileLocks | DatabaseLocks
    catalogue: Mapping[str, Measurement]
    length: timedelta
    run_id: str


@dataclass(frozen=True)
class Rebuilt:
    """What was read back of one measurement and environment.

    `corrected` cells had other rows than the lake said. `torn` ones among them lack rows, with `lost`
    values: they are read again. `unchecked` is why rows were not counted; empty when they were.
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
    """Writes all of the ledger's cells anew, as the lake has them; no sink counts as having any.

    No source is asked. What the ledger knows of measurements of which the lake has nothing stays.

    Raises:
        LockHeld: when a run is under way; nothing was changed.
        LakeDamaged, LedgerUnavailable.
    """
    with ExitStack() as stack:
        # a run that lands meanwhile would be forgotten
        locks = {
            pair: stack.enter_context(work.locks.hold(*pair, work.run_id)) for pair in _pairs(work)
        }
        reported = _reported(states_in_force(work.lake))
        rebuilt = []
        for pair, lock in locks.items():
            standing, unchecked = _standing(work, pair, reported.get(pair, {}))
            lock.check()
            work.ledger.relearn(*pair, standing.states, is_all=True)
            append_states(work.lake, standing.corrected)
            rebuilt.append(_rebuilt(pair, standing, unchecked))
        return rebuilt


def is_behind(lake: Lake, ledger: Ledger) -> bool:
    """Whether the lake tells of a run that is newer than any that the ledger knows.

    So it is of a ledger that was deleted, or restored from a backup.

    Raises LakeDamaged, LedgerUnavailable.
    """
    return newest_run(lake) > ledger.newest_run()


def catch_up(work: Rebuilding) -> tuple[str, ...]:
    """Teaches the ledger what the lake has and it does not know; what there is to say about it.

    What another run works on is left to that run.

    Raises LakeDamaged, LedgerUnavailable.
    """
    notes = []
    for pair, reported in sorted(_reported(states_in_force(work.lake)).items()):
        try:
            with work.locks.hold(*pair, work.run_id) as lock:
                news = _news(work, pair, reported)
                lock.check()
                work.ledger.relearn(*pair, news, is_all=False)
                append_states(work.lake, [s for s in news if s.run_id == work.run_id])
        except LockHeld:
            continue
        if news:
            notes.append(_note(pair, news))
    return tuple(notes)


def caught_up(settings: Settings, lake: Lake, ledger: Ledger, run_id: str) -> tuple[str, ...]:
    """What a run has to say of its ledger, which is taught what it missed before any work.

    A lake that cannot be read is said, not raised: the run finds out what it can do without.

    Raises ConfigurationInvalid, LedgerUnavailable.
    """
    try:
        return (
            catch_up(rebuilding(settings, lake, ledger, run_id)) if is_behind(lake, ledger) else ()
        )
    except (LakeDamaged, LakeBusy, LakeUnavailable) as error:
        return (f"the ledger was not compared with the lake: {error}",)


def rebuilding(settings: Settings, lake: Lake, ledger: Ledger, run_id: str) -> Rebuilding:
    """What a ledger is rebuilt with, as it is configured.

    Raises ConfigurationInvalid when the catalogue is wrong.
    """
    return Rebuilding(
        lake=lake,
        ledger=ledger,
        locks=ledger.locks(settings.home / "locks"),
        catalogue={
            **Catalogue.read(settings.config / "metrics.yaml"),
            SELF_METRICS: self_measurement(),
        },
        length=settings.pipeline.cell,
        run_id=run_id,
    )


def _news(work: Rebuilding, pair: Pair, reported: Mapping[Cell, CellState]) -> list[CellState]:
    known = work.ledger.cells(*pair, ALL_TIME)
    if not any(_is_news(state, known.get(cell)) for cell, state in reported.items()):
        return []
    standing, _ = _standing(work, pair, reported)
    return [state for state in standing.states if _is_news(state, known.get(state.cell))]


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
        f"the ledger did not know {len(news)} cells of {name} in {environment} as the lake has "
        "them: they were read back from it, and are sent to every sink again"
    )


def _pairs(work: Rebuilding) -> list[Pair]:
    """All of which the lake tells or has rows."""
    reported = {(s.measurement, s.environment) for s in states_in_force(work.lake)}
    return sorted(reported | set(_held_pairs(work.lake)))


def _held_pairs(lake: Lake) -> Iterator[Pair]:
    for name in lake.names():
        table = lake.table(name)
        if table is not None:
            yield from ((name, environment) for environment in environments_of(table, name))


def _reported(states: Iterable[CellState]) -> dict[Pair, dict[Cell, CellState]]:
    reported: dict[Pair, dict[Cell, CellState]] = {}
    for state in states:
        reported.setdefault((state.measurement, state.environment), {})[state.cell] = state
    return reported


def _standing(
    work: Rebuilding, pair: Pair, reported: Mapping[Cell, CellState]
) -> tuple[CellAudit, str]:
    """How the cells stand, and why rows were not counted if they were not."""
    name, environment = pair
    keyed = {(environment, cell): state for cell, state in reported.items()}
    later = with_commits(work.lake, name, keyed)
    states = {cell: state for (where, cell), state in later.items() if where == environment}
    measurement = work.catalogue.get(name)
    unchecked = _unfit(work.lake, measurement)
    if measurement is None or unchecked:
        kept = tuple(states[cell] for cell in sorted(states))
        missed = tuple(state for state in kept if state is not reported.get(state.cell))
        return CellAudit(kept, corrected=missed), unchecked
    look = AuditRequest(measurement, environment, work.length, work.run_id)
    standing = stand(work.lake, look, states)
    missed = tuple(s for s in standing.states if s is not reported.get(s.cell))
    return CellAudit(standing.states, missed, standing.lost), ""


def _unfit(lake: Lake, measurement: Measurement | None) -> str:
    if measurement is None:
        return "no longer in the catalogue"
    table = lake.table(measurement.name)
    if table is None:
        return ""
    return "; ".join(misfits(table, arrow_schema(measurement), measurement.all_tags))


def _rebuilt(pair: Pair, standing: CellAudit, unchecked: str) -> Rebuilt:
    return Rebuilt(
        *pair,
        cells=len(standing.states),
        values=sum(state.values for state in standing.states),
        corrected=len(standing.corrected),
        torn=len(standing.torn),
        lost=standing.lost,
        unchecked=unchecked,
    )
