"""What is due where data are gone for good, where the lake keeps less, and where a clock was wrong."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tasks.core.receipt import Outcome, write_receipt
from tasks.core.run_id import run_id_of
from tasks.core.settings import Pipeline
from tasks.core.state import CellState
from tasks.core.window import Window
from tasks.lake.windows import states_in_force
from tasks.ledger.ledger import Ledger
from tasks.pipeline.collect import Job
from tasks.pipeline.due import find_due, late_before
from tests.support.workbench import HOUR, MINUTE, START, Bench, at, cell, rows

DAY = timedelta(days=1)
SHORT = Pipeline(source_retention=DAY)


def hourly(bench: Bench, first: int, stop: int) -> None:
    """One share_ratio at half past each of these hours."""
    times = [at(hour + 0.5) for hour in range(first, stop)]
    bench.put(rows(bench.measurement, times, share_ratio=[0.5] * len(times)))


def due(bench: Bench, now: datetime) -> list[int]:
    """Hours after START at which the due cells begin."""
    job = Job(bench.measurement, "production", None, now, bench.pipeline)
    return [int((cell.start - START) / HOUR) for cell in find_due(job, bench.ledger).cells]


def read_at(bench: Bench, *hours: int) -> None:
    """A run of each hour alone, when it was over."""
    for hour in hours:
        bench.run(at(hour + 2), Window(at(hour), at(hour + 1)))


@pytest.mark.promise(
    "Gaps: gaps beyond `source_retention` are reported once as lost; their landed rows stay and are loaded"
)
def test_gaps_below_the_sources_retention_are_lost_and_reported_once(bench: Bench) -> None:
    bench.pipeline = SHORT
    hourly(bench, 0, 40)
    read_at(bench, 3, 0)
    bench.source.asked.clear()
    outcome = bench.run(at(30.5))
    assert outcome.state == "landed"
    assert outcome.warnings == (
        "2026-01-01T01:00:00Z to 2026-01-01T06:00:00Z: 4 cells were missed and older than the "
        "retention of prometheus (source_retention, 1d): marked as lost. Fix: if it still has them, "
        "collect with --start 2026-01-01T01:00:00Z --stop 2026-01-01T06:00:00Z",
    )
    assert min(window.start for window in bench.source.asked) == at(6)
    assert [state.state for hour in range(6) if (state := bench.state(hour))] == [
        "landed", "lost", "lost", "landed", "lost", "lost",
    ]  # fmt: skip
    recorded = [state.cell.start for state in bench.recorded if state.state == "lost"]
    assert recorded == [at(1), at(2), at(4), at(5)]
    assert states_in_force(bench.lake) == []  # the stages append what was recorded, once a run
    again = bench.run(at(30.6))
    assert again.warnings == ()
    assert write_receipt("f", "r", "production", Window(at(0), at(31)), [again], {}).exit_code == 0


def test_lost_alone_is_the_state_where_nothing_else_is(bench: Bench) -> None:
    bench.pipeline = SHORT
    read_at(bench, 0)
    assert bench.run(at(40)).state == "lost"
    assert bench.run(at(40)).state == "no_data"


def read_by(bench: Bench, run_id: str, hour: int, rows: int = 0) -> None:
    """As if that run had found so many rows in the hour."""
    bench.ledger.record([
        CellState(
            measurement="example", environment="production", cell=cell(hour), source="prometheus",
            covered_until=cell(hour).stop, state="landed" if rows else "no_data", source_digest="s",
            landed_digest="l" if rows else "", rows=rows, values=rows, quarantined=0, delete_count=0,
            catalogue_digest="c", run_id=run_id,
        )
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("read_hours_later", "rows", "first_gap", "is_lost"),
    [
        # what the source could not have any more tells nothing: as on a first run
        (1000, 0, 99, False),
        # what it had, or could have had, begins the history
        (1000, 1, 76, True),
        (2, 0, 76, True),
    ],
)
def test_a_mistyped_year_makes_no_gap_of_all_that_came_after_it(
    bench: Bench, read_hours_later: int, rows: int, first_gap: int, is_lost: bool
) -> None:
    bench.pipeline = SHORT
    read_by(bench, run_id_of(at(read_hours_later), "x"), 0, rows)

    job = Job(bench.measurement, "production", None, at(100.5), bench.pipeline)
    due = find_due(job, bench.ledger)

    assert min(cell.start for cell in due.cells) == at(first_gap)
    assert bool(due.lost.stretches) is is_lost


def test_what_other_runs_read_before_and_after_a_mistyped_year_counts(bench: Bench) -> None:
    bench.pipeline = SHORT
    for hour, later in ((0, 1000), (1, 1000), (5, 7), (9, 1000)):
        read_by(bench, run_id_of(at(later), "x"), hour)

    job = Job(bench.measurement, "production", None, at(20.5), bench.pipeline)
    gaps = find_due(job, bench.ledger)

    assert min(cell.start for cell in gaps.cells[1:]) == at(6)
    assert not gaps.lost.stretches


@pytest.mark.promise(
    "Gaps: gaps beyond `source_retention` are reported once as lost; their landed rows stay and are loaded"
)
def test_lost_time_is_read_when_a_window_names_it(bench: Bench) -> None:
    bench.pipeline = SHORT
    hourly(bench, 0, 40)
    read_at(bench, 0)
    bench.run(at(40))
    assert bench.landed(2)["share_ratio"].tolist() == []
    assert bench.run(at(40), Window(at(2), at(3))).state == "landed"
    assert bench.landed(2)["share_ratio"].tolist() == [0.5]
    state = bench.state(2)
    assert state is not None
    assert (state.state, state.values) == ("landed", 1)


def test_a_cell_that_was_read_in_part_keeps_what_is_landed_when_its_rest_is_lost(
    bench: Bench,
) -> None:
    bench.pipeline = SHORT
    times = [at(0.25), at(0.75)]
    bench.put(rows(bench.measurement, times, share_ratio=[0.25, 0.75]))
    bench.run(at(0.5))
    before = bench.state(0)
    bench.run(at(40))
    after = bench.state(0)
    assert before is not None
    assert after is not None
    assert (after.state, after.covered_until, after.values) == ("lost", at(1), 1)
    assert after.landed_digest == before.landed_digest
    assert bench.landed(0)["time"].tolist() == [at(0.25)]
    assert bench.sink.values("share_ratio") == [0.25]


@pytest.mark.promise(
    "Gaps: gaps beyond `source_retention` are reported once as lost; their landed rows stay and are loaded"
)
def test_rows_that_no_ledger_was_reported_of_are_not_lost_with_their_cell(bench: Bench) -> None:
    """A run that died behind its commit, and no other before the source forgot that time."""
    bench.pipeline = SHORT
    bench.put(rows(bench.measurement, [at(0.25)], share_ratio=[0.25]))
    bench.run(at(0.5))
    bench.put(rows(bench.measurement, [at(0.25), at(0.75), at(1.5)], share_ratio=[0.5, 0.75, 1.0]))

    @dataclass
    class Dying:
        ledger: Ledger

        def __getattr__(self, name: str) -> Any:
            return getattr(self.ledger, name)

        def record(self, states: Iterable[CellState]) -> None:
            known = list(states)
            if any(
                state.source_digest and state.covered_until > state.cell.start for state in known
            ):
                raise KeyboardInterrupt
            self.ledger.record(known)

    for hour in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            bench.run(at(2), Window(at(hour), at(hour + 1)), ledger=Dying(bench.ledger))
    assert bench.landed(0, 2)["share_ratio"].tolist() == [0.5, 0.75, 1.0]
    assert bench.sink.values("share_ratio") == [0.25]

    outcome = bench.run(at(40))

    assert "marked as lost" in outcome.warnings[0]
    assert outcome.sinks["memory"].loaded == 3
    write_receipt("f", "r", "production", Window(at(0), at(41)), [outcome], {})
    assert [state.state for hour in (0, 1) if (state := bench.state(hour))] == ["lost", "lost"]
    # erased first, since nobody knew what was there
    assert bench.sink.values("share_ratio") == [0.5, 0.75, 1.0]
    assert bench.run(at(40)).sinks["memory"].owed == 0


def test_what_is_older_than_the_lake_keeps_is_never_due(bench: Bench) -> None:
    bench.measurement = bench.measurement.model_copy(update={"retention": DAY})
    bench.pipeline = Pipeline(first_run_cells=100, max_gaps_per_run=100)
    assert due(bench, at(200.5)) == [200, 199, *range(176, 199)]
    read_at(bench, 150)
    assert due(bench, at(200.5)) == [200, 199, *range(176, 199)]
    bench.measurement = bench.measurement.model_copy(update={"retention": None})
    assert due(bench, at(200.5))[:3] == [200, 149, 150]


@pytest.mark.slow
def test_start_at_is_filled_over_several_runs_and_after_a_run_that_failed(bench: Bench) -> None:
    bench.pipeline = Pipeline(first_run_cells=10, max_gaps_per_run=4)
    hourly(bench, 0, 40)
    assert due(bench, at(20.5)) == [20, 19, 10, 11, 12, 13]
    bench.source.errors_at[at(11)] = ZeroDivisionError()
    assert bench.run(at(20.5)).state == "failed"
    bench.source.errors_at.clear()
    for _ in range(3):
        bench.run(at(20.5))
    assert len(bench.landed(0, 21)) == 10  # 10:30 to 19:30


@pytest.mark.promise(
    "Gaps: late rows within `late_data_cells` are read, even after a killed run, a newer window or a backfill"
)
def test_late_rows_are_read_though_the_run_that_was_to_read_them_died(bench: Bench) -> None:
    hourly(bench, 1, 3)
    bench.run(at(1) + MINUTE)  # 0 to its end, and no rows yet
    hourly(bench, 0, 3)
    bench.source.errors_at[at(0.5)] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.run(at(2.75))
    bench.source.errors_at.clear()
    bench.run(at(3.75))
    assert bench.landed(0, 3)["time"].tolist() == [at(0.5), at(1.5), at(2.5)]


@pytest.mark.promise(
    "Gaps: late rows within `late_data_cells` are read, even after a killed run, a newer window or a backfill"
)
def test_late_rows_are_read_though_a_window_that_is_newer_was_asked_for_meanwhile(
    bench: Bench,
) -> None:
    hourly(bench, 1, 3)
    bench.run(at(1) + MINUTE)  # 0 to its end, and no rows yet
    hourly(bench, 0, 6)
    bench.run(at(5), Window(at(3), at(5)))
    assert bench.landed(0, 6)["time"].tolist() == [at(3.5), at(4.5)]
    # 0 was the last one then, and the one before it may have late rows too
    assert due(bench, at(5.5)) == [5, 3, 4, -1, 0, 1, 2]
    bench.run(at(5.75))
    assert len(bench.landed(0, 6)) == 6
    # a window that holds what may have late rows leaves none to others
    bench.run(at(7.75), Window(at(4), at(8)))
    assert due(bench, at(7.8)) == [7, 6]


@pytest.mark.parametrize(("read_at", "hours"), [(1.9, [0]), (2, []), (50, [])])
def test_what_was_read_long_after_its_end_has_no_late_rows(
    bench: Bench, read_at: float, hours: list[int]
) -> None:
    bench.run(at(60), Window(at(0), at(1)))
    state = bench.state(0)
    assert state is not None
    bench.ledger.record([replace(state, run_id=run_id_of(at(read_at), "abcdef"))])
    job = Job(bench.measurement, "production", None, at(60), bench.pipeline)
    assert late_before(job, [cell(7)], bench.ledger) == tuple(map(cell, hours))


def test_no_data_is_covered_and_a_failed_cell_is_not(bench: Bench) -> None:
    bench.pipeline = Pipeline(first_run_cells=4, chunk_rows=1, workers=1, late_data_cells=0)
    bench.run(at(4.75))
    assert due(bench, at(4.8)) == [4]
    bench.source.errors_at[at(5)] = ZeroDivisionError()
    bench.run(at(8.75))
    assert 5 in due(bench, at(8.8))


@pytest.mark.slow
@pytest.mark.promise("Gaps: a clock that ran ahead and is set back leaves no hole")
def test_time_that_a_clock_ran_through_too_early_is_read_when_it_comes(bench: Bench) -> None:
    bench.pipeline = Pipeline(max_gaps_per_run=50)
    hourly(bench, 0, 3)
    bench.run(at(2.75))
    ahead = bench.run(at(30.75))
    assert ahead.state == "unchanged"  # cell 2 was read to its end, 3 to 30 were empty
    hourly(bench, 0, 31)
    back = bench.run(at(2.9))
    assert "a clock was ahead, or settle_delay was shorter" in back.warnings[0]
    assert back.warnings[0].startswith("an earlier run read up to 2026-01-02T06:44:00Z")
    assert bench.run(at(2.9)).warnings == ()
    # no run for a day: all that time is still a gap
    bench.run(at(30.9))
    assert bench.landed(0, 31)["time"].tolist() == [at(hour + 0.5) for hour in range(1, 31)]


@pytest.mark.promise("Gaps: a clock that ran ahead and is set back leaves no hole")
def test_a_sample_is_taken_again_after_a_clock_was_ahead(bench: Bench) -> None:
    bench.source.name, bench.source.history = "scrape", "sample"
    times = [at(0), at(0) + 10 * MINUTE, at(50)]
    bench.put(rows(bench.measurement, times, share_ratio=[0.25, 0.5, 0.75]))
    assert bench.run(at(50)).state == "landed"
    assert bench.run(at(0)).state == "landed"
    assert bench.run(at(0)).state == "unchanged"
    assert bench.run(at(0) + 10 * MINUTE).state == "landed"
    assert bench.run(at(0)).state == "landed"
    assert bench.landed(0)["share_ratio"].tolist() == [0.25, 0.5]


def test_rows_of_a_source_whose_clock_is_ahead_come_in_their_time(bench: Bench) -> None:
    hourly(bench, 0, 5)
    bench.run(at(1.75))
    assert bench.landed(0, 5)["time"].tolist() == [at(0.5), at(1.5)]
    bench.run(at(4.75))
    assert len(bench.landed(0, 5)) == 5


def put_ratios(bench: Bench, *ratios: float) -> None:
    times = [at(number / 4) for number in range(len(ratios))]
    bench.put(rows(bench.measurement, times, share_ratio=list(ratios)))


def shrinking(bench: Bench, now: datetime) -> Outcome:
    return bench.run(now, allow_deletes=True)


@pytest.mark.promise(
    "Sources: an emptied source erases nothing; `--allow-deletes` removes only what the run asked for and the source lost"
)
def test_vanished_values_go_only_when_that_is_accepted(bench: Bench) -> None:
    put_ratios(bench, 0.1, 0.2, 0.3, 0.4)
    bench.run(at(1.5))
    put_ratios(bench, 0.1, 0.2)
    kept = bench.run(at(1.5))
    assert (kept.state, kept.values.retained, kept.values.erased) == ("retained", 2, 0)
    # the source answers what it answered before, and the cell is looked at all the same
    outcome = shrinking(bench, at(1.5))
    assert (outcome.state, outcome.values.retained, outcome.values.erased) == ("landed", 0, 2)
    outcome.values.check()
    assert outcome.warnings == (
        "the source no longer has 2 values; they were deleted from the lake",
    )
    assert bench.landed(0)["share_ratio"].tolist() == [0.1, 0.2]
    assert bench.sink.values("share_ratio") == [0.1, 0.2]
    state = bench.state(0)
    assert state is not None
    assert state.delete_count == 1
    version = bench.version()
    assert shrinking(bench, at(1.5)).values.erased == 0
    assert bench.version() == version


@pytest.mark.promise(
    "Sources: an emptied source erases nothing; `--allow-deletes` removes only what the run asked for and the source lost"
)
def test_a_source_whose_history_is_gone_erases_nothing_unless_that_is_accepted(
    bench: Bench,
) -> None:
    put_ratios(bench, 0.1, 0.2)
    bench.run(at(1.5))
    bench.put(rows(bench.measurement, []))
    assert bench.run(at(1.5)).values.retained == 2
    assert bench.landed(0)["share_ratio"].tolist() == [0.1, 0.2]
    outcome = shrinking(bench, at(1.5))
    assert (outcome.state, outcome.values.erased) == ("landed", 2)
    assert bench.landed(0).empty
    assert bench.sink.held == {}


@pytest.mark.promise(
    "Sources: an emptied source erases nothing; `--allow-deletes` removes only what the run asked for and the source lost"
)
def test_rows_that_were_not_asked_for_are_neither_kept_nor_erased(bench: Bench) -> None:
    """A run that ends earlier in the cell, as after a clock went back, says nothing of what is later."""
    put_ratios(bench, 0.1, 0.2, 0.3, 0.4)
    bench.run(at(0.99))
    outcome = shrinking(bench, at(0.6))
    assert (outcome.values.retained, outcome.values.erased) == (0, 0)
    assert bench.landed(0)["share_ratio"].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert bench.run(at(0.6)).values.retained == 0


@pytest.mark.parametrize("late_data_cells", [0, 2])
def test_overlap_is_read_beside_the_heal_limit(bench: Bench, late_data_cells: int) -> None:
    bench.pipeline = Pipeline(
        max_gaps_per_run=1, late_data_cells=late_data_cells, first_run_cells=0
    )
    read_at(bench, 0)
    expected = {0: [9, 0, 1], 2: [9, 0, 7, 8, 1]}
    assert due(bench, at(9.5)) == expected[late_data_cells]
