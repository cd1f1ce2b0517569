"""Datadog: what is sent, cut and packed how, and what its answers mean."""

import json
import random
import string
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer

from tasks.core import plugins
from tasks.core.catalogue import Catalogue
from tasks.core.errors import SinkRefused, SinkUnavailable
from tasks.core.metric_services import DatadogTuning, Metric
from tasks.core.ports import CellAnswer, CellToLoad, Opening
from tasks.core.receipt import SinkValues
from tasks.core.services import DatadogService
from tasks.core.settings import load_settings, shipped
from tasks.core.window import Cell, floor
from tasks.runs.base import registry
from tasks.sinks import datadog
from tasks.sinks.datadog import DatadogSink, check
from tasks.sinks.metrics_sink import Prepared, Unfit
from tasks.sinks.points import Point
from tests.support.fakes.datadog import API_KEY, APP_KEY, SERIES, FakeDatadog, Fault, points_of
from tests.support.sink_samples import make_frame, make_measurement

MEASUREMENT = make_measurement(("room",), x="float", y="float")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
# whole steps, the newest a minute old
END = floor(datetime.now(UTC), MINUTE) - MINUTE
SEND = {"latency.x": Metric(name="x.there"), "latency.y": Metric(name="y.there", unit="second")}


@pytest.fixture
def fake(httpserver: HTTPServer) -> FakeDatadog:
    return FakeDatadog(httpserver)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of a few points."""
    monkeypatch.setattr(datadog, "MOST_SENT", 250)


def sink_to(service: DatadogService, deadline: float = 0.0, **tuning: Any) -> DatadogSink:
    return DatadogSink(service, DatadogTuning(**{"send": SEND, **tuning}), deadline)


def cell(minutes: int, *, until: datetime = END, sent_until: datetime | None = None) -> CellToLoad:
    """x and y once a minute, counted from 0, up to `until`."""
    start = until - minutes * MINUTE
    rows = [
        {"time": start.timestamp() + 60 * n, "room": "a", "x": float(n), "y": n / 7}
        for n in range(minutes)
    ]
    frame = make_frame(MEASUREMENT, rows)
    return CellToLoad(Cell(start, until), frame, sent_until=sent_until)


def load(sink: DatadogSink, *cells: CellToLoad) -> CellAnswer:
    """The whole answer of the last cell."""
    answers = list(sink.load(MEASUREMENT, "production", list(cells)))
    return next(each for each in answers if each.is_whole and each.cell == cells[-1].cell)


def test_each_series_is_sent_once_with_its_points(fake: FakeDatadog) -> None:
    answer = load(
        sink_to(fake.service(), tags={"environment": "environment", "room": "at"}), cell(3)
    )
    assert answer.values == SinkValues(owed=6, loaded=6)
    (request,) = fake.asked
    assert request.headers["Content-Encoding"] == "deflate"
    series = json.loads(zlib.decompress(request.data))["series"]
    start = int((END - 3 * MINUTE).timestamp())
    points = [{"timestamp": start + 60 * n, "value": float(n)} for n in range(3)]
    tags = ["environment:production", "at:a"]
    assert series[0] == {"metric": "x.there", "type": 3, "tags": tags, "points": points}
    assert (series[1]["metric"], series[1]["unit"]) == ("y.there", "second")
    assert len(fake.taken) == 6


def test_the_shipped_settings_send_the_guides_names_and_units(fake: FakeDatadog) -> None:
    settings = load_settings({"FEDVITALS_CONFIG": str(shipped("config"))})
    kind = registry.find(plugins.SINKS, "datadog")
    sink = kind.open(Opening(fake.service(), timedelta(), settings.sinks["datadog"]))
    for measurement in Catalogue.read(shipped("config") / "metrics.yaml").values():
        if measurement.name == "fl_progress":
            row = {"time": END.timestamp(), "active_clients": 9, "accuracy_ratio": 0.95}
            frame = make_frame(measurement, [row])
            list(sink.load(measurement, "production", [CellToLoad(Cell(END, END + HOUR), frame)]))
    tags, moment = ("environment:production",), int(END.timestamp())
    assert fake.taken == [
        ("fed_vit_autorl.active_clients", tags, moment, 9.0),
        ("fed_vit_autorl.training_accuracy", tags, moment, 0.95),
    ]


def test_it_needs_no_library_but_a_key() -> None:
    on = load_settings({"DATADOG_API_KEY": API_KEY})
    off = load_settings({"DATADOG_URL": "https://api.datadoghq.eu"})
    tuning = {"datadog": DatadogTuning(enabled=True)}
    reasons = []
    for each in (on, off):
        object.__setattr__(each, "sinks", tuning)
        environment = each.environment(None)
        reasons.append(registry.why_off(plugins.SINKS, "datadog", each, environment))
    assert on.environment(None).services["datadog"].url == "https://api.datadoghq.com"
    assert reasons[0] is None
    assert "DATADOG_API_KEY" in str(reasons[1])


@pytest.mark.parametrize("name", ["9lives", "a b", "a" * 201, "é", "_x"])
def test_a_name_that_datadog_would_change_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"send\.latency\.x\.name is"):
        DatadogTuning(send={"latency.x": Metric(name=name)})
    assert DatadogTuning(send={"latency.x": Metric(name="a" * 200), "latency": Metric()})


OLD = cell(30, until=END - 2 * HOUR)


def test_what_is_too_old_is_skipped_and_counted(fake: FakeDatadog) -> None:
    sink = sink_to(fake.service())
    old = load(sink, cell(2), OLD)
    assert old.values == SinkValues(owed=60, skipped_by_rule=60)
    assert (len(fake.taken), fake.dropped) == (4, [])


def test_old_points_go_where_the_account_takes_them(fake: FakeDatadog) -> None:
    fake.historical = {"x.there"}
    sink = sink_to(fake.service(app_key=APP_KEY))
    values = load(sink, cell(2), OLD).values
    assert values == SinkValues(owed=60, loaded=30, skipped_by_rule=30)
    assert (len(fake.taken), fake.dropped) == (34, [])
    load(sink, cell(1, until=OLD.cell.start))
    # asked once a metric, and with the second key only there
    asked = [request for request in fake.asked if request.path != SERIES]
    assert len(asked) == 2
    posts = [request for request in fake.asked if request.path == SERIES]
    assert not any("DD-APPLICATION-KEY" in request.headers for request in posts)
    # fresh or old: what was sent is not sent again
    again = sink_to(fake.service(app_key=APP_KEY))
    load(again, cell(30, until=END - 2 * HOUR, sent_until=END - 2 * HOUR))
    assert len(fake.taken) == 35


def test_without_the_permission_old_points_are_skipped_with_a_warning(
    fake: FakeDatadog, caplog: pytest.LogCaptureFixture
) -> None:
    fake.historical, fake.may_read = {"x.there"}, False
    values = load(sink_to(fake.service(app_key=APP_KEY)), cell(2), OLD).values
    assert values == SinkValues(owed=60, skipped_by_rule=60)
    assert len(fake.taken) == 4
    assert "metrics_read" in caplog.text
    assert APP_KEY not in caplog.text


PASSING = [Fault(408), Fault(500), Fault(503), Fault(202, '{"errors":["try later"]}')]
PASSING += [Fault(429, headers={"X-RateLimit-Reset": "0"})]
PASSING += [Fault(202, "<html>a proxy's</html>"), Fault(429, headers={"Retry-After": "0"})]


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_tried_again(fake: FakeDatadog, fault: Fault) -> None:
    fake.faults = [fault]
    answer = load(sink_to(fake.service()), cell(2))
    assert isinstance(answer.error, SinkUnavailable)
    assert answer.values == SinkValues(owed=4, pending=4)
    assert answer.error.retry_after == (0 if fault.headers else None)
    fake.faults = [fault]
    assert load(sink_to(fake.service(), deadline=5.0), cell(2)).values.loaded == 4
    assert len(fake.taken) == 4


@pytest.mark.parametrize("status", [400, 403, 404, 302])
def test_what_will_be_refused_again_is_not_tried_again(fake: FakeDatadog, status: int) -> None:
    said = json.dumps({"errors": [f"no {API_KEY} and {APP_KEY}"]})
    fake.faults = [Fault(status, said)]
    error = load(sink_to(fake.service(app_key=APP_KEY), deadline=5.0), cell(2)).error
    assert isinstance(error, SinkRefused)
    assert (error.status, error.problem) == (status, "no *** and ***")
    assert "DATADOG_API_KEY" in error.fix
    assert len(fake.asked) == 1


def test_a_request_that_is_too_large_there_is_halved(fake: FakeDatadog) -> None:
    fake.most_sent = 170
    fake.faults = [None, Fault(503)]
    values = load(sink_to(fake.service(), deadline=5.0), cell(20)).values
    assert values == SinkValues(owed=40, loaded=40)
    # another try posts only what was not taken
    assert Counter(fake.taken).most_common(1)[0][1] == 1
    assert max(fake.sizes) > fake.most_sent


def test_a_point_that_is_too_large_there_is_quarantined(fake: FakeDatadog) -> None:
    fake.most_sent = 115
    tags = {"environment": "a_name_that_makes_the_request_larger", "room": "room"}
    x = load(sink_to(fake.service(), send={"latency.x": SEND["latency.x"]}), cell(1))
    assert x.values.loaded == 1
    both = load(sink_to(fake.service(), tags=tags), cell(1))
    assert both.values == SinkValues(owed=2, refused=2)
    assert set(both.refusals["reason"]) == {"HTTP 413: Payload too large"}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("ending", ["error", "kill"])
def test_what_ends_a_load_midway_doubles_no_more_than_one_request(
    fake: FakeDatadog, ending: str
) -> None:
    # taken, and its answer lost
    fake.faults = [None, None, Fault(504, stores=True)]
    answers = sink_to(fake.service()).load(MEASUREMENT, "production", [cell(50)])
    if ending == "kill":
        told = [next(answers) for _ in range(2)]
        fake.faults = []
    else:
        told = list(answers)
        assert isinstance(told[-1].error, SinkUnavailable)
    until, taken = told[-1].sent_until, len(fake.taken)
    rest = load(sink_to(fake.service()), cell(50, sent_until=until))
    counts = Counter(fake.taken)
    assert len(counts) == 100
    doubled = sum(counts.values()) - 100
    assert rest.values.pending == 0
    if ending == "kill":
        # a request may end between the two series of a step
        assert doubled <= 1
    else:
        assert 0 < doubled < taken / 2


def test_the_refused_key_is_read_again(fake: FakeDatadog, tmp_path: Any) -> None:
    (tmp_path / "key").write_text(API_KEY)
    service = fake.service("0ld").model_copy(update={"token_file": tmp_path / "key"})
    assert load(sink_to(service), cell(1)).values.loaded == 2
    assert isinstance(load(sink_to(fake.service("0ld")), cell(1)).error, SinkRefused)


def test_doctor_checks_the_keys_without_a_point(fake: FakeDatadog) -> None:
    (plain,) = check(fake.service())
    assert (plain.ok, plain.detail.endswith("are skipped")) == (True, True)
    fake.historical = {"fed_vit_autorl.active_clients"}
    (both,) = check(fake.service(app_key=APP_KEY))
    assert (both.ok, both.detail.endswith("are taken")) == (True, True)
    for wrong in (fake.service("0ther"), fake.service(app_key="0ther")):
        (bad,) = check(wrong)
        assert (bad.ok, bad.detail) == (False, "Forbidden")
    gone = fake.service().model_copy(update={"url": "http://127.0.0.1:9"})
    (bad,) = check(gone)
    assert (bad.ok, bad.fix) == (False, "Check that DATADOG_URL is right and reachable")
    assert not any(request.path == SERIES for request in fake.asked)


def label(chance: random.Random, longest: int) -> str:
    return "".join(chance.choices(string.ascii_letters, k=chance.randint(1, longest)))


@st.composite
def batches(draw: st.DrawFn) -> list[Point]:
    """Points by time of some series, a few of them with what no request can hold."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    count, steps = draw(st.sampled_from([1, 5, 30])), draw(st.sampled_from([0, 1, 20, 90]))
    longest, is_round = draw(st.sampled_from([1, 40])), draw(st.booleans())
    series = [(label(chance, 5), label(chance, longest) + str(n)) for n in range(count)]
    return [
        point_of(labels, 60 * step, chance.choice([1.0, 2.0]) if is_round else chance.random())
        if chance.random() < 0.99
        else point_of((labels[0], "z" * 201), 60 * step, 1.0)
        for step in range(steps)
        for labels in series
        if chance.random() < 0.9
    ]


