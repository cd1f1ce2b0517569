"""Send points to Google Cloud Monitoring by its gRPC API.

A series takes points only in the order of time, one a request. A second send of a point is refused,
so nothing is doubled; where an earlier send may have had no answer, it counts as delivered.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import google.auth
import grpc
from google.api_core.exceptions import AlreadyExists, GoogleAPICallError, InvalidArgument
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.auth.impersonated_credentials import Credentials as Impersonated
from google.auth.transport.requests import Request
from google.cloud.monitoring_v3 import CreateTimeSeriesSummary, MetricServiceClient
from google.cloud.monitoring_v3.services.metric_service import transports
from google.rpc.error_details_pb2 import RetryInfo

from tasks.core.checks import ServiceCheck
from tasks.core.errors import (
    CertificateInvalid,
    ConfigurationInvalid,
    FedvitalsError,
    SinkRefused,
    SinkUnavailable,
)
from tasks.core.metric_services import GcpTuning
from tasks.core.outside import shortened
from tasks.core.services import GcpService
from tasks.http import CA_VARIABLES, TRUST_IT
from tasks.sinks.metrics_sink import Ages, MetricsSink, Prepared, Unfit
from tasks.sinks.points import Point

MOST_SERIES, MOST_LABELS, LONGEST_KEY, LONGEST_VALUE = 200, 30, 100, 1024
SCOPES = ["https://www.googleapis.com/auth/monitoring.write"]
ADC, ADC_FILE = "GOOGLE_APPLICATION_CREDENTIALS", "application_default_credentials.json"
# an answer that names 200 refused series is larger than gRPC takes by default
OPTIONS = [("grpc.max_metadata_size", 1 << 20), ("grpc.absolute_max_metadata_size", 1 << 20)]
# gRPC's CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE
_TRANSIENT = frozenset({1, 2, 4, 8, 10, 13, 14})
_OUT_OF_ORDER = re.compile("written in order|more frequently than")
# such as timeSeries[3] or timeSeries[0-4,6]
_NAMED, _PLACES = re.compile(r"timeSeries\[([\d,-]+)\]"), re.compile(r"(\d{1,9})-?(\d{0,9})")
# of the catalogue's units those that the service knows; others become annotations
_UNITS = {"": "1", "ratio": "1", "percent": "%", "seconds": "s", "days": "d", "bytes": "By"}


class GcpSink(MetricsSink):
    """Google Cloud Monitoring as a Sink."""

    name = "gcp"
    check_id = "gcp_refused"
    ages = Ages(back=timedelta(hours=24), ahead=timedelta(minutes=5))

    def __init__(self, service: GcpService, tuning: GcpTuning, deadline_seconds: float) -> None:
        """`deadline_seconds` is how long one load may try again what fails."""
        super().__init__(service, tuning, deadline_seconds)
        self._service = service
        self._prefix = tuning.prefix
        self._timeout = tuning.timeout.total_seconds()
        self._described: set[str] = set()
        self._newest: dict[Any, int] = {}
        self._doubtful: Prepared | None = None

    def takes(self, point: Point) -> bool:
        """Whether it is later than all of its series: a run loads the newest cell first."""
        return point.time > self._newest.get(point.series, 0)

    def prepare(self, points: Sequence[Point]) -> Iterator[Prepared | Unfit]:
        """Cut where a series would come twice, which keeps the points in order."""
        batch: dict[Any, Point] = {}
        for point in points:
            if reason := _unfit(point):
                yield Unfit(point, reason)
                continue
            if point.series in batch or len(batch) == MOST_SERIES:
                yield Prepared(tuple(batch.values()), b"")
                batch = {}
            batch[point.series] = point
        if batch:
            yield Prepared(tuple(batch.values()), b"")

    def send(self, request: Prepared) -> Mapping[int, str]:
        """Send it once; what an earlier try, or a run that was killed, delivered counts as such."""
        self._describe(request.points)
        is_first = any(point.series not in self._newest for point in request.points)
        again, self._doubtful = is_first or request is self._doubtful, request
        refused = self._write(dict(enumerate(request.points)), again)
        self._newest |= {point.series: point.time for point in request.points}
        return refused

    def close(self) -> None:
        """Give the connection back."""
        if "_client" in self.__dict__:
            self._client.transport.close()

    def _describe(self, points: Sequence[Point]) -> None:
        """Create the descriptors of metrics that this run has not written yet."""
        firsts = {point.metric.name: point for point in reversed(points)}
        for name in firsts.keys() - self._described:
            point = firsts[name]
            descriptor = {
                "type": self._prefix + name,
                "metric_kind": "GAUGE",
                "value_type": "DOUBLE",
                "unit": point.metric.unit or _UNITS.get(point.unit, f"{{{point.unit}}}"),
                "description": point.description,
                "labels": [{"key": key} for key, _ in point.labels],
            }
            try:
                with suppress(AlreadyExists):
                    self.call("create_metric_descriptor", metric_descriptor=descriptor)
            except InvalidArgument as error:
                fix = f"Delete {descriptor['type']} there, or send it by another name"
                raise self._explained(error, fix) from error
            self._described.add(name)

    def _write(self, points: Mapping[int, Point], again: bool) -> dict[int, str]:
        """Write the points; return why some are refused, by their positions."""
        try:
            self.call("create_time_series", time_series=[*map(self._message, points.values())])
        except GoogleAPICallError as error:
            if not (_summary(error) or _NAMED.search(error.message)):
                fix = "Correct GCP_PROJECT, or what sinks.yaml sends"
                raise self._explained(error, fix) from error
            refused = self._refused(points, error, again)
            return {p: w for p, w in refused.items() if not (again and _OUT_OF_ORDER.search(w))}
        return {}

    def _refused(
        self, points: Mapping[int, Point], error: GoogleAPICallError, again: bool
    ) -> dict[int, str]:
        """Return why points were refused, of which the service gives the count.

        Where its message does not name as many, halves are sent again, until each is found.
        """
        order, summary = list(points), _summary(error)
        named, written = _named(error.message, order), summary.success_point_count if summary else 0
        if summary and len(named) == summary.total_point_count - written:
            return named
        if len(points) == 1 or (summary and not written and not again):
            return dict.fromkeys(points, shortened(error.message))
        found: dict[int, str] = {}
        for part in (order[: len(order) // 2], order[len(order) // 2 :]):
            found |= self._write({each: points[each] for each in part}, again or written > 0)
        return found

    def _message(self, point: Point) -> Mapping[str, Any]:
        time, value = {"end_time": {"seconds": point.time}}, {"double_value": point.value}
        return {
            "metric": {"type": self._prefix + point.metric.name, "labels": dict(point.labels)},
            "resource": {"type": "global", "labels": {"project_id": self._service.project}},
            "points": [{"interval": time, "value": value}],
        }

    def call(self, method: str, **facts: Any) -> None:
        """Call a method once, with a token that has not expired; the client's retries are off.

        What the service says of the content is raised as it is.
        """
        if self._credentials and not self._credentials.valid:
            try:
                self._credentials.refresh(partial(Request(), timeout=self._timeout))
            except GoogleAuthError as error:
                raise self._explained(error) from error
        request = {"name": f"projects/{self._service.project}", **facts}
        try:
            getattr(self._client, method)(request=request, retry=None, timeout=self._timeout)
        except GoogleAPICallError as error:
            is_of_content = isinstance(error, InvalidArgument | AlreadyExists) or _summary(error)
            if is_of_content and not _may_pass(error):
                raise
            raise self._explained(error) from error

    @cached_property
    def _credentials(self) -> Any:
        """The account's credentials; None for an address without TLS, such as an emulator's."""
        if not self._service.project:
            problem = "the project is not known, and the service account does not name it"
            fix = "Set GCP_PROJECT (gcp_project in environments.yaml)"
            raise ConfigurationInvalid(where=self._service.origin, problem=problem, fix=fix)
        if urlsplit(self._service.url).scheme == "http":
            return None
        source, account = _default_credentials(), self._service.service_account
        return Impersonated(source, account, SCOPES) if account else source

    @cached_property
    def _client(self) -> MetricServiceClient:
        parts, transport = urlsplit(self._service.url), transports.MetricServiceGrpcTransport
        port = "" if parts.port else ":80" if parts.scheme == "http" else ":443"
        if self._credentials is None:
            channel = grpc.insecure_channel(parts.netloc + port, OPTIONS)
        else:
            named = next((path for name in CA_VARIABLES if (path := os.environ.get(name))), "")
            trusted = Path(named).read_bytes() if Path(named).is_file() else None
            tls = grpc.ssl_channel_credentials(trusted)
            channel = transport.create_channel(
                parts.netloc + port, self._credentials, ssl_credentials=tls, options=OPTIONS
            )
        return MetricServiceClient(transport=transport(channel=channel))

    def _explained(
        self, error: GoogleAPICallError | GoogleAuthError, fix: str = ""
    ) -> FedvitalsError:
        """Return our error for one that is not of single points; a login's comes without a code."""
        facts = {"url": self._service.url, "problem": getattr(error, "message", str(error))}
        if "CERTIFICATE_VERIFY_FAILED" in facts["problem"]:
            return CertificateInvalid(service=self.name, what="a write", fix=TRUST_IT, **facts)
        if _may_pass(error):
            waits = (w.retry_delay for w in getattr(error, "details", ()) if type(w) is RetryInfo)
            asked = next((wait.ToTimedelta().total_seconds() for wait in waits), None)
            return SinkUnavailable(sink=self.name, retry_after=asked, **facts)
        account, project = self._service.service_account, self._service.project
        if isinstance(error, GoogleAuthError):
            fix = f"Renew the credentials ({ADC})"
            role = f", and let them have the role iam.serviceAccountTokenCreator on {account}"
            fix += role if account else ""
        role = f"Give {account or 'the account'} the role monitoring.metricWriter in {project}"
        status = int(getattr(error, "code", HTTPStatus.UNAUTHORIZED))
        return SinkRefused(sink=self.name, status=status, fix=fix or role, **facts)


