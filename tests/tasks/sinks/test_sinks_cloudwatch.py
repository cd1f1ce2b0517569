"""CloudWatch takes what users of the guide expect, within its limits, and nothing twice."""

import gzip
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError
from botocore.loaders import create_loader
from botocore.session import Session
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from moto.cloudwatch.exceptions import CloudWatchException
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from flows.commands import doctor
from tasks.core.catalogue import Catalogue
from tasks.core.errors import (
    CertificateInvalid,
    ConfigurationInvalid,
    FedvitalsError,
    SinkRefused,
    SinkUnavailable,
)
from tasks.core.metric_services import UNITS, CloudWatchTuning, Metric
from tasks.core.ports import CellAnswer, CellToLoad
from tasks.core.receipt import SinkValues
from tasks.core.services import CloudWatchService
from tasks.core.settings import load_settings
from tasks.core.state import CellState
from tasks.core.window import Cell, floor
from tasks.pipeline.load import deliver
from tasks.runs.base.registry import why_off
from tasks.sinks import cloudwatch
from tasks.sinks.cloudwatch import CloudWatchSink, check
from tasks.sinks.metrics_sink import Prepared, Unfit
from tasks.sinks.points import Point
from tests.support.fakes.certificates import Certificates
from tests.support.fakes.cloudwatch import FakeCloudWatch, Fault, fake_cloudwatch
from tests.support.fakes.raw_http import RawServer
from tests.support.process import free_port
from tests.support.sink_samples import make_frame, make_measurement
from tests.support.workbench import HOUR, Bench

URL = "https://monitoring.us-west-2.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/Writer"
TOKEN = "planted-session-token-" + 40 * "7"
MEASUREMENT = make_measurement(("room",), x="float")
NOW = floor(datetime.now(UTC), HOUR)
CELL = Cell(NOW - HOUR, NOW)
LOADER = create_loader()
# moto warns of errors that its model lacks, and the service has
pytestmark = pytest.mark.filterwarnings("ignore:.*does not match an error shape")
BUSY = CloudWatchException("InternalServiceFault", "try later")


@pytest.fixture(scope="module")
def server() -> Iterator[FakeCloudWatch]:
    with fake_cloudwatch() as fake:
        yield fake


@pytest.fixture(autouse=True)
def fake(server: FakeCloudWatch, monkeypatch: pytest.MonkeyPatch) -> FakeCloudWatch:
    """An empty one, at the address that AWS_ENDPOINT_URL names."""
    server.__dict__.update(FakeCloudWatch(url=server.url).__dict__)
    # it reads the models of AWS once
    monkeypatch.setattr("botocore.session.create_loader", lambda _: LOADER)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "somebody")
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    return server


def service(url: str = URL, role: str = "") -> CloudWatchService:
    return CloudWatchService(url=url, role=role, origin="CLOUDWATCH_URL")


def sink_of(url: str = URL, role: str = "", deadline: float = 0.0, **tuning: Any) -> CloudWatchSink:
    send = {"latency.x": {"name": "X", "unit": "Count", "reduce": tuning.pop("reduce", "mean")}}
    settings = CloudWatchTuning.model_validate({"enabled": True, "send": send, **tuning})
    return CloudWatchSink(service(url, role), settings, deadline)


def cell(
    values: Sequence[float], at: Cell = CELL, seconds: float = 60, room: str = "a"
) -> CellToLoad:
    start = at.start.timestamp()
    rows = [{"time": start + seconds * n, "room": room, "x": v} for n, v in enumerate(values)]
    return CellToLoad(at, make_frame(MEASUREMENT, rows))


def load(sink: CloudWatchSink, *cells: CellToLoad) -> list[CellAnswer]:
    answers = sink.load(MEASUREMENT, "production", list(cells))
    return [answer for answer in answers if answer.is_whole]


def error_of(sink: CloudWatchSink) -> FedvitalsError:
    (answer,) = load(sink, cell([1.0]))
    assert (answer.values.pending, answer.error is None) == (1, False)
    assert answer.error is not None
    assert TOKEN not in f"{answer.error} {answer.error.facts}"
    return answer.error


def client(fake: FakeCloudWatch) -> Any:
    return boto3.client("cloudwatch", region_name="us-west-2", endpoint_url=fake.url)


