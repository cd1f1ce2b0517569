"""One chunk's way from source to sink: what is landed, kept, quarantined and said of it."""

from dataclasses import replace

import pandas as pd
import pytest

from tasks.core.errors import LakeDamaged
from tasks.core.receipt import SinkValues, Values
from tests.support.workbench import Bench, at, rows, suite_of

NOW = at(1.5)  # cells 0 and 1 are due, the second up to 1:29


def put(bench: Bench, *hours: float, ratio: float = 0.5) -> None:
    """One row a time, each with a share_ratio and a size_bytes of 7."""
    times = [at(hour) for hour in hours]
    count = len(times)
    bench.put(rows(bench.measurement, times, share_ratio=[ratio] * count, size_bytes=[7] * count))


def test_first_run_lands_and_loads_everything(bench: Bench) -> None:
    put(bench, 0.25, 0.5, 1.25)
    outcome = bench.run(NOW)
    assert (outcome.state, outcome.rows, outcome.problems, outcome.warnings) == (
        "landed",
        3,
        (),
        (),
    )
    assert outcome.values == Values(extracted=6, landed=6)
    assert outcome.sinks == {"memory": SinkValues(owed=6, loaded=6)}
    assert outcome.verdicts[0].short() == {"passed": 5, "failed": 0, "worst": None}
    assert list(outcome.seconds) == ["extract", "digest", "validate", "land", "load"]
    assert bench.landed(0, 2)["time"].tolist() == [at(0.25), at(0.5), at(1.25)]
    assert bench.sink.values("share_ratio") == [0.5, 0.5, 0.5]


@pytest.mark.promise("Twice: a second run over the same time commits and posts nothing")
def test_second_run_commits_nothing_and_calls_no_sink(bench: Bench) -> None:
    put(bench, 0.25, 0.5, 1.25)
    bench.run(NOW)
    version, calls, recorded = bench.version(), len(bench.sink.calls), len(bench.recorded)
    outcome = bench.run(NOW)
    assert (outcome.state, outcome.rows, outcome.verdicts) == ("unchanged", 0, ())
    assert outcome.values == Values(extracted=6, unchanged=6)
    assert outcome.sinks == {"memory": SinkValues()}
    assert (bench.version(), len(bench.sink.calls), len(bench.recorded)) == (
        version,
        calls,
        recorded,
    )


def test_one_changed_cell_leaves_its_neighbour_alone(bench: Bench) -> None:
    put(bench, 0.25, 1.25)
    bench.run(NOW)
    version = bench.version()
    put(bench, 0.25, 1.0, 1.25)
    outcome = bench.run(NOW)
    assert outcome.values == Values(extracted=6, landed=4, unchanged=2)
    assert outcome.sinks == {"memory": SinkValues(owed=4, loaded=4)}
    assert bench.version() == version + 1
    assert [entry.cell.start for call in bench.sink.calls[2:] for entry in call] == [at(1)]


def test_covered_until_moves_on_when_nothing_changed(bench: Bench) -> None:
    put(bench, 0.25, 1.25)
    bench.run(NOW)
    bench.run(at(1.75))
    states = [bench.state(hour) for hour in (0, 1)]
    assert [state.covered_until for state in states if state] == [at(1), at(1.75 - 1 / 60)]


def test_covered_until_goes_back_with_the_clock(bench: Bench) -> None:
    """Else time that a wrong clock ran through would never be read when it comes."""
    put(bench, 0.25, 1.25)
    bench.run(at(1.75))
    outcome = bench.run(at(1.6))
    states = [bench.state(hour) for hour in (0, 1)]
    assert [state.covered_until for state in states if state] == [at(1), at(1.6 - 1 / 60)]
    assert "read up to 2026-01-01T01:44:00Z, later than" in outcome.warnings[0]


def test_no_data_is_a_state_of_its_own_and_reaches_no_suite(bench: Bench) -> None:
    outcome = bench.run(NOW)
    assert (outcome.state, outcome.values, outcome.verdicts) == ("no_data", Values(), ())
    assert bench.run(NOW).state == "no_data"
    state = bench.state(1)
    assert state is not None
    assert (state.state, state.landed_digest) == ("no_data", "")
    assert bench.version() == 0
    assert bench.sink.calls == []


def test_changed_suite_validates_again_and_commits_nothing_when_the_rows_stay(
    bench: Bench,
) -> None:
    put(bench, 0.25, 1.25)
    bench.run(NOW)
    version = bench.version()
    looser = replace(bench.suite, digest="another")
    outcome = bench.run(NOW, suite=looser)
    assert outcome.state == "landed"
    assert outcome.values == Values(extracted=4, landed=4)
    assert outcome.sinks == {"memory": SinkValues()}
    assert bench.version() == version


def test_changed_suite_lets_quarantined_values_in(bench: Bench) -> None:
    put(bench, 0.25, ratio=2.0)
    first = bench.run(NOW)
    assert first.values == Values(extracted=2, landed=1, quarantined=1)
    assert bench.quarantined() == [("share_ratio", 2.0)]
    assert bench.landed(0)["share_ratio"].isna().tolist() == [True]
    bench.suite = suite_of(bench.folder / "looser", bench.measurement, most=3.0)
    second = bench.run(NOW)
    assert second.values == Values(extracted=2, landed=2)
    assert bench.quarantined() == []
    assert bench.landed(0)["share_ratio"].tolist() == [2.0]
    assert bench.sink.values("share_ratio") == [2.0]


