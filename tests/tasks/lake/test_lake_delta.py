"""One Delta table: what is damaged is reported, writers meet without loss, the log is kept short."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.core.errors import LakeDamaged, SchemaChanged
from tasks.lake.delta import append_rows, existing_table, local_path, open_table, replace_rows
from tasks.lake.tables import Lake
from tests.support.lake_samples import DAY, M, cell, log_of, put, ratios, rows

ROOT = Path(__file__).parents[3]
SCHEMA = pa.schema([("environment", pa.string()), ("number", pa.int64())])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def log(lake: Lake) -> Path:
    return Path(lake.url) / "example" / "_delta_log"


def entry(lake: Lake, version: int) -> Path:
    return log(lake) / f"{version:020d}.json"


def test_rules_of_the_lake_are_in_the_table(lake: Lake) -> None:
    lake.prepare(M)
    metadata = next(a["metaData"] for a in log_of(log(lake).parent) if "metaData" in a)
    assert metadata["configuration"] == {
        "delta.checkpointInterval": "20",
        "delta.logRetentionDuration": "interval 1 hours",
    }


@pytest.mark.promise("Repair: a torn table is reported, and nothing is written to it")
@pytest.mark.parametrize("content", ["", '{"commitInfo": {"timesta', "\x00\x00\x00", "nonsense"])
@pytest.mark.parametrize("version", [1, 2])
def test_torn_log_entry_is_reported_and_nothing_is_written(
    lake: Lake, content: str, version: int
) -> None:
    put(lake, [0.5], 0)
    put(lake, [1.5], 1)
    entry(lake, version).write_text(content)
    files = sorted(log(lake).iterdir())
    with pytest.raises(LakeDamaged, match=r"lake table example: .*fedvitals lake repair"):
        ratios(lake)
    with pytest.raises(LakeDamaged):
        put(lake, [2.5], 2)
    with pytest.raises(LakeDamaged):
        lake.prepare(M)
    assert sorted(log(lake).iterdir()) == files


@pytest.mark.promise("Repair: a torn table is reported, and nothing is written to it")
def test_empty_entry_behind_the_last_one_is_reported(lake: Lake) -> None:
    put(lake, [0.5], 0)
    entry(lake, 2).write_text("")
    with pytest.raises(LakeDamaged, match="its log entry 2 is empty"):
        put(lake, [1.5], 1)


@pytest.mark.parametrize("version", [0, 1])
def test_missing_log_entry_is_reported(lake: Lake, version: int) -> None:
    put(lake, [0.5], 0)
    put(lake, [1.5], 1)
    entry(lake, version).unlink()
    with pytest.raises(LakeDamaged):
        ratios(lake)


def test_files_without_a_log_are_reported_and_an_empty_folder_is_no_table(lake: Lake) -> None:
    folder = Path(lake.url) / "example"
    folder.mkdir(parents=True)
    assert existing_table(str(folder), "example") is None
    (folder / "part.parquet").write_bytes(b"x")
    with pytest.raises(LakeDamaged, match="it holds files but no readable log"):
        put(lake, [0.5], 0)


def test_file_in_place_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("x")
    with pytest.raises(LakeDamaged):
        Lake(str(tmp_path / "lake")).prepare(M)


@pytest.mark.parametrize("damage", ["gone", "torn", "empty"])
def test_damaged_parquet_is_reported_by_a_write_that_needs_it(lake: Lake, damage: str) -> None:
    put(lake, [0.5, 0.6, 1.5], 0, 1)
    for file in log(lake).parent.glob("*.parquet"):
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:100] if damage == "torn" else b"")
    with pytest.raises(LakeDamaged):
        put(lake, [0.7], 0)


@pytest.mark.slow
def test_checkpoints_keep_a_long_log_readable(lake: Lake) -> None:
    for hour in range(22):
        put(lake, [hour + 0.5], hour)
    assert [p.name for p in log(lake).glob("*.checkpoint.parquet")] == [
        f"{19:020d}.checkpoint.parquet"
    ]
    assert len(ratios(lake)) == 22
    entry(lake, 22).write_text("")
    with pytest.raises(LakeDamaged, match="its log entry 22 is empty"):
        ratios(lake)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"environment": ["p"], "number": [1.5]}),
        pa.table({"environment": ["p"], "number": pa.array([1], pa.int32())}),
        pa.table({"environment": ["p"]}),
        pa.table({"number": [1], "environment": ["p"]}),
        pa.table({"environment": ["p"], "number": [1], "more": [1]}),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, table: pa.Table) -> None:
    url = str(tmp_path / "t")
    opened = open_table(url, "t", SCHEMA)
    with pytest.raises(SchemaChanged, match="its columns are environment string, number int64"):
        append_rows(opened, "t", table)
    with pytest.raises(SchemaChanged):
        replace_rows(opened, "t", table, "p", [DAY], None)
    assert opened.version() == 0
    assert append_rows(opened, "t", pa.table({"environment": ["p"], "number": [1]})) == 1


@pytest.mark.slow
def test_threads_that_write_one_table_lose_nothing(lake: Lake) -> None:
    def write(first: int) -> None:
        for hour in range(first, 24, 3):
            put(lake, [hour + 0.5], hour)

    with ThreadPoolExecutor(3) as threads:
        done = [threads.submit(write, first) for first in range(3)]
    assert [each.exception() for each in done] == [None] * 3
    assert ratios(lake) == [hour + 0.5 for hour in range(24)]


WRITER = """
import sys, time
from tasks.core.retry import retrying
from tasks.lake.tables import Lake
from tests.support.lake_samples import put
lake, environment, start = Lake(sys.argv[1]), sys.argv[2], float(sys.argv[3])
time.sleep(max(0.0, start - time.time()))
for hour in range(6):
    retrying(20.0)(put, lake, [hour + 0.5], hour, environment=environment)
"""


@pytest.mark.slow
@pytest.mark.promise("Two runs: processes that write one table at once lose nothing")
def test_processes_that_make_and_write_one_table_lose_nothing(lake: Lake) -> None:
    import time

    start = str(time.time() + 3)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, lake.url, name, start], cwd=ROOT)
        for name in ("staging", "production")
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    for name in ("staging", "production"):
        assert ratios(lake, name) == [hour + 0.5 for hour in range(6)]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/a b", Path("/a b")),
        ("a/b", Path("a/b")),
        ("file:///a%20b", Path("/a b")),
        ("s3://bucket/a", None),
    ],
)
def test_local_path(url: str, path: Path | None) -> None:
    assert local_path(url) == path


def test_rows_outside_the_window_stay_where_they_are_refused_by_delta(lake: Lake) -> None:
    put(lake, [0.5], 0)
    with pytest.raises(LakeDamaged):
        lake.land(M, rows([3.5]), [cell(0)], "production", None)
    assert ratios(lake) == [0.5]