def test_the_guides_names_and_units_are_sent_by_default(
    fake: FakeCloudWatch, tmp_path: Path
) -> None:
    settings = load_settings({"FEDVITALS_HOME": str(tmp_path), "AWS_CLOUDWATCH_ROLE": ROLE})
    known, found = settings.environment(None).services["cloudwatch"], settings.sinks["cloudwatch"]
    assert isinstance(known, CloudWatchService)
    assert isinstance(found, CloudWatchTuning)
    assert found == CloudWatchTuning()
    catalogue = Catalogue.read(settings.config / "metrics.yaml")
    sink, start = CloudWatchSink(known, found, 0.0), CELL.start.timestamp()
    values = {"fl_progress": {"active_clients": 8, "accuracy_ratio": 0.95},
              "inference": {"latency_p95_seconds": 0.25, "latency_p50_seconds": 0.1}}  # fmt: skip
    for name, row in values.items():
        cells = [CellToLoad(CELL, make_frame(catalogue[name], [{"time": start, **row}]))]
        assert not any(each.error for each in sink.load(catalogue[name], "production", cells))

    assert fake.namespaces == {"FedViTAutoRL"}
    sent = {each["MetricName"]: (each["Values"], each["Unit"]) for each in fake.metrics}
    assert sent == {
        "ActiveClients": ([8.0], "Count"),
        "TrainingAccuracy": ([95.0], "Percent"),
        "InferenceLatency": ([250.0], "Milliseconds"),
    }
    assert {json.dumps(each["Dimensions"]) for each in fake.metrics} == {
        json.dumps([{"Name": "environment", "Value": "production"}])
    }
    assert fake.roles == [ROLE]
    assert sink.target == f"{URL} 123456789012"


def test_a_day_is_sent_and_its_counts_are_read_back(fake: FakeCloudWatch) -> None:
    day = [Cell(CELL.start - n * HOUR, CELL.stop - n * HOUR) for n in range(24)]
    cells = [cell(np.arange(240.0).tolist(), each, seconds=15) for each in day]
    answers = load(sink_of(reduce="statistics"), *cells)
    assert sum(answer.values.loaded for answer in answers) == 24 * 240
    read = client(fake).get_metric_statistics(
        Namespace="FedViTAutoRL", MetricName="X", StartTime=day[-1].start, EndTime=CELL.stop,
        Period=3600, Statistics=["SampleCount", "Sum", "Maximum"], Unit="Count",
        Dimensions=[{"Name": "environment", "Value": "production"}],
    )["Datapoints"]  # fmt: skip
    assert [(each["SampleCount"], each["Sum"], each["Maximum"]) for each in read] == [
        (240.0, sum(range(240)), 239.0)
    ] * 24
    assert [len(request) for request in fake.taken] == [1000, 440]


@pytest.mark.parametrize(
    ("distinct", "expected"),
    [(3, {"Values", "Counts"}), (150, {"Values", "Counts"}), (151, {"StatisticValues"})],
)
def test_the_values_of_a_step_keep_their_distribution(
    fake: FakeCloudWatch, distinct: int, expected: set[str]
) -> None:
    values = [float(n % distinct) for n in range(200)]
    load(sink_of(reduce="statistics", step="1h"), cell(values, seconds=15))
    (metric,) = fake.metrics
    assert metric.keys() & {"Value", "Values", "Counts", "StatisticValues"} == expected
    if distinct == 151:
        facts = {"SampleCount": 200, "Sum": sum(values), "Minimum": 0, "Maximum": 150}
        assert metric["StatisticValues"] == facts
    else:
        pairs = zip(metric["Values"], metric["Counts"], strict=True)
        assert dict(pairs) == {float(n): values.count(n) for n in range(distinct)}


GOOD = {"MetricName": "X", "Value": 1.0}
MANY = [{"Name": f"d{n}", "Value": "v"} for n in range(31)]
OLD = datetime.now(UTC) - timedelta(days=30)


