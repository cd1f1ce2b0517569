"""A table made to fit a changed catalogue: in one commit, with the states of its cells behind it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import LedgerUnavailable, MigrationRefused, UsageInvalid
from tasks.core.measurement import Measurement
from tasks.core.series import ALL_TIME
from tasks.core.window import Cell
from tasks.lake.delta import arrow_schema_of, existing_table
from tasks.lake.windows import append_states, states_in_force
from tasks.ledger.locks import FileLocks
from tasks.pipeline.recovery import Rebuilding
from tasks.runs import migrate as migrating
from tasks.runs.migrate import Migrated, migrate
from tests.support.lake_samples import refused
from tests.support.suite_examples import a_measurement, a_suite
from tests.support.workbench import HOUR, Bench, a_bench, at, cell, rows


def filled(folder: Path, **columns: list[Any]) -> Bench:
    """A bench with a row in each of two hours, landed, loaded and reported."""
    bench = a_bench(folder)
    reported: dict[str, Any] = {"share_ratio": [0.25, 0.5], "size_bytes": [3, None], **columns}
    bench.put(rows(bench.measurement, [at(0.25), at(1.25)], **reported))
    bench.run(at(1.5))
    append_states(bench.lake, bench.recorded)
    return bench


def becomes(bench: Bench, measurement: Measurement) -> None:
    """The catalogue changes, and the source answers accordingly."""
    bench.measurement = measurement
    folder = bench.folder / "changed"
    folder.mkdir()
    bench.suite = a_suite(folder, measurement)
    bench.source.frame = rows(measurement, [])


def work(bench: Bench) -> Rebuilding:
    catalogue = {"example": bench.measurement}
    locks = FileLocks(bench.folder / "locks")
    return Rebuilding(bench.lake, bench.ledger, locks, catalogue, HOUR, "run-90")


def no_erasure(measurement: Measurement, environment: str, cells: Sequence[Cell]) -> None:
    """For a sink that does not mind a change of type."""


def change(bench: Bench, **renames: str) -> Migrated:
    return migrate(work(bench), "example", renames, {}, dry=False, erase=no_erasure)


def test_renamed_field_goes_on_under_its_new_name_everywhere(tmp_path: Path) -> None:
    bench = filled(tmp_path)
    bench.lake.quarantine_more(bench.measurement, refused([0.5], stage="sink"))
    becomes(bench, a_measurement(fields={"part_ratio": "float", "size_bytes": "int"}))
    assert "fedvitals lake migrate example" in bench.run(at(1.5)).problems[0]
    version = bench.version()
    reported = change(bench, share_ratio="part_ratio")
    assert (reported.renamed, reported.cells, reported.quarantine) == (
        {"part_ratio": "share_ratio"},
        2,
        1,
    )
    assert bench.version() == version + 1
    assert bench.landed(0, 2)["part_ratio"].tolist() == [0.25, 0.5]
    assert [field for field, _ in bench.quarantined()] == ["part_ratio"]
    state = bench.state(0)
    assert state is not None
    assert (state.delete_count, state.source_digest, state.run_id) == (1, "", "run-90")
    assert {s.cell: s for s in states_in_force(bench.lake)}[cell(0)] == state
    bench.run(at(1.5))
    assert (bench.sink.values("share_ratio"), bench.sink.values("part_ratio")) == ([], [0.25, 0.5])
    assert bench.landed(0, 2)["part_ratio"].tolist() == [0.25, 0.5]


def test_renamed_tag(tmp_path: Path) -> None:
    bench = filled(tmp_path)
    bench.lake.quarantine_more(bench.measurement, refused([0.5]))
    becomes(bench, a_measurement(tags=("verb",)))
    assert change(bench, method="verb").quarantine == 1
    assert bench.landed(0, 2)["verb"].tolist() == ["GET", "GET"]
    assert bench.lake.quarantined("example")["tags"].tolist() == ['{"verb": "GET"}']


def test_new_tag_is_null_in_old_rows_and_what_went_is_gone(tmp_path: Path) -> None:
    bench = filled(tmp_path)
    becomes(bench, a_measurement(tags=("method", "room"), fields={"share_ratio": "float"}))
    reported = change(bench)
    assert (reported.added, reported.dropped) == (("room",), ("size_bytes",))
    assert bench.landed(0, 2)["room"].isna().all()
    table = existing_table(bench.lake.table_url("example"), "example")
    assert table is not None
    assert arrow_schema_of(table).names == ["time", "environment", "method", "room", "share_ratio"]
    assert table.metadata().configuration["delta.checkpointInterval"] == "20"
    bench.run(at(1.5))
    assert (bench.sink.values("share_ratio"), bench.sink.values("size_bytes")) == ([0.25, 0.5], [])


@pytest.mark.promise(
    "Migration: a change that would merge two rows or alter a number is refused with the count"
)
def test_removed_tag_is_refused_when_rows_would_be_the_same(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    frame = rows(bench.measurement, [at(0.25)] * 3, method=["A", "B", "C"], share_ratio=[0.1] * 3)
    bench.lake.land(bench.measurement, frame, [cell(0)], "production", None)
    becomes(bench, a_measurement(tags=()))
    with pytest.raises(
        MigrationRefused, match="2 rows would have the same tags and time"
    ) as caught:
        change(bench)
    assert caught.value.exit_code == 2
    assert bench.version() == 1
    one = filled(tmp_path / "one")
    becomes(one, a_measurement(tags=()))
    assert change(one).dropped == ("method",)
    assert one.landed(0, 2)["share_ratio"].tolist() == [0.25, 0.5]


@pytest.mark.promise(
    "Migration: a change that would merge two rows or alter a number is refused with the count"
)
@pytest.mark.parametrize(
    ("values", "new", "count"),
    [
        ({"size_bytes": [3, None]}, {"size_bytes": "float"}, 0),
        ({"size_bytes": [2**53 + 1, -(2**53) - 1]}, {"size_bytes": "float"}, 2),
        ({"share_ratio": [0.0, 1.0]}, {"share_ratio": "int"}, 0),
        ({"share_ratio": [0.5, 1.0]}, {"share_ratio": "int"}, 1),
    ],
)
def test_numbers_change_their_type_only_exactly(
    tmp_path: Path, values: dict[str, list[float]], new: dict[str, str], count: int
) -> None:
    bench = filled(tmp_path, **values)
    fields = {"share_ratio": "float", "size_bytes": "int", **new}
    becomes(bench, a_measurement(fields=fields))  # type: ignore[arg-type]
    ((name, expected),) = values.items()
    if count:
        with pytest.raises(MigrationRefused, match=f"{count} values of {name}"):
            change(bench)
        return
    assert list(change(bench).cast) == [name]
    found = bench.landed(0, 2)[name].astype("float").tolist()
    assert found[0] == expected[0]
    assert bench.state(0).delete_count == 1  # type: ignore[union-attr]


def test_a_text_does_not_become_a_number(tmp_path: Path) -> None:
    bench = filled(tmp_path)
    becomes(bench, a_measurement(fields={"share_ratio": "string", "size_bytes": "int"}))
    with pytest.raises(MigrationRefused, match="column share_ratio is double, the catalogue says"):
        change(bench)


@pytest.mark.parametrize(
    ("rename", "problem"),
    [
        ({"nothing": "new"}, "the table has no column nothing"),
        ({"share_ratio": "nothing"}, "share_ratio is still in the catalogue"),
        ({"size_bytes": "nothing"}, "the catalogue has no column nothing"),
        ({"size_bytes": "share_ratio"}, "the table has a column share_ratio already"),
    ],
)
def test_a_rename_that_cannot_be(tmp_path: Path, rename: dict[str, str], problem: str) -> None:
    bench = filled(tmp_path)
    becomes(bench, a_measurement(fields={"share_ratio": "float", "new": "int"}))
    with pytest.raises(UsageInvalid, match=problem):
        change(bench, **rename)


@pytest.mark.slow
def test_dry_changes_nothing_and_a_second_time_finds_nothing(tmp_path: Path) -> None:
    bench = filled(tmp_path)
    becomes(bench, a_measurement(fields={"part_ratio": "float", "size_bytes": "int"}))
    version, before = bench.version(), bench.ledger.cells("example", "production", ALL_TIME)
    assert migrate(
        work(bench), "example", {"share_ratio": "part_ratio"}, {}, dry=True, erase=no_erasure
    ).renamed == {"part_ratio": "share_ratio"}
    assert (bench.version(), bench.ledger.cells("example", "production", ALL_TIME)) == (
        version,
        before,
    )
    change(bench, share_ratio="part_ratio")
    after = bench.ledger.cells("example", "production", ALL_TIME)
    again = change(bench, share_ratio="part_ratio")
    assert (again.renamed, again.cells) == ({}, 0)
    assert (bench.version(), bench.ledger.cells("example", "production", ALL_TIME)) == (
        version + 1,
        after,
    )


@pytest.mark.slow
@pytest.mark.promise(
    "Crash: in `lake migrate`: runs refuse the table until the same command completes it"
)
@pytest.mark.parametrize("place", ["make_change", "append_states"])
def test_after_a_crash_runs_refuse_it_until_the_same_command_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    bench = filled(tmp_path)
    becomes(bench, a_measurement(fields={"part_ratio": "float", "size_bytes": "int"}))

    def crash(*_: object) -> None:
        raise LedgerUnavailable(url="x", problem="crashed on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(migrating, place, crash)
        with pytest.raises(LedgerUnavailable):
            change(bench, share_ratio="part_ratio")
    held = dict(bench.sink.held)
    assert "is not complete" in bench.run(at(1.5)).problems[0]
    assert bench.sink.held == held
    assert change(bench, share_ratio="part_ratio").cells == 2
    bench.run(at(1.5))
    assert (bench.sink.values("share_ratio"), bench.sink.values("part_ratio")) == ([], [0.25, 0.5])


@pytest.mark.slow
def test_another_source(tmp_path: Path) -> None:
    bench = filled(tmp_path)
    bench.source = replace(bench.source, name="scrape")
    assert "its source was prometheus, this run reads scrape" in bench.run(at(1.5)).problems[0]
    reported = migrate(
        work(bench), "example", {}, {"production": "scrape"}, dry=False, erase=no_erasure
    )
    assert (reported.sources, reported.cells) == ({"production": ("prometheus", "scrape")}, 0)
    bench.run(at(1.5))
    assert bench.state(0).source == "scrape"  # type: ignore[union-attr]
    assert (
        migrate(
            work(bench), "example", {}, {"production": "scrape"}, dry=False, erase=no_erasure
        ).sources
        == {}
    )


def test_what_is_no_table_or_not_in_the_catalogue(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    with pytest.raises(UsageInvalid, match="the lake has no table 'example'"):
        change(bench)
    with pytest.raises(UsageInvalid, match="other is not in the catalogue"):
        migrate(work(bench), "other", {}, {}, dry=False, erase=no_erasure)
