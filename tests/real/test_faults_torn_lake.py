"""Files of the lake that a power cut tore: each is reported, `lake repair` fixes it, the next run reads what is gone."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.nursery import Nursery
from tests.support.servers import InfluxServer
from tests.support.whole_way import PATIENCE, WholeWay, hours, put_two, whole_way

pytestmark = pytest.mark.slow

DAY = hours(3)
BOTH = hours(4)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def newest_entry(table: Path) -> Path:
    return max((table / "_delta_log").glob("*.json"))


def newest_parquet(table: Path) -> Path:
    actions = [json.loads(line) for line in newest_entry(table).read_text().splitlines()]
    added: list[str] = [action["add"]["path"] for action in actions if "add" in action]
    return table / added[0]


# a measurement each: what is torn of its table, and what is said of it
TEARS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], None], str]] = {
    "empty_entry": (newest_entry, empty, "an empty log entry"),
    "half_entry": (newest_entry, halve, "a corrupt log entry"),
    "empty_parquet": (newest_parquet, empty, "an empty Parquet file"),
    "missing_parquet": (newest_parquet, Path.unlink, "a missing Parquet file"),
}


@pytest.fixture
def way(tmp_path: Path, influxdb: InfluxServer, bucket: str) -> Iterator[WholeWay]:
    with whole_way(Installation(tmp_path / "here"), influxdb, bucket) as way:
        yield put_two(way, *TEARS, "sound")


@pytest.mark.promise(
    "Faults: log entries and Parquet files are empty, torn or missing, with the ledger and without"
)
@pytest.mark.parametrize("is_ledger_lost", [False, True])
def test_torn_files(way: WholeWay, nursery: Nursery, is_ledger_lost: bool) -> None:
    lake = way.installed.home / "lake"
    assert way.collect(DAY).exit_code == 0
    way.source.until = BOTH.stop - timedelta(minutes=20)
    assert way.collect(BOTH).exit_code == 0
    # late rows, or nobody would have to look at what is landed
    way.source.until = None
    for name, (find, tear, _) in TEARS.items():
        tear(find(lake / name))
    if is_ledger_lost:
        for path in way.installed.home.glob("ledger.db*"):
            path.unlink()

    refused = way.run(nursery, BOTH)

    assert refused.code == 1
    reported = {line["name"]: line for line in refused.receipt["measurements"]}
    for name in TEARS:
        (problem,) = reported[name]["problems"]
        assert problem.startswith(f"lake table {name}: ")
        assert "fedvitals lake repair" in problem

    assert way.installed.run("lake", "repair", "--dry-run", timeout=PATIENCE).code == 1
    repaired = way.installed.run("lake", "repair", "--json", timeout=PATIENCE)

    assert repaired.code == 1
    problems = {each["table"]: each["damage"][0]["problem"] for each in repaired.document["tables"]}
    assert sorted(problems) == sorted(TEARS)
    for name, (_, _, words) in TEARS.items():
        assert words in problems[name], problems[name]
    cells = {each["measurement"]: each for each in repaired.document["cells"]}
    assert {name: cells[name]["cells"] for name in TEARS} == dict.fromkeys(TEARS, 1)

    healed = way.run(nursery, BOTH)

    assert healed.code == 0, healed.text
    way.assert_whole(BOTH)
    assert way.installed.here("lake", "repair", "--json").document["tables"] == []
    again = way.run(nursery, BOTH)
    assert again.receipt["values"]["landed"] == 0
