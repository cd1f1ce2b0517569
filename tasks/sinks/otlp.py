"""OTLP: gauges over HTTP as protobuf, with the time of their step and not of their sending."""

import gzip
import math
from base64 import b64encode
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from typing import NamedTuple

import requests
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint

# an error is a google.rpc.Status, which has its message in the same field
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tasks.core.checks import ServiceCheck
from tasks.core.errors import FedvitalsError, SinkRefused, SinkUnavailable
from tasks.core.metric_services import OtlpTuning
from tasks.core.services import OtlpService
from tasks.http import Answer, Limits, Transport, bearer
from tasks.sinks.metrics_sink import Ages, MetricsSink, Prepared, Unfit
from tasks.sinks.points import Point

NAME = "otlp"
# of one request, unpacked; OTLP sets no limit, services do
MOST_POINTS, MOST_BYTES = 1_000, 1_000_000
# a request is cut shorter only to end where a step ends
FULL = 0.96
# of a message in another: its field's number and its length, at most
FRAME = 5
AHEAD = timedelta(minutes=10)
PROTOBUF = "application/x-protobuf"
ABOUT_POINTS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
NO_POINTS = gzip.compress(b"", mtime=0)


class OtlpSink(MetricsSink):
    """What takes OTLP metrics at one address."""

    name = NAME
    check_id = "otlp_refused"

    def __init__(self, service: OtlpService, tuning: OtlpTuning, deadline_seconds: float) -> None:
        """`deadline_seconds` is how long one load may try again what fails."""
        super().__init__(service, tuning, deadline_seconds)
        self._max_age = tuning.max_age
        self._http = OtlpHttp(service, tuning.timeout)

    @property
    def ages(self) -> Ages:
        """How far back a service takes points is a setting, there and here."""
        return Ages(self._max_age, AHEAD)

    def prepare(self, points: Sequence[Point]) -> Iterator[Prepared | Unfit]:
        """Yield requests, each with as many points as the limits let it have."""
        every = [_row(point) for point in points]
        rows = [row for row in every if not row.unfitness]
        start = 0
        while start < len(rows):
            stop = _end(rows, start)
            yield Prepared([row.point for row in rows[start:stop]], _pack(rows[start:stop]))
            start = stop
        yield from (Unfit(row.point, row.unfitness) for row in every if row.unfitness)

    def send(self, request: Prepared) -> Mapping[int, str]:
        """Post it; one with bad points again, series by series, to lose none of the others."""
        answer = self._http.post(request.body)
        if answer.status in ABOUT_POINTS:
            # this raises when it is not about the points
            self._http.post(NO_POINTS)
        series: defaultdict[object, list[int]] = defaultdict(list)
        for place, point in enumerate(request.points):
            series[point.series if answer.status in ABOUT_POINTS else None].append(place)
        refused: dict[int, str] = {}
        for places in series.values():
            if len(series) > 1:
                answer = self._http.post(_pack([_row(request.points[n]) for n in places]))
            refused |= self._http.refusals(places, answer)
        return refused

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()


