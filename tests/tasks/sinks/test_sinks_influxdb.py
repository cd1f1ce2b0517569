import math
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from pydantic import SecretStr

from tasks.core.errors import SinkRefused, SinkUnavailable
from tasks.core.ports import CellAnswer, CellToLoad, Sink
from tasks.core.receipt import SinkValues
from tests.support.fakes.influxdb import FakeInfluxDB, Fault, fake_influxdb
from tests.support.sink_samples import (
    LATENCY,
    START,
    load_all,
    make_cell,
    rows,
    service_of,
    sink_to,
    to_load,
)


@pytest.fixture
def fake() -> Iterator[FakeInfluxDB]:
    with fake_influxdb() as running:
        yield running


def test_loads_every_cell_in_one_post_and_stores_the_exact_values(fake: FakeInfluxDB) -> None:
    cells = [to_load(LATENCY, make_cell(i), [{"time": 0, "room": "a b", "x": 0.1 + i}, {"time": 15, "room": None, "x": -0.0}]) for i in range(2)]  # fmt: skip
    answers = load_all(fake, cells)
    assert [answer.values for answer in answers] == [SinkValues(owed=2, loaded=2)] * 2
    assert all(answer.error is None and answer.refusals.empty for answer in answers)
    start = int(START.timestamp()) * 1_000_000_000
    hour, step = 3600 * 1_000_000_000, 15 * 1_000_000_000
    no_room = (("environment", "production"),)
    room = (("environment", "production"), ("room", "a b"))
    assert fake.points == {
        ("latency", room, start): {"x": 0.1},
        ("latency", no_room, start + step): {"x": -0.0},
        ("latency", room, start + hour): {"x": 1.1},
        ("latency", no_room, start + hour + step): {"x": -0.0},
    }
    assert math.copysign(1, fake.points["latency", no_room, start + step]["x"]) == -1  # type: ignore[arg-type]
    assert [(post.lines, post.precision, post.status) for post in fake.posts] == [(4, "s", 204)]


def test_is_a_sink(fake: FakeInfluxDB) -> None:
    with sink_to(service_of(fake)) as sink:
        as_sink: Sink = sink
        assert as_sink.name == "influxdb"


def test_cuts_posts_at_lines(fake: FakeInfluxDB) -> None:
    cells = [to_load(LATENCY, make_cell(i), rows(5)) for i in range(2)]
    answers = load_all(fake, cells, lines_per_post=3)
    assert [post.lines for post in fake.posts] == [3, 2, 3, 2]
    assert [answer.values.loaded for answer in answers] == [5, 5]
    assert fake.count_values("latency") == 10


def test_small_cells_go_together_as_far_as_they_fit(fake: FakeInfluxDB) -> None:
    cells = [to_load(LATENCY, make_cell(i), rows(2)) for i in range(4)]
    answers = load_all(fake, cells, lines_per_post=5)
    assert [post.lines for post in fake.posts] == [4, 4]
    assert [answer.cell for answer in answers] == [cell.cell for cell in cells]


def test_compresses_when_reported(fake: FakeInfluxDB) -> None:
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), rows(100))], gzip=True)
    assert answers[0].values == SinkValues(owed=100, loaded=100)
    assert [(post.lines, post.is_gzip) for post in fake.posts] == [(100, True)]
    assert fake.posts[0].size < 2000


@pytest.mark.parametrize("more", [{"x": None}, {"x": float("nan")}])
def test_rows_without_values_are_loaded_by_sending_nothing(
    fake: FakeInfluxDB, more: dict[str, Any]
) -> None:
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), rows(3, **more))])
    assert answers[0].values == SinkValues()
    assert answers[0].error is None
    assert fake.requests == 0


def test_no_cells_give_no_answers(fake: FakeInfluxDB) -> None:
    assert load_all(fake, []) == []


def test_erases_the_cell_and_nothing_else_before_it_writes(fake: FakeInfluxDB) -> None:
    before = [to_load(LATENCY, make_cell(i), rows(240)) for i in range(3)]
    load_all(fake, before)
    staging = to_load(LATENCY, make_cell(1), rows(240), environment="staging")
    with sink_to(service_of(fake)) as sink:
        sink.load(LATENCY, "staging", [staging])
    kept = to_load(LATENCY, make_cell(1), rows(2), erase_first=True)
    answers = load_all(fake, [kept])
    assert answers[0].values == SinkValues(owed=2, loaded=2)
    assert fake.count_values("latency") == 240 + 2 + 240 + 240
    assert fake.deletes == [
        {
            "start": "2026-01-01T01:00:00.000000Z",
            "stop": "2026-01-01T01:59:59.999999999Z",
            "predicate": '_measurement="latency" AND environment="production"',
        }
    ]


def test_an_empty_cell_is_erased_and_loaded(fake: FakeInfluxDB) -> None:
    load_all(fake, [to_load(LATENCY, make_cell(0), rows(2))])
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), [], erase_first=True)])
    assert answers[0].values == SinkValues()
    assert answers[0].error is None
    assert fake.points == {}


