import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from tasks.core.errors import SinkRefused, SinkUnavailable
from tasks.core.ports import CellToLoad
from tasks.core.receipt import SinkValues
from tasks.core.services import InfluxService, InfluxTuning
from tasks.core.window import iso
from tasks.sinks.influxdb import InfluxSink
from tasks.sinks.influxdb_checks import check, create_bucket
from tests.support.fakes.influxdb import fake_influxdb
from tests.support.servers import InfluxServer, quoted
from tests.support.sink_samples import (
    LATENCY,
    START,
    make_cell,
    make_measurement,
    sink_to,
    to_load,
)

MIXED = make_measurement(("room", "zone"), x="float", n="int", s="string", ok="bool")
DIGEST = make_measurement(("room",), x="float", n="int")


def service_at(server: InfluxServer, bucket: str, **changes: Any) -> InfluxService:
    values: dict[str, Any] = {
        "url": server.url,
        "token": SecretStr(server.token),
        "origin": "INFLUXDB_URL",
        "token_from": "INFLUXDB_TOKEN",
        "org": server.org,
        "bucket": bucket,
    }
    return InfluxService.model_validate({**values, **changes})


def token_for(influxdb: InfluxServer, bucket: str, *actions: str) -> SecretStr:
    """A token that may do just this with the bucket."""
    with influxdb.client() as client:
        found = client.buckets_api().find_bucket_by_name(bucket)
    resource = {"type": "buckets", "id": found.id, "orgID": found.org_id}
    granted = requests.post(
        f"{influxdb.url}/api/v2/authorizations",
        json={
            "orgID": found.org_id,
            "permissions": [{"action": action, "resource": resource} for action in actions],
        },
        headers={"Authorization": f"Token {influxdb.token}"},
        timeout=10,
    )
    return SecretStr(granted.json()["token"])


def stored(
    server: InfluxServer, bucket: str, start: str = "1970-01-01T00:00:00Z"
) -> list[dict[str, Any]]:
    """Every stored value of `latency` with its tags and time, as Flux gives them."""
    return server.flux(f"""
        from(bucket: {quoted(bucket)})
          |> range(start: {start}, stop: 2200-01-01T00:00:00Z)
          |> filter(fn: (r) => r._measurement == "latency")
    """)


BEFORE = "m,a=1 f=1.5 1700000000\n"
POSTS = {
    "good": ("m,a=1 f=2.5 1700000001\n", 204, 2),
    "no points": ("", 204, 1),
    "comment": ("# nothing\n\n", 204, 1),
    "one of another type": ("m f=1 1700000001\nm f=2i 1700000002\nm f=3 1700000003\n", 422, 3),
    "all of another type": ("m f=1i 1700000001\nm f=2i 1700000002\n", 422, 1),
    "malformed": ("m f=1 1700000001\nm f= 1700000002\nm f=3 1700000003\n", 400, 1),
    "two malformed": ("m f= 1700000001\nm,x= f=1 1700000002\nm f=3 1700000003\n", 400, 1),
    "no field": ("m,a=1\n", 400, 1),
    "NaN": ("m f=NaN 1700000001\n", 400, 1),
    "Inf": ("m f=+Inf 1700000001\n", 400, 1),
    "inf": ("m f=inf 1700000001\n", 400, 1),
    "too large a float": ("m f=1e400 1700000001\n", 400, 1),
    "too large an int": ("m n=9223372036854775808i 1700000001\n", 400, 1),
    "empty tag": ("m,a= f=1 1700000001\n", 400, 1),
    "tag ends in a backslash": ("m,a=x\\ f=1 1700000001\n", 400, 1),
    "tag ends in two backslashes": ("m,a=x\\\\ f=1 1700000001\n", 400, 1),
    "tag before another ends in two": ("m,a=x\\\\,b=2 f=1 1700000001\n", 400, 1),
    "repeated tag": ("m,a=1,a=2 f=1 1700000001\n", 400, 1),
    "reserved tag": ("m,time=1 f=1 1700000001\n", 400, 1),
    "newline in a string": ('m s="a\nb" 1700000001\n', 204, 2),
    "quotes in a string": ('m s="say \\"hi\\" \\\\" 1700000001\n', 204, 2),
    "smallest float": ("m f=5e-324 1700000001\n", 204, 2),
    "exponent": ("m f=1e+22 1700000001\n", 204, 2),
}