@pytest.mark.parametrize(
    "metrics",
    [
        [GOOD] * 1001,
        [{"MetricName": "X", "Values": [float(n) for n in range(151)]}],
        [{**GOOD, "Dimensions": MANY}],
        [{**GOOD, "Value": float("inf")}],
        [{**GOOD, "Value": 2.0**361}],
        [{**GOOD, "Timestamp": OLD}],
        [{**GOOD, "Timestamp": datetime.now(UTC) + 3 * HOUR}],
        [{**GOOD, "Dimensions": [{"Name": ":d", "Value": "v"}]}],
        [{**GOOD, "Dimensions": [{"Name": "d", "Value": "\u00e9"}]}],
        [{**GOOD, "Unit": "Parsec"}],
        [{**GOOD, "Dimensions": [{"Name": "d", "Value": "v" * 1000}] * 30}] * 40,
    ],
)
def test_the_fake_refuses_what_cloudwatch_refuses(fake: FakeCloudWatch, metrics: list[Any]) -> None:
    now = {"Timestamp": datetime.now(UTC)}
    with pytest.raises(ClientError):
        client(fake).put_metric_data(Namespace="X", MetricData=[{**now, **m} for m in metrics])
    client(fake).put_metric_data(Namespace="X", MetricData=[{**GOOD, **now}])
    assert len(fake.metrics) == 1


@pytest.mark.parametrize(
    ("room", "value", "tags", "reason"),
    [
        ("caf\u00e9", 1.0, {"room": "room"}, "1 to 1024: 'caf\u00e9'"),
        (" ", 1.0, {"room": "room"}, "1 to 1024: ' '"),
        ("r" * 1025, 1.0, {"room": "room"}, "printable ASCII"),
        ("a", 1.0, {"room": ":room"}, "':room'"),
        ("a", -(2.0**361), {"room": "room"}, "beyond 2^360"),
    ],
)
def test_what_no_request_may_hold_is_refused_with_its_reason_and_never_sent(
    fake: FakeCloudWatch, room: str, value: float, tags: dict[str, str], reason: str
) -> None:
    other = Cell(CELL.start - HOUR, CELL.start)
    answers = {each.cell: each for each in load(sink_of(tags=tags), cell([value], room=room))}
    assert answers[CELL].values == SinkValues(owed=1, refused=1)
    assert reason in answers[CELL].refusals["reason"].iloc[0]
    load(sink_of(tags={"room": "room"}), cell([value], room=room), cell([7.0], other))
    assert 7.0 in [each["Value"] for each in fake.metrics]
    assert fake.refused == 0


def test_long_dimensions_are_cut_by_their_bytes(fake: FakeCloudWatch) -> None:
    start = CELL.start.timestamp()
    rows = [{"time": start, "room": f"{n:04}" + 996 * "r", "x": 1.0} for n in range(950)]
    sink = sink_of(tags={"room": "room"}, max_series=1000)
    (answer,) = load(sink, CellToLoad(CELL, make_frame(MEASUREMENT, rows)))
    assert (answer.values.loaded, len(fake.metrics)) == (950, 950)
    assert 1_000_000 / 1200 < len(fake.taken[0]) < 950


@pytest.mark.parametrize(("rooms", "sizes"), [(3, [99, 21]), (30, [100, 20])])
def test_a_request_ends_between_two_steps_when_it_is_full_then(
    fake: FakeCloudWatch, monkeypatch: pytest.MonkeyPatch, rooms: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(cloudwatch, "MOST_METRICS", 100)
    start = CELL.start.timestamp()
    rows = [
        {"time": start + 60 * (n // rooms), "room": f"r{n % rooms}", "x": 1.0} for n in range(120)
    ]
    load(sink_of(tags={"room": "room"}), CellToLoad(CELL, make_frame(MEASUREMENT, rows)))
    assert [len(each) for each in fake.taken] == sizes


points_drawn = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.sampled_from(["statistics", "last"]),
        st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=8),
        st.text("ab\"\\", max_size=40),
        st.sampled_from(["ok"] * 30 + ["\u00e9", "large"]),
    ),
    max_size=40,
)  # fmt: skip


