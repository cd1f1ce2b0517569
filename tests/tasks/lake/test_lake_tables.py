"""The lake: a landing replaces exactly its cells, types stay exact, quarantine beside the rows."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tasks.core.batch import empty_frame
from tasks.core.digest import digest_rows
from tasks.core.errors import LakeDamaged, SchemaChanged
from tasks.core.measurement import Measurement
from tasks.core.window import Cell
from tasks.lake.delta import existing_table
from tasks.lake.tables import Lake, frame_to_arrow
from tests.support.lake_samples import (
    DAY,
    HOUR,
    START,
    M,
    cell,
    log_of,
    put,
    ratios,
    refused,
    rows,
)
from tests.support.suite_examples import a_measurement

ODD = ["o'brien", "' OR '1'='1", "a\\", 'q"x', "täst 日本", "''"]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def version(lake: Lake) -> int:
    table = existing_table(lake.table_url("example"), "example")
    assert table is not None
    return int(table.version())


@pytest.mark.promise("Landing: one atomic commit replaces exactly the cells of a chunk")
def test_landing_is_one_commit_and_replaces_exactly_its_cells(lake: Lake) -> None:
    put(lake, [0.5, 1.0, 1.5, 2.0], 0, 1, 2)
    put(lake, [1.25], 1, environment="staging")
    before = version(lake)
    put(lake, [1.75], 1)
    assert version(lake) == before + 1
    assert ratios(lake) == [0.5, 1.75, 2.0]
    assert ratios(lake, "staging") == [1.25]


def test_cells_that_are_not_adjacent_leave_what_lies_between(lake: Lake) -> None:
    put(lake, [0.5, 1.5, 2.5, 3.5], 0, 1, 2, 3)
    put(lake, [0.6, 3.6], 3, 0)
    assert ratios(lake) == [0.6, 1.5, 2.5, 3.6]


def test_cell_is_half_open_to_the_microsecond(lake: Lake) -> None:
    edges = [1 - 1e-6 / 3600, 1.0, 2 - 1e-6 / 3600, 2.0]
    put(lake, edges, 0, 1, 2)
    put(lake, [], 1)
    assert [t.isoformat() for t in lake.read(M, "production", DAY)["time"]] == [
        "2026-01-01T00:59:59.999999+00:00",
        "2026-01-01T02:00:00+00:00",
    ]


def test_empty_landing_empties_its_cells_and_an_absent_one_reads_empty(lake: Lake) -> None:
    pd.testing.assert_frame_equal(lake.read(M, "production", DAY), empty_frame(M))
    assert lake.names() == []
    put(lake, [0.5, 1.5], 0, 1)
    put(lake, [], 0, 1)
    pd.testing.assert_frame_equal(lake.read(M, "production", DAY), empty_frame(M))


@pytest.mark.promise("Landing: values of any type and text are stored and loaded exactly")
def test_what_is_read_is_what_was_landed(lake: Lake) -> None:
    frame = rows(
        [0.1, 0.2, 0.3],
        method=[None, "", "ü"],
        share_ratio=[0.1, None, -0.0],
        size_bytes=[2**63 - 1, None, -(2**60) - 1],
        note=["", None, "a\nb"],
        is_ready=[True, None, False],
    )
    lake.land(M, frame, [cell(0)], "production", None)
    found = lake.read(M, "production", cell(0))
    pd.testing.assert_frame_equal(found, frame)
    assert digest_rows(found, M) == digest_rows(frame, M)


def test_column_without_any_value_and_tag_without_any_text(lake: Lake) -> None:
    frame = rows([0.5], method=[None], share_ratio=[None])
    lake.land(M, frame, [cell(0)], "production", None)
    pd.testing.assert_frame_equal(lake.read(M, "production", cell(0)), frame)


@pytest.mark.parametrize("environment", ODD)
def test_odd_environments_cannot_break_out(lake: Lake, environment: str) -> None:
    put(lake, [0.5, 1.5], 0, 1)
    put(lake, [0.25, 1.25], 0, 1, environment=environment)
    put(lake, [0.75], 0, environment=environment)
    assert ratios(lake) == [0.5, 1.5]
    assert ratios(lake, environment) == [0.75, 1.25]
    lake.quarantine(M, refused([0.5], environment), [cell(0)], environment)
    lake.quarantine(M, refused([0.5, 0.6]), [cell(0)], "production")
    assert len(lake.quarantined("example", environment)) == 1
    assert len(lake.quarantined("example", "production")) == 2


@pytest.mark.parametrize("folder", ["plain", "with space", "ünïcode", "a#b", "it's", "a?b"])
@pytest.mark.parametrize("as_uri", [False, True])
def test_lake_may_be_in_any_folder(tmp_path: Path, folder: str, as_uri: bool) -> None:
    home = tmp_path / folder
    lake = Lake(home.as_uri() if as_uri else str(home))
    put(lake, [0.5], 0)
    put(lake, [0.6], 0)
    assert ratios(lake) == [0.6]
    assert lake.names() == ["example"]
    assert (home / "example" / "_delta_log").is_dir()


def test_names_are_those_of_tables(lake: Lake) -> None:
    put(lake, [0.5], 0)
    lake.quarantine(M, refused([0.5]), [cell(0)], "production")
    folder = Path(lake.url)
    (folder / "lost+found").mkdir()
    (folder / "a_file").write_text("x")
    assert lake.names() == ["example"]


def test_metadata_of_a_commit_are_kept(lake: Lake) -> None:
    metadata = {"run_id": "täst", "cells": [{"cell": "x"}]}
    lake.land(M, rows([0.5]), [cell(0)], "production", metadata)
    infos = [
        action["commitInfo"]
        for action in log_of(Path(lake.url) / "example")
        if "commitInfo" in action
    ]
    assert infos[-1]["fedvitals"] == '{"run_id": "t\\u00e4st", "cells": [{"cell": "x"}]}'


def test_new_field_merges_in_a_commit_of_its_own(lake: Lake) -> None:
    small = a_measurement(fields={"share_ratio": "float"})
    lake.land(small, rows([0.5], measurement=small), [cell(0)], "production", None)
    before = version(lake)
    lake.prepare(M)
    assert version(lake) == before + 1
    lake.prepare(M)
    assert version(lake) == before + 1
    put(lake, [1.5], 1)
    found = lake.read(M, "production", DAY)
    assert found["share_ratio"].tolist() == [0.5, 1.5]
    assert found["size_bytes"].isna().all()


@pytest.mark.promise(
    "Landing: a change of a table's columns, other than new fields, is refused before any source is asked"
)
def test_new_tag_and_removed_columns_are_refused(lake: Lake) -> None:
    small = a_measurement(tags=(), fields={"share_ratio": "float"})
    lake.land(small, rows([0.5], measurement=small), [cell(0)], "production", None)
    with pytest.raises(SchemaChanged, match="tag method is new"):
        lake.prepare(M)
    fewer = a_measurement(tags=(), fields={"size_bytes": "int"})
    with pytest.raises(SchemaChanged, match="column share_ratio is no longer in the catalogue"):
        lake.prepare(fewer)
    assert lake.read(small, "production", DAY)["share_ratio"].tolist() == [0.5]


def test_read_of_a_column_that_the_table_does_not_have_yet(lake: Lake) -> None:
    small = a_measurement(tags=(), fields={"share_ratio": "float"})
    lake.land(small, rows([0.5], measurement=small), [cell(0)], "production", None)
    found = lake.read(M, "production", DAY)
    assert found["size_bytes"].dtype == "Int64"
    assert (found["size_bytes"].isna().all(), found["method"].isna().all()) == (True, True)


@pytest.mark.promise(
    "Landing: a change of a table's columns, other than new fields, is refused before any source is asked"
)
@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (
            a_measurement(fields={"share_ratio": "int"}),
            "column share_ratio is double, the catalogue says int64",
        ),
        (
            a_measurement(fields={"share_percent": "float"}),
            "column share_ratio is no longer in the catalogue",
        ),
        (
            a_measurement(tags=("verb",)),
            "column method is no longer in the catalogue; column note is no longer in the catalogue; column is_ready is no longer in the catalogue; tag verb is new",
        ),
    ],
)
def test_change_of_type_and_rename_are_refused(
    lake: Lake, other: Measurement, problem: str
) -> None:
    put(lake, [0.5], 0)
    before = version(lake)
    attempts: list[Callable[[], None]] = [
        lambda: lake.prepare(other),
        lambda: lake.land(other, empty_frame(other), [cell(0)], "production", None),
    ]
    for attempt in attempts:
        with pytest.raises(SchemaChanged, match="fedvitals lake migrate example") as caught:
            attempt()
        assert problem in caught.value.problem
    assert (version(lake), ratios(lake)) == (before, [0.5])


@pytest.mark.promise("Landing: values of any type and text are stored and loaded exactly")
def test_rows_of_another_type_are_never_cast_in_silence(lake: Lake) -> None:
    put(lake, [0.5], 0)
    wrong = rows([0.5]).assign(size_bytes=[1.5])
    with pytest.raises((SchemaChanged, ValueError)):
        lake.land(M, wrong, [cell(0)], "production", None)
    assert ratios(lake) == [0.5]
    assert lake.read(M, "production", DAY)["size_bytes"].isna().all()


def test_tags_are_written_as_dictionaries_with_exact_types() -> None:
    table = frame_to_arrow(rows([0.5], note=["a"]), M)
    assert str(table.schema.field("method").type) == (
        "dictionary<values=string, indices=int8, ordered=0>"
    )
    assert [str(table.schema.field(name).type) for name in ("time", "size_bytes", "note")] == [
        "timestamp[us, tz=UTC]",
        "int64",
        "string",
    ]


def test_quarantine_is_replaced_in_its_cells_and_appended_to(lake: Lake) -> None:
    assert lake.quarantined("example").empty
    lake.quarantine(M, refused([0.5, 1.5]), [cell(0), cell(1)], "production")
    lake.quarantine(M, refused([0.25], "staging"), [cell(0)], "staging")
    lake.quarantine(M, refused([1.75]), [cell(1)], "production")
    assert lake.quarantined("example", "production")["number"].tolist() == [0.5, 1.75]
    lake.quarantine_more(M, refused([1.6], stage="sink"))
    found = lake.quarantined("example", "production", cell(1))
    assert list(zip(found["number"], found["stage"], strict=True)) == [
        (1.6, "sink"),
        (1.75, "suite"),
    ]
    lake.quarantine(M, refused([]), [cell(0), cell(1)], "production")
    assert lake.quarantined("example")["number"].tolist() == [0.25]


def test_quarantine_may_replace_a_window_smaller_than_a_cell(lake: Lake) -> None:
    lake.quarantine(M, refused([0.25, 0.75]), [cell(0)], "production")
    lake.quarantine(M, refused([]), [Cell(START, START + HOUR / 2)], "production")
    assert lake.quarantined("example")["number"].tolist() == [0.75]


def test_quarantine_and_rows_are_tables_of_their_own(lake: Lake) -> None:
    put(lake, [0.5], 0)
    before = version(lake)
    lake.quarantine(M, refused([0.6]), [cell(0)], "production")
    assert version(lake) == before
    assert (Path(lake.url) / "_quarantine" / "example" / "_delta_log").is_dir()


@pytest.mark.promise("Repair: a torn table is reported, and nothing is written to it")
def test_torn_parquet_is_reported_when_rows_or_records_are_read(lake: Lake) -> None:
    put(lake, [0.5], 0)
    lake.quarantine(M, refused([0.5]), [cell(0)], "production")
    for file in Path(lake.url).rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(LakeDamaged, match="fedvitals lake repair"):
        ratios(lake)
    with pytest.raises(LakeDamaged, match="lake table _quarantine/example: "):
        lake.quarantined("example")
