"""A catalogue that changes: merged, or refused until `lake migrate`; InfluxDB then has what the lake has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.installation import Installation, entry
from tests.support.nursery import Nursery
from tests.support.servers import InfluxServer
from tests.support.service_history import Key
from tests.support.whole_way import PATIENCE, WholeWay, differing, hours, put_two, whole_way

pytestmark = pytest.mark.promise(
    "Faults: fields and tags are added, renamed, retyped or removed, and measurements come back"
)

DAY = hours(3)
NEXT = hours(1, first=3)
BOTH = hours(4)


@pytest.fixture
def way(tmp_path: Path, influxdb: InfluxServer, bucket: str) -> Iterator[WholeWay]:
    with whole_way(Installation(tmp_path / "here"), influxdb, bucket) as way:
        yield put_two(way, "alpha", "beta")


def change(way: WholeWay, **alpha: Any) -> None:
    """The entry of `alpha` is this from now on."""
    way.installed.configure(
        {"alpha": {**entry("alpha", tags=("room",)), **alpha}, "beta": entry("beta", tags=("room",))},
        retry_timeout="2s",
    )  # fmt: skip


def refused(way: WholeWay, nursery: Nursery) -> str:
    """What a run says that does not touch `alpha` and works on `beta` as ever."""
    before = way.loaded()
    ended = way.run(nursery, NEXT)
    assert ended.code == 1
    lines = {line["name"]: line for line in ended.receipt["measurements"]}
    assert (lines["alpha"]["state"], lines["beta"]["state"]) == ("failed", "landed")
    assert {key: value for key, value in way.loaded().items() if key[0] == "alpha"} == {
        key: value for key, value in before.items() if key[0] == "alpha"
    }
    (problem,) = lines["alpha"]["problems"]
    assert problem.endswith("(first with --dry-run): fedvitals lake migrate alpha")
    return str(problem)


def migrate(way: WholeWay, *more: str) -> None:
    arguments = ("lake", "migrate", "alpha", *more)
    assert way.installed.here(*arguments, "--dry-run").code == 0
    ran = way.installed.run(*arguments, timeout=PATIENCE)
    assert ran.code == 0, ran.err


def assert_alike(way: WholeWay) -> dict[Key, float]:
    """The lake's values, which are InfluxDB's to the last."""
    landed = way.landed()
    assert differing(way.loaded(), landed) == {}
    return landed


def test_a_new_field_is_merged(way: WholeWay, nursery: Nursery) -> None:
    assert way.collect(DAY).exit_code == 0
    for room in ("a", "b"):
        way.source.put("more", 2.0, room=room)
    fields = {name: {"query": name, "required": name == "alpha"} for name in ("alpha", "more")}
    change(way, fields=fields)

    assert way.run(nursery, BOTH).code == 0

    way.assert_whole(BOTH)


def test_a_new_tag(way: WholeWay, nursery: Nursery) -> None:
    assert way.collect(DAY).exit_code == 0
    change(way, tags=["room", "floor"])
    way.source.queries["alpha"] = []
    way.source.put("alpha", 0.25, room="a", floor="1")
    assert "floor" in refused(way, nursery)

    migrate(way)

    assert way.run(nursery, NEXT).code == 0
    landed = assert_alike(way)
    tags = {key[2] for key in landed if key[0] == "alpha"}
    assert tags == {(("room", "a"),), (("room", "b"),), (("floor", "1"), ("room", "a"))}


def test_a_renamed_tag(way: WholeWay, nursery: Nursery) -> None:
    assert way.collect(DAY).exit_code == 0
    change(way, tags=["place"])
    way.source.queries["alpha"] = []
    for place in ("a", "b"):
        way.source.put("alpha", 0.25, place=place)
    assert "place" in refused(way, nursery)

    migrate(way, "--rename", "room:place")

    assert way.run(nursery, BOTH).code == 0
    way.assert_whole(BOTH)


def test_an_int_becomes_a_float(way: WholeWay, nursery: Nursery) -> None:
    way.source.queries["alpha"] = []
    way.source.put("alpha", 1.0, room="a")
    change(way, fields={"alpha": {"query": "alpha", "type": "int", "required": True}})
    assert way.collect(DAY).exit_code == 0
    way.source.queries["alpha"] = []
    way.source.put("alpha", 0.5, room="a")
    change(way)
    assert "alpha" in refused(way, nursery)

    migrate(way)

    assert way.run(nursery, BOTH).code == 0
    way.assert_whole(BOTH)


def test_a_removed_measurement_stays_as_history(way: WholeWay, nursery: Nursery) -> None:
    assert way.collect(DAY).exit_code == 0
    before = assert_alike(way)
    way.installed.configure({"beta": entry("beta", tags=("room",))}, retry_timeout="2s")

    ended = way.run(nursery, BOTH)

    assert ended.code == 0
    assert [line["name"] for line in ended.receipt["measurements"]] == ["beta"]
    asked = way.installed.here("lake", "query", "SELECT count(*) AS n FROM alpha", "--json")
    assert asked.document["rows"] == [{"n": 360}]
    alpha = {key: value for key, value in before.items() if key[0] == "alpha"}
    assert {key: value for key, value in way.loaded().items() if key[0] == "alpha"} == alpha
    # back again it goes on
    change(way)
    assert way.run(nursery, BOTH).code == 0
    way.assert_whole(BOTH)