def test_changed_description_is_no_change(bench: Bench) -> None:
    put(bench, 0.25)
    bench.run(NOW)
    fields = {
        name: spec.model_copy(update={"description": "reported better"})
        for name, spec in bench.measurement.fields.items()
    }
    bench.measurement = bench.measurement.model_copy(
        update={"description": "so too", "fields": fields}
    )
    assert bench.run(NOW).state == "unchanged"


@pytest.mark.promise("Landing: values that vanished from the source are kept and counted")
def test_vanished_value_is_kept_with_a_warning(bench: Bench) -> None:
    put(bench, 0.25, 0.5, 1.25)
    bench.run(NOW)
    version = bench.version()
    put(bench, 0.5, 1.25)
    outcome = bench.run(NOW)
    assert outcome.state == "retained"
    assert outcome.values == Values(extracted=4, landed=2, unchanged=2, retained=2)
    assert outcome.warnings == (
        "the source no longer has 2 values; they are retained as landed before",
    )
    assert bench.landed(0)["time"].tolist() == [at(0.25), at(0.5)]
    # the rows are those of before: nothing to commit, nothing to load
    assert bench.version() == version
    assert outcome.sinks == {"memory": SinkValues()}
    # and it is said once
    assert bench.run(NOW).state == "unchanged"


@pytest.mark.promise("Landing: values that vanished from the source are kept and counted")
def test_everything_vanished_is_kept_too(bench: Bench) -> None:
    put(bench, 0.25, 1.25)
    bench.run(NOW)
    put(bench)
    outcome = bench.run(NOW)
    assert (outcome.state, outcome.values) == ("retained", Values(retained=4))
    assert len(bench.landed(0, 2)) == 2
    assert bench.run(NOW).state == "unchanged"


def test_new_value_wins(bench: Bench) -> None:
    put(bench, 0.25)
    bench.run(NOW)
    put(bench, 0.25, ratio=0.75)
    outcome = bench.run(NOW)
    assert (outcome.state, outcome.values.retained) == ("landed", 0)
    assert bench.landed(0)["share_ratio"].tolist() == [0.75]
    assert bench.sink.values("share_ratio") == [0.75]
    assert not any(entry.erase_first for call in bench.sink.calls for entry in call)


def test_value_refused_later_is_erased_from_lake_and_sink(bench: Bench) -> None:
    put(bench, 0.25, 0.5)
    bench.run(NOW)
    bench.suite = suite_of(bench.folder / "stricter", bench.measurement, most=0.4)
    outcome = bench.run(NOW)
    assert outcome.values == Values(extracted=4, landed=2, quarantined=2)
    assert bench.landed(0)["share_ratio"].isna().all()
    assert bench.sink.values("share_ratio") == []
    assert bench.sink.values("size_bytes") == [7, 7]
    assert [entry.erase_first for entry in bench.sink.calls[-1]] == [True]
    state = bench.state(0)
    assert state is not None
    assert (state.delete_count, state.quarantined, state.values) == (1, 2, 2)


def test_cell_that_loses_its_last_value_is_erased_too(bench: Bench) -> None:
    bench.put(rows(bench.measurement, [at(0.25)], share_ratio=[0.5]))
    bench.run(NOW)
    bench.suite = suite_of(bench.folder / "stricter", bench.measurement, most=0.4)
    outcome = bench.run(NOW)
    assert outcome.values == Values(extracted=1, quarantined=1)
    assert bench.landed(0).empty
    assert bench.sink.held == {}
    assert bench.run(NOW).sinks == {"memory": SinkValues()}


def test_dropped_values_are_accounted_for(bench: Bench) -> None:
    put(bench, 0.25)
    bench.source.dropped = {"nan": 2, "inf": 1}
    outcome = bench.run(NOW, window=None)
    # two chunks were read, each with three dropped values
    assert outcome.values == Values(extracted=8, landed=2, dropped_by_rule=6)


def test_repeated_key_goes_to_quarantine_and_older_values_stay_countable(bench: Bench) -> None:
    put(bench, 0.25)
    bench.run(NOW)
    put(bench, 0.25, 0.25)
    outcome = bench.run(NOW)
    assert outcome.values == Values(extracted=4, quarantined=4)
    assert outcome.problems == ()
    assert bench.landed(0).empty
    assert bench.sink.held == {}


def test_value_that_no_tag_can_carry_is_turned_away(bench: Bench) -> None:
    bench.put(rows(bench.measurement, [at(0.25)], method=["a"], share_ratio=[0.5]))
    methods = bench.source.frame["method"].cat
    lone = pd.Index(["a\ud800"], dtype="object")
    bench.source.frame["method"] = methods.rename_categories(lone)
    outcome = bench.run(NOW)
    (verdict,) = outcome.verdicts
    assert (outcome.state, verdict.suite) == ("landed", "structural check")
    assert outcome.values == Values(extracted=1, quarantined=1)
    assert bench.landed(0).empty


def test_torn_lake_is_reported_and_nothing_is_loaded(bench: Bench) -> None:
    put(bench, 0.25)
    bench.run(NOW)
    for file in (bench.folder / "lake" / "example").glob("*.parquet"):
        file.write_bytes(b"torn")
    put(bench, 0.25, 0.5)
    outcome = bench.run(NOW)
    assert outcome.state == "failed"
    assert "fedvitals lake repair" in outcome.problems[0]
    with pytest.raises(LakeDamaged):
        bench.landed(0)
