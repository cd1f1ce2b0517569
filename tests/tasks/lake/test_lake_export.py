"""Landed rows as a file: exact values, in the order of time, whole or not there."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.core.errors import LakeDamaged, UsageInvalid
from tasks.core.window import Window
from tasks.lake.export import Format, export
from tasks.lake.tables import Lake
from tests.support.lake_samples import HOUR, START, M, cell, rows


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(str(tmp_path / "lake"))
    frame = rows(
        [0.5, 30.0, 50.25],
        share_ratio=[0.1, None, 1e-300],
        size_bytes=[2**60 + 1, 7, None],
        note=['a,"b"\n', None, "ü"],
        is_ready=[True, None, False],
    )
    made.land(M, frame, [cell(0), cell(30), cell(50)], "production", None)
    made.land(M, rows([0.25], "staging"), [cell(0)], "staging", None)
    return made


def test_csv(lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    reported = export(lake, "example", "production", None, "csv", file)
    assert file.read_text() == (
        '"time","environment","method","share_ratio","size_bytes","note","is_ready"\n'
        '"2026-01-01T00:30:00.000000Z","production","GET",0.1,1152921504606846977,"a,""b""\n",true\n'
        '"2026-01-02T06:00:00.000000Z","production","GET",,7,,\n'
        '"2026-01-03T02:15:00.000000Z","production","GET",1e-300,,"ü",false\n'
    )
    assert (reported.rows, reported.bytes) == (3, file.stat().st_size)


def test_jsonl(lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    window = Window(START, START + 31 * HOUR)
    assert export(lake, "example", None, window, "jsonl", file).rows == 3
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["environment"] for line in lines] == ["staging", "production", "production"]
    assert lines[1] == {
        "time": "2026-01-01T00:30:00.000000Z", "environment": "production", "method": "GET",
        "share_ratio": 0.1, "size_bytes": 2**60 + 1, "note": 'a,"b"\n', "is_ready": True,
    }  # fmt: skip


def test_parquet(lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "out.parquet"
    export(lake, "example", "production", None, "parquet", file)
    found = pq.read_table(file)
    assert found["size_bytes"].to_pylist() == [2**60 + 1, 7, None]
    assert str(found.schema.field("time").type) == "timestamp[us, tz=UTC]"


def test_window_is_half_open(lake: Lake, tmp_path: Path) -> None:
    window = Window(START + HOUR / 2, START + 30 * HOUR)
    assert export(lake, "example", None, window, "csv", tmp_path / "x").rows == 1


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_nothing_in_the_window_is_a_file_without_rows(
    lake: Lake, tmp_path: Path, format: Format
) -> None:
    window = Window(START - 2 * HOUR, START - HOUR)
    assert export(lake, "example", None, window, format, tmp_path / "x").rows == 0
    assert (tmp_path / "x").is_file()


def test_what_cannot_be_exported(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(UsageInvalid, match="the lake has no table 'other'"):
        export(lake, "other", None, None, "csv", tmp_path / "x")
    with pytest.raises(UsageInvalid, match=r"did you mean example\? See the tables"):
        lake.required_table("exampel")
    with pytest.raises(UsageInvalid, match=r"--output: .* cannot be written: No such file"):
        export(lake, "example", None, None, "csv", tmp_path / "none" / "x")


def test_a_torn_table_leaves_the_file_of_before(lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("before")
    for parquet in (tmp_path / "lake" / "example").glob("*.parquet"):
        parquet.write_bytes(parquet.read_bytes()[:100])
    with pytest.raises(LakeDamaged):
        export(lake, "example", None, None, "csv", file)
    assert file.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "x"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "it = 1", "'=1", ""])
def test_safe_csv_has_no_formulas(tmp_path: Path, text: str) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.land(M, rows([0.5], note=[text]), [cell(0)], "production", None)
    written = []
    for is_safe in (False, True):
        export(lake, "example", None, None, "csv", tmp_path / "out.csv", is_safe)
        with (tmp_path / "out.csv").open(newline="") as file:
            written.append(list(csv.reader(file))[1][-2])
    is_formula = text[:1] in ("=", "+", "-", "@", "\t", "\r")
    assert written == [text, f"'{text}" if is_formula else text]