def point_of(labels: tuple[str, str], moment: int, value: float) -> Point:
    values, rows = np.array([value]), np.array([0])
    return Point(0, SEND["latency.y"], "y", (labels,), moment, values, rows)


def requests_of(points: Sequence[Point]) -> list[Prepared | Unfit]:
    return list(sink_to(DatadogService(url="http://127.0.0.1:9", origin="")).prepare(points))


def taken_of(points: Sequence[Point]) -> Counter[Any]:
    rows = ((p.metric.name, tuple(":".join(x) for x in p.labels), p.time, p.value) for p in points)
    return Counter(rows)


@settings(max_examples=40)
@given(batches())
def test_any_batch_is_cut_within_the_limits_and_nothing_is_lost(points: list[Point]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datadog, "MOST_SENT", 8_000)
        patch.setattr(datadog, "MOST_UNPACKED", 50_000)
        made = requests_of(points)
    requests = [each for each in made if isinstance(each, Prepared)]
    unfit = [each.point for each in made if isinstance(each, Unfit)]
    cut = [point for each in requests for point in each.points]
    assert sorted(map(id, [*cut, *unfit])) == sorted(map(id, points))
    assert [point.time for point in cut] == sorted(point.time for point in cut)
    assert all(point.labels[0][1] == "z" * 201 for point in unfit)
    shares = []
    for each in requests:
        text = zlib.decompress(each.body)
        held = [point for one in json.loads(text)["series"] for point in points_of(one)]
        assert Counter(held) == taken_of(each.points)
        assert len(text) <= 50_000
        shares.append(max(len(each.body) / 8_000, len(text) / 50_000))
    assert max(shares, default=0.0) <= 1
    assert min(shares[:-1], default=1.0) >= 0.95


