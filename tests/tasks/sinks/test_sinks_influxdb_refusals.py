import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tasks.core.receipt import SinkValues
from tasks.sinks import influxdb
from tests.support.fakes.influxdb import FakeInfluxDB, fake_influxdb
from tests.support.sink_samples import (
    LATENCY,
    load_all,
    make_cell,
    make_measurement,
    rows,
    service_of,
    sink_to,
    to_load,
)

TWO_FIELDS = make_measurement(("room",), x="float", n="int")


@pytest.fixture
def fake() -> Iterator[FakeInfluxDB]:
    with fake_influxdb() as running:
        yield running


@pytest.mark.parametrize("version", ["2.9.1", "2.0"])
def test_a_field_of_another_type_refuses_just_its_lines(version: Any) -> None:
    with fake_influxdb(version=version, types={("latency", "n"): float}) as fake:
        content = [{"time": i, "room": "a", "x": 1.5, "n": i if i % 3 == 0 else None} for i in range(9)]  # fmt: skip
        with sink_to(service_of(fake)) as sink:
            (answer,) = sink.load(
                TWO_FIELDS, "production", [to_load(TWO_FIELDS, make_cell(0), content)]
            )
    # all, then the lines with the field, then those without it
    assert [post.lines for post in fake.posts] == [9, 3, 6]
    assert answer.values == SinkValues(owed=12, loaded=6, refused=6)
    assert answer.error is None
    assert fake.count_values("latency") == 6
    found = answer.refusals
    assert sorted(zip(found["field"], found["number"], strict=True)) == [
        ("n", 0.0), ("n", 3.0), ("n", 6.0), ("x", 1.5), ("x", 1.5), ("x", 1.5),
    ]  # fmt: skip
    assert set(found["stage"]) == {"sink"}
    assert set(found["scope"]) == {"value"}
    assert set(found["check_id"]) == {"influxdb_refused"}
    assert set(found["tags"]) == {'{"room": "a"}'}
    (reason,) = set(found["reason"])
    assert 'field type conflict: input field "n" on measurement "latency" is type integer' in reason


TOO_OLD = "skips values older than its bucket fedvitals keeps"


@pytest.mark.parametrize("version", ["2.9.1", "2.0"])
@pytest.mark.parametrize("shown", [True, False])
def test_lines_past_the_retention_are_skipped_and_the_rest_loaded(
    version: Any, shown: bool
) -> None:
    with fake_influxdb(version=version, retention=timedelta(days=1), shown=shown) as fake:
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        old, new = make_cell(-48, now), make_cell(-1, now)
        per_room = [{"time": 60 * i, "room": room, "x": 1.0} for room in "abc" for i in range(10)]
        cells = [to_load(LATENCY, old, per_room), to_load(LATENCY, new, per_room)]
        answers = load_all(fake, cells)
    # else all, then the oldest as many as were dropped, then the rest
    refused = [] if shown else [(60, False), (30, False)]
    assert [(post.lines, post.status == 204) for post in fake.posts] == [*refused, (30, True)]
    assert [(answer.values, answer.skipped, len(answer.refusals)) for answer in answers] == [
        (SinkValues(owed=30, skipped_by_rule=30), TOO_OLD, 0),
        (SinkValues(owed=30, loaded=30), "", 0),
    ]
    assert fake.count_values("latency") == 30


def test_a_post_that_is_refused_as_a_whole_is_sent_once(fake: FakeInfluxDB) -> None:
    fake.types["latency", "x"] = int
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), rows(240))])
    assert len(fake.posts) == 1
    assert answers[0].values == SinkValues(owed=240, refused=240)
    assert len(answers[0].refusals) == 240


# name of the measurement, tags, separator of four and the field's name, up to the tag's value
KEY = len("latency,environment=production,room=") + 4 + len("x")
UNWRITABLE = {
    "C:\\": "tag_trailing_backslash",
    "a\nb": "tag_line_break",
    "a\rb": "tag_line_break",
    "a\n\\": "tag_trailing_backslash",
    "a" * (65_536 - KEY): "series_key_too_long",
    # each is escaped, and a letter of two bytes
    "=" * 32_000 + "é" * 1000: "series_key_too_long",
}
WRITABLE = ["C:\\x", "a\tb", "a\x1bb", "a" * (65_535 - KEY), "=" * 32_000]


