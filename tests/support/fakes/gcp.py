"""An in-process MetricService that refuses what Google Cloud Monitoring refuses."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import trustme
from google.api.metric_pb2 import MetricDescriptor
from google.auth.exceptions import TransportError
from google.cloud.monitoring_v3 import (
    CreateMetricDescriptorRequest,
    CreateTimeSeriesRequest,
    CreateTimeSeriesSummary,
)
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.empty_pb2 import Empty
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from tasks.core.services import GcpService

HOUR = 3600.0
AN_HOUR_AGO = time.time() - HOUR
BAD = grpc.StatusCode.INVALID_ARGUMENT
INTERVAL = "points were written more frequently than the maximum sampling period"
ORDER = (
    "Points must be written in order. One or more of the points specified had an older "
    "end time than the most recent point."
)
DUPLICATE = (
    "Duplicate TimeSeries encountered. Only one point can be written per TimeSeries per request."
)
Series = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class Trouble:
    """What a call answers: a code, after the points were written or not."""

    code: grpc.StatusCode
    is_written: bool = False
    retry_after: int | None = None
    seconds: float = 0.0
    of_part: bool = False  # its code stands in the summary alone


@dataclass
class FakeMonitoring:
    """Keeps what it takes; `troubles` are those of the next calls that write points."""

    url: str = ""
    project: str = "fl-project"
    may_write: bool = True
    names_positions: bool = True
    troubles: list[Trouble | None] = field(default_factory=list)
    refuse: Callable[[Series, float], str | None] = lambda series, value: None
    descriptors: dict[str, MetricDescriptor] = field(default_factory=dict)
    taken: dict[Series, list[tuple[float, float]]] = field(default_factory=dict)
    requests: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    other_writer: float = 0.0  # its last point of every series

    def service(self, **changes: Any) -> GcpService:
        facts = {"url": self.url, "origin": "GCP_MONITORING_URL", "project": self.project}
        return GcpService.model_validate({**facts, **changes})

    @property
    def points(self) -> list[tuple[str, float, float]]:
        """Metric, time and value, by time."""
        every = [(s[0], *point) for s, points in self.taken.items() for point in points]
        return sorted(every, key=lambda point: (point[1], point[0]))

    def create_descriptor(
        self, request: CreateMetricDescriptorRequest, context: grpc.ServicerContext
    ) -> MetricDescriptor:
        self._let_in(request.name, context)
        made = request.metric_descriptor
        if not re.match(r"(custom|external)\.googleapis\.com/[\w./]+$", made.type):
            context.abort(BAD, f"Field metricDescriptor.type had an invalid value: {made.type}")
        if len(made.labels) > 30 or any(len(each.key) > 100 for each in made.labels):
            context.abort(BAD, "Field metricDescriptor.labels had an invalid value")
        had = self.descriptors.get(made.type)
        if had and (had.metric_kind, had.value_type) != (made.metric_kind, made.value_type):
            context.abort(BAD, f"{made.type} already exists with another value type")
        if had and had.unit == made.unit:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{made.type} already exists")
        self.descriptors[made.type] = made
        return made

    def create_series(
        self, request: CreateTimeSeriesRequest, context: grpc.ServicerContext
    ) -> Empty:
        self._let_in(request.name, context)
        sent = CreateTimeSeriesRequest.pb(request).time_series
        self.requests.append(len(sent))
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble and not trouble.is_written and not trouble.of_part:
            _end(context, trouble)
        self._check_whole(sent, context)
        refused = self._write(sent)
        if trouble and trouble.of_part:
            _abort(context, "Some failed", len(sent), {trouble.code.value[0]: len(sent)})
        if trouble:
            _end(context, trouble)
        if refused:
            places = [
                f"{why}: global{{}} timeSeries[{place}]: {sent[place].metric.type}"
                for place, why in refused.items()
            ]
            which = "; ".join(places if self.names_positions else set(refused.values()))
            text = f"One or more TimeSeries could not be written: {which}"
            _abort(context, text, len(sent), {BAD.value[0]: len(refused)})
        return Empty()

    def _let_in(self, name: str, context: grpc.ServicerContext) -> None:
        self.tokens += [str(v) for k, v in context.invocation_metadata() if k == "authorization"]
        if not self.may_write or name != f"projects/{self.project}":
            denied = "Permission monitoring.timeSeries.create denied (or it may not exist)."
            context.abort(grpc.StatusCode.PERMISSION_DENIED, denied)

    def _check_whole(self, sent: Any, context: grpc.ServicerContext) -> None:
        if not sent:
            context.abort(BAD, "Request was missing field timeSeries.")
        if len(sent) > 200:
            context.abort(BAD, "Field timeSeries had an invalid value: more than 200 TimeSeries.")
        for place, each in enumerate(sent):
            if len(each.points) != 1:
                text = f"Field timeSeries[{place}].points had an invalid value: not one point."
                context.abort(BAD, text)

    def _write(self, sent: Any) -> dict[int, str]:
        refused, seen = {}, set()
        for place, each in enumerate(sent):
            series = (each.metric.type, tuple(sorted(each.metric.labels.items())))
            end = each.points[0].interval.end_time.seconds
            value = each.points[0].value.double_value
            why = DUPLICATE if series in seen else self._why_not(each, series, end, value)
            seen.add(series)
            if why:
                refused[place] = why
            else:
                self.taken.setdefault(series, []).append((end, value))
        return refused

    def _why_not(self, each: Any, series: Series, end: float, value: float) -> str | None:
        labels, had = each.metric.labels, self.taken.get(series)
        if each.metric.type not in self.descriptors:
            return "the descriptor was not created before"
        if each.points[0].value.WhichOneof("value") != "double_value":
            return "Value type for metric must be DOUBLE."
        if each.resource.type != "global" or dict(each.resource.labels) != {
            "project_id": self.project
        }:
            return "unknown monitored resource"
        if len(labels) > 30 or any(len(k) > 100 or len(v) > 1024 for k, v in labels.items()):
            return "a label has an invalid value"
        if end < time.time() - 25 * HOUR or end > time.time() + 300:
            return "Data points cannot be written more than 25h in the past or 5 min ahead."
        if had and end <= self.other_writer:
            return ORDER
        if had and end <= had[-1][0]:
            return INTERVAL if end == had[-1][0] else ORDER
        if had and end < had[-1][0] + 10:
            return INTERVAL
        return self.refuse(series, value)


def _end(context: grpc.ServicerContext, trouble: Trouble) -> None:
    time.sleep(trouble.seconds)
    status = Status(code=trouble.code.value[0], message="some trouble")
    if trouble.retry_after is not None:
        wait = RetryInfo()
        wait.retry_delay.seconds = trouble.retry_after
        status.details.append(_packed(wait))
    context.abort_with_status(rpc_status.to_status(status))


def _abort(context: grpc.ServicerContext, text: str, total: int, failed: Mapping[int, int]) -> None:
    """End with how many points were written."""
    errors = [{"status": {"code": code}, "point_count": n} for code, n in failed.items()]
    summary = CreateTimeSeriesSummary(
        total_point_count=total, success_point_count=total - sum(failed.values()), errors=errors
    )
    status = Status(code=BAD.value[0], message=text)
    status.details.append(_packed(CreateTimeSeriesSummary.pb(summary)))
    context.abort_with_status(rpc_status.to_status(status))


def _packed(message: Any) -> Packed:
    packed = Packed()
    packed.Pack(message)
    return packed


@contextmanager
def fake_monitoring(
    certificate: grpc.ServerCredentials | None = None, **knobs: Any
) -> Iterator[FakeMonitoring]:
    """A fake that listens on loopback."""
    fake = FakeMonitoring(**knobs)
    methods = {
        "CreateMetricDescriptor": grpc.unary_unary_rpc_method_handler(
            fake.create_descriptor,
            request_deserializer=CreateMetricDescriptorRequest.deserialize,
            response_serializer=MetricDescriptor.SerializeToString,
        ),
        "CreateTimeSeries": grpc.unary_unary_rpc_method_handler(
            fake.create_series,
            request_deserializer=CreateTimeSeriesRequest.deserialize,
            response_serializer=Empty.SerializeToString,
        ),
    }
    handler = grpc.method_handlers_generic_handler("google.monitoring.v3.MetricService", methods)
    options = [("grpc.max_metadata_size", 1 << 20), ("grpc.absolute_max_metadata_size", 1 << 20)]
    server = grpc.server(ThreadPoolExecutor(2), (handler,), options=options)
    if certificate is None:
        fake.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        fake.url = f"https://localhost:{server.add_secure_port('localhost:0', certificate)}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait()


@dataclass
class FakeTokens:
    """Answers for Google's servers of tokens, which are never asked."""

    status: int = 200
    down: bool = False
    asked: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __call__(self, url: str, timeout: float, **_: Any) -> Any:
        self.asked.append(url)
        self.seconds.append(timeout)
        if self.down:
            raise TransportError("no route to the server")
        until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        token = {"accessToken": "of the account", "access_token": "own", "expireTime": until}
        text = json.dumps({**token, "expires_in": 3600} if self.status == 200 else {"error": "no"})
        return SimpleNamespace(status=self.status, data=text.encode(), headers={})


def new_certificate(ca_file: Path) -> grpc.ServerCredentials:
    """What a server on localhost presents; the CA's certificate is written to the file."""
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
    authority.cert_pem.write_to_path(str(ca_file))
    return grpc.ssl_server_credentials([(leaf.private_key_pem.bytes(), chain)])


def raw(series: str = "m", time_: float = 0.0, points: int = 1, **more: Any) -> dict[str, Any]:
    """A series of one point an hour ago, `time_` seconds later."""
    end = {"interval": {"end_time": {"seconds": int(AN_HOUR_AGO + time_)}}}
    return {
        "metric": {"type": f"custom.googleapis.com/fl/{series}", "labels": more.get("labels", {})},
        "resource": {"type": "global", "labels": {"project_id": "fl-project"}},
        "points": [{**end, "value": more.get("value", {"double_value": 1.0})}] * points,
    }
