"""kill -9 of `maintain` and of `replay`: everything reads as before, and the next one ends the work."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tasks.core.maintenance import Maintenance, TableUpkeep
from tasks.core.receipt import Receipt
from tasks.lake.compaction import _Work, compact
from tasks.lake.delta import _flush_since, remove_old_files, replace_all_rows, swap_files
from tasks.lake.maintenance import keep_states_up
from tasks.ledger.ledger import Ledger
from tasks.ledger.maintenance import _copied, _sync, back_up, clean, shrink
from tasks.sinks.influxdb_http import InfluxHttp
from tests.real.test_faults_kill import KILLED, NEEDS_LINUX, point
from tests.support.faults import (
    NAME,
    SPAN,
    an_installation,
    assert_whole,
    changed_history,
    first_history,
    held_back,
    impossible,
    landed,
    read_again,
    run,
    values_of,
)
from tests.support.installation import Installation
from tests.support.nursery import Nursery
from tests.support.one_run import one_replay, one_upkeep
from tests.support.servers import InfluxServer, PrometheusServer
from tests.support.service_history import Key

HOURS = 3
MAINTAIN = [
    point(compact, "before"),
    point(_Work.write, "after"),
    point(swap_files, "before"),
    pytest.param(point(swap_files, "entry"), marks=NEEDS_LINUX),
    point(swap_files, "after"),
    # in the midst of the removal of files: its first commit is written, and the last is not
    pytest.param(point(remove_old_files, "entry"), marks=NEEDS_LINUX),
    point(_flush_since, "before"),
    # the quarantine's, whose records are old
    point(swap_files, "after", 2),
    point(keep_states_up, "before"),
    pytest.param(point(replace_all_rows, "entry"), marks=NEEDS_LINUX),
    point(replace_all_rows, "after"),
    point(_copied, "before"),
    point(_sync, "before"),
    point(back_up, "after"),
    point(clean, "after"),
    point(shrink, "after"),
    point(Ledger.keep_receipt, "before"),
]
REPLAY = [
    point(Ledger.forget_loads, "after"),
    point(InfluxHttp.write, "before", 2),
    point(InfluxHttp.write, "after", 3),
    point(Ledger.record_loads, "before"),
    point(Ledger.record_loads, "after"),
    point(Ledger.keep_receipt, "before"),
]


def tables_of(receipt: Receipt) -> tuple[TableUpkeep, ...]:
    """What a maintain says of each table."""
    assert isinstance(receipt.details, Maintenance)
    return receipt.details.tables


@dataclass(frozen=True)
class Kept:
    """An installation that ran twice, of which each test has a copy, and what it holds."""

    installation: Installation
    values: dict[Key, float]
    quarantined: set[Key]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, influxdb: InfluxServer) -> Iterator[Kept]:
    """Two runs, of which the second found other values: files to compact, and to remove."""
    bucket = influxdb.make_bucket(0)
    with (
        PrometheusServer(tmp_path_factory.mktemp("first"), first_history()) as first,
        PrometheusServer(tmp_path_factory.mktemp("changed"), changed_history()) as changed,
    ):
        here = an_installation(tmp_path_factory.mktemp("kept"), first.url, influxdb, bucket)
        run(here)
        before = values_of(first, here)
        run(here, changed.url)
        now = values_of(changed, here)
        _age(here)
        yield Kept(here, read_again(before, now), impossible(now))
    influxdb.delete_bucket(bucket)


@pytest.fixture
def here(kept: Kept, tmp_path: Path) -> Installation:
    """A copy that fills the same bucket, in which no maintain changes anything."""
    folder = tmp_path / "here"
    # with the times of files, which say what is old
    shutil.copytree(kept.installation.folder, folder)
    return replace(kept.installation, folder=folder, variables=dict(kept.installation.variables))


def _age(here: Installation) -> None:
    """As if all that is there were hours older, so that files that were replaced may go."""
    for path in here.home.glob("lake/**/_delta_log/*.json"):
        actions = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for action in actions:
            if "remove" in action:
                action["remove"]["deletionTimestamp"] -= HOURS * 3_600_000
        path.write_text("".join(json.dumps(action) + "\n" for action in actions), "utf-8")
    for path in here.home.rglob("*"):
        long_ago = path.stat().st_mtime - HOURS * 3600
        os.utime(path, (long_ago, long_ago))


def killed(here: Installation, nursery: Nursery, where: str, work: str) -> None:
    log = here.folder / "child.log"
    nursery.begin(here.environment, None, None, log, where, work=work)
    assert nursery.end() == KILLED, log.read_text()


@pytest.mark.promise(
    "Maintenance: after a kill at any point everything reads as before, and the next run completes the work"
)
@pytest.mark.parametrize("where", MAINTAIN)
def test_maintain_is_killed(
    where: str, here: Installation, kept: Kept, nursery: Nursery, influxdb: InfluxServer
) -> None:
    killed(here, nursery, where, "maintain")

    assert_whole(here, influxdb, kept.values)
    # old records go whole or not at all
    assert held_back(here) in (Counter(kept.quarantined), Counter())
    left = next(iter((here.home / "backups").glob(".ledger-*.db.*")), None)
    if left is not None:
        os.utime(left, (0, 0))

    maintained = one_upkeep(here.environment)

    assert (maintained.status, maintained.exit_code) == ("ok", 0)
    assert {line.state for line in tables_of(maintained)} == {"done"}
    assert_whole(here, influxdb, kept.values, set())
    assert list((here.home / "backups").glob(".ledger-*.db.*")) == []
    # there is nothing left to do
    again = tables_of(one_upkeep(here.environment))
    assert {line.files_compacted for line in again if line.name == NAME} == {0}
    receipt = run(here)
    assert (receipt.values.landed, receipt.values.quarantined) == (0, 0)
    assert receipt.sinks["influxdb"].owed == 0
    assert landed(here) == kept.values


@pytest.mark.promise(
    "Replay: after a killed replay, the next one leaves every value in InfluxDB once"
)
@pytest.mark.parametrize("where", REPLAY)
def test_replay_is_killed(
    where: str,
    here: Installation,
    kept: Kept,
    nursery: Nursery,
    influxdb: InfluxServer,
    make_bucket: Callable[[], str],
) -> None:
    here.variables["INFLUXDB_BUCKET"] = make_bucket()
    killed(here, nursery, where, "replay")

    receipt = one_replay(here.environment, *SPAN)

    assert (receipt.exit_code, receipt.sinks["influxdb"].pending) == (0, 0)
    assert_whole(here, influxdb, kept.values, kept.quarantined)