@pytest.mark.parametrize(
    ("room", "check_id"), UNWRITABLE.items(), ids=[repr(room[:9]) for room in UNWRITABLE]
)
def test_what_no_line_can_express_is_refused_without_a_post(
    fake: FakeInfluxDB, room: str, check_id: str
) -> None:
    content = [*rows(3), *rows(2, room=room), *rows(1, room="b")]
    cells = [to_load(LATENCY, make_cell(hour), content) for hour in range(2)]
    answers = load_all(fake, cells)

    # one post, of nothing but what can be written
    assert [post.lines for post in fake.posts] == [8]
    for answer in answers:
        assert (answer.values, answer.error) == (SinkValues(owed=6, loaded=4, refused=2), None)
        found = answer.refusals
        assert set(zip(found["stage"], found["scope"], found["check_id"], strict=True)) == {
            ("sink", "value", check_id)
        }
        assert {json.loads(tags)["room"] for tags in found["tags"]} == {room}
        assert found["reason"].str.contains("tag room|65535 bytes").all()
    assert fake.count_values("latency") == 8


@pytest.mark.parametrize("room", WRITABLE, ids=[repr(room[:9]) for room in WRITABLE])
def test_what_a_line_can_express_is_sent(fake: FakeInfluxDB, room: str) -> None:
    (answer,) = load_all(fake, [to_load(LATENCY, make_cell(0), rows(2, room=room))])
    assert answer.values == SinkValues(owed=2, loaded=2)
    assert {dict(tags)["room"] for _, tags, _ in fake.points} == {room}


def test_a_key_is_as_long_as_the_fields_of_its_row(fake: FakeInfluxDB) -> None:
    wide = make_measurement(("room",), x="float", longer="float")
    room = "a" * (65_535 - KEY)
    content = [{"time": 0, "room": room, "x": 1.0}, {"time": 15, "room": room, "longer": 2.0}]
    with sink_to(service_of(fake)) as sink:
        (answer,) = sink.load(wide, "production", [to_load(wide, make_cell(0), content)])
    assert answer.values == SinkValues(owed=2, loaded=1, refused=1)
    assert answer.refusals["field"].tolist() == ["longer"]


def test_a_load_of_nothing_that_can_be_written_posts_nothing(fake: FakeInfluxDB) -> None:
    (answer,) = load_all(fake, [to_load(LATENCY, make_cell(0), rows(4, room="C:\\"))])
    assert answer.values == SinkValues(owed=4, refused=4)
    assert not fake.posts


@pytest.mark.promise("Loading: one bad line costs only itself")
@pytest.mark.parametrize("offenders", [1, 3])
def test_lines_that_cannot_be_parsed_are_found_by_halving(
    fake: FakeInfluxDB, monkeypatch: pytest.MonkeyPatch, offenders: int
) -> None:
    # such tags are not sent; should one ever be, its neighbours must load
    monkeypatch.setattr(influxdb, "unwritable", lambda *_: ())
    content = [{"time": i, "room": f"r{i}", "x": float(i)} for i in range(256)]
    for i in np.linspace(10, 240, offenders).astype(int):
        content[i]["room"] = "ends in dropped=1\\"
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), content)])
    assert answers[0].values == SinkValues(owed=256, loaded=256 - offenders, refused=offenders)
    assert fake.count_values("latency") == 256 - offenders
    assert len(fake.posts) <= 1 + 2 * offenders * math.log2(256)
    assert answers[0].refusals["reason"].str.startswith("unable to parse 'latency,").all()


def test_a_long_answer_is_cut_in_its_middle(
    fake: FakeInfluxDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influxdb, "unwritable", lambda *_: ())
    content = [{"time": 0, "room": "r" * 5000 + "\\", "x": 1.0}]
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), content)])
    (reason,) = answers[0].refusals["reason"]
    assert len(reason) == 300
    assert reason.startswith("unable to parse 'latency,environment=production,room=rrr")
    # the cause stands at the end
    assert " … " in reason
    assert reason.endswith("': invalid tag format")


def test_a_post_that_is_too_large_is_halved(fake: FakeInfluxDB) -> None:
    fake.most_bytes = 1000
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), rows(100))])
    assert answers[0].values == SinkValues(owed=100, loaded=100)
    assert fake.count_values("latency") == 100
    assert {post.status for post in fake.posts} == {204, 413}


def test_a_line_that_is_too_large_alone_is_refused(fake: FakeInfluxDB) -> None:
    fake.most_bytes = 1000
    content = [{"time": 0, "room": "r" * 2000, "x": 1.0}, {"time": 15, "room": "a", "x": 2.0}]
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), content)])
    assert answers[0].values == SinkValues(owed=2, loaded=1, refused=1)
    assert list(answers[0].refusals["number"]) == [1.0]
