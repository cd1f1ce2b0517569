"""OTLP: how requests are cut, what the answers mean, and that no secret shows."""

import gzip
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from pytest_httpserver import HTTPServer

from tasks.core import plugins
from tasks.core.catalogue import Catalogue
from tasks.core.errors import FedvitalsError, SinkRefused, SinkUnavailable
from tasks.core.metric_services import Metric, OtlpTuning
from tasks.core.ports import CellAnswer, CellToLoad
from tasks.core.receipt import SinkValues
from tasks.core.services import Environment, OtlpService
from tasks.core.settings import load_settings, shipped
from tasks.core.window import Cell, floor
from tasks.runs.base import registry
from tasks.sinks import otlp
from tasks.sinks.metrics_sink import MetricsSink, Prepared, Unfit
from tasks.sinks.otlp import MOST_BYTES, MOST_POINTS, PROTOBUF, OtlpSink, check
from tasks.sinks.points import Point
from tests.support.fakes.otlp import TOKEN, FakeOtlp, fails, fake_otlp, points_in, seconds
from tests.support.sink_samples import HOUR, make_frame, make_measurement

MEASUREMENT = make_measurement(("room",), x="float", note="string")
MINUTE = 60
HERE = floor(datetime.now(UTC) - 20 * timedelta(minutes=1), timedelta(minutes=1))
CELL = Cell(HERE, HERE + HOUR)
NOW = int(HERE.timestamp())
TUNING = {
    "enabled": True,
    "send": {"latency.x": {"name": "x.there", "unit": "s"}},
    "tags": {"room": "raum"},
    "timeout": "1s",
}


@pytest.fixture
def fake(httpserver: HTTPServer) -> Iterator[FakeOtlp]:
    with fake_otlp(httpserver) as running:
        yield running


def sink_to(service: OtlpService, deadline: float = 0.0, **changed: Any) -> OtlpSink:
    return OtlpSink(service, OtlpTuning.model_validate({**TUNING, **changed}), deadline)


def cell(rows: Sequence[tuple[int, str, float]], at: Cell = CELL, **more: Any) -> CellToLoad:
    """A cell of (minute, room, value)."""
    begin = at.start.timestamp()
    content = [{"time": begin + MINUTE * n, "room": r, "x": v, "note": "n"} for n, r, v in rows]
    return CellToLoad(at, make_frame(MEASUREMENT, content), **more)


def load(sink: MetricsSink, *cells: CellToLoad) -> list[CellAnswer]:
    answers = sink.load(MEASUREMENT, "production", list(cells))
    return sorted((a for a in answers if a.is_whole), key=lambda answer: answer.cell.start)


def key(minute: int, room: str) -> tuple[str, tuple[tuple[str, str], ...], int]:
    return "x.there", (("raum", room),), NOW + MINUTE * minute


def test_points_arrive_with_the_time_of_their_step_once(fake: FakeOtlp) -> None:
    (answer,) = load(sink_to(fake.service()), cell([(0, "a", 1.5), (0, "b", -0.0), (1, "a", 2.5)]))
    assert fake.values == {key(0, "a"): [1.5], key(0, "b"): [-0.0], key(1, "a"): [2.5]}
    assert fake.units == {"x.there": "s"}
    assert answer.values == SinkValues(owed=6, loaded=3, skipped_by_rule=3)


def test_only_the_guides_metrics_are_sent_as_shipped_by_name_and_unit(fake: FakeOtlp) -> None:
    shipped_settings = load_settings({"FEDVITALS_CONFIG": str(shipped("config"))})
    tuning = shipped_settings.sinks["otlp"]
    assert not tuning.enabled
    measurement = Catalogue.read(shipped("config") / "metrics.yaml")["fl_progress"]
    row: dict[str, Any] = {"time": NOW, "active_clients": 7, "accuracy_ratio": 0.95, "run_id": "r"}
    frame = make_frame(measurement, [row | {"loss": 0.1, "environment": "staging"}])
    sink = OtlpSink(fake.service(), tuning, 0.0)  # type: ignore[arg-type]
    list(sink.load(measurement, "staging", [CellToLoad(CELL, frame)]))
    labels = (("environment", "staging"),)
    assert fake.values == {
        ("fed_vit_autorl.active_clients", labels, NOW): [7.0],
        ("fed_vit_autorl.training_accuracy", labels, NOW): [0.95],
    }
    assert set(fake.units.values()) == {""}


