"""Rounds: which cells are due, how they are cut into chunks, and what a failed one leaves."""

import re
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.errors import LabelsDiffer, SourceUnavailable
from tasks.core.receipt import Outcome, SinkValues, Values, write_receipt
from tasks.core.settings import Pipeline
from tasks.core.window import Window
from tasks.pipeline.collect import Job
from tasks.pipeline.due import Due, find_due
from tests.support.workbench import HOUR, MINUTE, START, Bench, a_bench, at, rows

BROKEN = LabelsDiffer(measurement="example", field="share_ratio", tags=("method",), labels=())
UNAVAILABLE = SourceUnavailable(
    service="Prometheus", url="http://localhost:1", what="q", problem="503"
)


def hourly(bench: Bench, hours: int) -> None:
    """One share_ratio in each of so many hours, at half past."""
    times = [at(hour + 0.5) for hour in range(hours)]
    bench.put(rows(bench.measurement, times, share_ratio=[0.5] * hours))


def asked(bench: Bench) -> list[tuple[float, float]]:
    """The windows that the source was asked for since the last look, in hours after START."""
    windows = [((w.start - START) / HOUR, (w.stop - START) / HOUR) for w in bench.source.asked]
    bench.source.asked.clear()
    return windows


def due(bench: Bench, now: datetime, window: Window | None = None) -> list[int]:
    """Hours after START at which the due cells begin."""
    return [int((cell.start - START) / HOUR) for cell in all_due(bench, now, window).cells]


def all_due(bench: Bench, now: datetime, window: Window | None = None) -> Due:
    job = Job(bench.measurement, "production", window, now, bench.pipeline)
    return find_due(job, bench.ledger)


def test_first_run_reads_the_newest_cell_then_start_at_cells_before(bench: Bench) -> None:
    assert due(bench, at(10.5)) == [10, 9]
    bench.pipeline = Pipeline(first_run_cells=3)
    assert due(bench, at(10.5)) == [10, 9, 7, 8]
    bench.pipeline = Pipeline(first_run_cells=0)
    assert due(bench, at(10.5)) == [10]


def test_newest_cell_begins_when_its_first_data_are_settled(bench: Bench) -> None:
    assert due(bench, at(10)) == [9, 8]
    assert due(bench, at(10) + MINUTE) == [9, 8]
    # 15 s, the measurement's step, after the settle delay
    assert due(bench, at(10) + 1.25 * MINUTE) == [10, 9]


def test_chunk_of_the_newest_cell_ends_where_data_are_settled(bench: Bench) -> None:
    bench.run(at(10) + 31.3 * MINUTE)
    assert asked(bench) == [(10, 10 + 30.25 / 60), (9, 10)]


@pytest.mark.promise(
    "Gaps: late rows within `late_data_cells` are read, even after a killed run, a newer window or a backfill"
)
def test_next_run_reads_the_overlap_again_and_what_came_since(bench: Bench) -> None:
    bench.run(at(10.5))
    assert due(bench, at(10.75)) == [10, 9]
    # what was the newest is read to its end; 9 and 12 may have late rows, 11 was missed
    assert due(bench, at(13.5)) == [13, 9, 10, 12, 11]
    bench.pipeline = Pipeline(late_data_cells=0)
    assert due(bench, at(10.75)) == [10]
    bench.pipeline = Pipeline(late_data_cells=3)
    assert due(bench, at(10.75)) == [10, 9]


@pytest.mark.slow
@pytest.mark.promise(
    "Gaps: gaps left to later runs are counted in a warning, and the exit code is 3"
)
def test_heal_limit_bounds_how_many_gaps_a_run_reads_and_the_next_goes_on(bench: Bench) -> None:
    bench.pipeline = Pipeline(max_gaps_per_run=3)
    hourly(bench, 12)
    bench.run(at(2.5))
    asked(bench)
    outcome = bench.run(at(10.5))
    # 1, 2 and 9 may have late rows; of 3 to 8 the three oldest are read
    assert sorted(asked(bench)) == [(1, 3), (3, 6), (9, 10), (10, 10.5 - 1 / 60)]
    assert outcome.state == "pending"
    assert outcome.warnings == (
        "2026-01-01T06:00:00Z to 2026-01-01T09:00:00Z: 3 cells were missed, "
        "limit 3 per run (max_gaps_per_run); later runs continue. Fix: to fill them now, collect with "
        "--start 2026-01-01T06:00:00Z --stop 2026-01-01T09:00:00Z",
    )
    receipt = write_receipt("f", "r", "production", Window(at(0), at(11)), [outcome], {})
    assert (receipt.status, receipt.exit_code) == ("degraded", 3)
    outcome = bench.run(at(10.6))
    assert (outcome.state, outcome.warnings) == ("landed", ())
    assert len(bench.landed(0, 12)) == 10
    assert due(bench, at(10.7)) == [10, 9]