@pytest.mark.parametrize(("lines", "status", "values"), POSTS.values(), ids=POSTS.keys())
def test_the_fake_answers_as_the_real_one(
    influxdb: InfluxServer, bucket: str, lines: str, status: int, values: int
) -> None:
    with fake_influxdb(bucket=bucket, token=influxdb.token) as fake:
        found = []
        for url in (influxdb.url, fake.url):
            for body in (BEFORE, lines):
                answer = requests.post(
                    f"{url}/api/v2/write",
                    params={"org": "fedvitals", "bucket": bucket, "precision": "s"},
                    headers={"Authorization": f"Token {influxdb.token}"},
                    data=body.encode(),
                    timeout=10,
                )
            found.append(answer)
        assert [answer.status_code for answer in found] == [status, status]
        assert influxdb.count_values(bucket, "m") == values
        assert fake.count_values("m") == values
    if status == 422:
        assert found[0].json() == found[1].json()


TAGS = [
    "plain", "two words", "a,b", "a=b", 'say "hi"', "a\\b", "a\\\\b", "a\\,b", "a\\ b", "a\\=b",
    " a", "a ", ",", "=", "küche", "😀 emoji", "日本", "#1", "'", "a:b/c?d&e", "{room=x}", "1", "true",
]  # fmt: skip


@pytest.mark.promise("Landing: values of any type and text are stored and loaded exactly")
@pytest.mark.parametrize("compress", [False, True])
def test_tags_of_any_text_read_back_exactly(
    influxdb: InfluxServer, bucket: str, compress: bool
) -> None:
    content = [{"time": i, "room": tag, "x": float(i)} for i, tag in enumerate(TAGS)]
    with sink_to(service_at(influxdb, bucket), gzip=compress) as sink:
        (answer,) = sink.load(LATENCY, "production", [to_load(LATENCY, make_cell(0), content)])
    assert answer.values == SinkValues(owed=len(TAGS), loaded=len(TAGS))
    found = {row["room"]: row["_value"] for row in stored(influxdb, bucket)}
    assert found == {tag: float(i) for i, tag in enumerate(TAGS)}


@pytest.mark.promise("Landing: values of any type and text are stored and loaded exactly")
def test_values_of_any_type_read_back_exactly(influxdb: InfluxServer, bucket: str) -> None:
    content: list[dict[str, Any]] = [
        {"time": 0.000001, "room": "a", "zone": None, "x": 0.1 + 0.2, "n": 2**63 - 1, "s": "é 😀", "ok": True},
        {"time": 1, "room": None, "zone": "z", "x": 5e-324, "n": -(2**63), "s": 'say "hi"\\', "ok": False},
        {"time": 2, "room": "b", "zone": "z", "x": -1.7976931348623157e308, "s": "a,b c=d"},
        {"time": 3, "room": "c", "zone": "z", "x": 1e22, "s": "a\nb"},
        {"time": 4, "room": "d", "zone": "z", "x": 123456789012345680.0, "n": 0},
        {"time": 5, "room": "e", "zone": "z", "x": 3.0, "s": ""},
    ]  # fmt: skip
    with sink_to(service_at(influxdb, bucket)) as sink:
        (answer,) = sink.load(MIXED, "production", [to_load(MIXED, make_cell(0), content)])
    assert answer.values == SinkValues(owed=16, loaded=16)
    expected = {
        (row["room"], row["zone"], row["time"], name): (type(row[name]), row[name])
        for row in content
        for name in MIXED.fields
        if row.get(name) is not None
    }
    found = {
        (
            row.get("room"),
            row.get("zone"),
            (row["_time"] - START) / timedelta(seconds=1),
            row["_field"],
        ): (type(row["_value"]), row["_value"])
        for row in stored(influxdb, bucket)
    }
    assert {row["environment"] for row in stored(influxdb, bucket)} == {"production"}
    # the CSV of Flux's answer ends every line with CR LF, inside a string too
    assert found.pop(("c", "z", 3.0, "s")) == (str, "a\r\nb")
    assert expected.pop(("c", "z", 3, "s")) == (str, "a\nb")
    # and has an empty string read as null
    assert found.pop(("e", "z", 5.0, "s")) == (type(None), None)
    assert expected.pop(("e", "z", 5, "s")) == (str, "")
    assert found == expected


def test_minus_zero_stays_minus_zero(influxdb: InfluxServer, bucket: str) -> None:
    cell = to_load(LATENCY, make_cell(0), [{"time": 0, "room": "a", "x": -0.0}])
    with sink_to(service_at(influxdb, bucket)) as sink:
        sink.load(LATENCY, "production", [cell])
    (row,) = stored(influxdb, bucket)
    assert math.copysign(1, row["_value"]) == -1


@pytest.mark.promise(
    "Crash: during a post: the next run sends the whole cell again, which changes nothing"
)
@pytest.mark.promise("Loading: loading twice leaves the points of once")
def test_loading_twice_leaves_the_points_of_once(influxdb: InfluxServer, bucket: str) -> None:
    content = [{"time": 15 * i, "room": "a", "x": float(i)} for i in range(240)]
    with sink_to(service_at(influxdb, bucket), lines_per_post=100) as sink:
        for _ in range(2):
            (answer,) = sink.load(LATENCY, "production", [to_load(LATENCY, make_cell(0), content)])
            assert answer.values == SinkValues(owed=240, loaded=240)
    assert influxdb.count_values(bucket, "latency") == 240


