from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from tasks.core.errors import SinkRefused, SinkUnavailable
from tasks.core.series import ALL_TIME, SeriesKey, SeriesSum
from tasks.core.services import InfluxTuning
from tasks.core.window import Window
from tasks.sinks.influxdb_read import InfluxReader
from tests.support.fakes.influxdb import FakeInfluxDB, Fault, fake_influxdb
from tests.support.sink_samples import HOUR, START, make_cell, make_measurement, service_of

MIXED = make_measurement(("room",), x="float", n="int", s="string", ok="bool")
SECOND = int(START.timestamp())
NANO = 1_000_000_000
A = (("environment", "production"), ("room", "a"))


@pytest.fixture
def fake() -> Iterator[FakeInfluxDB]:
    with fake_influxdb() as running:
        yield running


@contextmanager
def reader_of(fake: FakeInfluxDB, deadline: float = 0.0, **changes: Any) -> Iterator[InfluxReader]:
    reader = InfluxReader(service_of(fake, **changes), InfluxTuning(), deadline_seconds=deadline)
    try:
        yield reader
    finally:
        reader.close()


def put(fake: FakeInfluxDB, seconds: float, tags: dict[str, str], **fields: Any) -> None:
    """A point of latency so many seconds after START; production unless the tags say more."""
    whole = {"environment": "production", **tags}
    key = ("latency", tuple(sorted(whole.items())), SECOND * NANO + round(seconds * NANO))
    fake.points.setdefault(key, {}).update(fields)


def test_counts_values_by_cell(fake: FakeInfluxDB) -> None:
    put(fake, 0, {"room": "a"}, x=1.0, n=2)
    put(fake, 3599.999999999, {}, s="late")
    put(fake, 7200, {"room": "b"}, x=1.0)
    put(fake, 10, {"environment": "staging"}, x=1.0)
    with reader_of(fake) as reader:
        assert reader.counts(MIXED, "production", ALL_TIME, HOUR) == {
            make_cell(0): 3,
            make_cell(2): 1,
        }
        first = Window(START, START + HOUR)
        assert reader.counts(MIXED, "production", first, HOUR) == {make_cell(0): 3}
        assert reader.counts(MIXED, "nowhere", ALL_TIME, HOUR) == {}


def test_the_newest_point_of_a_field(fake: FakeInfluxDB) -> None:
    put(fake, 0.25, {"room": "a"}, s="first")
    put(fake, 60.5, {"room": "b"}, s="newest", x=1.0)
    put(fake, 90, {"room": "a"}, x=2.0)
    put(fake, 99, {"environment": "staging"}, s="other")
    with reader_of(fake) as reader:
        newest = START + timedelta(seconds=60.5)
        assert reader.last(MIXED, "production", "s", ALL_TIME) == (newest, "newest")
        before = Window(START, newest)
        assert reader.last(MIXED, "production", "s", before) == (
            START + timedelta(seconds=0.25), "first",
        )  # fmt: skip
        assert reader.last(MIXED, "production", "ok", ALL_TIME) is None


def test_sums_of_each_series_in_the_order_of_time(fake: FakeInfluxDB) -> None:
    for number, value in enumerate([1e16, 1.0, -1e16]):
        put(fake, number, {"room": "a"}, x=value, n=number, s="t", ok=True)
    with reader_of(fake) as reader:
        found = reader.sums(MIXED, "production", ALL_TIME, HOUR)
    # 1e16 + 1 is 1e16: another order, or fsum, would give 1
    assert found == {
        make_cell(0): {
            SeriesKey(A, "x"): SeriesSum(3, 0.0),
            SeriesKey(A, "n"): SeriesSum(3, 3),
            SeriesKey(A, "s"): SeriesSum(3, None),
            SeriesKey(A, "ok"): SeriesSum(3, None),
        }
    }


def test_what_cannot_be_summed_is_counted(fake: FakeInfluxDB) -> None:
    put(fake, 0, {"room": "a"}, x="a text")
    with reader_of(fake) as reader:
        found = reader.sums(MIXED, "production", ALL_TIME, HOUR)
    assert found == {make_cell(0): {SeriesKey(A, "x"): SeriesSum(1, None)}}


def test_points_of_every_type(fake: FakeInfluxDB) -> None:
    put(fake, 1, {"room": "a"}, x=0.1 + 0.2, n=2**63 - 1, s='a,"b"\r\n\r\nc', ok=True)
    put(fake, 0.000000001, {"room": "a"}, x=5e-324, s="", ok=False)
    with reader_of(fake) as reader:
        found = reader.points(MIXED, "production", ALL_TIME)
    both = [SECOND * NANO + 1, SECOND * NANO + NANO]
    assert {
        key.field: (points.kind, points.times.tolist(), points.values.tolist())
        for key, points in found.items()
    } == {
        "x": ("float", both, [5e-324, 0.1 + 0.2]),
        "n": ("int", both[1:], [2**63 - 1]),
        "s": ("string", both, ["", 'a,"b"\r\n\r\nc']),
        "ok": ("bool", both, [False, True]),
    }
    assert {key.tags for key in found} == {A}


def test_tags_that_a_series_lacks_or_has_more(fake: FakeInfluxDB) -> None:
    put(fake, 0, {}, x=1.0)
    put(fake, 0, {"room": "a", "pod": "p,1"}, x=2.0)
    with reader_of(fake) as reader:
        found = reader.points(MIXED, "production", ALL_TIME)
    assert {key.tags: points.values.tolist() for key, points in found.items()} == {
        (("environment", "production"),): [1.0],
        (("environment", "production"), ("pod", "p,1"), ("room", "a")): [2.0],
    }