@pytest.mark.slow
@pytest.mark.promise(
    "Gaps: cells of a run that was missed, killed or cut off are read later, `max_gaps_per_run` cells per run"
)
def test_days_that_were_missed_are_healed_over_several_runs(bench: Bench) -> None:
    bench.run(at(1))
    now = at(96)
    left: list[int] = []
    while not left or left[-1]:
        bench.run(now)
        now += HOUR
        left.append(all_due(bench, now).left.count)
    # 1 to 93 are gaps, and each run reads 24 of them
    assert left == [45, 21, 0]
    assert bench.run(now).state == "no_data"
    assert due(bench, now) == [98, 97]


@pytest.mark.promise(
    "Gaps: cells of a run that was missed, killed or cut off are read later, `max_gaps_per_run` cells per run"
)
def test_gap_within_heal_limit_is_read_without_a_word(bench: Bench) -> None:
    bench.pipeline = Pipeline(max_gaps_per_run=3)
    bench.run(at(7.5))
    assert bench.run(at(10.5)).warnings == ()


def test_clock_that_went_back_reads_its_newest_cell(bench: Bench) -> None:
    bench.run(at(10.5))
    assert due(bench, at(8.5)) == [8, 7]


def test_window_is_widened_to_cells_and_clipped_at_now(bench: Bench) -> None:
    window = Window(at(3.2), at(5.1))
    assert due(bench, at(10.5), window) == [5, 3, 4]
    assert due(bench, at(4.5), window) == [4, 3]
    assert due(bench, at(3), window) == []
    outcome = bench.run(at(3), window)
    assert (outcome.state, asked(bench)) == ("no_data", [])


@pytest.mark.slow
def test_newest_comes_first_then_the_rest_oldest_first(bench: Bench) -> None:
    bench.pipeline = Pipeline(first_run_cells=4, chunk_rows=1)
    hourly(bench, 5)
    outcome = bench.run(at(4.75))
    assert outcome.values == Values(extracted=5, landed=5)
    assert asked(bench)[0][0] == 4
    assert bench.progress == [("example", done, 5) for done in (1, 2, 3, 4, 5)]


@pytest.mark.slow
@pytest.mark.promise("Accounts: an error in one measurement leaves the others alone")
def test_error_in_one_chunk_keeps_what_the_others_landed(bench: Bench) -> None:
    bench.pipeline = Pipeline(first_run_cells=4, chunk_rows=1, workers=1)
    hourly(bench, 5)
    bench.source.errors_at[at(2)] = UNAVAILABLE
    outcome = bench.run(at(4.75))
    assert outcome.state == "failed"
    assert outcome.problems == (str(UNAVAILABLE),)
    landed = bench.landed(0, 5)["time"].tolist()
    # the chunk after it may have been under way already
    assert set(landed) - {at(3.5)} == {at(0.5), at(1.5), at(4.5)}
    assert outcome.values == Values(extracted=len(landed), landed=len(landed))
    assert outcome.sinks == {"memory": SinkValues(owed=len(landed), loaded=len(landed))}


@pytest.mark.slow
def test_run_with_a_failed_chunk_is_degraded_and_one_without_any_is_failed(bench: Bench) -> None:
    bench.pipeline = Pipeline(first_run_cells=4, chunk_rows=1, workers=1)
    hourly(bench, 5)
    bench.source.errors_at[at(2)] = UNAVAILABLE
    some = write_receipt("f", "r", "production", Window(at(0), at(5)), [bench.run(at(4.75))], {})
    assert (some.status, some.exit_code) == ("degraded", 1)
    bench.source.error = UNAVAILABLE
    none = write_receipt("f", "r", "production", Window(at(0), at(5)), [bench.run(at(4.75))], {})
    assert (none.status, none.exit_code) == ("failed", 1)