def test_what_is_too_old_for_max_age_is_skipped_and_counted(fake: FakeOtlp) -> None:
    old = Cell(HERE - 2 * HOUR, HERE - HOUR)
    (first, second) = load(sink_to(fake.service()), cell([(1, "a", 1.0)], old), cell([(0, "a", 2)]))
    assert first.values == SinkValues(owed=2, skipped_by_rule=2)
    assert (second.values.loaded, fake.stored) == (1, 1)
    fake.max_age = 4 * 3600
    (again,) = load(sink_to(fake.service(), max_age="4h"), cell([(1, "a", 1.0)], old))
    assert (again.values.loaded, fake.stored) == (1, 2)


def test_partial_success_is_counted_and_not_sent_again(fake: FakeOtlp) -> None:
    # it takes the third and the fourth row
    fake.max_age = datetime.now(UTC).timestamp() - (NOW + 1.5 * MINUTE)
    rows = [(n, "a", float(n)) for n in range(4)]
    (answer,) = load(sink_to(fake.service()), cell(rows))
    assert (answer.values.loaded, answer.values.refused, fake.stored) == (2, 2, 2)
    assert len(fake.sizes) == 1
    assert answer.error is None
    (reason,) = set(answer.refusals["reason"])
    assert reason.startswith("too old sample")
    assert "2 of 4 points of a request; the service does not say which" in reason


def test_a_request_that_is_refused_goes_again_by_series_so_that_only_bad_ones_are_lost(
    fake: FakeOtlp,
) -> None:
    fake.is_strict = True
    # older than the service takes, though not than max_age
    fake.max_age = 10 * MINUTE
    (answer,) = load(
        sink_to(fake.service()), cell([(1, "old", 1.0), (18, "new", 2.0), (19, "new", 3.0)])
    )
    assert fake.values == {key(18, "new"): [2.0], key(19, "new"): [3.0]}
    assert (answer.values.loaded, answer.values.refused) == (2, 1)
    assert set(answer.refusals["reason"]) == {"HTTP 400: out of bounds"}
    assert len(fake.sizes) == 4  # whole, none, and each series


def test_an_address_that_refuses_everything_refuses_no_point(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/wrong").respond_with_data("unsupported path requested", 400)
    service = OtlpService(url=httpserver.url_for("/wrong"), origin="OTLP_URL")
    (answer,) = load(sink_to(service), cell([(0, "a", 1.0)]))
    assert isinstance(answer.error, SinkRefused)
    assert answer.values == SinkValues(owed=2, pending=1, skipped_by_rule=1)
    assert "OTLP_URL" in answer.error.fix


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (fails(429, Retry_After="7"), SinkUnavailable, "HTTP 429"),
        (fails(503), SinkUnavailable, "HTTP 503"),
        (fails(404), SinkRefused, "whole address"),
        (fails(302, Location="/elsewhere"), SinkRefused, "whole address"),
        (fails(413), SinkRefused, "413"),
        (fails(200, "<html>please log in</html>"), SinkRefused, "please log in"),
        (fails(200, "", Content_Encoding="gzip"), SinkRefused, "encoded"),
        (fails(403, f"no right for {TOKEN}"), SinkRefused, "OTLP_TOKEN"),
    ],
)
def test_answers_that_are_no_yes_leave_the_points_pending(
    fake: FakeOtlp, fault: Any, error: type[FedvitalsError], words: str
) -> None:
    fake.faults = [fault]
    (answer,) = load(sink_to(fake.service()), cell([(0, "a", 1.0)]))
    assert isinstance(answer.error, error)
    assert answer.error.facts.get("retry_after") == (7.0 if "429" in words else None)
    assert words in str(answer.error)
    assert TOKEN not in str(answer.error)
    assert (answer.values.pending, answer.values.loaded, fake.stored) == (1, 0, 0)


def test_what_fails_once_is_sent_again_within_the_deadline(fake: FakeOtlp) -> None:
    fake.faults = [fails(503), fails(429, Retry_After="0")]
    (answer,) = load(sink_to(fake.service(), deadline=5.0), cell([(0, "a", 1.0)]))
    assert (answer.values.loaded, answer.error, fake.stored) == (1, None, 1)