def test_an_empty_cell_that_could_not_be_erased_is_pending(fake: FakeInfluxDB) -> None:
    fake.always = Fault(status=503)
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), [], erase_first=True)])
    assert answers[0].values == SinkValues()
    assert isinstance(answers[0].error, SinkUnavailable)


def test_an_environment_with_quotes_is_erased(fake: FakeInfluxDB) -> None:
    name = 'say "hi" \\ there'
    cell = to_load(LATENCY, make_cell(0), rows(2), environment=name)
    gone = CellToLoad(cell.cell, cell.frame.iloc[:0], erase_first=True)
    with sink_to(service_of(fake)) as sink:
        sink.load(LATENCY, name, [cell])
        assert fake.count_values("latency") == 2
        sink.load(LATENCY, name, [gone])
    assert fake.points == {}


RETRIED = {
    "503": Fault(status=503),
    "503 that says when": Fault(status=503, retry_after="0"),
    "429 that says when": Fault(status=429, retry_after=format_datetime(datetime.now(UTC))),
    "500": Fault(status=500, message="engine is closed"),
    "408": Fault(status=408),
    "answer cut off": Fault("cut"),
    "answer cut off after the work": Fault("cut", stores=True),
    "answer lost after the work": Fault(status=502, stores=True),
    "died": Fault("die"),
    "died after the work": Fault("die", stores=True),
}


@pytest.mark.parametrize("fault", RETRIED.values(), ids=RETRIED.keys())
def test_tries_again_and_stores_each_value_once(fake: FakeInfluxDB, fault: Fault) -> None:
    fake.faults = deque([fault])
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), rows(3))], deadline=10)
    assert answers[0].values == SinkValues(owed=3, loaded=3)
    assert fake.requests == 2
    assert fake.count_values("latency") == 3


@pytest.mark.parametrize("fault", RETRIED.values(), ids=RETRIED.keys())
def test_without_time_left_the_cell_stays_pending(fake: FakeInfluxDB, fault: Fault) -> None:
    fake.always = fault
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), rows(3))])
    assert answers[0].values == SinkValues(owed=3, pending=3)
    assert isinstance(answers[0].error, SinkUnavailable)
    assert fake.requests == 1


def test_waits_as_long_as_the_server_asks(fake: FakeInfluxDB) -> None:
    fake.faults = deque([Fault(status=503, retry_after="1")])
    began = time.monotonic()
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), rows(1))], deadline=10)
    assert time.monotonic() - began >= 1
    assert answers[0].values.loaded == 1


def test_does_not_wait_when_the_server_asks_for_more_than_there_is(fake: FakeInfluxDB) -> None:
    fake.always = Fault(status=503, message="busy", retry_after="3600")
    began = time.monotonic()
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), rows(1))], deadline=10)
    assert time.monotonic() - began < 5
    assert fake.requests == 1
    assert str(answers[0].error) == (
        f"influxdb at {fake.url}: HTTP 503: busy. The data stays pending; the next run loads it"
    )


def test_after_a_post_that_was_given_up_nothing_more_is_sent(fake: FakeInfluxDB) -> None:
    fake.faults = deque([None, None])
    fake.always = Fault(status=503)
    cells = [to_load(LATENCY, make_cell(i), rows(2)) for i in range(4)]
    answers = load_all(fake, cells, lines_per_post=2)
    assert fake.requests == 3
    assert [answer.values for answer in answers] == [
        SinkValues(owed=2, loaded=2),
        SinkValues(owed=2, loaded=2),
        SinkValues(owed=2, pending=2),
        SinkValues(owed=2, pending=2),
    ]
    assert [answer.error is None for answer in answers] == [True, True, False, False]


def test_a_cell_with_one_pending_line_is_pending_as_a_whole(fake: FakeInfluxDB) -> None:
    fake.faults = deque([None])
    fake.always = Fault(status=503)
    fake.retention = timedelta(days=36500)
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), rows(5))], lines_per_post=3)
    assert answers[0].values == SinkValues(owed=5, pending=5)
    assert fake.count_values("latency") == 3


def test_the_deadline_is_shared_by_all_posts_of_a_load(fake: FakeInfluxDB) -> None:
    slow = Fault(status=503, retry_after="0.0")
    asked = Fault(status=503, retry_after="1")
    fake.faults = deque([asked, None, asked, None])
    fake.always = slow
    answers = load_all(
        fake, [to_load(LATENCY, make_cell(0), rows(2))], lines_per_post=1, deadline=1.8
    )
    # the first post lost a second; the second post may not lose another one
    assert fake.requests == 3
    assert answers[0].values == SinkValues(owed=2, pending=2)