def drawn(rows: list[tuple[int, Any, list[float], str, str]]) -> list[Point]:
    """Points of the rows, each three times, by time."""
    made = []
    for minute, reduce, values, label, fault in sorted(rows * 3, key=lambda row: row[0]):
        numbers = np.array([*values, 1e200] if fault == "large" else values)
        labels = (("room", f"r{label}" + (fault if fault == "\u00e9" else "")),)
        metric = Metric(name="X", reduce=reduce)
        at = int(CELL.start.timestamp()) + 60 * minute
        made.append(Point(0, metric, "x", labels, at, numbers, np.arange(len(numbers))))
    return made


@given(points_drawn)
@hypothesis_settings(max_examples=25)
def test_any_batch_is_cut_within_the_limits_and_nothing_is_left_out(
    rows: list[tuple[int, Any, list[float], str, str]],
) -> None:
    points, most, bytes_ = drawn(rows), 40, 12_000
    with (
        patch.object(cloudwatch, "MOST_METRICS", most),
        patch.object(cloudwatch, "MOST_BYTES", bytes_),
    ):
        made = list(sink_of().prepare(points))
    requests = [each for each in made if isinstance(each, Prepared)]
    unfit = [each for each in made if isinstance(each, Unfit)]
    sent = [point for request in requests for point in request.points]
    assert all(each.reason for each in unfit)
    assert {
        id(point) for point in points if 1e200 in point.values or not point.labels[0][1].isascii()
    } == {id(each.point) for each in unfit}
    left = {id(each.point) for each in unfit}
    assert [id(point) for point in sent] == [id(point) for point in points if id(point) not in left]
    sizes = [(len(each.points), body_length(each)) for each in requests]
    assert all(count <= most and size <= bytes_ for count, size in sizes)
    assert all(max(count / most, size / bytes_) >= 0.95 for count, size in sizes[:-1])


BOTOCORE = Session().create_client(
    "cloudwatch", "us-west-2", aws_access_key_id="a", aws_secret_access_key="b", endpoint_url="http://127.0.0.1:9"
)  # fmt: skip


def body_length(request: Prepared) -> int:
    """The bytes that botocore would send, unpacked."""
    seen: list[int] = []

    def note(request: Any, **_: Any) -> None:
        is_packed = request.headers.get("Content-Encoding") == b"gzip"
        seen.append(len(gzip.decompress(request.body) if is_packed else request.body))
        raise InterruptedError

    BOTOCORE.meta.events.register_first("before-send", note, unique_id="note")
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever botocore makes of ours
        BOTOCORE.put_metric_data(
            Namespace="FedViTAutoRL",
            MetricData=[cloudwatch._metric(point) for point in request.points],
        )
    BOTOCORE.meta.events.unregister("before-send", unique_id="note")
    return seen[0]


def test_of_a_refused_request_only_the_offenders_are_refused(fake: FakeCloudWatch) -> None:
    fake.unlucky = {13.0, 14.0}
    fake.faults = [None, None, Fault(BUSY), None, None, None, Fault(BUSY)]
    (answer,) = load(sink_of(deadline=10), cell([float(n) for n in range(60)]))
    assert answer.values == SinkValues(owed=60, loaded=58, refused=2)
    assert "InvalidParameterValue: The parameter MetricData" in answer.refusals["reason"].iloc[0]
    # a half that was taken is not sent again after the errors
    assert sorted(each["Value"] for each in fake.metrics) == [
        float(n) for n in range(60) if n not in (13, 14)
    ]
    assert fake.faults == []


