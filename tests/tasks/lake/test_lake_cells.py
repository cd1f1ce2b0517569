from datetime import timedelta
from pathlib import Path

import pytest

from tasks.core.errors import LakeDamaged
from tasks.core.series import ALL_TIME
from tasks.core.window import Cell, Window
from tasks.lake.cells import Held, held_cells
from tasks.lake.tables import Lake
from tests.support.lake_samples import HOUR, START, M, cell, put, rows


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_rows_and_values_of_each_cell(lake: Lake) -> None:
    frame = rows([0.0, 0.5, 2.999999], size_bytes=[1, None, 3])
    lake.land(M, frame, [cell(0), cell(2)], "production", None)
    put(lake, [5.0], 5, environment="staging")
    assert held_cells(lake, M, "production", ALL_TIME, HOUR) == {
        cell(0): Held(rows=2, values=3),
        cell(2): Held(rows=1, values=2),
    }
    assert list(held_cells(lake, M, "staging", ALL_TIME, HOUR)) == [cell(5)]


def test_only_the_window(lake: Lake) -> None:
    put(lake, [0.5, 1.0, 1.5, 2.0], 0, 1, 2)
    window = Window(START + HOUR, START + 2 * HOUR)
    assert held_cells(lake, M, "production", window, HOUR) == {cell(1): Held(2, 2)}


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        (timedelta(days=1), [0.0, 24.0]),
        (timedelta(minutes=15), [0.25, 30]),
        (timedelta(days=7), [0.0]),
    ],
)
def test_the_grid_begins_at_the_epoch(lake: Lake, length: timedelta, starts: list[float]) -> None:
    # 2026-01-01 is a Thursday, as the epoch was
    put(lake, [0.3, 30.1], 0, 30)
    found = held_cells(lake, M, "production", ALL_TIME, length)
    assert list(found) == [
        Cell(START + hours * HOUR, START + hours * HOUR + length) for hours in starts
    ]


def test_a_lake_without_the_table(lake: Lake) -> None:
    assert held_cells(lake, M, "production", ALL_TIME, HOUR) == {}


def test_a_torn_file_is_reported(lake: Lake) -> None:
    put(lake, [0.5], 0)
    for path in Path(lake.table_url(M.name)).glob("*.parquet"):
        path.write_bytes(b"")
    with pytest.raises(LakeDamaged, match="lake table"):
        held_cells(lake, M, "production", ALL_TIME, HOUR)
