"""Questions in SQL: one SELECT over the lake, and no way out of it."""

import os
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import LakeDamaged, QueryInvalid
from tasks.core.settings import LakeQuery
from tasks.core.state import CellState
from tasks.lake.query import TableFacts, describe, query
from tasks.lake.tables import Lake
from tasks.lake.windows import append_states
from tests.support.lake_samples import HOUR, START, M, cell, put, refused, rows
from tests.support.suite_examples import a_measurement


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    put(lake, [0.5, 1.5, 1.75], 0, 1)
    lake.quarantine(M, refused([0.25]), [cell(0)], "production")
    return lake


def answer(lake: Lake, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query(lake, sql).to_pylist()
    return found


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*) AS n FROM example", [{"n": 3}]),
        ("SELECT sum(share_ratio) AS s FROM example WHERE method = 'GET'", [{"s": 3.75}]),
        ("FROM example SELECT share_ratio ORDER BY 1 LIMIT 1;", [{"share_ratio": 0.5}]),
        ("WITH x AS (SELECT 1 AS n) SELECT * FROM x", [{"n": 1}]),
        ("VALUES (1)", [{"col0": 1}]),
        ("SELECT number, stage FROM example_quarantine", [{"number": 0.25, "stage": "suite"}]),
        ("SELECT count(*) AS n FROM example WHERE time >= '2026-01-01T01:00:00Z'", [{"n": 2}]),
        ("SELECT count(*) AS n FROM example WHERE share_ratio < 0", [{"n": 0}]),
    ],
)
def test_select_is_answered(lake: Lake, sql: str, rows: list[dict[str, Any]]) -> None:
    assert answer(lake, sql) == rows


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW example",
        "INSERT INTO example SELECT * FROM example",
        "UPDATE example SET share_ratio = 0",
        "DELETE FROM example",
        "CREATE TABLE x AS SELECT 1",
        "DROP VIEW example",
        "COPY example TO '/tmp/stolen.csv'",
        "COPY (SELECT 1) TO '/tmp/stolen.csv'",
        "EXPORT DATABASE '/tmp/stolen'",
        "ATTACH '/tmp/stolen.db'",
        "PRAGMA version",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CALL duckdb_extensions()",
        "EXPLAIN ANALYZE SELECT 1",
        "VACUUM",
        "BEGIN",
    ],
)
def test_anything_but_one_select_is_refused(lake: Lake, sql: str) -> None:
    with pytest.raises(QueryInvalid, match="only one SELECT is allowed"):
        query(lake, sql)
    assert not Path("/tmp/stolen.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM read_json('http://localhost:1/x.json')",
        "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
        "SELECT * FROM read_parquet('{beside}/secret.parquet')",
        "SELECT * FROM read_parquet('{lake}/../beside/secret.parquet')",
        "SELECT * FROM read_parquet('{lake}-too/secret.parquet')",
        "SELECT * FROM lake",
        "SELECT * FROM connection",
        "SELECT nothing FROM example",
        "SELECT * FROM nothing",
        "SELECT 'a' + 1",
        "SELEC 1",
    ],
)
def test_no_way_out_of_the_lake_and_no_raw_error(lake: Lake, tmp_path: Path, sql: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for folder in ("beside", "lake-too"):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"secret": ["s3cr3t"]}), tmp_path / folder / "secret.parquet")
    with pytest.raises(QueryInvalid) as caught:
        query(lake, sql.format(lake=lake.url, beside=tmp_path / "beside"))
    assert "s3cr3t" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def in_india(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_india")
def test_hours_and_days_are_those_of_utc(lake: Lake) -> None:
    assert os.environ["TZ"] == "Asia/Kolkata"
    found = answer(
        lake, "SELECT date_trunc('hour', time) AS h, time::date AS d FROM example ORDER BY time"
    )
    assert [row["h"] for row in found] == [START, START + HOUR, START + HOUR]
    assert {row["d"] for row in found} == {date(2026, 1, 1)}
    assert str(query(lake, "SELECT time FROM example").schema.field("time").type) == (
        "timestamp[us, tz=UTC]"
    )


def test_column_that_came_later_is_null_before(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    small = a_measurement(fields={"share_ratio": "float"})
    lake.land(small, rows([0.5], measurement=small), [cell(0)], "production", None)
    put(lake, [1.5], 1)
    found = answer(lake, "SELECT share_ratio, method, size_bytes FROM example ORDER BY time")
    assert [row["share_ratio"] for row in found] == [0.5, 1.5]
    assert [row["size_bytes"] for row in found] == [None, None]


def test_table_without_rows_is_a_view_all_the_same(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.prepare(M)
    assert answer(lake, "SELECT share_ratio, time FROM example") == []
    with pytest.raises(QueryInvalid, match="example_quarantine"):
        query(lake, "SELECT * FROM example_quarantine")


def test_name_that_sql_knows_is_a_view(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    group = M.model_copy(update={"name": "group"})
    lake.land(group, rows([0.5]), [cell(0)], "production", None)
    assert answer(lake, 'SELECT count(*) AS n FROM "group"') == [{"n": 1}]


def test_states_of_cells_are_a_view(lake: Lake) -> None:
    state = CellState(
        measurement="example", environment="production", cell=cell(0), source="prometheus",
        covered_until=cell(0).stop, state="landed", source_digest="s", landed_digest="l",
        rows=1, values=1, quarantined=0, delete_count=0, catalogue_digest="c", run_id="r",
    )  # fmt: skip
    append_states(lake, [state])
    sql = "SELECT measurement, cell_start, state FROM _windows"
    assert answer(lake, sql) == [{"measurement": "example", "cell_start": START, "state": "landed"}]


@pytest.mark.parametrize("folder", ["with space", "it's", "ünïcode"])
def test_lake_may_be_in_any_folder(tmp_path: Path, folder: str) -> None:
    lake = Lake(str(tmp_path / folder))
    put(lake, [0.5], 0)
    assert answer(lake, "SELECT count(*) AS n FROM example") == [{"n": 1}]


def test_lake_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lake = Lake("lake")
    put(lake, [0.5], 0)
    assert answer(lake, "SELECT count(*) AS n FROM example") == [{"n": 1}]


def test_lake_without_a_table(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "absent"))
    assert answer(lake, "SELECT 1 AS n") == [{"n": 1}]
    assert describe(lake) == []


def test_torn_log_is_reported(lake: Lake) -> None:
    (Path(lake.url) / "example" / "_delta_log" / f"{1:020d}.json").write_text("")
    with pytest.raises(LakeDamaged):
        query(lake, "SELECT * FROM example")
    with pytest.raises(LakeDamaged):
        describe(lake)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_file_that_is_missing_or_torn_is_damage_and_hinders_no_other_table(
    lake: Lake, damage: str
) -> None:
    for file in Path(lake.url, M.name).glob("part-*.parquet"):
        content = file.read_bytes()
        if damage == "missing":
            file.unlink()
        else:
            file.write_bytes(b"" if damage == "empty" else content[:-40])

    with pytest.raises(LakeDamaged, match=r"^lake table example: .*fedvitals lake repair"):
        query(lake, "SELECT * FROM EXAMPLE")
    assert answer(lake, "SELECT count(*) AS n FROM example_quarantine") == [{"n": 1}]
    with pytest.raises(QueryInvalid, match="there_is_none"):
        query(lake, "SELECT * FROM there_is_none")


def test_facts_are_taken_from_the_log(lake: Lake) -> None:
    (facts,) = describe(lake)
    assert facts == TableFacts(
        name="example",
        rows=3,
        files=1,
        bytes=facts.bytes,
        first=START + HOUR / 2,
        last=START + 1.75 * HOUR,
        version=1,
    )
    files = (Path(lake.url) / "example").glob("*.parquet")
    assert facts.bytes == sum(file.stat().st_size for file in files)
    put(lake, [], 0, 1)
    (emptied,) = describe(lake)
    assert (emptied.rows, emptied.files, emptied.first, emptied.last) == (0, 0, None, None)


@pytest.mark.promise("Security: a lake query has bounds on memory and rows")
@pytest.mark.parametrize(
    ("sql", "limits", "problem"),
    [
        ("SELECT * FROM range(11)", LakeQuery(rows=10), "it has more than 10 rows"),
        ("SELECT max(a) FROM (SELECT string_agg(range::VARCHAR, 'x') a FROM range(40000000))",
         LakeQuery(memory="50MB"), "it needs more than 50MB"),
    ],
)  # fmt: skip
def test_a_query_that_takes_too_much_is_refused(
    lake: Lake, tmp_path: Path, sql: str, limits: LakeQuery, problem: str
) -> None:
    with pytest.raises(QueryInvalid) as caught:
        query(lake, sql, limits, tmp_path)
    assert caught.value.problem == problem
    assert [path for path in tmp_path.iterdir() if path.name.startswith("query-")] == []


@pytest.mark.slow
def test_a_query_within_its_bounds_spills_to_the_home(lake: Lake, tmp_path: Path) -> None:
    sql = "SELECT sum(a) s FROM (SELECT range a FROM range(3000000) ORDER BY hash(range))"
    limits = LakeQuery(memory="60MB", rows=10)
    assert query(lake, sql, limits, tmp_path).to_pylist() == [{"s": 3_000_000 * 2_999_999 // 2}]
    assert answer(lake, "SELECT * FROM range(10)") == [{"range": n} for n in range(10)]