class OtlpHttp(Transport):
    """Requests to one OTLP endpoint, whose address is used as it is."""

    service: OtlpService

    def __init__(self, service: OtlpService, timeout: timedelta) -> None:
        """`timeout` is how long one answer may take in all."""
        seconds = timeout.total_seconds()
        super().__init__(service, NAME, Limits(silence=seconds, total=seconds, largest=1 << 20))
        if service.user:
            self.session.auth = self._log_in

    def post(self, body: bytes) -> Answer:
        """Post a packed request; return taken or ABOUT_POINTS. Raises as MetricsSink.send says."""
        headers = {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}
        answer = self.call("POST", self.service.url, "metrics", data=body, headers=headers)
        is_about_points = answer.status in ABOUT_POINTS and body != NO_POINTS
        if not is_about_points and _left_out(answer) is None:
            raise self._error_of(answer)
        return answer

    def refusals(self, places: Sequence[int], answer: Answer) -> dict[int, str]:
        """Return why points at these places are refused; a service does not say which ones."""
        total = len(places)
        count, why = _left_out(answer) or (total, f"HTTP {answer.status}: {self._words(answer)}")
        # the oldest ones, as the likeliest
        which = f"{count} of {total} points of a request; the service does not say which"
        return dict.fromkeys(places[:count], self.quoted(f"{why} ({which})" if total > 1 else why))

    @property
    def _login(self) -> str:
        return b64encode(f"{self.service.user}:{bearer(self.service)}".encode()).decode()

    def _log_in(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Basic {self._login}"
        return request

    def no_answer(self, what: str, problem: str, is_late: bool) -> SinkUnavailable:
        """Return SinkUnavailable."""
        facts = {"sink": NAME, "url": self.service.url, "problem": f"no answer: {problem}"}
        return SinkUnavailable(**facts, retry_after=None)

    def redacted(self, text: str) -> str:
        """Return the text without the token, alone or in a login."""
        return super().redacted(text.replace(self._login, "***"))

    def _words(self, answer: Answer) -> str:
        text = answer.flaw or answer.body.decode("utf-8", "replace")
        if answer.headers.get("Content-Type", "").startswith(PROTOBUF):
            with suppress(DecodeError):
                text = Status.FromString(answer.body).message
        return self.quoted(text)

    def _error_of(self, answer: Answer) -> SinkUnavailable | SinkRefused:
        facts, words = {"sink": NAME, "url": self.service.url}, self._words(answer)
        if answer.asks_again:
            facts["problem"] = f"HTTP {answer.status}: {words}"
            return SinkUnavailable(**facts, retry_after=answer.retry_after)
        fix = f"Check that {self.service.origin} is the whole address for OTLP, as in docs/sinks.md"
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            fix = f"Set {self.service.token_from} to a token that may write metrics"
        return SinkRefused(**facts, problem=words, status=int(answer.status), fix=fix)


def _left_out(answer: Answer) -> tuple[int, str] | None:
    """Return how many points a request that was taken lacks, and why; None for another answer."""
    if not answer.flaw and HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        # a page of something else than OTLP is no yes
        with suppress(DecodeError):
            found = ExportMetricsServiceResponse.FromString(answer.body).partial_success
            return max(0, found.rejected_data_points), found.error_message
    return None


class _Row(NamedTuple):
    """A point as OTLP: name and unit, data; the bytes of the data and of the metric at most."""

    point: Point
    metric: tuple[str, str]
    data: NumberDataPoint
    size: int
    head: int

    @property
    def unfitness(self) -> str:
        """Why no request can hold the point; empty when one can."""
        if not math.isfinite(self.data.as_double):
            return "the values of the step are too large for a mean"
        size = 2 * FRAME + self.head + self.size
        return f"alone it has {size:,} bytes of {MOST_BYTES:,}" if size > MOST_BYTES else ""


def _row(point: Point) -> _Row:
    data = NumberDataPoint(time_unix_nano=point.time * 1_000_000_000, as_double=point.value)
    for key, value in point.labels:
        data.attributes.add(key=key).value.string_value = value
    name, unit = point.metric.name, point.metric.unit
    head = 2 * FRAME + Metric(name=name, unit=unit).ByteSize()
    return _Row(point, (name, unit), data, FRAME + data.ByteSize(), head)


def _end(rows: Sequence[_Row], start: int) -> int:
    """Return where a request that begins at `start` ends."""
    # its bytes if it ended before each row
    sizes, seen = [2 * FRAME], set[tuple[str, str]]()
    for row in rows[start : start + MOST_POINTS]:
        size = sizes[-1] + row.size + (0 if row.metric in seen else row.head)
        if size > MOST_BYTES:
            break
        sizes.append(size)
        seen.add(row.metric)
    most = len(sizes) - 1
    if start + most == len(rows):
        return len(rows)
    # of a step in two requests, a failure in between would have the first part sent again
    step = rows[start + most].point.time
    aligned = bisect_left(rows, step, start, start + most, key=lambda row: row.point.time) - start
    is_full = aligned >= FULL * MOST_POINTS or sizes[aligned] >= FULL * MOST_BYTES
    return start + (aligned if is_full else most)


def _pack(rows: Sequence[_Row]) -> bytes:
    """Write the rows as one request, each metric once, and pack it."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    gauges: dict[tuple[str, str], Gauge] = {}
    for row in rows:
        name, unit = row.metric
        if row.metric not in gauges:
            gauges[row.metric] = metrics.add(name=name, unit=unit).gauge
        gauges[row.metric].data_points.append(row.data)
    return gzip.compress(request.SerializeToString(), 1, mtime=0)


def check(service: OtlpService) -> tuple[ServiceCheck, ...]:
    """Whether a request without points is taken."""
    fix = f"Start it, or correct its URL ({service.origin})"
    with OtlpHttp(service, timedelta(seconds=10)) as http:
        try:
            http.post(NO_POINTS)
        except FedvitalsError as error:
            fix = error.facts.get("fix") or fix
            return (ServiceCheck(NAME, "takes metrics", False, error.problem, fix),)
    return (ServiceCheck(NAME, "takes metrics", True, "a request without points"),)
