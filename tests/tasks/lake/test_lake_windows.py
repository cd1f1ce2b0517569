"""The table _windows: the lake holds its own state."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.core.errors import LakeDamaged
from tasks.core.state import CellState
from tasks.lake.query import query
from tasks.lake.tables import Lake
from tasks.lake.windows import SCHEMA, append_states, states_in_force
from tests.support.lake_samples import cell

MADE = datetime(2026, 2, 1, tzinfo=UTC)
STATE = CellState(
    measurement="example",
    environment="production",
    cell=cell(0),
    source="prometheus",
    covered_until=cell(0).stop,
    state="landed",
    source_digest="s",
    landed_digest="l",
    rows=1,
    values=2,
    quarantined=3,
    delete_count=4,
    catalogue_digest="c",
    run_id="run-1",
    made_at=MADE,
)


def entries(lake: Lake) -> int:
    return len(list((Path(lake.url) / "_windows" / "_delta_log").glob("*.json")))


def test_states_are_appended_in_one_commit_and_read_back(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    assert states_in_force(lake) == []
    append_states(lake, [])
    assert not (tmp_path / "lake").exists()
    append_states(lake, [STATE, replace(STATE, cell=cell(1))])
    assert entries(lake) == 2  # one makes the table, one fills it
    append_states(lake, [replace(STATE, run_id="run-2", rows=9)])
    assert entries(lake) == 3
    found = query(lake, "SELECT * FROM _windows")
    assert found.schema.equals(SCHEMA)
    reported = sorted(found.to_pylist(), key=lambda row: (row["run_id"], row["cell_start"]))
    assert reported[0] == {
        "measurement": "example", "environment": "production", "cell_start": cell(0).start,
        "cell_stop": cell(0).stop, "source": "prometheus", "covered_until": cell(0).stop,
        "state": "landed", "source_digest": "s", "landed_digest": "l", "rows": 1, "values": 2,
        "quarantined": 3, "delete_count": 4, "catalogue_digest": "c", "run_id": "run-1", "made_at": MADE,
    }  # fmt: skip
    assert [(row["run_id"], row["rows"]) for row in reported] == [
        ("run-1", 1),
        ("run-1", 1),
        ("run-2", 9),
    ]
    assert lake.names() == []


def test_torn_table_is_reported(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    append_states(lake, [STATE])
    for file in (tmp_path / "lake" / "_windows").glob("*.parquet"):
        file.write_bytes(b"torn")
    with pytest.raises(LakeDamaged, match="lake table _windows"):
        states_in_force(lake)