@pytest.mark.parametrize("environment", ["production", 'say "hi" \\ there', "küche, 😀 = 'a'"])
def test_erase_first_removes_vanished_keys_and_nothing_outside_the_cell(
    influxdb: InfluxServer, bucket: str, environment: str
) -> None:
    cell, other = make_cell(1), make_measurement(("room",), x="float").model_copy(update={"name": "other"})  # fmt: skip
    around = [{"time": at, "room": "a", "x": at} for at in (0.0, 3599.999999)]
    edges = [{"time": at, "room": "a", "x": at} for at in (-0.000001, 3600.0)]

    def entry(
        rows: list[dict[str, Any]], name: str = environment, erase: bool = False
    ) -> CellToLoad:
        return to_load(LATENCY, cell, rows, environment=name, erase_first=erase)

    with sink_to(service_at(influxdb, bucket)) as sink:
        sink.load(LATENCY, environment, [entry(around + edges)])
        sink.load(LATENCY, "elsewhere", [entry(around, "elsewhere")])
        sink.load(other, environment, [entry(around)])
        (answer,) = sink.load(
            LATENCY, environment, [entry([{"time": 60.0, "room": "b", "x": 7.0}], erase=True)]
        )
    assert answer.values == SinkValues(owed=1, loaded=1)
    found = {
        (row["environment"], row["room"], (row["_time"] - cell.start) / timedelta(seconds=1))
        for row in stored(influxdb, bucket)
    }
    assert found == {
        (environment, "b", 60.0),
        (environment, "a", -0.000001),
        (environment, "a", 3600.0),
        ("elsewhere", "a", 0.0),
        ("elsewhere", "a", 3599.999999),
    }
    assert influxdb.count_values(bucket, "other") == 2


@pytest.mark.promise("Loading: one bad line costs only itself")
def test_a_field_of_another_type_refuses_just_its_lines(
    influxdb: InfluxServer, bucket: str
) -> None:
    start = int(START.timestamp())
    influxdb.write(bucket, f"latency,environment=old n=1.5 {start}\n".encode(), "s")
    content = [
        {"time": i, "room": "a", "x": 1.0, "n": i if i % 3 == 0 else None} for i in range(90)
    ]
    # the type is fixed per shard, a range of time: in a later one the same field loads
    cells = [to_load(DIGEST, make_cell(0), content), to_load(DIGEST, make_cell(24 * 60), content)]
    with sink_to(service_at(influxdb, bucket)) as sink:
        first, second = sink.load(DIGEST, "production", cells)
    assert first.values == SinkValues(owed=120, loaded=60, refused=60)
    assert second.values == SinkValues(owed=120, loaded=120)
    assert first.refusals["reason"].str.contains("field type conflict").all()
    # over both shards Flux shows the values of one type only
    later = iso(cells[1].cell.start)
    assert influxdb.count_values(bucket, "latency") == 1 + 60 + 90
    assert len(stored(influxdb, bucket, later)) == 120


@pytest.mark.promise(
    "Loading: values older than a bucket keeps are skipped by rule, with the reason; nothing goes to quarantine"
)
@pytest.mark.parametrize("granted", [("read", "write"), ("write",)])
def test_values_past_the_retention_are_skipped_and_the_rest_loaded(
    influxdb: InfluxServer, make_bucket: Callable[..., str], granted: tuple[str, ...]
) -> None:
    """Also with a token that may not see how long the bucket keeps."""
    bucket = make_bucket(3600)
    token = token_for(influxdb, bucket, *granted)
    now = datetime.now(UTC).replace(microsecond=0)
    content = [
        {"time": i, "room": room, "x": 1.0} for room in ("a", "b") for i in range(-600, 0, 60)
    ]
    cells = [to_load(LATENCY, make_cell(-5, now), content), to_load(LATENCY, make_cell(0, now), content)]  # fmt: skip
    with sink_to(service_at(influxdb, bucket, token=token)) as sink:
        old, new = sink.load(LATENCY, "production", cells)
    assert old.values == SinkValues(owed=20, skipped_by_rule=20)
    assert new.values == SinkValues(owed=20, loaded=20)
    assert old.skipped == f"skips values older than its bucket {bucket} keeps"
    assert (new.skipped, len(old.refusals)) == ("", 0)
    assert influxdb.count_values(bucket, "latency") == 20


