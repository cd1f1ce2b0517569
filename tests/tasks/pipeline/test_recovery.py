"""A ledger that was lost, is old, or never knew: its cells are read back from the lake."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.errors import LedgerUnavailable, LockHeld, SourceUnavailable
from tasks.core.series import ALL_TIME
from tasks.core.state import CellState
from tasks.core.window import Cell
from tasks.lake.delta import existing_table
from tasks.lake.windows import append_states, states_in_force
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import FileLocks
from tasks.pipeline.recovery import Rebuilding, Rebuilt, catch_up, is_behind, rebuild
from tests.support.fakes.memory import MemorySource
from tests.support.lake_samples import refused
from tests.support.ledger_behaviours import owed
from tests.support.workbench import HOUR, Bench, a_bench, at, cell, rows

DOWN = SourceUnavailable(service="Prometheus", url="http://x", what="all", problem="down")


def put(bench: Bench, *points: tuple[float, float]) -> None:
    """Rows of share_ratio alone: (hour, value)."""
    times = [at(hour) for hour, _ in points]
    bench.put(rows(bench.measurement, times, share_ratio=[value for _, value in points]))


def tell(bench: Bench) -> None:
    """What a run does at its end; one that is killed does not."""
    append_states(bench.lake, bench.recorded)
    bench.recorded.clear()


def lose_ledger(bench: Bench) -> None:
    bench.ledger.close()
    for path in bench.folder.glob("ledger.db*"):
        path.unlink()
    bench.ledger = Ledger(f"sqlite:///{bench.folder / 'ledger.db'}")


def work(bench: Bench, run_id: str = "run-90") -> Rebuilding:
    catalogue = {bench.measurement.name: bench.measurement}
    locks = FileLocks(bench.folder / "locks")
    return Rebuilding(bench.lake, bench.ledger, locks, catalogue, HOUR, run_id)


def known(bench: Bench) -> dict[Cell, CellState]:
    return bench.ledger.cells("example", "production", ALL_TIME)


def rebuilt(**changed: object) -> Rebuilt:
    reported = {"cells": 2, "values": 2, "corrected": 0, "torn": 0, "lost": 0, "unchecked": ""}
    return Rebuilt("example", "production", **{**reported, **changed})  # type: ignore[arg-type]


def test_the_same_cells_are_known_again_and_all_are_sent_again(bench: Bench) -> None:
    put(bench, (0.25, 0.25), (1.25, 0.5))
    bench.run(at(1.5))
    tell(bench)
    before = known(bench)
    assert rebuild(work(bench)) == [rebuilt()]
    assert known(bench) == before
    assert len(owed(bench.ledger, "memory", "example", "production")) == 2

    lose_ledger(bench)
    bench.source.error = DOWN
    assert rebuild(work(bench)) == [rebuilt()]
    assert known(bench) == before
    bench.sink.held.clear()
    bench.run(at(1.5))
    assert bench.sink.values("share_ratio") == [0.25, 0.5]


@pytest.mark.promise(
    "Crash: between a landing and `_windows`, with the ledger lost: `ledger rebuild` reads the commits"
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_run_killed_before_it_reported_is_found_in_the_commits(
    bench: Bench, is_first: bool
) -> None:
    put(bench, (0.25, 0.25), (1.25, 0.5))
    if not is_first:
        bench.run(at(1.5))
        tell(bench)
        put(bench, (0.25, 0.3), (1.25, 0.6))
    bench.run(at(1.5))
    before = known(bench)
    lose_ledger(bench)
    assert rebuild(work(bench)) == [rebuilt(corrected=2)]
    assert known(bench) == before
    # the lake says so itself now
    assert {s.cell: s for s in states_in_force(bench.lake)} == before


def test_rows_that_nobody_reported_of_are_counted_and_erased_first(bench: Bench) -> None:
    put(bench, (0.25, 0.25), (0.5, 0.3))
    bench.run(at(1.5))
    tell(bench)
    # a commit that says nothing, as after its log entry expired
    times = [at(0.7), at(0.75), at(0.8), at(5.5)]
    frame = rows(bench.measurement, times, share_ratio=[0.6, 0.7, 0.75, 0.8])
    bench.lake.land(bench.measurement, frame, [cell(0), cell(5)], "production", None)
    bench.lake.quarantine(bench.measurement, refused([5.5]), [cell(5)], "production")
    (found,) = rebuild(work(bench))
    assert (found.corrected, found.torn, found.lost) == (2, 0, 0)
    changed, new = known(bench)[cell(0)], known(bench)[cell(5)]
    assert (changed.rows, changed.delete_count, changed.source_digest) == (3, 1, "")
    assert (new.rows, new.quarantined, new.delete_count, new.source) == (1, 1, 1, "prometheus")
    assert new.covered_until == at(5)
    bench.source.error = DOWN
    bench.run(at(1.5))
    assert bench.sink.values("share_ratio") == [0.6, 0.7, 0.75, 0.8]


def test_cell_whose_rows_are_gone_is_read_again_and_the_sink_keeps_its_values(
    bench: Bench,
) -> None:
    put(bench, (0.25, 0.25), (1.25, 0.5))
    bench.run(at(1.5))
    tell(bench)
    table = existing_table(bench.lake.table_url("example"), "example")
    assert table is not None
    table.delete("time < '2026-01-01T01:00:00Z'")
    assert rebuild(work(bench)) == [rebuilt(values=1, corrected=1, torn=1, lost=1)]
    assert known(bench)[cell(0)].state == "torn"
    assert bench.sink.values("share_ratio") == [0.25, 0.5]
    put(bench, (0.3, 0.35), (1.25, 0.5))
    bench.run(at(1.5))
    assert bench.landed(0)["share_ratio"].tolist() == [0.35]
    assert bench.sink.values("share_ratio") == [0.25, 0.35, 0.5]
    assert known(bench)[cell(0)].state == "landed"


def test_what_is_not_in_the_catalogue_or_does_not_fit_it_is_taken_as_reported(bench: Bench) -> None:
    put(bench, (0.25, 0.25), (1.25, 0.5))
    bench.run(at(1.5))
    before = known(bench)
    gone = rebuild(replace(work(bench), catalogue={}))
    assert gone == [rebuilt(corrected=2, unchecked="no longer in the catalogue")]
    assert known(bench) == before
    bench.measurement = bench.measurement.model_copy(update={"tags": ()})
    (unfit,) = rebuild(work(bench))
    assert unfit.unchecked == "column method is no longer in the catalogue"
    assert known(bench) == before


def test_another_catalogue_entry_has_the_rows_read_again(bench: Bench) -> None:
    put(bench, (0.25, 0.25), (1.25, 0.5))
    bench.run(at(1.5))
    tell(bench)
    more = a_bench(
        bench.folder / "more", {"share_ratio": "float", "size_bytes": "int", "new": "float"}
    )
    bench.measurement = more.measurement
    bench.lake.prepare(bench.measurement)
    (found,) = rebuild(work(bench))
    assert (found.cells, found.corrected) == (2, 2)
    assert {state.catalogue_digest for state in known(bench).values()} == {bench.measurement.digest}


def test_a_run_that_is_under_way_is_not_forgotten(bench: Bench) -> None:
    put(bench, (0.25, 0.25), (1.25, 0.5))
    bench.run(at(1.5))
    tell(bench)
    with FileLocks(bench.folder / "locks").hold("example", "production", "run-7"):
        with pytest.raises(LockHeld, match="run-7"):
            rebuild(work(bench))
        lost = Ledger(f"sqlite:///{bench.folder / 'other.db'}")
        assert catch_up(replace(work(bench), ledger=lost)) == ()
        lost.close()
    assert len(known(bench)) == 2


def test_a_lost_ledger_is_noticed_and_a_sound_one_is_left_alone(bench: Bench) -> None:
    assert not is_behind(bench.lake, bench.ledger)
    put(bench, (0.25, 0.25), (1.25, 0.5))
    bench.run(at(1.5))
    assert not is_behind(bench.lake, bench.ledger)
    tell(bench)
    assert not is_behind(bench.lake, bench.ledger)
    before = known(bench)
    lose_ledger(bench)
    assert is_behind(bench.lake, bench.ledger)
    (note,) = catch_up(work(bench))
    assert note.startswith("the ledger lacked 2 cells of example in production")
    assert known(bench) == before
    assert not is_behind(bench.lake, bench.ledger)


@pytest.mark.promise(
    "Crash: the ledger is an older copy: the next run reads back what it lacks, and no more"
)
def test_a_ledger_from_a_backup_learns_what_it_missed_and_no_more(bench: Bench) -> None:
    put(bench, (0.25, 0.25), (1.25, 0.5))
    bench.run(at(1.5))
    tell(bench)
    bench.ledger.close()
    shutil.copy(bench.folder / "ledger.db", bench.folder / "backup.db")
    bench.ledger = Ledger(f"sqlite:///{bench.folder / 'ledger.db'}")
    put(bench, (0.25, 0.25), (1.25, 0.6), (2.25, 0.7))
    bench.sink.error = DOWN
    bench.run(at(2.5))
    tell(bench)
    bench.ledger.close()
    for path in bench.folder.glob("ledger.db*"):
        path.unlink()
    shutil.copy(bench.folder / "backup.db", bench.folder / "ledger.db")
    bench.ledger = Ledger(f"sqlite:///{bench.folder / 'ledger.db'}")
    (note,) = catch_up(work(bench))
    assert "2 cells" in note
    pending = owed(bench.ledger, "memory", "example", "production")
    assert [state.cell for state in pending] == [cell(2), cell(1)]
    bench.sink.error, bench.source.error = None, DOWN
    bench.run(at(2.5))
    assert bench.sink.values("share_ratio") == [0.25, 0.6, 0.7]


def test_a_crash_in_the_middle_leaves_the_ledger_as_it_was(bench: Bench) -> None:
    put(bench, (0.25, 0.25), (1.25, 0.5))
    bench.run(at(1.5))
    tell(bench)
    before = known(bench)
    twice = [*before.values(), *before.values()]
    with pytest.raises(LedgerUnavailable):
        bench.ledger.relearn("example", "production", twice, is_all=True)
    assert known(bench) == before
    assert owed(bench.ledger, "memory", "example", "production") == []


# a run: the values by minute of three hours (None: nothing there), and whether it was killed
RUNS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([None, 0.1, 0.2, 5.0]), min_size=6, max_size=6), st.booleans()
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.slow
@pytest.mark.promise(
    "Crash: between a landing and `_windows`, with the ledger lost: `ledger rebuild` reads the commits"
)
@given(runs=RUNS)
@settings(max_examples=8, deadline=None)
def test_rebuilt_cells_are_those_that_the_ledger_had(
    runs: Iterable[tuple[list[float | None], bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = a_bench(tmp_path_factory.mktemp("rebuilt"))
    for values, is_killed in runs:
        points = [(number / 2 + 0.25, value) for number, value in enumerate(values) if value]
        bench.source = MemorySource(bench.source.frame)
        put(bench, *points)
        bench.run(at(2.9), window=None)
        if is_killed:
            bench.recorded.clear()
        else:
            tell(bench)
    had = _facts(known(bench))
    held = dict(bench.sink.held)
    lose_ledger(bench)
    rebuild(work(bench))
    assert _facts(known(bench)) == had
    bench.source.error = DOWN
    bench.run(at(2.9))
    assert bench.sink.held == held
    bench.ledger.close()


def _facts(states: dict[Cell, CellState]) -> dict[Cell, tuple[object, ...]]:
    """Of cells with rows; of one without any nothing is committed, and a killed run tells nothing."""
    return {
        cell: (state.landed_digest, state.rows, state.values, state.delete_count)
        for cell, state in states.items()
        if state.landed_digest
    }


def test_a_file_that_is_no_lake_is_left_alone(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    assert rebuild(work(bench)) == []
    assert not (tmp_path / "lake").exists()
