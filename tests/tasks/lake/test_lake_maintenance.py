"""Upkeep of one table: no row changes, whatever the files were like, and nobody loses a file he reads."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.digest import digest_rows
from tasks.core.errors import LakeBusy, LakeDamaged, LakeRefused, LockLost
from tasks.core.window import Window
from tasks.lake import compaction
from tasks.lake.compaction import compact, files_of
from tasks.lake.delta import existing_table, replace_rows
from tasks.lake.maintenance import Rules, Upkeep, keep_up
from tasks.lake.tables import Lake, frame_to_arrow
from tests.support.lake_samples import HOUR, START, M, cell, log_of, put, ratios, refused, rows

YEAR = Window(START - 100 * HOUR, START + 9000 * HOUR)
FOR_EVER = Rules(kept_from=None, until=YEAR.stop, files=timedelta(hours=2))


def free() -> None:
    """A lock that holds."""


def table_of(lake: Lake) -> DeltaTable:
    table = existing_table(lake.table_url("example"), "example")
    assert table is not None
    return table


def upkeep(lake: Lake, rules: Rules = FOR_EVER, check: Callable[[], None] = free) -> Upkeep:
    return keep_up(table_of(lake), "example", rules, check)


def spans(lake: Lake) -> list[tuple[str, float, float]]:
    """Environment, first and last hour of each file."""
    reported = [
        (file.environments[0], (file.start - START) / HOUR, (file.last - START) / HOUR)
        for file in files_of(table_of(lake), "example")
    ]
    return sorted(reported)


def digest(lake: Lake, environment: str = "production") -> str:
    return digest_rows(lake.read(M, environment, YEAR), M)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_each_day_of_an_environment_becomes_one_file(lake: Lake) -> None:
    for hour in (0, 5, 23, 24, 30):
        put(lake, [hour + 0.5], hour)
        put(lake, [hour + 0.25], hour, environment="staging")
    before = {name: digest(lake, name) for name in ("production", "staging")}

    done = upkeep(lake)

    assert spans(lake) == [
        ("production", 0.5, 23.5), ("production", 24.5, 30.5),
        ("staging", 0.25, 23.25), ("staging", 24.25, 30.25),
    ]  # fmt: skip
    assert (done.before.files, done.after.files, done.compacted, done.expired) == (10, 4, 10, 0)
    assert done.before.bytes > done.after.bytes > 0
    assert {name: digest(lake, name) for name in before} == before


@pytest.mark.promise(
    "Maintenance: compaction is one durable commit, and none when a file differs from its log entry"
)
def test_all_of_it_is_one_commit_that_changes_no_data(lake: Lake) -> None:
    for hour in (0, 1, 24, 25):
        put(lake, [hour + 0.5], hour)
    upkeep(lake)

    actions = log_of(Path(lake.url) / "example")
    last = actions[-6 - 1 :]
    assert [next(iter(each)) for each in last] == ["commitInfo", "add", "add", *["remove"] * 4]
    assert not any(each[kind]["dataChange"] for each in last[1:] for kind in each)


def test_a_day_in_one_file_is_left_alone(lake: Lake) -> None:
    put(lake, [0.5, 1.5], 0, 1)
    put(lake, [24.5], 24)
    version = table_of(lake).version()

    assert upkeep(lake).compacted == 0
    assert table_of(lake).version() == version


def test_what_still_changes_is_left_alone(lake: Lake) -> None:
    for hour in (0, 1, 2, 3):
        put(lake, [hour + 0.5], hour)

    upkeep(lake, replace(FOR_EVER, until=START + 2 * HOUR))

    assert spans(lake) == [
        ("production", 0.5, 1.5), ("production", 2.5, 2.5), ("production", 3.5, 3.5),
    ]  # fmt: skip


def test_a_file_of_several_days_is_cut_into_days(lake: Lake) -> None:
    put(lake, [22.5, 23.5, 25.5, 49.5], *range(22, 50))

    assert upkeep(lake).compacted == 1

    assert spans(lake) == [
        ("production", 22.5, 23.5), ("production", 25.5, 25.5), ("production", 49.5, 49.5),
    ]  # fmt: skip
    assert upkeep(lake).compacted == 0


def test_a_file_of_several_environments_is_cut_as_well(lake: Lake) -> None:
    for name in ("a", "b", "c"):
        put(lake, [0.5, 1.5], 0, 1, environment=name)
    table_of(lake).optimize.compact()
    assert len(spans(lake)) == 1

    upkeep(lake)

    assert spans(lake) == [(name, 0.5, 1.5) for name in ("a", "b", "c")]


def test_a_day_of_many_rows_becomes_several_files(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "MOST_ROWS", 3)
    for hour in (0, 5, 12, 20):
        put(lake, [hour + 0.5, hour + 0.75], hour)

    upkeep(lake)

    # 24 hours x 3 of 8 rows: 9 hours, of which 8 go into a day
    assert spans(lake) == [
        ("production", 0.5, 5.75), ("production", 12.5, 12.75), ("production", 20.5, 20.75),
    ]  # fmt: skip
    assert upkeep(lake).compacted == 0


def test_rows_before_the_retention_go_with_their_count(lake: Lake) -> None:
    for hour in (0, 1, 25, 26, 27):
        put(lake, [hour + 0.5], hour)
    put(lake, [25.25], 25, environment="staging")

    done = upkeep(lake, replace(FOR_EVER, kept_from=START + 26 * HOUR))

    assert done.expired == 4
    assert spans(lake) == [("production", 26.5, 27.5)]
    assert upkeep(lake, replace(FOR_EVER, kept_from=START + 26 * HOUR)).expired == 0


def test_a_column_that_came_later_is_null_in_older_rows(lake: Lake) -> None:
    narrow = M.model_copy(update={"fields": {"share_ratio": M.fields["share_ratio"]}})
    lake.land(narrow, rows([0.5], measurement=narrow), [cell(0)], "production", None)
    put(lake, [1.5], 1)
    lake.land(M, rows([2.5], note=["n"], is_ready=[True]), [cell(2)], "production", None)

    upkeep(lake)

    found = lake.read(M, "production", YEAR)
    assert found["share_ratio"].tolist() == [0.5, 1.5, 2.5]
    assert found["note"].isna().tolist() == [True, True, False]
    assert found["is_ready"].iloc[2]


NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=64))
CELLS = st.lists(
    st.tuples(
        st.integers(0, 80), st.integers(1, 30), NUMBERS,
        st.one_of(st.none(), st.integers(-(2**62), 2**62)),
        st.one_of(st.none(), st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=3)),
        st.sampled_from(["production", "staging"]),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.promise(
    "Maintenance: compaction changes no row and no digest, and the next run finds everything unchanged"
)
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(landings=CELLS, until=st.integers(0, 120))
def test_no_row_changes_whatever_was_landed(
    tmp_path_factory: pytest.TempPathFactory, landings: list[tuple], until: int
) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("any") / "lake"))
    for hour, length, number, whole, text, environment in landings:
        hours = [float(hour), hour + length - 0.25]
        more = {"share_ratio": [number, 1.5], "size_bytes": [whole, 7], "note": [text, "x"]}
        frame = rows(hours, environment, **more)
        cells = [cell(each) for each in range(hour, hour + length)]
        lake.land(M, frame, cells, environment, None)
    before = [lake.read(M, name, YEAR) for name in ("production", "staging")]
    rules = replace(FOR_EVER, until=START + until * HOUR)

    upkeep(lake, rules)

    for old, name in zip(before, ("production", "staging"), strict=True):
        new = lake.read(M, name, YEAR)
        pd.testing.assert_frame_equal(new, old)
        assert digest_rows(new, M) == digest_rows(old, M)
    assert upkeep(lake, rules).compacted == 0
    assert upkeep(lake).after.files <= 2 * 5


@pytest.mark.promise("Maintenance: files that a reader of the last hour may need stay")
def test_files_that_a_reader_of_the_last_hour_needs_stay(lake: Lake) -> None:
    for hour in range(3):
        put(lake, [hour + 0.5], hour)
    reader = table_of(lake)
    folder = Path(lake.url) / "example"
    long_ago = time.time() - 90 * 86_400
    # however old a file is, what counts is when it was replaced
    for path in folder.rglob("*"):
        os.utime(path, (long_ago, long_ago))

    assert upkeep(lake).removed == 0
    assert upkeep(lake).removed == 0

    assert sorted(pa.table(reader.to_pyarrow_table())["share_ratio"].to_pylist()) == [0.5, 1.5, 2.5]
    assert len(list(folder.glob("*.parquet"))) == 4


def test_what_was_replaced_long_ago_and_what_a_crash_left_is_removed(lake: Lake) -> None:
    for hour in range(3):
        put(lake, [hour + 0.5], hour)
    folder = Path(lake.url) / "example"
    upkeep(lake)
    orphan = folder / "part-00000-left-by-a-crash.snappy.parquet"
    orphan.write_bytes(b"half a file")
    young = folder / "part-00000-being-written.snappy.parquet"
    young.write_bytes(b"half a file")
    os.utime(orphan, (time.time() - 3 * 3600,) * 2)
    _replaced_hours_ago(folder, 3)

    done = upkeep(lake)

    assert done.removed == 4
    assert len(list(folder.glob("*.parquet"))) == 2
    assert young.exists()
    assert ratios(lake) == [0.5, 1.5, 2.5]


def _replaced_hours_ago(folder: Path, hours: int) -> None:
    """Moves the deletions in the log so far back, as if time had passed."""
    for path in (folder / "_delta_log").glob("*.checkpoint.parquet"):
        path.unlink()
    (folder / "_delta_log" / "_last_checkpoint").unlink()
    for path in (folder / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        for action in actions:
            if "remove" in action:
                action["remove"]["deletionTimestamp"] -= hours * 3_600_000
        path.write_text("".join(json.dumps(action) + "\n" for action in actions))


def test_old_log_entries_go_behind_a_checkpoint(lake: Lake) -> None:
    for hour in range(6):
        put(lake, [hour + 0.5], hour)
    log = Path(lake.url) / "example" / "_delta_log"
    for path in log.iterdir():
        os.utime(path, (time.time() - 7200,) * 2)

    upkeep(lake)

    names = sorted(path.name for path in log.iterdir())
    assert names[-1] == "_last_checkpoint"
    assert names[:-1] == [f"{7:020d}.checkpoint.parquet", f"{7:020d}.json"]
    assert ratios(lake) == [hour + 0.5 for hour in range(6)]
    put(lake, [7.5], 7)
    assert len(ratios(lake)) == 7


def test_quarantine_is_kept_up_the_same_way(lake: Lake) -> None:
    for hour in (0, 1, 24):
        lake.quarantine(M, refused([hour + 0.5]), [cell(hour)], "production")
    table = existing_table(lake.quarantine_url("example"), "_quarantine/example")
    assert table is not None

    done = keep_up(table, "_quarantine/example", replace(FOR_EVER, kept_from=START + HOUR), free)

    assert (done.before.files, done.after.files, done.expired) == (3, 2, 1)
    assert [t.hour for t in lake.quarantined("example")["time"]] == [1, 0]


@pytest.mark.promise(
    "Maintenance: a landing at the same time wins or is retried, and loses nothing"
)
def test_a_landing_from_before_the_compaction_is_reported_to_try_again(lake: Lake) -> None:
    for hour in (0, 1):
        put(lake, [hour + 0.5], hour)
    late = table_of(lake)
    upkeep(lake)

    with pytest.raises(LakeBusy):
        replace_rows(
            late, "example", frame_to_arrow(rows([0.75]), M), "production", [cell(0)], None
        )

    assert ratios(lake) == [0.5, 1.5]


@pytest.mark.promise(
    "Maintenance: a landing at the same time wins or is retried, and loses nothing"
)
def test_a_landing_in_the_midst_of_it_wins(lake: Lake) -> None:
    for hour in (0, 1):
        put(lake, [hour + 0.5], hour)
    landed = iter([lambda: put(lake, [0.75], 0)])

    def check() -> None:
        next(landed, free)()

    assert upkeep(lake, check=check).compacted == 2
    assert ratios(lake) == [0.75, 1.5]
    assert spans(lake) == [("production", 0.75, 1.5)]


def test_a_lock_that_was_lost_ends_it_before_the_commit(lake: Lake) -> None:
    for hour in (0, 1):
        put(lake, [hour + 0.5], hour)
    version = table_of(lake).version()

    def lost() -> None:
        raise LockLost(measurement="example", environment="production")

    with pytest.raises(LockLost):
        upkeep(lake, check=lost)
    assert table_of(lake).version() == version


def test_a_torn_or_missing_file_is_reported_and_nothing_is_committed(lake: Lake) -> None:
    for hour in (0, 1):
        put(lake, [hour + 0.5], hour)
    version = table_of(lake).version()
    first = next((Path(lake.url) / "example").glob("*.parquet"))
    whole = first.read_bytes()

    first.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LakeDamaged, match="lake table example"):
        upkeep(lake)
    first.unlink()
    with pytest.raises(LakeDamaged, match="lake table example"):
        upkeep(lake)
    assert table_of(lake).version() == version

    first.write_bytes(whole)
    assert upkeep(lake).compacted == 2


@pytest.mark.promise(
    "Maintenance: compaction is one durable commit, and none when a file differs from its log entry"
)
def test_a_file_with_other_rows_than_its_log_says_is_reported(lake: Lake) -> None:
    for hour in (0, 1):
        put(lake, [hour + 0.5], hour)
    one, other = (Path(lake.url) / "example").glob("*.parquet")
    put(lake, [2.5, 2.6, 2.7], 2)
    (third,) = set((Path(lake.url) / "example").glob("*.parquet")) - {one, other}
    third.write_bytes(one.read_bytes())

    with pytest.raises(LakeDamaged, match="its log has 5 rows, its files have"):
        upkeep(lake)


def test_a_full_disk_is_reported_and_nothing_is_committed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (0, 1):
        put(lake, [hour + 0.5], hour)
    version = table_of(lake).version()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compaction.pq, "write_table", full)
    with pytest.raises(LakeRefused, match="No space left on device"):
        upkeep(lake)
    assert table_of(lake).version() == version


@pytest.mark.promise(
    "Maintenance: compaction is one durable commit, and none when a file differs from its log entry"
)
def test_compaction_reaches_the_disk_before_its_log_entry(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (0, 1):
        put(lake, [hour + 0.5], hour)
    flushed: list[Path] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    compact(table_of(lake), "example", None, YEAR.stop, free)

    kinds = ["rows" if path.suffix == ".parquet" else path.name for path in flushed]
    assert kinds == ["rows", "example", f"{3:020d}.json", "_delta_log"]
