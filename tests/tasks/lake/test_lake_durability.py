"""Commits that survive a power cut: what is flushed, and in which order."""

import os
from pathlib import Path

import pytest

from tasks.core.errors import LakeDamaged
from tasks.lake.durability import empty_entry, sync_commit
from tasks.lake.tables import Lake
from tests.support.lake_samples import M, cell, put, ratios, refused


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that the operating system was asked to flush, in order."""
    paths: list[Path] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        paths.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    return paths


def kinds(paths: list[Path]) -> list[str]:
    return ["rows" if path.suffix == ".parquet" else path.name for path in paths]


def test_new_table_is_flushed_with_the_folders_above_it(
    tmp_path: Path, flushed: list[Path]
) -> None:
    Lake(str(tmp_path / "lake")).prepare(M)
    draft, *rest = kinds(flushed)
    assert draft.startswith("._fedvitals.json.")
    expected = ["lake", "example", f"{0:020d}.json", "_delta_log", "lake", tmp_path.name]
    assert rest == expected


@pytest.mark.promise(
    "Landing: a commit reaches the disk, its files before the log entry that names them"
)
def test_landing_flushes_rows_before_the_entry_that_names_them(
    tmp_path: Path, flushed: list[Path]
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.prepare(M)
    flushed.clear()
    put(lake, [0.5], 0)
    assert kinds(flushed) == ["rows", "example", f"{1:020d}.json", "_delta_log"]
    assert flushed[0].is_file()
    flushed.clear()
    put(lake, [], 0)
    assert kinds(flushed) == ["example", f"{2:020d}.json", "_delta_log"]


def test_quarantine_is_flushed_as_well(tmp_path: Path, flushed: list[Path]) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.quarantine(M, refused([0.5]), [cell(0)], "production")
    assert kinds(flushed)[-4:] == ["rows", "example", f"{1:020d}.json", "_delta_log"]
    folders = [path.name for path in flushed if path.name in ("_quarantine", "lake")]
    assert folders[-2:] == ["_quarantine", "lake"]
    flushed.clear()
    lake.quarantine_more(M, refused([0.6]))
    assert kinds(flushed) == ["rows", "example", f"{2:020d}.json", "_delta_log"]


def test_checkpoint_is_flushed_with_its_commit(tmp_path: Path, flushed: list[Path]) -> None:
    lake = Lake(str(tmp_path / "lake"))
    for hour in range(19):
        flushed.clear()
        put(lake, [hour + 0.5], hour)
    assert [path.name for path in flushed[1:]] == [
        "example",
        f"{19:020d}.json",
        f"{19:020d}.checkpoint.parquet",
        "_last_checkpoint",
        "_delta_log",
    ]


def test_disk_that_cannot_flush_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    put(lake, [0.5], 0)

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(LakeDamaged, match="Input/output error"):
        put(lake, [1.5], 1)
    monkeypatch.undo()
    assert ratios(lake) == [0.5, 1.5]


@pytest.mark.parametrize(
    ("version", "empty", "found"),
    [(0, None, None), (3, 3, 3), (3, 1, 1), (3, 4, 4), (30, 30, 30), (30, 5, None)],
)
def test_empty_entries_are_found_among_the_newest(
    tmp_path: Path, version: int, empty: int | None, found: int | None
) -> None:
    log = tmp_path / "_delta_log"
    log.mkdir()
    for number in range(version + 1):
        (log / f"{number:020d}.json").write_text("{}")
    if empty is not None:
        (log / f"{empty:020d}.json").write_text("")
    assert empty_entry(tmp_path, version) == found


def test_missing_entry_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "_delta_log").mkdir()
    with pytest.raises(FileNotFoundError):
        sync_commit(tmp_path, 0)