def test_a_server_that_is_down_costs_one_wait(fake: FakeInfluxDB) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        cells = [to_load(LATENCY, make_cell(0), rows(2))]
        took = []
        with sink_to(service_of(fake, url=url), deadline=1.0) as sink:
            for _ in range(3):
                began = time.monotonic()
                (answer,) = sink.load(LATENCY, "production", cells)
                took.append(time.monotonic() - began)
                assert answer.values == SinkValues(owed=2, pending=2)
                assert isinstance(answer.error, SinkUnavailable)
                assert "Connection refused" in str(answer.error)
    assert took[0] > 0.2
    assert max(took[1:]) < 0.2


def test_a_silent_server_is_left_after_the_timeout(fake: FakeInfluxDB) -> None:
    fake.always = Fault("hang")
    cells = [to_load(LATENCY, make_cell(0), rows(2))]
    began = time.monotonic()
    answers = load_all(fake, cells, timeout=timedelta(seconds=0.3), deadline=0.2)
    assert time.monotonic() - began < 5
    assert fake.requests == 1
    assert answers[0].values == SinkValues(owed=2, pending=2)
    assert "timed out" in str(answers[0].error).lower()


def test_retries_are_back_once_the_server_has_answered(fake: FakeInfluxDB) -> None:
    busy = Fault(status=503, retry_after="0")
    cells = [to_load(LATENCY, make_cell(0), rows(1))]
    with sink_to(service_of(fake), deadline=5) as sink:
        fake.always = Fault(status=503, retry_after="3600")
        assert sink.load(LATENCY, "production", cells)[0].values.pending == 1
        fake.always = None
        fake.faults = deque([busy])
        assert sink.load(LATENCY, "production", cells)[0].values.pending == 1
        assert sink.load(LATENCY, "production", cells)[0].values.loaded == 1
        fake.faults = deque([busy])
        assert sink.load(LATENCY, "production", cells)[0].values.loaded == 1


REFUSED = {
    "bad token": ({}, {"token": SecretStr("secret-of-ours")}, 401, "INFLUXDB_TOKEN"),
    "may not write": ({"may_write": False}, {}, 403, "INFLUXDB_TOKEN"),
    "no bucket": ({"bucket": None}, {}, 404, "fedvitals doctor --create"),
    "no organisation": ({"org": "another"}, {}, 404, "INFLUXDB_ORG"),
    "no token": ({}, {"token": None}, 401, "INFLUXDB_TOKEN"),
    "not an InfluxDB": ({"always": Fault(status=200)}, {}, 200, "INFLUXDB_URL"),
    "moved": ({"always": Fault(status=301)}, {}, 301, "INFLUXDB_URL"),
    "unknown request": ({"always": Fault(status=400)}, {}, 400, "INFLUXDB_URL"),
    "unknown path": ({"always": Fault(status=404)}, {}, 404, "INFLUXDB_URL"),
}


@pytest.mark.parametrize("erase_first", [False, True])
@pytest.mark.parametrize(
    ("knobs", "changes", "status", "fix"), REFUSED.values(), ids=REFUSED.keys()
)
def test_what_needs_fixing_leaves_all_pending_and_is_asked_once(
    knobs: dict[str, Any], changes: dict[str, Any], status: int, fix: str, erase_first: bool
) -> None:
    with fake_influxdb(**knobs) as fake:
        service = service_of(fake, **changes)
        cells = [to_load(LATENCY, make_cell(i), rows(2), erase_first=erase_first) for i in range(2)]
        with sink_to(service, deadline=10, lines_per_post=1) as sink:
            answers = sink.load(LATENCY, "production", cells)
    assert fake.requests == 1
    assert fake.points == {}
    for answer in answers:
        assert answer.values == SinkValues(owed=2, pending=2)
        assert isinstance(answer.error, SinkRefused)
        assert answer.error.status == status
        assert fix in str(answer.error)
        assert "secret-of-ours" not in str(answer.error)
        assert fake.token not in str(answer.error)


@pytest.mark.parametrize("status", [400, 422, 403, 503])
def test_a_token_that_the_server_echoes_is_hidden(fake: FakeInfluxDB, status: int) -> None:
    fake.always = Fault(status=status, message=f"unable to parse 'Token {fake.token}'")
    answers = load_all(fake, [to_load(LATENCY, make_cell(0), rows(1))])
    said = f"{answers[0].error} {answers[0].refusals.to_dict()}"
    assert "Token ***" in said
    assert fake.token not in said


def test_two_threads_load_at_once(fake: FakeInfluxDB) -> None:
    together = threading.Barrier(2)
    answers: dict[int, list[CellAnswer]] = {}
    with sink_to(service_of(fake), lines_per_post=20) as sink:

        def work(number: int) -> None:
            cells = [to_load(LATENCY, make_cell(number * 10 + i), rows(50)) for i in range(4)]
            together.wait(5)
            answers[number] = sink.load(LATENCY, "production", cells)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert [answer.values.loaded for number in range(2) for answer in answers[number]] == [50] * 8
    assert fake.count_values("latency") == 400
