"""Send points to Amazon CloudWatch, by PutMetricData of boto3."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from tasks import http
from tasks.core import errors
from tasks.core.checks import ServiceCheck
from tasks.core.metric_services import CloudWatchTuning
from tasks.core.retry import seconds_asked
from tasks.core.services import CloudWatchService
from tasks.sinks.metrics_sink import Ages, MetricsSink, Prepared, Unfit
from tasks.sinks.points import Labels, Point

NAME = "cloudwatch"
CHECK_TIMEOUT = timedelta(seconds=10)
# of one request, before it is compressed; one that is so full may end before its last step
MOST_METRICS, MOST_BYTES, FULL = 1000, 1_000_000, 0.95
# of one metric
MOST_VALUES, MOST_DIMENSIONS, LARGEST = 150, 30, 2.0**360
_REGION = re.compile(r"https://monitoring\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?/?")
# printable and not blank; a name does not begin with a colon
_NAME = re.compile(r"(?!:)(?=.*[!-~])[ -~]{1,255}")
_VALUE = re.compile(r"(?=.*[!-~])[ -~]{1,1024}")
# answers about the metrics, of which one is enough to refuse all
_UNFIT = re.compile(
    r"PutMetricData: (413|RequestEntityTooLarge|InvalidParameter|InvalidFormat|Missing\w*Parameter|ValidationError)"
)
_BUSY = re.compile("Throttl|RequestLimitExceeded|TooManyRequests|InternalService")
SET_THEM = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; to use those of an EC2 machine "
    "set AWS_EC2_METADATA_DISABLED=false"
)


@dataclass(frozen=True)
class _Request(Prepared):
    """A request; of its points `parts` are ranges that are still to be sent."""

    parts: list[tuple[int, int]]
    refused: dict[int, str] = field(default_factory=dict)


class CloudWatchSink(MetricsSink):
    """CloudWatch as a sink."""

    name = NAME
    check_id = "cloudwatch_refused"
    tuning: CloudWatchTuning

    def __init__(
        self, service: CloudWatchService, tuning: CloudWatchTuning, deadline_seconds: float
    ) -> None:
        super().__init__(service, tuning, deadline_seconds)
        self._aws = _Aws(service, tuning.timeout)

    @property
    def ages(self) -> Ages:
        """Which times CloudWatch takes."""
        return Ages(timedelta(days=14), timedelta(hours=2))

    def prepare(self, points: Sequence[Point]) -> Iterator[Prepared | Unfit]:
        """Cut the points by number and serialised bytes, if possible between two steps."""
        yield from (Unfit(point, flaw) for point in points if (flaw := _flaw(point)))
        fit = [point for point in points if not _flaw(point)]
        empty, separator = self._length(), len(", ")
        sizes = [self._length(_metric(point)) - empty + separator for point in fit]
        before, times = np.cumsum([0, *sizes]), [point.time for point in fit]
        first, room = 0, MOST_BYTES - empty + separator
        while first < len(fit):
            last = int(np.searchsorted(before, before[first] + room, "right")) - 1
            end = min(last, first + MOST_METRICS)
            step = int(np.searchsorted(times, times[end])) if end < len(fit) else end
            fill = max((step - first) / MOST_METRICS, (before[step] - before[first]) / room)
            end = step if fill >= FULL else end
            # botocore makes the body, which it signs
            yield _Request(fit[first:end], b"", parts=[(0, end - first)])
            first = end

    def send(self, request: Prepared) -> Mapping[int, str]:
        """Send the metrics; of those that are refused together send the halves, down to one."""
        assert isinstance(request, _Request)
        metrics = [_metric(point) for point in request.points]
        # after an error the next try goes on where it happened, so that no half is sent twice
        while request.parts:
            first, end = request.parts[-1]
            why = self._refusal(metrics[first:end])
            request.parts.pop()
            middle = (first + end) // 2
            if why and middle > first:
                request.parts.extend([(middle, end), (first, middle)])
            elif why:
                request.refused[first] = why
        return request.refused

    def close(self) -> None:
        """Give connections back."""
        self._aws.close()

    def _refusal(self, metrics: Sequence[Mapping[str, Any]]) -> str:
        """Send them in one request; return why they are refused, empty when they are taken."""
        try:
            self._aws.ask(NAME, "put_metric_data", **self._content(*metrics))
        except errors.SinkRefused as error:
            if not _UNFIT.match(error.problem):
                raise
            return str(error.problem)
        return ""

    def _content(self, *metrics: Mapping[str, Any]) -> dict[str, Any]:
        return {"Namespace": self.tuning.namespace, "MetricData": metrics}

    def _length(self, *metrics: Mapping[str, Any]) -> int:
        serializer, operation = self._serializer
        return len(serializer.serialize_to_request(self._content(*metrics), operation)["body"])

    @cached_property
    def _serializer(self) -> tuple[Any, Any]:
        from botocore.serialize import create_serializer

        model = self._aws.core.get_service_model(NAME)
        serializer = create_serializer(model.resolved_protocol, include_validation=False)
        return serializer, model.operation_model("PutMetricData")


def _flaw(point: Point) -> str:
    """Return why CloudWatch never takes the point; empty when it may."""
    is_whole = point.metric.reduce == "statistics"
    sent = [*point.values, point.values.sum()] if is_whole else [point.value]
    if np.abs(sent).max() > LARGEST:
        return "a number beyond 2^360"
    return _flaw_of(*point.series)


@lru_cache(maxsize=1024)
def _flaw_of(name: str, labels: Labels) -> str:
    if len(labels) > MOST_DIMENSIONS:
        return f"{len(labels)} dimensions, of at most {MOST_DIMENSIONS}"
    names, values = [name, *(label for label, _ in labels)], [value for _, value in labels]
    unfit = [text for text in names if not _NAME.fullmatch(text)]
    unfit += [text for text in values if not _VALUE.fullmatch(text)]
    rule = "a name has 1 to 255 printable ASCII characters, a dimension's value 1 to 1024"
    return f"{rule}: {unfit[0]!r}" if unfit else ""


def _metric(point: Point) -> dict[str, Any]:
    """Return the point as a MetricDatum."""
    made: dict[str, Any] = {
        "MetricName": point.metric.name,
        "Dimensions": [{"Name": label, "Value": value} for label, value in point.labels],
        "Timestamp": datetime.fromtimestamp(point.time, UTC),
        "Unit": point.metric.unit or "None",
    }
    if point.metric.reduce != "statistics":
        return {**made, "Value": point.value}
    values = [float(value) for value in point.values]
    counts = Counter(values)
    if len(counts) <= MOST_VALUES:
        return {**made, "Values": [*counts], "Counts": [float(n) for n in counts.values()]}
    facts = len(values), sum(values), min(values), max(values)
    names = "SampleCount", "Sum", "Minimum", "Maximum"
    return {**made, "StatisticValues": dict(zip(names, map(float, facts), strict=True))}


class _Aws(http.Transport):
    """Ask AWS with the region and role of a service, through boto3, which carries nothing itself."""

    service: CloudWatchService

    def __init__(self, service: CloudWatchService, timeout: timedelta) -> None:
        seconds = timeout.total_seconds()
        super().__init__(service, NAME, http.Limits(silence=seconds, total=seconds))
        self._clients: dict[str, Any] = {}
        # those that were sent, should an answer echo one
        self._tokens: set[str] = set()
        found = _REGION.fullmatch(service.url)
        default = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        self.region = found[1] if found else default or "us-west-2"

    def ask(self, client: str, method: str, **content: Any) -> Any:
        """Return the answer of AWS; raise our error for its error or for none."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = getattr(self._client(client), method)(**content)
        except ClientError as error:
            raise self._refusal(error) from error
        # a ValueError is of an address
        except (BotoCoreError, ValueError) as error:
            raise self._failure(error) from error
        if not answer["ResponseMetadata"].get("RequestId"):
            raise self.no_answer(method, "it has no request id, so it is not of AWS", False)
        return answer

    def no_answer(self, what: str, problem: str, is_late: bool) -> errors.SinkUnavailable:
        """Return SinkUnavailable."""
        return self._unavailable(f"no answer to {what}: {problem}", None)

    def redacted(self, text: str) -> str:
        """Return the text without the tokens that were sent."""
        for token in self._tokens:
            text = text.replace(token, "***")
        return text

    def _client(self, name: str) -> Any:
        if name not in self._clients:
            # boto3 knows the usual address, and obeys AWS_ENDPOINT_URL
            is_usual = name != NAME or _REGION.fullmatch(self.service.url)
            url = None if is_usual else self.service.url
            self._clients[name] = self._session.client(name, endpoint_url=url)
        return self._clients[name]

    @cached_property
    def core(self) -> Any:
        """The session of botocore, as yet without credentials."""
        import botocore.session
        from botocore.config import Config

        core = botocore.session.Session()
        core.set_config_variable("region", self.region)
        once = {"total_max_attempts": 1}
        # what could be wrong is found before
        core.set_default_client_config(Config(retries=once, parameter_validation=False))
        core.register("before-send", self._carry)
        return core

    @cached_property
    def _session(self) -> Any:
        import boto3.session

        found = self._credentials()
        loaded = SimpleNamespace(load_credentials=lambda: found)
        self.core.register_component("credential_provider", loaded)
        return boto3.session.Session(botocore_session=self.core)

    def _credentials(self) -> Any:
        """Return the credentials in force; those of a role are renewed before they expire."""
        from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

        chain = self.core.get_component("credential_provider")
        # elsewhere than on EC2 anything might answer at the address that it has there
        if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "false":
            chain.remove("iam-role")
        own = chain.load_credentials()
        if own is None:
            problem = "no credentials of AWS are set"
            raise errors.ConfigurationInvalid(where=NAME, problem=problem, fix=SET_THEM)
        if not self.service.role:
            return own
        name = {"RoleSessionName": "fedvitals"}
        role = AssumeRoleCredentialFetcher(self.core.create_client, own, self.service.role, name)
        return DeferredRefreshableCredentials(role.fetch_credentials, "assume-role")

    def _carry(self, request: Any, event_name: str, **_: object) -> Any:
        """Send what botocore signed; return the answer as botocore reads it."""
        from botocore.awsrequest import AWSResponse

        if token := request.headers.get("X-Amz-Security-Token"):
            self._tokens.add(token.decode() if isinstance(token, bytes) else token)
        content = {"data": request.body, "headers": request.headers}
        operation = event_name.rpartition(".")[2]
        answer = self.call(request.method, request.url, operation, **content)
        if answer.flaw:
            raise self.no_answer(operation, answer.flaw, False)
        raw = SimpleNamespace(stream=lambda: [answer.body])
        return AWSResponse(request.url, answer.status, answer.headers, raw)

    def _refusal(self, error: Any) -> errors.FedvitalsError:
        """Return our error for one that AWS answered."""
        said, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        code, status = str(said.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
        problem = self.quoted(f"{error.operation_name}: {code}: {said.get('Message', '')}")
        if status in (408, 429) or status >= 500 or _BUSY.match(code):
            header = meta.get("HTTPHeaders", {}).get("retry-after")
            return self._unavailable(problem, seconds_asked(header))
        fix = (
            f"Check that the credentials are right and may {error.operation_name} "
            f"(AWS_CLOUDWATCH_ROLE), the clock of this machine, and {self.service.origin}"
        )
        facts = {"sink": NAME, "url": self.service.url, "status": status}
        return errors.SinkRefused(**facts, problem=problem, fix=fix)

    def _failure(self, error: Any) -> errors.FedvitalsError:
        """Return our error for one of botocore's own, or ours that it wrapped."""
        from botocore import exceptions as of

        inner = getattr(error, "kwargs", {}).get("error")
        if isinstance(inner, errors.FedvitalsError):
            return inner
        problem = self.quoted(str(error))
        passing = of.HTTPClientError, of.ResponseParserError, of.MetadataRetrievalError
        if isinstance(error, (*passing, of.ConnectionError, of.CredentialRetrievalError)):
            return self._unavailable(problem, None)
        return errors.ConfigurationInvalid(where=NAME, problem=problem, fix=SET_THEM)

    def _unavailable(self, problem: str, after: float | None) -> errors.SinkUnavailable:
        facts = {"sink": NAME, "url": self.service.url}
        return errors.SinkUnavailable(**facts, problem=problem, retry_after=after)


def check(service: CloudWatchService) -> Iterator[ServiceCheck]:
    """Check the credentials, by asking STS whose they are; no point is sent."""
    with _Aws(service, CHECK_TIMEOUT) as aws:
        try:
            who = aws.ask("sts", "get_caller_identity")
            yield ServiceCheck(NAME, "credentials", True, f"{who.get('Arn')} in {aws.region}")
        except errors.FedvitalsError as error:
            fix = error.facts.get("fix", "Check the network, the proxy and AWS_ENDPOINT_URL")
            yield ServiceCheck(NAME, "credentials", False, error.problem, fix)
