"""Reconcile with a fake InfluxDB that fails in the middle; the rest is reported with a real one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fakes.influxdb import FakeInfluxDB, Fault, fake_influxdb
from tests.support.lake_and_sink import Standing, reasons, standing_at
from tests.support.ledger_behaviours import owed
from tests.support.sink_samples import service_of
from tests.support.workbench import at


@pytest.fixture
def fake() -> Iterator[FakeInfluxDB]:
    with fake_influxdb() as running:
        yield running


@pytest.fixture
def equal(tmp_path: Path, fake: FakeInfluxDB) -> Iterator[Standing]:
    """Two hours, in the lake and in the bucket."""
    with standing_at(tmp_path, service_of(fake)) as standing:
        standing.collect(2)
        standing.replay()
        yield standing


def test_equal_sides(equal: Standing) -> None:
    assert equal.reconcile().line.state == "equal"
    assert equal.reconcile(deep=True).differences == ()


def test_equal_sides_take_no_lock(equal: Standing) -> None:
    with equal.locks.hold("example", "production", "other"):
        assert equal.reconcile().line.state == "equal"


def test_a_difference_is_looked_at_under_the_lock(equal: Standing, fake: FakeInfluxDB) -> None:
    fake.points.pop(next(iter(fake.points)))
    with equal.locks.hold("example", "production", "other"):
        line = equal.reconcile(fix=True).line
    assert line.state == "failed"
    assert "is locked by run other" in line.problems[0]


@pytest.mark.slow
@pytest.mark.promise("Reconcile: a failed fix leaves the cell pending")
def test_fixing_that_fails_leaves_it_pending(equal: Standing, fake: FakeInfluxDB) -> None:
    fake.points.pop(next(iter(fake.points)))
    fake.always = Fault()
    found = equal.reconcile(fix=True)

    assert (found.line.state, found.line.fixed) == ("pending", 0)
    (difference,) = found.differences
    assert difference.reasons == {"missing": 4}
    assert difference.left == {"pending": 4}
    assert "unavailable" in found.line.problems[0]
    # so that the next run loads it, though it was loaded once
    (state,) = owed(equal.bench.ledger, equal.sink.target, "example", "production")
    assert state.cell.start == at(0)


@pytest.mark.slow
def test_fixing_erases_only_where_the_sink_has_more(equal: Standing, fake: FakeInfluxDB) -> None:
    fake.points.pop(next(iter(fake.points)))
    equal.reconcile(fix=True)
    assert fake.deletes == []

    key = next(iter(fake.points))
    fake.points[key]["share_ratio"] = 0.77
    equal.reconcile(fix=True)
    (deleted,) = fake.deletes
    assert deleted["predicate"] == '_measurement="example" AND environment="production"'
    assert equal.reconcile(deep=True).differences == ()


def test_without_fix_nothing_is_written(equal: Standing, fake: FakeInfluxDB) -> None:
    fake.points.pop(next(iter(fake.points)))
    posts = len(fake.posts)
    assert reasons(equal.reconcile()) == [("00", {"missing": 4})]
    assert (len(fake.posts), fake.deletes) == (posts, [])


@pytest.mark.promise(
    "Reconcile: `--fix` erases nothing that was never landed, has expired, or could not be written again"
)
def test_what_is_older_than_the_bucket_keeps_is_never_erased(
    equal: Standing, fake: FakeInfluxDB
) -> None:
    key = next(iter(fake.points))
    fake.points[key]["share_ratio"] = 0.77
    fake.retention = at(10) - at(0)
    found = equal.reconcile(fix=True, now=at(11))

    assert (found.line.state, found.line.fixed, fake.deletes) == ("differs", 0, [])
    assert reasons(found) == [("00", {"changed": 1})]


def test_a_reader_that_fails_is_a_problem_of_the_measurement(
    equal: Standing, fake: FakeInfluxDB
) -> None:
    # the counts are answered, the first sums are not
    fake.query_faults.extend([None, Fault()])
    line = equal.reconcile().line
    assert (line.state, line.differing) == ("failed", 0)
    assert "HTTP 503" in line.problems[0]