def test_the_real_limits_are_kept(fake: FakeDatadog) -> None:
    chance, now = random.Random(1), int(END.timestamp())
    series = [("room", "".join(chance.choices(string.printable[:64], k=190))) for _ in range(4000)]
    points = [point_of(each, now, chance.random()) for each in series]
    sink = sink_to(fake.service())
    assert all(sink.send(each) == {} for each in requests_of(points) if isinstance(each, Prepared))
    assert Counter(fake.taken) == taken_of(points)
    assert len(fake.sizes) == 2
    assert all(0.95 * 512_000 <= size <= 512_000 for size in fake.sizes[:-1])


def test_requests_end_where_a_step_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datadog, "MOST_SENT", 8_000)
    chance = random.Random(1)
    points = [
        point_of(("room", str(n)), 60 * step, chance.random())
        for step in range(200)
        for n in range(10)
    ]
    requests = [each for each in requests_of(points) if isinstance(each, Prepared)]
    assert len(requests) > 2
    assert all(len(each.points) % 10 == 0 for each in requests)


@pytest.mark.parametrize(
    ("labels", "value", "reason"),
    [
        ((("room", "a" * 200),), 1.0, "200 characters"),
        (tuple((f"t{n}", "a" * 190) for n in range(3000)), 1.0, "512000 bytes"),
        ((), float("inf"), "too large for a number"),
    ],
)
def test_what_no_request_can_hold_comes_with_its_reason(
    labels: Any, value: float, reason: str
) -> None:
    bad = Point(0, Metric(name="x"), "x", labels, 60, np.array([value]), np.array([0]))
    good, late = point_of(("room", "a" * 195), 0, 1.0), point_of(("room", "a"), 120, 1.0)
    made = requests_of([good, bad, late])
    assert [type(each) for each in made] == [Prepared, Unfit]
    assert reason in made[1].reason  # type: ignore[union-attr]