def test_a_value_that_no_line_can_express_costs_only_itself(
    influxdb: InfluxServer, bucket: str
) -> None:
    content = [{"time": i, "room": f"r{i}", "x": float(i)} for i in range(500)]
    content[321]["room"] = "ends in\\"
    with sink_to(service_at(influxdb, bucket)) as sink:
        (answer,) = sink.load(LATENCY, "production", [to_load(LATENCY, make_cell(0), content)])
    assert answer.values == SinkValues(owed=500, loaded=499, refused=1)
    assert list(answer.refusals["number"]) == [321.0]
    (reason,) = answer.refusals["reason"]
    assert reason.startswith("line protocol cannot express values of the tag room")
    assert influxdb.count_values(bucket, "latency") == 499


@pytest.mark.parametrize(
    ("changes", "status", "fix"),
    [
        ({}, 404, "fedvitals doctor --create"),
        ({"org": "nobody"}, 404, "INFLUXDB_ORG"),
        ({"token": SecretStr("wrong-token")}, 401, "INFLUXDB_TOKEN"),
        ({"token": None}, 401, "INFLUXDB_TOKEN"),
    ],
)
@pytest.mark.parametrize("erase_first", [False, True])
def test_what_needs_fixing_leaves_the_cell_pending(
    influxdb: InfluxServer,
    bucket: str,
    changes: dict[str, Any],
    status: int,
    fix: str,
    erase_first: bool,
) -> None:
    content = [{"time": 0, "room": "a", "x": 1.0}]
    cell = to_load(LATENCY, make_cell(0), content, erase_first=erase_first)
    name = bucket if changes else "nowhere"
    with sink_to(service_at(influxdb, name, **changes)) as sink:
        (answer,) = sink.load(LATENCY, "production", [cell])
    assert answer.values == SinkValues(owed=1, pending=1)
    assert isinstance(answer.error, SinkRefused)
    assert answer.error.status == status
    assert fix in str(answer.error)
    assert "wrong-token" not in str(answer.error)


@pytest.mark.promise(
    "Loading: while a sink is down, values stay pending; the next run loads them without asking the source"
)
def test_what_a_server_that_was_away_missed_loads_once_it_is_back(
    make_influxdb: Callable[[], InfluxServer],
) -> None:
    server = make_influxdb()
    bucket = server.make_bucket()
    content = [{"time": i, "room": "a", "x": 1.0} for i in range(100)]
    cells = [to_load(LATENCY, make_cell(i), content) for i in range(2)]
    sink = InfluxSink(service_at(server, bucket), InfluxTuning(), deadline_seconds=0.5)
    (loaded,) = sink.load(LATENCY, "production", cells[:1])
    server.kill()
    pending = sink.load(LATENCY, "production", cells)
    server.start()
    again = sink.load(LATENCY, "production", cells)
    sink.close()
    assert loaded.values == SinkValues(owed=100, loaded=100)
    assert [answer.values for answer in pending] == [SinkValues(owed=100, pending=100)] * 2
    assert isinstance(pending[0].error, SinkUnavailable)
    assert [answer.values for answer in again] == [SinkValues(owed=100, loaded=100)] * 2
    assert server.count_values(bucket, "latency") == 200


def test_looks_and_makes_the_bucket(influxdb: InfluxServer, bucket: str) -> None:
    found = check(service_at(influxdb, bucket))
    assert [(one.what, one.ok) for one in found] == [
        ("reachable", True), ("token", True), ("organisation", True), ("bucket", True),
        ("may write", True), ("may read", True),
    ]  # fmt: skip
    assert stored(influxdb, bucket) == []
    new = service_at(influxdb, f"{bucket}-new ${{x}}")
    assert [one.what for one in check(new) if not one.ok] == ["bucket"]
    never = create_bucket(service_at(influxdb, 'say "hi"'))
    assert (never.ok, never.fix) == (False, "Correct INFLUXDB_BUCKET")
    assert create_bucket(new).ok
    assert create_bucket(new).detail.endswith("was there already")
    assert all(one.ok for one in check(new))
    influxdb.delete_bucket(new.bucket)


def test_says_how_long_a_bucket_keeps(
    influxdb: InfluxServer, make_bucket: Callable[..., str]
) -> None:
    short = make_bucket(3600)
    assert check(service_at(influxdb, short))[3].detail == f"{short}, keeps 1:00:00"


@pytest.mark.parametrize(("action", "missing"), [("read", "may write"), ("write", "may read")])
def test_says_what_a_token_may_not(
    influxdb: InfluxServer, bucket: str, action: str, missing: str
) -> None:
    token = token_for(influxdb, bucket, action)
    service = service_at(influxdb, bucket, token=token)
    assert [one.what for one in check(service) if not one.ok] == [missing]
    made = create_bucket(service_at(influxdb, "another", token=token))
    assert not made.ok
    assert "token that may make buckets" in made.fix