def test_a_body_that_something_on_the_way_finds_too_large_is_halved(
    fake: FakeCloudWatch,
) -> None:
    fake.faults = [Fault(CloudWatchException("RequestEntityTooLarge", "too large"))]
    (answer,) = load(sink_of(), cell([1, 2, 3]))
    assert answer.values.loaded == 3
    assert [len(each) for each in fake.taken] == [1, 2]


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "error"])
def test_what_ends_a_load_in_mid_send_doubles_at_most_one_request(
    fake: FakeCloudWatch, bench: Bench, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    monkeypatch.setattr(cloudwatch, "MOST_METRICS", 10)
    # the second request is taken, and its answer lost
    fake.faults = [None, Fault(BUSY, is_stored=True)]
    nothing = CellState.of_nothing(MEASUREMENT, "production", CELL, "prometheus", "run")
    state = replace(nothing, landed_digest="one")

    def deliver_to(sink: CloudWatchSink) -> SinkValues:
        had = bench.ledger.loads(sink.target, MEASUREMENT.name, "production", CELL)
        owed = cell([float(n) for n in range(45)])
        owed = replace(owed, sent_until=had[CELL].sent_until if CELL in had else None)
        loaded = deliver(sink, MEASUREMENT, "production", {state: owed}, bench.lake, bench.ledger)
        return loaded.sinks["cloudwatch"]

    first = sink_of()
    if is_killed:
        send = first.send

        def killed(request: Prepared) -> Any:
            try:
                return send(request)
            except SinkUnavailable as error:
                raise KeyboardInterrupt from error

        monkeypatch.setattr(first, "send", killed)
        with pytest.raises(KeyboardInterrupt):
            deliver_to(first)
    else:
        assert deliver_to(first) == SinkValues(owed=45, loaded=10, pending=35)
    assert deliver_to(sink_of()) == SinkValues(owed=45, loaded=35, skipped_by_rule=10)
    sent = [each["Value"] for each in fake.metrics]
    assert set(sent) == set(range(45))
    assert sorted(value for value in sent if sent.count(value) > 1) == sorted([*range(10, 20)] * 2)


def test_what_is_too_old_or_too_new_is_skipped_and_counted(fake: FakeCloudWatch) -> None:
    (old, new) = (Cell(NOW + n * HOUR, NOW + n * HOUR + HOUR) for n in (-15 * 24, 4))
    answers = load(sink_of(), cell([1, 2], old), cell([3], new), cell([4]))
    assert [answer.values.skipped_by_rule for answer in answers if answer.cell != CELL] == [2, 1]
    assert [each["Value"] for each in fake.metrics] == [4.0]


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("Throttling", SinkUnavailable, "PutMetricData: Throttling"),
        ("ThrottlingException", SinkUnavailable, "pending"),
        ("InternalServiceFault", SinkUnavailable, "InternalService"),
        ("AccessDenied", SinkRefused, "may PutMetricData"),
        ("ExpiredTokenException", SinkRefused, "credentials are right"),
        ("SignatureDoesNotMatch", SinkRefused, "clock of this machine, and CLOUDWATCH_URL"),
    ],
)
def test_an_error_of_the_service_is_passing_or_final(
    fake: FakeCloudWatch, code: str, kind: type[FedvitalsError], message: str
) -> None:
    fake.faults = [Fault(CloudWatchException(code, f"no, {TOKEN}"))]
    error = error_of(sink_of())
    assert type(error) is kind
    assert message in str(error)
    # it was tried once, and the next run has nothing against it
    assert (fake.faults, fake.metrics) == ([], [])
    assert load(sink_of(), cell([1.0]))[0].values.loaded == 1


def says(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (says("503 Slow Down", b"", "Retry-After: 7"), SinkUnavailable, "503"),
        (says("200 OK", b"<html>hotel</html>"), SinkUnavailable, "no request id"),
        (says("302 Found", b"", "Location: http://127.0.0.1:9/"), SinkRefused, "HTTP 302"),
        (says("403 No", b'{"message": "' + TOKEN.encode() + b'"}'), SinkRefused, "***"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", SinkUnavailable, "PutMetricData"),
        (b"", SinkUnavailable, "no answer to PutMetricData"),
    ],
)
def test_an_answer_that_is_none_of_the_service_is_no_success(
    answer: bytes, kind: type[FedvitalsError], message: str
) -> None:
    with RawServer([answer]) as raw:
        error = error_of(sink_of(raw.url))
    assert type(error) is kind
    assert message in str(error)
    assert error.facts.get("retry_after") == (7.0 if b"Retry-After" in answer else None)


def test_a_service_that_hangs_costs_a_run_its_timeout_once() -> None:
    with RawServer([b""], pause=30) as raw:
        sink = sink_of(raw.url, timeout="1s")
        began = time.monotonic()
        errors = [error_of(sink), error_of(sink)]
    assert "within 1 s" in str(errors[0]) or "timed out" in str(errors[0])
    assert errors[0] is errors[1]
    assert time.monotonic() - began < 3


