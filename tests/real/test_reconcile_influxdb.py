"""Reconcile against a real InfluxDB: every kind of difference is found, distinguished and fixed."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from sqlalchemy import delete

from tasks.core.reconciliation import Facts
from tasks.core.series import ALL_TIME
from tasks.core.services import InfluxTuning
from tasks.core.window import iso
from tasks.ledger.schema import cells
from tasks.sinks.influxdb_read import InfluxReader
from tests.real.test_influxdb_sink import MIXED, service_at
from tests.support.fakes.influxdb import fake_influxdb
from tests.support.lake_and_sink import Standing, reasons, standing_at
from tests.support.ledger_behaviours import owed
from tests.support.servers import InfluxServer
from tests.support.workbench import HOUR, at, cell

PLACE = "example,environment=production,method=GET"
NEIGHBOURS = (
    "example,environment=staging,method=GET share_ratio=0.5 {hour1}\n"
    "other,environment=production,method=GET share_ratio=0.5 {hour1}\n"
)


def seconds(hours: float) -> int:
    return int(at(hours).timestamp())


@pytest.fixture
def equal(tmp_path: Path, influxdb: InfluxServer, bucket: str) -> Iterator[Standing]:
    """Six hours, in the lake and in the bucket; beside them another environment and measurement."""
    with standing_at(tmp_path, service_at(influxdb, bucket)) as standing:
        standing.collect()
        standing.replay()
        influxdb.write(bucket, NEIGHBOURS.format(hour1=seconds(1)).encode(), "s")
        yield standing
        neighbours = [
            row
            for row in influxdb.flux(f'from(bucket: "{bucket}") |> range(start: 0)')
            if row["environment"] == "staging" or row["_measurement"] == "other"
        ]
        assert len(neighbours) == 2


@pytest.mark.parametrize("deep", [False, True])
def test_nothing_differs(equal: Standing, deep: bool) -> None:
    found = equal.reconcile(deep=deep)

    assert found.differences == ()
    line = found.line
    assert (line.state, line.cells, line.lake_values, line.sink_values) == ("equal", 6, 284, 284)
    assert equal.progress[-1] == ("example", 6, 6)


def erase(standing: Standing, first: float, last: float) -> None:
    """What is between the two hours after the start, of production."""
    name = '_measurement="example" AND environment="production"'
    standing.sink._http.delete(iso(at(first)), iso(at(last)).replace("Z", ".0Z"), name)


@pytest.mark.promise(
    "Reconcile: an emptied bucket, a deleted hour, a changed value, an extra point and a pending hour are found and fixed"
)
def test_an_emptied_bucket(equal: Standing) -> None:
    erase(equal, 0, 6)
    found = equal.reconcile()

    assert found.line.state == "differs"
    assert [hour for hour, _ in reasons(found)] == ["00", "01", "02", "03", "04", "05"]
    assert {why for _, each in reasons(found) for why in each} == {"missing"}
    assert {each.sink for each in found.differences} == {Facts(count=0, sum=0.0, key_hash="0" * 16)}
    fixed = equal.reconcile(fix=True)
    assert (fixed.line.state, fixed.line.differing, fixed.line.fixed) == ("equal", 6, 6)
    assert equal.reconcile(deep=True).differences == ()


@pytest.mark.promise(
    "Reconcile: an emptied bucket, a deleted hour, a changed value, an extra point and a pending hour are found and fixed"
)
def test_one_deleted_hour(equal: Standing) -> None:
    erase(equal, 2, 2.9)
    (found,) = equal.reconcile().differences

    assert (found.start, found.stop) == ("2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z")
    assert (found.lake.count, found.sink.count, found.reasons) == (48, 0, {"missing": 48})
    (fixed,) = equal.reconcile(fix=True).differences
    assert (fixed.fixed, fixed.left) == (True, {})
    assert equal.reconcile(deep=True).differences == ()


CHANGED = {
    "float": "share_ratio=0.7",
    "int": "size_bytes=1i",
}


@pytest.mark.promise(
    "Reconcile: an emptied bucket, a deleted hour, a changed value, an extra point and a pending hour are found and fixed"
)
@pytest.mark.parametrize("value", CHANGED.values(), ids=CHANGED.keys())
def test_one_changed_value(
    equal: Standing, influxdb: InfluxServer, bucket: str, value: str
) -> None:
    influxdb.write(bucket, f"{PLACE} {value} {seconds(0)}\n".encode(), "s")
    (found,) = equal.reconcile().differences

    assert (found.start[11:13], found.reasons) == ("00", {"changed": 1})
    assert found.lake.key_hash == found.sink.key_hash
    assert found.lake.count == found.sink.count == 44
    (fixed,) = equal.reconcile(fix=True).differences
    assert (fixed.fixed, fixed.left) == (True, {})
    assert equal.reconcile(deep=True).line.state == "equal"


@pytest.mark.promise("Reconcile: `--deep` finds every difference")
@pytest.mark.parametrize(
    "value", ['note="other"', "is_ready=false", "share_ratio=0.10000000000000002"]
)
def test_what_no_sum_tells_is_found_deep(
    equal: Standing, influxdb: InfluxServer, bucket: str, value: str
) -> None:
    influxdb.write(bucket, f"{PLACE} {value} {seconds(0)}\n".encode(), "s")

    assert equal.reconcile().differences == ()
    assert reasons(equal.reconcile(deep=True)) == [("00", {"changed": 1})]
    assert equal.reconcile(deep=True, fix=True).line.fixed == 1
    assert equal.reconcile(deep=True).differences == ()


EXTRA = {
    "a point": (f"{PLACE} share_ratio=0.5", 1.05, "01"),
    "the last nanosecond's neighbour": (f"{PLACE} share_ratio=0.5", 1.9999, "01"),
    "a tag that the catalogue lacks": (f"{PLACE},pod=a share_ratio=0.1", 3, "03"),
    "a field that the catalogue lacks": (f"{PLACE} other=0.5", 4, "04"),
    "a series": (
        "example,environment=production,method=DELETE share_ratio=0.5",
        5,
        "05",
    ),
}


@pytest.mark.promise(
    "Reconcile: an emptied bucket, a deleted hour, a changed value, an extra point and a pending hour are found and fixed"
)
@pytest.mark.parametrize(("line", "hour", "cell"), EXTRA.values(), ids=EXTRA.keys())
def test_one_extra_point(
    equal: Standing, influxdb: InfluxServer, bucket: str, line: str, hour: float, cell: str
) -> None:
    influxdb.write(bucket, f"{line} {seconds(hour)}\n".encode(), "s")

    assert reasons(equal.reconcile()) == [(cell, {"extra": 1})]
    fixed = equal.reconcile(fix=True)
    assert (fixed.line.state, fixed.line.fixed) == ("equal", 1)
    assert equal.reconcile(deep=True).differences == ()


@pytest.mark.promise(
    "Reconcile: `--fix` erases nothing that was never landed, has expired, or could not be written again"
)
def test_hours_that_were_never_landed_are_reported_and_left_alone(
    equal: Standing, influxdb: InfluxServer, bucket: str
) -> None:
    influxdb.write(bucket, f"{PLACE} share_ratio=0.5 {seconds(-100)}\n".encode(), "s")
    found = equal.reconcile(fix=True)

    assert (found.line.state, found.line.fixed) == ("differs", 0)
    (difference,) = found.differences
    assert difference.left == {"extra": 1}
    assert influxdb.count_values(bucket, "example") == 286


@pytest.mark.promise(
    "Reconcile: an emptied bucket, a deleted hour, a changed value, an extra point and a pending hour are found and fixed"
)
def test_a_pending_hour(equal: Standing) -> None:
    equal.collect(7)
    found = equal.reconcile()

    assert found.line.state == "pending"
    assert reasons(found) == [("06", {"pending": 48})]
    assert equal.reconcile(fix=True).line.state == "equal"
    assert equal.reconcile(deep=True).differences == ()
    assert owed(equal.bench.ledger, equal.sink.target, "example", "production") == []


def test_the_ledger_is_lost(equal: Standing) -> None:
    with equal.bench.ledger.transaction() as connection:
        connection.execute(delete(cells))
    erase(equal, 2, 2.9)
    assert reasons(equal.reconcile()) == [("02", {"missing": 48})]


def test_values_that_the_sink_no_longer_keeps(
    tmp_path: Path, influxdb: InfluxServer, make_bucket: Callable[..., str]
) -> None:
    bucket = make_bucket(retention_seconds=3600)
    with standing_at(tmp_path, service_at(influxdb, bucket)) as standing:
        standing.collect(1)
        expired = standing.reconcile(now=at(2))
        # it was never sent, and would be refused
        assert reasons(expired) == [("00", {"expired": 44})]
        assert expired.line.state == "equal"

        assert standing.replay().sinks["influxdb"].skipped_by_rule == 44
        found = standing.reconcile(now=at(2), fix=True)
        assert reasons(found) == [("00", {"expired": 44})]
        assert (found.line.state, found.line.fixed) == ("equal", 0)
        assert standing.bench.quarantined() == []


def test_influxdb_is_down(tmp_path: Path, make_influxdb: Callable[[], InfluxServer]) -> None:
    server = make_influxdb()
    with standing_at(tmp_path, service_at(server, server.make_bucket())) as standing:
        standing.collect(1)
        server.kill()
        line = standing.reconcile().line

    assert line.state == "failed"
    (problem,) = line.problems
    assert problem.startswith(f"influxdb at {server.url}: no answer")


def test_the_bucket_is_missing(tmp_path: Path, influxdb: InfluxServer) -> None:
    with standing_at(tmp_path, service_at(influxdb, "nobodys")) as standing:
        standing.collect(1)
        line = standing.reconcile().line

    assert line.state == "failed"
    assert "nobodys" in line.problems[0]


LINES = (
    f'latency,environment=production,room=a x="high",n=3i,s="a,b",ok=true {seconds(0.5)}\n'
    f"latency,environment=production,room=b\\ c n=4i {seconds(0.5)}\n"
    f"latency,environment=production n=5i,ok=false {seconds(0.5)}\n"
    f"latency,environment=staging n=6i {seconds(0.5)}\n"
)


def test_the_fake_answers_questions_as_the_real_one(influxdb: InfluxServer, bucket: str) -> None:
    influxdb.write(bucket, LINES.encode(), "s")
    with fake_influxdb(bucket=bucket, token=influxdb.token) as fake:
        write = {"org": "fedvitals", "bucket": bucket, "precision": "s"}
        head = {"Authorization": f"Token {influxdb.token}"}
        requests.post(f"{fake.url}/api/v2/write", LINES, params=write, headers=head, timeout=5)
        answers = []
        for url in (influxdb.url, fake.url):
            service = service_at(influxdb, bucket, url=url)
            with closing(InfluxReader(service, InfluxTuning(), deadline_seconds=0)) as reader:
                answers.append(
                    (
                        reader.counts(MIXED, "production", ALL_TIME, HOUR),
                        reader.sums(MIXED, "production", ALL_TIME, HOUR),
                        {
                            key: (each.kind, each.times.tolist(), each.values.tolist())
                            for key, each in reader.points(MIXED, "production", ALL_TIME).items()
                        },
                    )
                )
    assert answers[0] == answers[1]
    # a sum of texts is an error of the server, whose counts still tell
    (series,) = answers[0][1].values()
    assert {each.sum for each in series.values()} == {None}
    assert answers[0][0] == {cell(0): 7}