def post(body: bytes | str, **headers: str) -> Callable[[FakeDatadog], requests.Response]:
    keys = {"DD-API-KEY": API_KEY, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return lambda fake: requests.post(fake.url + SERIES, body, headers=keys, timeout=10)


def body_of(**changed: Any) -> str:
    point = {"timestamp": int(time.time()), "value": 1.0}
    return json.dumps({"series": [{"metric": "x", "type": 3, "points": [point], **changed}]})


def refused() -> Iterator[Any]:
    yield post(body_of(), DD_API_KEY="0ther"), 403
    yield post(" " * 512_001), 413
    packed = zlib.compress(body_of().encode() + b" " * 5_242_880)
    yield post(packed, Content_Encoding="deflate"), 413
    yield post(body_of(), Content_Encoding="deflate"), 400
    for wrong in ({"metric": "9x"}, {"metric": "x" * 201}, {"type": 1}, {"type": 7}):
        yield post(body_of(**wrong)), 400
    for point in ({"timestamp": 1.5, "value": 1}, {"timestamp": 1}, {"timestamp": 1, "value": "1"}):
        yield post(body_of(points=[point])), 400
    yield post(body_of().replace("1.0", "NaN")), 400


@pytest.mark.parametrize(("send", "status"), list(refused()))
def test_the_fake_refuses_what_the_real_one_refuses(
    fake: FakeDatadog, send: Callable[[FakeDatadog], requests.Response], status: int
) -> None:
    assert send(fake).status_code == status
    assert fake.taken == []
    assert post(body_of())(fake).json() == {"errors": []}
    assert len(fake.taken) == 1


@pytest.mark.parametrize("age", [3700, -700])
def test_the_fake_drops_old_and_early_points_without_a_word(fake: FakeDatadog, age: int) -> None:
    point = {"timestamp": int(time.time()) - age, "value": 1.0}
    assert post(body_of(points=[point]))(fake).status_code == 202
    assert (len(fake.taken), len(fake.dropped)) == (0, 1)
    url = f"{fake.url}/api/v2/metrics/historical-metrics-configurations/x"
    assert requests.get(url, headers={"DD-API-KEY": API_KEY}, timeout=10).status_code == 403
    fake.historical = {"x"}
    assert post(body_of(points=[point]))(fake).status_code == 202
    assert len(fake.taken) == (age > 0)
