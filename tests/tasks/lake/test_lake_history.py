"""Means of earlier windows: exact, of one environment, none where there is nothing."""

import math
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.core.errors import LakeDamaged
from tasks.core.window import Window
from tasks.lake.history import means
from tasks.lake.tables import Lake
from tests.support.lake_samples import DAY, HOUR, START, M, cell, put, rows


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_each_window_has_its_mean(lake: Lake) -> None:
    put(lake, [0.0, 0.25, 1.5, 3.0], 0, 1, 3)
    windows = {HOUR: cell(0), 2 * HOUR: cell(1), 3 * HOUR: cell(2), 4 * HOUR: DAY}
    assert means(lake, M, "production", windows) == {
        "share_ratio": {HOUR: 0.125, 2 * HOUR: 1.5, 4 * HOUR: 1.1875},
        "size_bytes": {},
        "is_ready": {},
    }


def test_start_belongs_to_a_window_and_stop_does_not(lake: Lake) -> None:
    put(lake, [1.0, 2.0], 1, 2)
    assert means(lake, M, "production", {HOUR: cell(1)})["share_ratio"] == {HOUR: 1.0}


def test_integers_and_bools_have_a_mean_and_texts_none(lake: Lake) -> None:
    frame = rows([0.0, 0.5], size_bytes=[2**53, 2**53 + 2], is_ready=[True, False], note=["a", "b"])
    lake.land(M, frame, [cell(0)], "production", None)
    assert means(lake, M, "production", {HOUR: cell(0)}) == {
        "share_ratio": {HOUR: 0.25},
        "size_bytes": {HOUR: float(f"{2**53 + 1:.12g}")},
        "is_ready": {HOUR: 0.5},
    }


def test_a_null_does_not_count(lake: Lake) -> None:
    frame = rows([0.0, 0.5], share_ratio=[None, 8.0])
    lake.land(M, frame, [cell(0)], "production", None)
    assert means(lake, M, "production", {HOUR: cell(0)})["share_ratio"] == {HOUR: 8.0}


def test_environments_stay_apart(lake: Lake) -> None:
    put(lake, [0.0], 0)
    put(lake, [0.5], 0, environment="o'brien")
    assert means(lake, M, "o'brien", {HOUR: cell(0)})["share_ratio"] == {HOUR: 0.5}
    assert means(lake, M, "nowhere", {HOUR: cell(0)})["share_ratio"] == {}


def test_a_lake_without_the_table_has_none(lake: Lake) -> None:
    assert means(lake, M, "production", {HOUR: cell(0)}) == {}


def test_windows_before_the_first_row_are_not_asked_for(lake: Lake) -> None:
    put(lake, [5.0], 5)
    earlier = Window(START - 100 * HOUR, START - 99 * HOUR)
    assert means(lake, M, "production", {HOUR: earlier}) == {}


def test_many_values_have_the_same_mean_each_time(lake: Lake) -> None:
    hours = [index / 4000 for index in range(4000)]
    put(lake, hours, 0)
    windows = {timedelta(seconds=number): cell(0) for number in range(1, 22)}
    found = means(lake, M, "production", windows)["share_ratio"]
    assert len(found) == 21
    assert set(found.values()) == {float(f"{math.fsum(hours) / 4000:.12g}")}


def test_a_file_that_is_gone_is_damage(lake: Lake, tmp_path: Path) -> None:
    put(lake, [0.0], 0)
    for path in (tmp_path / "lake" / M.name).glob("*.parquet"):
        path.unlink()
    with pytest.raises(LakeDamaged, match=M.name):
        means(lake, M, "production", {HOUR: cell(0)})


def test_a_folder_that_is_no_table_is_damage(lake: Lake, tmp_path: Path) -> None:
    put(lake, [0.0], 0)
    shutil.rmtree(tmp_path / "lake" / M.name / "_delta_log")
    with pytest.raises(LakeDamaged, match="no readable log"):
        means(lake, M, "production", {HOUR: cell(0)})