def test_a_closed_port_and_a_certificate_that_is_not_trusted_are_said(tmp_path: Path) -> None:
    assert "Connection refused" in str(error_of(sink_of(f"http://127.0.0.1:{free_port()}")))
    context = Certificates(tmp_path).context("good")
    with HTTPServer("127.0.0.1", ssl_context=context) as https:
        error = error_of(sink_of(https.url_for("").rstrip("/")))
    assert isinstance(error, CertificateInvalid)


@pytest.mark.parametrize(
    ("url", "variables", "region"),
    [
        (URL.replace("us-west-2", "eu-north-1"), {"AWS_REGION": "us-east-1"}, "eu-north-1"),
        ("http://127.0.0.1:9", {"AWS_REGION": "us-east-1"}, "us-east-1"),
        ("http://127.0.0.1:9", {"AWS_DEFAULT_REGION": "us-east-2"}, "us-east-2"),
        ("http://127.0.0.1:9", {}, "us-west-2"),
    ],
)
def test_the_region_is_that_of_the_address_or_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], region: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (found,) = check(service(url))
    assert (found.ok, found.detail.rpartition(" in ")[2]) == (True, region)


@pytest.mark.parametrize(("lasts", "times"), [(timedelta(hours=1), 1), (timedelta(minutes=5), 3)])
def test_a_role_is_assumed_once_and_again_before_it_expires(
    fake: FakeCloudWatch, lasts: timedelta, times: int
) -> None:
    fake.role_expires_in = lasts
    sink = sink_of(role=ROLE)
    for n in range(3):
        load(sink, cell([float(n)]))
    assert fake.roles == [ROLE] * times
    assert len(fake.metrics) == 3


def test_check_asks_whose_the_credentials_are_and_sends_no_point(
    fake: FakeCloudWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = check(service(role=ROLE))
    assert (found.ok, "assumed-role/Writer/fedvitals in us-west-2" in found.detail) == (True, True)
    assert fake.metrics == []
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    (found,) = check(service(role=ROLE))
    assert (found.ok, "no answer to AssumeRole" in found.detail) == (False, True)
    assert "AWS_ENDPOINT_URL" in found.fix


@pytest.mark.parametrize(
    ("disabled", "is_asked"), [(None, False), ("true", False), ("false", True)]
)
def test_without_credentials_the_address_of_ec2_is_asked_only_when_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch, disabled: str | None, is_asked: bool
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.append(request.path)
        return Response(status=404)

    with HTTPServer("127.0.0.1") as ec2:
        ec2.expect_request("").respond_with_handler(answer)
        ec2.log.clear()
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", ec2.url_for(""))
        if disabled:
            monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", disabled)
        error = error_of(sink_of())
        (found,) = check(service(role=ROLE))
        assert bool(ec2.log) is is_asked
    assert isinstance(error, ConfigurationInvalid)
    assert "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in found.fix
    assert found.detail == error.problem == "no credentials of AWS are set"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_missing_library_is_said_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_there: bool
) -> None:
    settings = load_settings({"FEDVITALS_HOME": str(tmp_path), "AWS_CLOUDWATCH_ROLE": ROLE})
    settings = replace(settings, sinks={"cloudwatch": CloudWatchTuning(enabled=True)})
    environment = settings.environment(None)
    if not is_there:
        monkeypatch.setattr("tasks.runs.base.registry.find_spec", lambda _: None)
    found = why_off("fedvitals.sinks", "cloudwatch", settings, environment)
    checks = [
        each
        for each in doctor._adapters(settings, environment, False)
        if each.service == "cloudwatch"
    ]
    if is_there:
        assert found is None
        assert [each.ok for each in checks] == [True]
    else:
        assert "pip install 'fedvitals[aws]'" in str(found)
        assert "pip install 'fedvitals[aws]'" in checks[0].fix


def test_units_and_namespace_are_checked_in_the_settings() -> None:
    assert set(BOTOCORE.meta.service_model.shape_for("StandardUnit").enum) == UNITS
    with pytest.raises(ValueError, match=r"send\.latency\.x\.unit is Parsec"):
        CloudWatchTuning.model_validate({"send": {"latency.x": {"unit": "Parsec"}}})
    with pytest.raises(ValueError, match="AWS/EC2"):
        CloudWatchTuning(namespace="AWS/EC2")
