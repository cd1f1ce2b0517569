"""Gaps whose answer cannot be used: they are deferred, reported, tried again, and hold nothing up."""

from datetime import datetime

import pytest

from tasks.core.errors import LabelsDiffer, SourceUnavailable
from tasks.core.receipt import Outcome, write_receipt
from tasks.core.settings import Pipeline
from tasks.core.window import Cell, Window
from tasks.ledger.deferred import deferred_cells
from tests.support.workbench import START, Bench, at, cell, rows

pytestmark = pytest.mark.promise(
    "Gaps: a gap with an unusable answer is deferred: other gaps are read first, and it is retried in its turn"
)

BROKEN = LabelsDiffer(measurement="example", field="share_ratio", tags=("method",), labels=())
AWAY = SourceUnavailable(service="Prometheus", url="http://localhost:1", what="q", problem="503")


@pytest.fixture
def gap(bench: Bench) -> Bench:
    """The first hour is read, the others before the newest are to be healed, the last of them for late rows."""
    bench.pipeline = Pipeline(chunk_rows=1, workers=1, late_data_cells=1, first_run_cells=0)
    times = [at(hour + 0.5) for hour in range(30)]
    bench.put(rows(bench.measurement, times, share_ratio=[0.5] * 30))
    bench.run(at(0.9))
    return bench


def hours(bench: Bench, most: int) -> set[int]:
    """The hours before this one that are landed."""
    landed = bench.landed(0, most)["time"]
    return {int((time - START).total_seconds() // 3600) for time in landed}


def aside(bench: Bench) -> set[Cell]:
    return set(deferred_cells(bench.ledger, "example", "production"))


def receipt_code(outcome: Outcome, now: datetime) -> int:
    return int(write_receipt("f", "r", "production", Window(at(0), now), [outcome], {}).exit_code)


@pytest.mark.slow
def test_a_gap_that_cannot_be_read_holds_nothing_up(gap: Bench) -> None:
    gap.source.errors_at[at(3)] = BROKEN
    outcome = gap.run(at(7.9))
    assert hours(gap, 8) == set(range(8)) - {3}
    assert (outcome.state, receipt_code(outcome, at(8))) == ("failed", 1)
    (problem,) = outcome.problems
    assert problem == (
        f"2026-01-01T03:00:00Z to 2026-01-01T04:00:00Z: {BROKEN}. It is deferred: later runs retry "
        "it after all other gaps"
    )
    assert aside(gap) == {cell(3)}
    # from then on nothing new is wrong, and it is not forgotten either
    again = gap.run(at(8.9))
    assert (again.state, again.problems, receipt_code(again, at(9))) == ("pending", (), 3)
    assert again.warnings == (
        f"2026-01-01T03:00:00Z to 2026-01-01T04:00:00Z: {BROKEN}. It stays deferred",
    )
    assert hours(gap, 9) == set(range(9)) - {3}
    # once the source answers as it should, it is as good as any other
    gap.source.errors_at.clear()
    assert gap.run(at(8.95)).state == "landed"
    assert (hours(gap, 9), aside(gap)) == (set(range(9)), set())
    assert gap.run(at(8.96)).warnings == ()


def test_an_error_of_the_source_sets_nothing_aside(gap: Bench) -> None:
    gap.source.errors_at[at(3)] = AWAY
    outcome = gap.run(at(7.9))
    assert (outcome.state, outcome.problems) == ("failed", (str(AWAY),))
    assert hours(gap, 8) <= {0, 1, 2, 4, 6, 7}
    assert aside(gap) == set()


def test_one_bad_cell_of_a_chunk_takes_the_others_down_once(gap: Bench) -> None:
    gap.pipeline = Pipeline(workers=1, late_data_cells=1, first_run_cells=0)
    gap.source.errors_at[at(3)] = BROKEN
    gap.run(at(7.9))
    assert aside(gap) == {cell(hour) for hour in range(1, 6)}
    again = gap.run(at(7.95))
    assert hours(gap, 8) == set(range(8)) - {3}
    assert (again.state, aside(gap)) == ("pending", {cell(3)})


def test_gaps_that_nobody_tried_come_before_those_set_aside(gap: Bench) -> None:
    """With a limit that those deferred would use up by themselves."""
    gap.pipeline = Pipeline(
        chunk_rows=1, workers=1, late_data_cells=0, first_run_cells=0, max_gaps_per_run=2
    )
    gap.source.errors_at |= {at(hour): BROKEN for hour in (1, 2)}
    gap.run(at(7.9))
    assert aside(gap) == {cell(1), cell(2)}
    for _ in range(3):
        outcome = gap.run(at(7.9))
    assert hours(gap, 8) == set(range(8)) - {1, 2}
    assert outcome.state == "pending"


def test_all_that_are_set_aside_are_tried_in_turn(gap: Bench) -> None:
    """Three a run, since that many in a row end it; the last can be read again meanwhile."""
    gap.pipeline = Pipeline(chunk_rows=1, workers=1, late_data_cells=0, first_run_cells=0)
    gap.source.errors_at |= {at(hour): BROKEN for hour in range(1, 5)}
    gap.run(at(7.9))
    gap.run(at(7.9))
    assert hours(gap, 8) == {0, 5, 6, 7}
    del gap.source.errors_at[at(4)]
    gap.run(at(7.9))
    gap.run(at(7.9))
    assert 4 in hours(gap, 8)


def test_a_window_that_names_it_says_that_it_failed(gap: Bench) -> None:
    gap.source.errors_at[at(3)] = BROKEN
    gap.run(at(7.9))
    named = gap.run(at(7.9), Window(at(1), at(6)))
    assert (named.state, len(named.problems)) == ("failed", 1)
