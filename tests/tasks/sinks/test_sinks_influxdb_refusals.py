import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tasks.core.receipt import SinkValues
from tests.fakes.influxdb import FakeInfluxDB, fake_influxdb
from tests.tasks.sinks.sink_samples import (
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


@pytest.mark.parametrize("version", ["2.9.1", "2.0"])
def test_lines_past_the_retention_are_refused_and_the_rest_loaded(version: Any) -> None:
    with fake_influxdb(version=version, retention=timedelta(days=1)) as fake:
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        old, new = make_cell(-48, now), make_cell(-1, now)
        per_room = [{"time": 60 * i, "room": room, "x": 1.0} for room in "abc" for i in range(10)]
        cells = [to_load(LATENCY, old, per_room), to_load(LATENCY, new, per_room)]
        answers = load_all(fake, cells)
    # all, then the oldest as many as were dropped, then the rest
    assert [(post.lines, post.status == 204) for post in fake.posts] == [
        (60, False), (30, False), (30, True),
    ]  # fmt: skip
    assert [answer.values for answer in answers] == [
        SinkValues(owed=30, refused=30),
        SinkValues(owed=30, loaded=30),
    ]
    assert answers[0].refusals["reason"].str.contains("retention policy").all()
    assert fake.count_values("latency") == 30


def test_a_post_that_is_refused_as_a_whole_is_sent_once(fake: FakeInfluxDB) -> None:
    fake.types["latency", "x"] = int
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), rows(240))])
    assert len(fake.posts) == 1
    assert answers[0].values == SinkValues(owed=240, refused=240)
    assert len(answers[0].refusals) == 240


@pytest.mark.promise("Loading: one bad line costs only itself")
@pytest.mark.parametrize("offenders", [1, 3])
def test_lines_that_cannot_be_parsed_are_found_by_halving(
    fake: FakeInfluxDB, offenders: int
) -> None:
    # the door keeps such tags out; should one ever pass, its neighbours must load
    content = [{"time": i, "room": f"r{i}", "x": float(i)} for i in range(256)]
    for i in np.linspace(10, 240, offenders).astype(int):
        content[i]["room"] = "ends in dropped=1\\"
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), content)])
    assert answers[0].values == SinkValues(owed=256, loaded=256 - offenders, refused=offenders)
    assert fake.count_values("latency") == 256 - offenders
    assert len(fake.posts) <= 1 + 2 * offenders * math.log2(256)
    assert answers[0].refusals["reason"].str.startswith("unable to parse 'latency,").all()


def test_a_long_answer_is_cut_short(fake: FakeInfluxDB) -> None:
    content = [{"time": 0, "room": "r" * 5000 + "\\", "x": 1.0}]
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), content)])
    (reason,) = answers[0].refusals["reason"]
    assert len(reason) == 300


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
