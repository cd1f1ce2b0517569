"""States of cells: what a commit's metadata say of one."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tasks.core.state import CellState
from tasks.core.window import Cell

START = datetime(2026, 1, 1, tzinfo=UTC)
STATE = CellState(
    measurement="m",
    environment="production",
    cell=Cell(START, START + timedelta(hours=1)),
    source="prometheus",
    covered_until=START + timedelta(minutes=30),
    state="landed",
    source_digest="s",
    landed_digest="l",
    rows=1,
    values=2,
    quarantined=3,
    delete_count=4,
    catalogue_digest="c",
    run_id="r",
    made_at=START + timedelta(minutes=31, microseconds=5),
)


def test_brief_says_all_but_measurement_and_run() -> None:
    assert STATE.brief() == {
        "environment": "production",
        "from": "prometheus",
        "cell": "2026-01-01T00:00:00Z",
        "stop": "2026-01-01T01:00:00Z",
        "state": "landed",
        "covered_until": "2026-01-01T00:30:00Z",
        "source": "s",
        "landed": "l",
        "rows": 1,
        "values": 2,
        "quarantined": 3,
        "delete_count": 4,
        "catalogue": "c",
        "made_at": "2026-01-01T00:31:00.000005Z",
    }


def test_brief_is_read_back() -> None:
    twin = CellState.from_brief("m", "r", json.loads(json.dumps(STATE.brief())))
    assert (twin, twin.made_at) == (STATE, STATE.made_at)


def test_states_are_keys_by_all_they_say() -> None:
    assert len({STATE, replace(STATE), replace(STATE, rows=2)}) == 2
