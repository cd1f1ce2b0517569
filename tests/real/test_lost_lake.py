"""A lake that is gone in part or whole, a lake of another ledger, and a ledger that lacks cells."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.window import floor, iso
from tests.support.fakes.influxdb import FakeInfluxDB, fake_influxdb
from tests.support.faulty import FaultyPrometheus, constant, faulty_prometheus
from tests.support.installation import Installation, Ran, entry
from tests.support.s3 import S3Server

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)
# the newest whole hour, so that no run has more to read than the tests say
NOW = floor(datetime.now(UTC), HOUR)


def since(hours: int) -> tuple[str, ...]:
    return ("--start", iso(NOW - hours * HOUR), "--stop", iso(NOW))


@dataclass
class Place:
    """An installation with its lake on the disk or on S3, and how a part of it goes away."""

    installed: Installation
    s3: S3Server | None = None
    bucket: str = ""

    @property
    def lake(self) -> Path:
        return self.installed.home / "lake"

    def files(self) -> set[str]:
        if self.s3 is not None:
            return set(self.s3.keys(self.bucket))
        return {str(path) for path in self.lake.rglob("*") if path.is_file()}

    def remove(self, part: str = "") -> None:
        """A table's folder, or all of the lake."""
        if self.s3 is not None:
            prefix = f"lake/{part}/" if part else "lake/"
            keys = [key for key in self.files() if key.startswith(prefix)]
            assert keys
            self.s3.delete(self.bucket, keys)
        else:
            shutil.rmtree(self.lake / part)

    def run(self, *arguments: str) -> Ran:
        return self.installed.here(*arguments)

    def says_doctor(self) -> str:
        """What is to be done for the lake; nothing when it is well."""
        checks = self.run("doctor", "--json").document["checks"]
        (found,) = (each for each in checks if each["what"] == "can be read and written")
        assert found["ok"] is not bool(found["fix"])
        return str(found["fix"])

    def values(self) -> dict[str, int]:
        """How many values the lake has of each table."""
        tables = self.run("lake", "ls", "--json").document["tables"]
        return {
            each["name"]: each["rows"] for each in tables if each["name"] in ("loads", "shares")
        }

    def known(self) -> dict[str, tuple[int, int]]:
        """Cells and values of each measurement in the ledger."""
        rows = self.run("ledger", "ls", "--json").document["measurements"]
        return {
            each["measurement"]: (each["cells"], each["values"])
            for each in rows
            if each["measurement"] != "fedvitals_pipeline"
        }

    def elsewhere(self, name: str) -> "Place":
        """The same home with another lake."""
        url = f"s3://{self.bucket}/{name}" if self.s3 else str(self.installed.folder / name)
        variables = {**self.installed.variables, "FEDVITALS_LAKE_URL": url}
        return Place(Installation(self.installed.folder, variables), self.s3, self.bucket)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def prometheus() -> Iterator[FaultyPrometheus]:
    with faulty_prometheus() as server:
        server.queries |= {"load": [constant("0.5")], "share": [constant("1.5")]}
        yield server


