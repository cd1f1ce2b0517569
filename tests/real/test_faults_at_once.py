"""Two runs at once, upkeep among them, and a run that is killed while it holds the lock: on a SQLite
and on a PostgreSQL ledger."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tasks.core.maintenance import Maintenance, TableUpkeep
from tasks.core.receipt import Receipt
from tasks.lake.maintenance import keep_up
from tasks.runs import maintain
from tests.support.installation import Installation
from tests.support.nursery import Nursery
from tests.support.one_run import one_upkeep
from tests.support.servers import InfluxServer
from tests.support.whole_way import PATIENCE, Ended, WholeWay, hours, put_two, wait_until, whole_way

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


@pytest.mark.promise(
    "Faults: two runs of one window at once, and the owner of a lock killed, with SQLite and PostgreSQL"
)
@pytest.mark.promise(
    "Two runs: one works; the other names the lock's holder, is pending and ends with exit code 3"
)
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
    # nothing is wrong: what is due is still to be done, which is 3
    assert (second.exit_code, second.values.extracted) == (3, 0)
    assert [line.state for line in second.measurements] == ["pending"]
    reported = problems(second)
    assert "alpha in production is locked by " in reported
    assert ended.receipt["run_id"] in reported
    way.assert_whole(WINDOW)
    third = way.collect(WINDOW)
    assert (third.values.unchanged, third.sinks["influxdb"].owed) == (VALUES, 0)


@pytest.mark.promise(
    "Faults: two runs of one window at once, and the owner of a lock killed, with SQLite and PostgreSQL"
)
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


def upkeep(way: WholeWay) -> dict[str, TableUpkeep]:
    """What a maintain says of each table."""
    details = one_upkeep(way.installed.environment).details
    assert isinstance(details, Maintenance)
    return {line.name: line for line in details.tables}


@pytest.mark.promise("Faults: maintenance during a run, and a run during maintenance")
def test_upkeep_leaves_alone_what_a_run_works_on(way: WholeWay, nursery: Nursery) -> None:
    way.source.gate.clear()
    with way.begun(nursery, WINDOW) as running:
        assert way.source.reached.wait(PATIENCE)
        kept = upkeep(way)
        way.source.gate.set()
        ended = running.ended()
    assert kept["alpha"].state == "locked"
    assert ended.receipt["run_id"] in kept["alpha"].problems[0]
    assert ended.code == 0
    way.assert_whole(WINDOW)


@pytest.mark.promise("Faults: maintenance during a run, and a run during maintenance")
def test_a_run_leaves_alone_what_upkeep_works_on(way: WholeWay, nursery: Nursery) -> None:
    half, ended = hours(2), list[Ended]()
    assert way.collect(half).exit_code == 0

    def meanwhile(*arguments: Any) -> Any:
        if arguments[1] == "alpha":
            ended.append(way.run(nursery, WINDOW))
        return keep_up(*arguments)

    with mock.patch.object(maintain, "keep_up", meanwhile):
        kept = upkeep(way)
    assert kept["alpha"].state == "done"
    (refused,) = ended
    assert (refused.code, refused.receipt["values"]["extracted"]) == (3, 0)
    assert refused.receipt["measurements"][0]["state"] == "pending"
    assert "alpha in production is locked by " in refused.text
    way.assert_whole(half)
    assert way.run(nursery, WINDOW).code == 0
    way.assert_whole(WINDOW)
