"""Upkeep of the table _windows: the row in force stays, whoever writes meanwhile."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.core.state import CellState
from tasks.lake import maintenance as module
from tasks.lake.delta import append_rows, existing_table, open_table
from tasks.lake.maintenance import Upkeep, keep_states_up
from tasks.lake.query import query
from tasks.lake.tables import Lake
from tasks.lake.windows import SCHEMA, WINDOWS, append_states, states_in_force
from tests.support.lake_samples import HOUR, START, cell


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def state(hour: int, run: str, made: int = 0, measurement: str = "example") -> CellState:
    """A state of a cell, found out so many minutes after noon; its rows tell it from others."""
    return CellState(
        measurement, "production", cell(hour), "prometheus", cell(hour).stop, "landed", "s", "l",
        made, 2, 0, 0, "c", run, made_at=datetime(2026, 2, 1, 12, made, tzinfo=UTC),
    )  # fmt: skip


def in_force(lake: Lake) -> list[tuple[str, int, int]]:
    return [
        (each.measurement, round((each.cell.start - START) / HOUR), each.rows)
        for each in states_in_force(lake)
    ]


@pytest.mark.promise(
    "Maintenance: `_windows` keeps the row in force of each cell, also when a run appends meanwhile"
)
def test_the_state_found_out_last_is_in_force_whoever_tells_it_first(lake: Lake) -> None:
    assert states_in_force(lake) == []
    append_states(lake, [state(0, "run-2", 5), state(1, "run-2", 6)])
    # began earlier, landed the first cell later, and ended last
    append_states(lake, [state(0, "run-1", 9), state(1, "run-1", 2)])

    assert in_force(lake) == [("example", 0, 9), ("example", 1, 6)]
    assert states_in_force(lake)[0] == state(0, "run-1", 9)


def test_states_of_before_there_was_made_at_are_the_oldest(lake: Lake) -> None:
    older = pa.schema([field for field in SCHEMA if field.name != "made_at"])
    table = open_table(lake.table_url(WINDOWS), WINDOWS, older)
    append_states(Lake(f"{lake.url}-other"), [state(0, "run-1", 1), state(0, "run-2", 2)])
    reported = query(Lake(f"{lake.url}-other"), "SELECT * FROM _windows").select(older.names)
    append_rows(table, WINDOWS, reported)

    assert in_force(lake) == [("example", 0, 2)]
    append_states(lake, [state(0, "run-0", 3)])
    assert in_force(lake) == [("example", 0, 3)]


@pytest.mark.promise(
    "Maintenance: `_windows` keeps the row in force of each cell, also when a run appends meanwhile"
)
def test_windows_keeps_the_rows_in_force_only(lake: Lake) -> None:
    append_states(lake, [state(0, "run-1", 1), state(1, "run-1", 1)])
    append_states(lake, [state(0, "run-2", 2)])
    append_states(lake, [state(0, "run-3", 3, measurement="other")])
    before = states_in_force(lake)

    done = keep_states_up(lake, {}, timedelta(hours=2))

    assert (done.before.files, done.after.files, done.expired) == (3, 1, 1)
    assert len(query(lake, "SELECT * FROM _windows")) == 3
    assert states_in_force(lake) == before
    version = existing_table(lake.table_url(WINDOWS), WINDOWS).version()  # type: ignore[union-attr]
    assert keep_states_up(lake, {}, timedelta(hours=2)).expired == 0
    assert existing_table(lake.table_url(WINDOWS), WINDOWS).version() == version  # type: ignore[union-attr]


def test_windows_loses_the_cells_before_the_retention(lake: Lake) -> None:
    append_states(lake, [state(0, "run-1", 1), state(1, "run-1", 1), state(0, "r", 3, "other")])

    done = keep_states_up(lake, {"example": START + HOUR}, timedelta(hours=2))

    assert done.expired == 1
    assert in_force(lake) == [("example", 1, 1), ("other", 0, 3)]


def test_there_is_no_windows_to_keep_up(lake: Lake) -> None:
    assert keep_states_up(lake, {}, timedelta(hours=2)) == Upkeep()
    assert not Path(lake.url).exists()


@pytest.mark.promise(
    "Maintenance: `_windows` keeps the row in force of each cell, also when a run appends meanwhile"
)
def test_what_is_reported_while_windows_is_rewritten_stays(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_states(lake, [state(0, "run-1", 1)])
    append_states(lake, [state(0, "run-2", 2)])
    written = module.replace_all_rows

    def meanwhile(*arguments: object) -> object:
        append_states(lake, [state(0, "run-3", 3), state(1, "run-3", 3)])
        return written(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "replace_all_rows", meanwhile)
    keep_states_up(lake, {}, timedelta(hours=2))

    assert in_force(lake) == [("example", 0, 3), ("example", 1, 3)]