@pytest.fixture(params=["disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path, prometheus: FaultyPrometheus) -> Place:
    """A home with six hours of two measurements, landed; the values of one are in quarantine."""
    installed = Installation(tmp_path, {"PROMETHEUS_URL": prometheus.url})
    share = entry("share", "load")
    share["fields"]["share"]["unit"] = "ratio"
    installed.configure({"loads": entry("load"), "shares": share})
    place = Place(installed)
    if request.param == "s3":
        s3: S3Server = request.getfixturevalue("s3")
        place = Place(installed, s3, f"b{abs(hash(tmp_path))}")
        s3.make_bucket(place.bucket)
        installed.variables |= s3.variables(f"{place.bucket}/lake")
    assert place.run("collect", *since(6)).code == 1
    return place


def lines(ran: Ran) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in ran.document["measurements"]}


@pytest.mark.promise(
    "Repair: a table that the ledger knows and the lake lacks fails its runs, and nothing is forgotten until `lake repair`"
)
@pytest.mark.parametrize(
    ("place", "part"),
    [("disk", "loads"), ("disk", "_quarantine/shares"), ("s3", "shares")],
    indirect=["place"],
)
def test_a_table_that_is_gone(place: Place, part: str) -> None:
    name = part.removeprefix("_quarantine/")
    known, held = place.known(), place.values()
    place.remove(part)

    ran, again = (place.run("collect", *since(1), "--json") for _ in range(2))

    for each in (ran, again):
        assert (each.code, each.document["status"]) == (1, "degraded")
        states = {found: line["state"] for found, line in lines(each).items()}
        assert states == {"loads": "unchanged", "shares": "unchanged", name: "failed"}
        (problem,) = lines(each)[name]["problems"]
        assert problem.startswith(f"lake table {part}: it is missing")
        assert "fedvitals lake repair" in problem
    assert place.known() == known
    assert place.says_doctor().startswith(f"lake table {part}: it is missing")
    looked = place.run("lake", "repair", "--dry-run", "--json")
    assert (looked.code, place.known()) == (1, known)
    repaired = place.run("lake", "repair", "--json")
    for each in (looked, repaired):
        assert [table["table"] for table in each.document["tables"]] == [part]
    assert place.run("lake", "repair").out == "nothing is damaged\n"
    assert place.says_doctor() == ""
    healed = place.run("collect", "--json", "--fail-on", "never")
    assert healed.code == 0, healed.out
    assert all(place.values()[each] >= rows for each, rows in held.items())
    assert place.known()[name] >= known[name]
    bad = place.run("quarantine", "ls", "--json").document["quarantine"]
    assert sum(each["values"] for each in bad) >= 360


@pytest.mark.promise(
    "Repair: a lake that is lost as a whole fails every run, which writes nothing, until `lake repair`"
)
@pytest.mark.parametrize("place", ["disk", "s3"], indirect=True)
def test_a_lake_that_is_gone(place: Place) -> None:
    known, held = place.known(), place.values()
    place.remove()

    ran = place.run("collect", "--json")

    assert (ran.code, ran.document["status"]) == (1, "failed")
    for line in lines(ran).values():
        assert line["state"] == "failed"
        assert "its id is None, the ledger's lake has the id" in line["problems"][0]
    assert (place.known(), place.files()) == (known, set())
    assert "its id is None, the ledger's lake has the id" in place.says_doctor()
    looked = place.run("lake", "repair", "--dry-run")
    assert (looked.code, place.files()) == (1, set())
    assert "fedvitals backfill --start START --stop STOP:" in looked.out
    assert place.run("lake", "repair").code == 1
    healed = place.run("collect", "--json", "--fail-on", "never")
    assert healed.code == 0, healed.out
    assert all(place.values()[each] >= rows for each, rows in held.items())


@pytest.mark.promise("Repair: what no source has any more is listed as lost")
def test_what_is_older_than_the_source_is_lost(place: Place) -> None:
    with place.installed.changed("environments.yaml") as content:
        content["pipeline"]["source_retention"] = "4h"
    place.remove("loads")

    found = place.run("lake", "repair", "--json").document["cells"]

    counts = {each["is_lost"]: (each["cells"], each["values"]) for each in found}
    assert counts[True][0] + counts[False][0] == 6
    assert 0 < counts[True][0] < 6
    assert counts[True][1] == 60 * counts[True][0]
    later = place.run("collect", "--json", "--fail-on", "never")
    assert later.code == 0
    assert "marked as lost" in " ".join(lines(later)["loads"]["warnings"])
    assert place.values()["loads"] >= counts[False][1]


@pytest.mark.promise(
    "Ledger: a lake with another id, or none, is refused untouched; `ledger rebuild` takes another one"
)
@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_another_lake(place: Place) -> None:
    known, held = place.known(), place.values()
    other = place.elsewhere("other")

    ran = other.run("collect", *since(1), "--json")

    assert (ran.code, ran.document["status"], place.known()) == (1, "failed", known)
    assert {name for name in place.files() if "/other" in name} == set()
    assert "Fix: set FEDVITALS_LAKE_URL to the ledger's lake" in other.says_doctor()
    assert place.says_doctor() == ""
    for command in (("lake", "migrate", "loads"), ("ledger", "rebuild")):
        assert "the ledger's lake has the id" in other.run(*command).complaint
    # with the right one all goes on
    again = place.run("collect", *since(1), "--json")
    assert {line["state"] for line in lines(again).values()} == {"unchanged"}
    # a lake that has a ledger of its own
    theirs = Installation(place.installed.folder / "theirs", other.installed.variables)
    theirs.configure({"loads": entry("load")})
    assert theirs.here("collect", *since(1)).code == 0
    refused = other.run("collect", *since(1), "--json")
    assert refused.code == 1
    assert "fedvitals ledger rebuild" in lines(refused)["loads"]["problems"][0]
    assert "fedvitals ledger rebuild" in other.run("lake", "repair").complaint
    assert place.known() == known
    assert other.run("ledger", "rebuild").code == 0
    assert other.known() == {"loads": (1, 60)}
    assert other.run("collect", *since(1), "--measurement", "loads").code == 0
    # and back
    assert place.run("ledger", "rebuild").code == 0
    assert (place.known(), place.values()) == (known, held)


@pytest.fixture
def influxdb() -> Iterator[FakeInfluxDB]:
    with fake_influxdb() as running:
        yield running


@pytest.mark.promise(
    "Ledger: cells that it lacks are read back from the lake, and a new sink gets everything that is landed"
)
def test_a_ledger_that_lacks_cells(place: Place, influxdb: FakeInfluxDB) -> None:
    known = place.known()
    with closing(sqlite3.connect(place.installed.home / "ledger.db")) as database, database:
        gone = "DELETE FROM cells WHERE measurement = 'loads' AND cell_start < ?"
        database.execute(gone, ((NOW - HOUR).isoformat(timespec="microseconds"),))
    assert place.known()["loads"][0] == 1
    place.installed.variables |= {"INFLUXDB_URL": influxdb.url, "INFLUXDB_TOKEN": influxdb.token}

    ran = place.run("collect", *since(1), "--json")

    warned = " ".join(lines(ran)["_windows"]["warnings"])
    assert "the ledger lacked 5 cells of loads in production" in warned
    assert place.known() == known
    assert (influxdb.count_values("loads"), influxdb.count_values("shares")) == (360, 360)
    again = place.run("collect", *since(1), "--json")
    assert "_windows" not in lines(again)


@pytest.mark.promise(
    "Ledger: a home from before ids gets one without a word, and its states back in the lake"
)
@pytest.mark.parametrize("lost", [("id",), ("id", "lake"), ("_windows",)])
def test_a_home_without_an_id(place: Place, lost: tuple[str, ...]) -> None:
    known = place.known()
    if "id" in lost:
        (place.lake / "_fedvitals.json").write_text('{"lake": 1}')
        with closing(sqlite3.connect(place.installed.home / "ledger.db")) as database, database:
            database.execute("DELETE FROM meta WHERE key IN ('id', 'cells')")
    if "lake" in lost:
        place.remove()
    if "_windows" in lost:
        place.remove("_windows")

    ran = place.run("collect", *since(1), "--json")

    assert place.known() == known
    if "lake" in lost:
        assert (ran.document["status"], place.files()) == ("failed", set())
        return
    assert ran.document["status"] == "ok"
    states = place.run(
        "lake", "query", "SELECT count(*) AS n FROM _windows WHERE measurement = 'loads'", "--json"
    )
    assert states.document["rows"][0]["n"] >= 6
    assert ("_windows" in lines(ran)) is ("_windows" in lost)


def test_every_other_run_refuses_it_too(place: Place, influxdb: FakeInfluxDB) -> None:
    place.installed.variables |= {"INFLUXDB_URL": influxdb.url, "INFLUXDB_TOKEN": influxdb.token}
    assert place.run("collect", *since(1), "--fail-on", "never").code == 0
    loaded = influxdb.count_values("loads")
    place.remove("loads")
    commands: dict[str, tuple[str, ...]] = {
        "backfill": ("backfill", *since(6)),
        "replay": ("replay", "--sink", "influxdb"),
        "reconcile": ("reconcile", "--fix"),
        "maintain": ("maintain",),
    }

    ran = {name: place.run(*command, "--json") for name, command in commands.items()}

    for name, each in ran.items():
        assert each.code == 1, name
        problems = " ".join(lines(each)["loads"]["problems"])
        assert "lake table loads: it is missing" in problems, name
    assert influxdb.count_values("loads") == loaded == 360
