"""Two runs of one window at once, and a run that is killed while it holds the lock: SQLite and PostgreSQL."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.receipt import Receipt
from tests.flows.installation import Installation
from tests.real.nursery import Nursery
from tests.real.servers import InfluxServer
from tests.real.whole_way import PATIENCE, WholeWay, hours, put_two, wait_until, whole_way

WINDOW = hours(3)
# two rooms and a value a minute
VALUES = 2 * 3 * 60


@pytest.fixture(params=["sqlite", "postgresql"])
def way(
    request: pytest.FixtureRequest, tmp_path: Path, influxdb: InfluxServer, bucket: str
) -> Iterator[WholeWay]:
    with whole_way(Installation(tmp_path / "here"), influxdb, bucket) as way:
        if request.param == "postgresql":
            way.installed.variables["FEDVITALS_LEDGER_URL"] = request.getfixturevalue("database")
        yield put_two(way, "alpha")


def problems(receipt: Receipt) -> str:
    return " ".join(problem for line in receipt.measurements for problem in line.problems)


def test_of_two_runs_at_once_one_works_and_the_other_names_it(
    way: WholeWay, nursery: Nursery
) -> None:
    way.source.gate.clear()
    with way.begun(nursery, WINDOW) as first:
        assert way.source.reached.wait(PATIENCE)
        second = way.collect(WINDOW)
        way.source.gate.set()
        ended = first.ended()
    assert (ended.code, ended.receipt["values"]["landed"]) == (0, VALUES)
    assert (second.exit_code, second.values.extracted) == (1, 0)
    told = problems(second)
    assert "alpha in production is locked by " in told
    assert ended.receipt["run_id"] in told
    way.assert_whole(WINDOW)
    third = way.collect(WINDOW)
    assert (third.values.unchanged, third.sinks["influxdb"].owed) == (VALUES, 0)


def test_after_the_owner_of_a_lock_was_killed_the_next_run_takes_it(
    way: WholeWay, nursery: Nursery
) -> None:
    way.source.gate.clear()
    with way.begun(nursery, WINDOW) as owner:
        assert way.source.reached.wait(PATIENCE)
        os.kill(owner.pid, signal.SIGKILL)
        assert owner.ended().code == -signal.SIGKILL
    way.source.gate.set()
    # a server of a ledger has to notice first that its client is gone
    wait_until(lambda: "locked by" not in problems(way.collect(WINDOW)))
    way.assert_whole(WINDOW)