NAMED_AS_COLUMNS = [
    {"table": "orders", "result": "success"},
    {"error": "timeout", "reference": "897"},
    {"error": "", "result": "_result", "annotation": "#datatype"},
]


@pytest.mark.parametrize("tags", NAMED_AS_COLUMNS, ids=lambda tags: "+".join(tags))
def test_a_tag_may_have_the_name_of_a_column_of_the_answer(
    fake: FakeInfluxDB, tags: dict[str, str]
) -> None:
    put(fake, 0, tags, x=1.0)
    put(fake, 0, {name: f"{text}2" for name, text in tags.items()}, x=2.0)
    with reader_of(fake) as reader:
        found = reader.points(MIXED, "production", ALL_TIME)
        sums = reader.sums(MIXED, "production", ALL_TIME, HOUR)[make_cell(0)]
        assert reader.counts(MIXED, "production", ALL_TIME, HOUR) == {make_cell(0): 2}
        assert reader.last(MIXED, "production", "x", ALL_TIME) is not None
    given = {"environment": "production", **{name: text for name, text in tags.items() if text}}
    assert SeriesKey(tuple(sorted(given.items())), "x") in found
    assert len(found) == len(sums) == 2
    assert {each.sum for each in sums.values()} == {1.0, 2.0}


NAMES = ['say "hi"', "back\\slash", "${now()}", 'x") |> drop(columns: ["_value"']


@pytest.mark.parametrize("name", NAMES)
def test_no_name_gets_out_of_its_literal(fake: FakeInfluxDB, name: str) -> None:
    put(fake, 0, {"environment": name}, x=1.0)
    put(fake, 0, {}, x=2.0)
    with reader_of(fake) as reader:
        (points,) = reader.points(MIXED, name, ALL_TIME).values()
    assert points.values.tolist() == [1.0]


def test_retention(fake: FakeInfluxDB) -> None:
    with reader_of(fake) as reader:
        assert reader.retention() is None
        fake.retention = timedelta(hours=1)
        assert reader.retention() == timedelta(hours=1)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "token": ({"token": SecretStr("other-secret")}, "HTTP 401"),
    "bucket": ({"bucket": "nobodys"}, "HTTP 404"),
    "organisation": ({"org": "nobodys"}, "HTTP 404"),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_says_what_to_fix(fake: FakeInfluxDB, changes: dict[str, Any], said: str) -> None:
    with reader_of(fake, **changes) as reader, pytest.raises(SinkRefused, match=said) as reported:
        reader.counts(MIXED, "production", ALL_TIME, HOUR)
    assert "let the token read the bucket" in str(reported.value)
    assert "other-secret" not in str(reported.value)


@pytest.mark.parametrize(
    "fault", [Fault(), Fault(status=500), Fault(status=429), Fault("cut"), Fault("die")]
)
def test_a_failure_is_asked_again_and_then_reported(fake: FakeInfluxDB, fault: Fault) -> None:
    put(fake, 0, {"room": "a"}, x=1.0)
    with reader_of(fake) as reader:
        fake.query_faults.append(fault)
        with pytest.raises(SinkUnavailable):
            reader.counts(MIXED, "production", ALL_TIME, HOUR)
    with reader_of(fake, deadline=5) as reader:
        fake.query_faults.append(fault)
        assert reader.counts(MIXED, "production", ALL_TIME, HOUR) == {make_cell(0): 1}


ERRORS = {
    "bare": "error,reference\r\nshard is gone,\r\n",
    "annotated": "#datatype,string,long\r\n,error,reference\r\n,shard is gone,897\r\n",
}


@pytest.mark.parametrize("text", ERRORS.values(), ids=ERRORS)
def test_an_error_table_is_known_by_its_whole_header(fake: FakeInfluxDB, text: str) -> None:
    with reader_of(fake) as reader:
        with pytest.raises(SinkRefused, match="shard is gone"):
            list(reader._rows(text.encode()))
        # the failing twin: the names are tags, behind the columns of every table
        data = (
            "#datatype,string,long,dateTime:RFC3339,long,string,string\r\n"
            ",result,table,_time,_value,error,reference\r\n"
            ",_result,0,2026-01-01T00:00:00Z,7,shard is gone,897\r\n"
        )
        (row,) = reader._rows(data.encode())
    assert (row.value, row.key.tags) == (7, (("error", "shard is gone"), ("reference", "897")))


@pytest.mark.parametrize("page", ["<html>", "<html>\n<body>Sign in, please</body>\n</html>"])
def test_a_page_is_no_answer_without_rows(fake: FakeInfluxDB, page: str) -> None:
    with reader_of(fake) as reader:
        with pytest.raises(SinkRefused, match="not the answer of an InfluxDB 2: <html>"):
            list(reader._rows(page.encode()))
        # the failing twin
        assert list(reader._rows(b"\r\n")) == []


def test_an_error_behind_good_rows_is_reported(fake: FakeInfluxDB) -> None:
    with reader_of(fake) as reader:
        text = (
            "#datatype,string,long,dateTime:RFC3339,long\r\n,result,table,_time,_value\r\n"
            ",_result,0,2026-01-01T00:00:00Z,240\r\n\r\n"
            "error,reference\r\nruntime error: shard is gone,897\r\n"
        )
        rows = reader._rows(text.encode())
        assert next(rows).value == 240
        with pytest.raises(SinkRefused, match="shard is gone"):
            next(rows)