def check(service: GcpService) -> Iterator[ServiceCheck]:
    """Check that points may be written, by a request without any."""
    with closing(GcpSink(service, GcpTuning(), 0.0)) as sink:
        try:
            # the service looks at the permission before the content
            with suppress(InvalidArgument):
                sink.call("create_time_series", time_series=[])
        except FedvitalsError as error:
            fix = error.facts.get("fix", f"Check the network and its URL ({service.origin})")
            yield ServiceCheck(sink.name, "may write", False, error.problem, fix)
        else:
            yield ServiceCheck(sink.name, "may write", True, f"the project {service.project}")


def _default_credentials() -> Any:
    """Read the application default credentials from their file."""
    # google.auth.default would go on to look for the metadata server of Google's own machines
    folder = os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud"
    path = os.environ.get(ADC) or str(Path(folder) / ADC_FILE)
    try:
        return google.auth.load_credentials_from_file(path, scopes=SCOPES)[0]
    except (DefaultCredentialsError, OSError) as error:
        fix = f"Set {ADC} to a file of credentials, or run: gcloud auth application-default login"
        raise ConfigurationInvalid(where=ADC, problem=str(error), fix=fix) from error


def _may_pass(error: GoogleAPICallError | GoogleAuthError) -> bool:
    """Whether the same request, or a part of it, may succeed later."""
    if isinstance(error, GoogleAuthError):
        return error.retryable or isinstance(error, TransportError)
    summary, status = _summary(error), error.grpc_status_code
    codes = {each.status.code for each in summary.errors} if summary else set()
    return status is None or not _TRANSIENT.isdisjoint({status.value[0], *codes})


def _summary(error: GoogleAPICallError) -> CreateTimeSeriesSummary | None:
    """Return how many points of the request were written, where the answer says so."""
    kind = CreateTimeSeriesSummary.pb().DESCRIPTOR
    values = (each.value for each in error.details if hasattr(each, "Is") and each.Is(kind))
    return next(map(CreateTimeSeriesSummary.deserialize, values), None)


def _named(message: str, positions: Sequence[int]) -> dict[int, str]:
    """Return the reason of each point that the message names by its place in the request."""
    found: dict[int, str] = {}
    for part in message.split("; "):
        for first, last in _PLACES.findall(",".join(_NAMED.findall(part))):
            for each in positions[int(first) : int(last or first) + 1]:
                found.setdefault(each, shortened(part))
    return found


def _unfit(point: Point) -> str:
    """Return why no request can hold the point; empty when one can."""
    if len(point.labels) > MOST_LABELS:
        return f"it has {len(point.labels)} labels, and {MOST_LABELS} are allowed"
    too_long = [k for k, v in point.labels if len(k) > LONGEST_KEY or len(v) > LONGEST_VALUE]
    return f"the label {too_long[0]} or its value is too long" if too_long else ""