def test_a_service_that_hangs_costs_its_time_out_once(fake: FakeOtlp) -> None:
    fake.faults = [fake.hang, fake.hang]
    sink = sink_to(fake.service(), timeout="300ms")
    began = time.monotonic()
    answers = [load(sink, cell([(0, "a", 1.0)]))[0] for _ in range(5)]
    assert time.monotonic() - began < 1.5
    assert {type(answer.error) for answer in answers} == {SinkUnavailable}
    assert len(fake.faults) == 1


def test_what_ends_a_load_in_mid_send_doubles_no_more_than_its_request(fake: FakeOtlp) -> None:
    points = [(n, room, 1.0) for n in range(19) for room in map(str, range(80))]

    fake.faults = [lambda _: None, fake.die]
    answers = list(sink_to(fake.service()).load(MEASUREMENT, "production", [cell(points)]))
    (under_way, whole) = answers
    assert isinstance(whole.error, SinkUnavailable)
    assert whole.values.pending == len(points) - fake.sizes[0]
    again = cell(points, sent_until=whole.sent_until)
    assert under_way.sent_until == whole.sent_until
    (last,) = load(sink_to(fake.service()), again)
    sent = Counter(len(values) for values in fake.values.values())
    assert last.error is None
    assert sum(sent.values()) == len(points)
    assert sent == {1: fake.sizes[0], 2: fake.sizes[1]}
    assert fake.sizes[0] == 960  # a request ends with a step, so that none is cut in two


def test_user_and_token_are_a_login_and_neither_shows_in_an_error(fake: FakeOtlp) -> None:
    fake.user = "4711"
    (answer,) = load(sink_to(fake.service(user="4711")), cell([(0, "a", 1.0)]))
    assert answer.values.loaded == 1
    (refused,) = load(sink_to(fake.service("wr0ng", user="4711")), cell([(0, "a", 1.0)]))
    assert isinstance(refused.error, SinkRefused)
    assert "no: Basic ***" in str(refused.error)
    assert b64encode(b"4711:wr0ng").decode() not in str(refused.error)


def test_a_check_sends_no_point_and_says_what_is_wrong(fake: FakeOtlp) -> None:
    assert [each.ok for each in check(fake.service())] == [True]
    assert (fake.stored, fake.sizes) == (0, [0])
    (bad,) = check(fake.service("wr0ng"))
    assert (bad.ok, "OTLP_TOKEN" in bad.fix) == (False, True)
    assert "wr0ng" not in bad.detail
    (away,) = check(OtlpService(url="http://127.0.0.1:9/v1/metrics", origin="OTLP_URL"))
    assert (away.ok, "OTLP_URL" in away.fix) == (False, True)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped_settings = load_settings({"FEDVITALS_CONFIG": str(shipped("config"))})
    shipped_settings.sinks["otlp"] = OtlpTuning(enabled=True)  # type: ignore[index]
    service = OtlpService(url="http://127.0.0.1:9/v1/metrics", origin="OTLP_URL")
    environment = Environment(name="production", services={"otlp": service})
    assert registry.why_off(plugins.SINKS, "otlp", shipped_settings, environment) is None
    lacking = replace(registry.OTLP, package="opentelemetry.no_such_package")
    monkeypatch.setattr(registry, "OURS", {**registry.OURS, plugins.SINKS: (lacking,)})
    error = registry.why_off(plugins.SINKS, "otlp", shipped_settings, environment)
    assert error is not None
    assert "fedvitals[otlp]" in error.fix


# a tenth of the true limits, so that it is quick
FEW_POINTS, FEW_BYTES = MOST_POINTS // 10, MOST_BYTES // 10
# so many points of a metric, with labels so long that either limit may be the one that cuts
_DRAWN = st.lists(
    st.tuples(
        st.sampled_from(["m", "metric.of.some.length", "n" * 200]),
        st.sampled_from([0, 10, 200, 2_000, FEW_BYTES]),
        st.integers(1, 60),
        st.sampled_from([1.0, 1e308]),
    ),
    max_size=8,
)


def batch(drawn: Sequence[tuple[str, int, int, float]]) -> list[Point]:
    points = []
    for number, (name, length, count, value) in enumerate(drawn):
        labels = (("n", str(number)), ("long", "x" * length))
        # the mean of two may be beyond what a float holds
        values, rows = np.array([value, value * 1.5]), np.array([0], dtype=np.intp)
        metric = Metric(name=name)
        count = min(count, 2) if length == FEW_BYTES else count
        points += [Point(0, metric, "x", labels, NOW + n, values, rows) for n in range(count)]
    return sorted(points, key=lambda point: point.time)


