"""A service that takes OTLP metrics over HTTP as protobuf, and refuses as real ones do.

Points that are too old, or too new, it leaves out and counts in the answer (partial success). With
`is_strict` it refuses a whole request for one bad point, as Prometheus 3 does (3.13, tried).
"""

import gzip
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.services import OtlpService

TOKEN = "otlp-t0ken"
PATH = "/v1/metrics"
MOST_POINTS, MOST_BYTES = 1_000, 1_000_000
PROTOBUF = "application/x-protobuf"
# name, labels, seconds
Key = tuple[str, tuple[tuple[str, str], ...], int]
Fault = Callable[[Request], Response | None]


@dataclass
class FakeOtlp:
    """What was stored, each time that it was sent. `faults` answer first, one request each; of one that
    answers None the request is let through.
    """

    server: HTTPServer
    user: str = ""
    is_strict: bool = False
    max_age: float = 3600.0
    values: dict[Key, list[float]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.url = self.server.url_for(PATH)
        self.server.expect_request(PATH, method="POST").respond_with_handler(self._answer)

    def service(self, token: str | None = TOKEN, user: str = "") -> OtlpService:
        secret = SecretStr(token) if token else None
        facts = {"origin": "OTLP_URL", "token_from": "OTLP_TOKEN"}
        return OtlpService(url=self.url, token=secret, user=user, **facts)

    @property
    def stored(self) -> int:
        """Points, each as often as it was sent."""
        return sum(map(len, self.values.values()))

    def _answer(self, request: Request) -> Response:
        fault = self.faults.pop(0)(request) if self.faults else None
        return fault or self._by_the_rules(request)

    def _by_the_rules(self, request: Request) -> Response:
        login = b64encode(f"{self.user}:{TOKEN}".encode()).decode()
        wanted = f"Basic {login}" if self.user else f"Bearer {TOKEN}"
        if request.headers.get("Authorization") != wanted:
            return Response(f"no: {request.headers.get('Authorization')}", 401)
        if request.headers.get("Content-Type") != PROTOBUF:
            return Response("unsupported media type", 415)
        body = request.get_data()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        try:
            asked = ExportMetricsServiceRequest.FromString(body)
        except DecodeError:
            return said(400, "cannot be decoded")
        points = list(points_in(asked))
        if len(body) > MOST_BYTES or len(points) > MOST_POINTS:
            return said(413, "request too large")
        self.sizes.append(len(points))
        return self._take(points)

    def _take(self, points: list[tuple[Metric, NumberDataPoint]]) -> Response:
        if reason := next(filter(None, (malformed(*each) for each in points)), ""):
            return said(400, reason)
        now = time.time()
        bad = [d for _, d in points if not -self.max_age <= seconds(d) - now <= 600]
        if bad and self.is_strict:
            return said(400, "out of bounds")
        for metric, data in points:
            if data not in bad:
                labels = tuple((each.key, each.value.string_value) for each in data.attributes)
                key = metric.name, labels, int(seconds(data))
                self.values.setdefault(key, []).append(data.as_double)
                self.units[metric.name] = metric.unit
        answer = ExportMetricsServiceResponse()
        if bad:
            answer.partial_success.rejected_data_points = len(bad)
            answer.partial_success.error_message = "too old sample"
        return Response(answer.SerializeToString(), 200, content_type=PROTOBUF)

    def die(self, request: Request) -> Response:
        """Store what was sent, and hang up instead of answering."""
        answer = self._by_the_rules(request)
        request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return answer

    def hang(self, request: Request) -> None:
        """Answer no request until the fake is released."""
        self.released.wait(30)


def seconds(data: NumberDataPoint) -> float:
    return float(data.time_unix_nano) / 1e9


def malformed(metric: Metric, data: NumberDataPoint) -> str:
    """Why no service takes the point, whatever else is in the request."""
    names = [each.key for each in data.attributes]
    if not metric.name or not all(names) or len(set(names)) < len(names):
        return "a name is missing or doubled"
    return "" if data.time_unix_nano else "a time is missing"


def points_in(
    request: ExportMetricsServiceRequest,
) -> Iterator[tuple[Metric, NumberDataPoint]]:
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                yield from ((metric, data) for data in metric.gauge.data_points)


def said(status: int, reason: str) -> Response:
    """Refuse with a google.rpc.Status, as the protocol wants it."""
    return Response(Status(message=reason).SerializeToString(), status, content_type=PROTOBUF)


def fails(status: int, text: str = "unwell", **headers: str) -> Fault:
    return lambda request: Response(
        text, status, {k.replace("_", "-"): v for k, v in headers.items()}
    )


@contextmanager
def fake_otlp(server: HTTPServer, **knobs: object) -> Iterator[FakeOtlp]:
    """A fake on the server; what hangs is let go at the end."""
    fake = FakeOtlp(server, **knobs)  # type: ignore[arg-type]
    try:
        yield fake
    finally:
        fake.released.set()