@pytest.mark.slow
@pytest.mark.promise(
    "Gaps: cells of a run that was missed, killed or cut off are read later, `max_gaps_per_run` cells per run"
)
def test_gap_that_a_failed_chunk_left_is_healed_by_the_next_run(bench: Bench) -> None:
    bench.pipeline = Pipeline(first_run_cells=0, chunk_rows=1, workers=1)
    hourly(bench, 7)
    bench.run(at(0.75))
    bench.source.errors_at[at(2)] = UNAVAILABLE
    assert bench.run(at(6.75)).state == "failed"
    landed = bench.landed(0, 7)["time"].tolist()
    assert set(landed) - {at(3.5)} == {at(0.5), at(1.5), at(5.5), at(6.5)}
    assert set(due(bench, at(6.8))) - {3} == {6, 2, 4, 5}
    bench.source.errors_at.clear()
    asked(bench)
    assert bench.run(at(6.8)).state == "landed"
    assert len(bench.landed(0, 7)) == 7
    assert due(bench, at(6.9)) == [6, 5]


@pytest.mark.promise(
    "Gaps: cells of a run that was missed, killed or cut off are read later, `max_gaps_per_run` cells per run"
)
def test_cell_that_was_cut_off_is_read_to_its_end(bench: Bench) -> None:
    bench.pipeline = Pipeline(late_data_cells=0)
    bench.run(at(0.5))
    bench.run(at(3.5), Window(at(3), at(4)))
    assert due(bench, at(3.6)) == [3, 0, 1, 2]


def test_covered_cells_between_gaps_are_not_read_again(bench: Bench) -> None:
    bench.pipeline = Pipeline(first_run_cells=0)
    for hour in (6, 3, 0):
        bench.run(at(9), Window(at(hour), at(hour + 1)))
    asked(bench)
    # 6 was the newest, so that it and 5 may have late rows, as 7 may
    assert due(bench, at(8.5)) == [8, 5, 6, 7, 1, 2, 4]
    bench.run(at(8.5))
    # groups are of adjacent cells: what is extracted is what is accounted for
    assert sorted(asked(bench)) == [(1, 3), (4, 5), (5, 8), (8, 8.5 - 1 / 60)]


def test_error_in_the_newest_cell_begins_no_other(bench: Bench) -> None:
    hourly(bench, 2)
    bench.source.errors_at[at(1)] = UNAVAILABLE
    outcome = bench.run(at(1.75))
    assert (outcome.state, outcome.values) == ("failed", Values())
    assert len(asked(bench)) == 1


def test_unexpected_error_is_reported_as_a_defect(bench: Bench) -> None:
    bench.source.error = ZeroDivisionError("secret detail")
    outcome = bench.run(at(1.5))
    assert len(outcome.problems) == 1
    expected = r"unexpected ZeroDivisionError at memory.py:\d+. This is a defect of fedvitals"
    assert re.fullmatch(expected, outcome.problems[0])
    # the run ends as failed, and with another measurement that landed as degraded
    other = Outcome("other", "landed", values=Values(1, 1))
    ends = [
        write_receipt("collect", "run-1", "production", None, all_, {}, 0)
        for all_ in ([outcome], [outcome, other])
    ]
    assert [(each.status, each.exit_code) for each in ends] == [("failed", 1), ("degraded", 1)]


def test_interruption_is_no_error_of_one_measurement(bench: Bench) -> None:
    bench.source.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.run(at(1.5))


@pytest.mark.parametrize(
    ("chunk_rows", "windows"),
    [
        (1, [(hour, hour + 1) for hour in range(5)]),
        (19, [(hour, hour + 1) for hour in range(5)]),
        (20, [(0, 2), (2, 4), (4, 5)]),
        (49, [(0, 4), (4, 5)]),
        (1000, [(0, 4), (4, 5)]),
    ],
)
def test_chunks_hold_about_chunk_rows(
    bench: Bench, chunk_rows: int, windows: list[tuple[float, float]]
) -> None:
    """The newest cell has 5 rows in its first half, so that an hour counts as 10."""
    bench.pipeline = Pipeline(first_run_cells=5, chunk_rows=chunk_rows, workers=1)
    times = [at(5 + tenth / 10) for tenth in range(5)]
    bench.put(rows(bench.measurement, times, share_ratio=[0.5] * 5))
    bench.run(at(5.5) + MINUTE)
    assert sorted(asked(bench)[1:]) == sorted(windows)


@pytest.mark.slow
def test_chunk_is_never_longer_than_a_week(bench: Bench) -> None:
    bench.run(at(400), Window(at(0), at(400)))
    assert sorted(asked(bench)[1:]) == [(0, 168), (168, 336), (336, 399)]