def contents(body: bytes) -> Iterator[tuple[object, ...]]:
    """What each point of a request is."""
    for metric, data in points_in(ExportMetricsServiceRequest.FromString(body)):
        yield metric.name, *(each.value.string_value for each in data.attributes), seconds(data)


@settings(max_examples=50)
@given(_DRAWN)
def test_any_batch_is_cut_within_the_limits_into_full_requests_that_are_exactly_it(
    drawn: list[tuple[str, int, int, float]],
) -> None:
    points = batch(drawn)
    sink = sink_to(OtlpService(url="http://127.0.0.1:9", origin="OTLP_URL"))
    with pytest.MonkeyPatch.context() as patch, np.errstate(over="ignore"):
        patch.setattr(otlp, "MOST_POINTS", FEW_POINTS)
        patch.setattr(otlp, "MOST_BYTES", FEW_BYTES)
        parts = list(sink.prepare(points))
        bad = {n for n, p in enumerate(points) if "x" * FEW_BYTES in dict(p.labels)["long"] or not np.isfinite(p.value)}  # fmt: skip
    made = [part for part in parts if isinstance(part, Prepared)]
    unfit = [part for part in parts if isinstance(part, Unfit)]
    bodies = [gzip.decompress(each.body) for each in made]
    kept = [point for each in made for point in each.points]
    assert all(len(body) <= FEW_BYTES for body in bodies)
    assert all(len(each.points) <= FEW_POINTS for each in made)
    assert all(
        len(each.points) >= 0.95 * FEW_POINTS or len(body) >= 0.95 * FEW_BYTES
        for each, body in list(zip(made, bodies, strict=True))[:-1]
    )
    assert list(map(id, kept)) == [id(p) for n, p in enumerate(points) if n not in bad]
    assert [id(each.point) for each in unfit] == [id(points[n]) for n in sorted(bad)]
    assert all("bytes" in each.reason or "mean" in each.reason for each in unfit)
    sent = [(p.metric.name, *(value for _, value in p.labels), float(p.time)) for p in kept]
    assert Counter(each for body in bodies for each in contents(body)) == Counter(sent)


def test_an_unfit_point_is_quarantined_alone(fake: FakeOtlp) -> None:
    (answer,) = load(sink_to(fake.service()), cell([(0, "a", 1.0), (0, "b" * MOST_BYTES, 2.0)]))
    assert (answer.values.loaded, answer.values.refused, fake.stored) == (1, 1, 1)
    assert "bytes" in answer.refusals["reason"].iloc[0]


def post(fake: FakeOtlp, request: ExportMetricsServiceRequest | bytes, **headers: str) -> int:
    body = request if isinstance(request, bytes) else request.SerializeToString()
    sent = {"Content-Type": PROTOBUF, "Authorization": f"Bearer {TOKEN}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(fake.url, data=body, headers=sent, timeout=5).status_code


def request_of(
    count: int = 1, name: str = "m", when: float = NOW, label: str = ""
) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    for _ in range(count):
        data = metric.gauge.data_points.add(time_unix_nano=int(when * 1e9), as_double=1.0)
        data.attributes.add(key="a").value.string_value = label
    return request


@pytest.mark.parametrize(
    ("request_", "headers", "status"),
    [
        (request_of(), {}, 200),
        (request_of(MOST_POINTS + 1), {}, 413),
        (request_of(label="x" * MOST_BYTES), {}, 413),
        (request_of(name=""), {}, 400),
        (request_of(when=0), {}, 400),
        (b"<html>", {}, 400),
        (request_of(), {"Content_Type": "application/json"}, 415),
        (request_of(), {"Authorization": "Bearer other"}, 401),
    ],
)
def test_the_fake_refuses_what_services_refuse(
    fake: FakeOtlp, request_: Any, headers: dict[str, str], status: int
) -> None:
    assert post(fake, request_, **headers) == status
    assert fake.stored == (status == 200)


@pytest.mark.parametrize(("is_strict", "status"), [(False, 200), (True, 400)])
def test_the_fake_leaves_out_what_is_too_old(fake: FakeOtlp, is_strict: bool, status: int) -> None:
    fake.is_strict = is_strict
    for when in (NOW - 7200, NOW + 7200):
        assert post(fake, request_of(when=when)) == status
    assert fake.stored == 0