@pytest.mark.slow
def test_source_that_changed_is_refused(bench: Bench) -> None:
    hourly(bench, 2)
    bench.run(at(1.75))
    bench.source.name, bench.source.history = "scrape", "sample"
    outcome = bench.run(at(1.8))
    assert outcome.state == "failed"
    assert "its source was prometheus, this run reads scrape" in outcome.problems[0]


@pytest.mark.promise(
    "Landing: a change of a table's columns, other than new fields, is refused before any source is asked"
)
def test_column_of_another_type_is_refused_before_anything_is_asked(bench: Bench) -> None:
    hourly(bench, 2)
    bench.run(at(1.75))
    asked(bench)
    fields = dict(bench.measurement.fields)
    fields["share_ratio"] = fields["share_ratio"].model_copy(update={"type": "int"})
    bench.measurement = bench.measurement.model_copy(update={"fields": fields})
    outcome = bench.run(at(1.8))
    assert "column share_ratio is double, the catalogue says int64" in outcome.problems[0]
    assert asked(bench) == []


@pytest.mark.slow
def test_sample_is_taken_once_a_slot(bench: Bench) -> None:
    bench.source.name, bench.source.history = "scrape", "sample"
    bench.put(rows(bench.measurement, [at(0), at(0) + MINUTE], share_ratio=[0.25, 0.5]))
    assert bench.run(at(0) + 0.2 * MINUTE).values == Values(extracted=1, landed=1)
    again = bench.run(at(0) + 0.9 * MINUTE)
    assert (again.state, again.values) == ("unchanged", Values())
    assert bench.run(at(0) + MINUTE).values == Values(extracted=1, landed=1)
    assert asked(bench) == [(0, 1 / 60), (1 / 60, 2 / 60)]
    assert bench.landed(0)["share_ratio"].tolist() == [0.25, 0.5]


def test_sample_without_data_leaves_its_slot_empty(bench: Bench) -> None:
    bench.source.name, bench.source.history = "scrape", "sample"
    assert bench.run(at(0)).state == "no_data"
    bench.put(rows(bench.measurement, [at(0) + 2 * MINUTE], share_ratio=[0.5]))
    assert bench.run(at(0) + 2 * MINUTE).state == "landed"


@pytest.mark.parametrize(("start", "state"), [(0.0, "landed"), (0.6, "no_data")])
def test_sample_is_taken_only_for_a_window_that_holds_now(
    bench: Bench, start: float, state: str
) -> None:
    bench.source.name, bench.source.history = "scrape", "sample"
    bench.put(rows(bench.measurement, [at(0.5)], share_ratio=[0.5]))
    outcome = bench.run(at(0.5), Window(at(start), at(1)))
    assert outcome.state == state
    warned = "scrape has no history: only a window that includes now can be read"
    assert outcome.warnings == (() if state == "landed" else (warned,))


# what happens at one run: minutes since the last one, is the sink up, is the source up
steps = st.lists(
    st.tuples(st.integers(20, 150), st.booleans(), st.booleans()), min_size=1, max_size=4
)


@pytest.mark.slow
@pytest.mark.promise(
    "Gaps: cells of a run that was missed, killed or cut off are read later, `max_gaps_per_run` cells per run"
)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=steps, absent=st.sets(st.integers(0, 5)))
def test_whatever_happened_all_of_it_is_there_in_the_end(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, bool, bool]],
    absent: set[int],
) -> None:
    bench = a_bench(tmp_path_factory.mktemp("schedule"))
    hours = [hour for hour in range(20) if hour not in absent]
    times = [at(hour + 0.25) for hour in hours]
    everything = rows(bench.measurement, times, share_ratio=[0.5] * len(times))
    bench.source.frame = everything
    now = at(2.5)
    bench.run(now)
    for minutes, is_sink_up, is_source_up in steps:
        now += minutes * MINUTE
        bench.sink.error = None if is_sink_up else UNAVAILABLE
        bench.source.error = None if is_source_up else BROKEN
        outcome = bench.run(now)
        write_receipt("f", "r", "production", Window(at(0), at(20)), [outcome], {})
    bench.sink.error, bench.source.error = None, None
    now += 2 * HOUR
    bench.run(now)
    settled = [moment for moment in times if at(1) <= moment < now - MINUTE]
    assert bench.landed(0, 24)["time"].tolist() == settled
    assert bench.sink.values("share_ratio") == [0.5] * len(settled)
    assert bench.run(now).values.landed == 0
    bench.ledger.close()
