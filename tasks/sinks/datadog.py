"""Datadog: series of its API, version 2, as JSON that is cut and packed within its limits."""

import json
import logging
import math
import time
import zlib
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import requests
from requests.auth import AuthBase

from tasks.core.checks import ServiceCheck
from tasks.core.errors import FedvitalsError, SinkRefused, SinkUnavailable
from tasks.core.metric_services import DatadogTuning
from tasks.core.outside import read_json
from tasks.core.retry import retrying, seconds_asked
from tasks.core.services import DatadogService
from tasks.http import Answer, Limits, Transport, bearer
from tasks.sinks.metrics_sink import MARGIN, Ages, MetricsSink, Prepared, Unfit
from tasks.sinks.points import Point

NAME = "datadog"
# bytes of a request: as sent, and unpacked
MOST_SENT, MOST_UNPACKED = 512_000, 5_242_880 - 1
# a request is cut shorter only to end where a step ends
FULL, NEARLY_FULL = 0.95, 0.97
LONGEST_TAG = 200
GAUGE = 3
BACK, AHEAD = timedelta(hours=1), timedelta(minutes=10)
# of metrics with historical ingestion: 15 months
LONG_BACK = timedelta(days=15 * 30)
FRAME = '{"series":[%s]}'
CHECK_TIMEOUT = timedelta(seconds=10)

logger = logging.getLogger("fedvitals")


class DatadogSink(MetricsSink):
    """Metrics of one Datadog account."""

    name = NAME
    check_id = "datadog_refused"

    def __init__(
        self, service: DatadogService, tuning: DatadogTuning, deadline_seconds: float
    ) -> None:
        """`deadline_seconds` is how long one load may try again what fails."""
        super().__init__(service, tuning, deadline_seconds)
        self._http = DatadogHttp(service, tuning.timeout)
        self._is_historical: dict[str, bool] = {}
        # of the request under way, what was not answered yet, with its place
        self._request: Prepared | None = None
        self._left: deque[tuple[int, Sequence[Point]]] = deque()
        self._refused: dict[int, str] = {}

    @property
    def ages(self) -> Ages:
        """An hour; 15 months if some metric may have historical ingestion."""
        return Ages(LONG_BACK if self._http.service.app_token else BACK, AHEAD)

    def takes(self, point: Point) -> bool:
        """Whether it is young, or of a metric with historical ingestion, which is asked once."""
        if point.time >= time.time() - (BACK - MARGIN).total_seconds():
            return True
        name = point.metric.name
        if name not in self._is_historical:
            self._is_historical[name] = retrying(self._deadline)(self._http.is_historical, name)
        return self._is_historical[name]

    def prepare(self, points: Sequence[Point]) -> Iterator[Prepared | Unfit]:
        """Yield requests, each with as many points as the limits let it have."""
        unfit = deque(Unfit(point, why) for point in points if (why := _unfitness(point)))
        rows = [_Row.of(point) for point in points if not _unfitness(point)]
        start = 0
        while start < len(rows):
            stop, body = _cut(rows, start)
            yield Prepared([row.point for row in rows[start:stop]], body)
            start = stop
            # not before earlier points, or these would count as sent
            while unfit and start < len(rows) and unfit[0].point.time < rows[start].time:
                yield unfit.popleft()
        yield from unfit

    def send(self, request: Prepared) -> Mapping[int, str]:
        """Post it, in halves if it is too large; what was taken is not posted by another try."""
        if request is not self._request:
            self._request, self._refused = request, {}
            self._left = deque([(0, request.points)])
        while self._left:
            place, points = self._left[0]
            is_whole = len(points) == len(request.points)
            body = request.body if is_whole else _pack([_Row.of(point) for point in points]).sent
            answer = self._http.post(body)
            self._left.popleft()
            if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                self._halve(place, points, answer)
        return self._refused

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _halve(self, place: int, points: Sequence[Point], answer: Answer) -> None:
        half = len(points) // 2
        if half:
            self._left.extendleft([(place + half, points[half:]), (place, points[:half])])
        else:
            self._refused[place] = f"HTTP {answer.status}: {self._http.words(answer)}"


class DatadogHttp(Transport):
    """Requests to one Datadog, and what its answers mean."""

    service: DatadogService

    def __init__(self, service: DatadogService, timeout: timedelta) -> None:
        """`timeout` is how long one answer may take in all."""
        seconds = timeout.total_seconds()
        limits = Limits(silence=seconds, total=seconds, largest=1 << 20)
        super().__init__(service, NAME, limits)
        self.session.auth = _ApiKey(service)

    def post(self, body: bytes) -> Answer:
        """Post series; return taken or 413 (too large). Raises as MetricsSink.send says."""
        headers = {"Content-Type": "application/json", "Content-Encoding": "deflate"}
        answer = self._ask("POST", "/api/v2/series", data=body, headers=headers)
        if answer.status not in (HTTPStatus.ACCEPTED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
            raise self.error_of(answer)
        if answer.status == HTTPStatus.ACCEPTED and _content(answer).get("errors") != []:
            raise self._unavailable(f"HTTP 202: {self.words(answer)}")
        return answer

    def validate(self) -> bool:
        """Return whether the API key is one; raises as `post` does."""
        answer = self._ask("GET", "/api/v1/validate")
        if answer.status != HTTPStatus.OK or _content(answer).get("valid") is not True:
            raise self.error_of(answer)
        return True

    def is_historical(self, metric: str) -> bool:
        """Return whether the account takes old points of the metric; not if it may not be asked."""
        try:
            return self.history_of(metric)
        except SinkRefused as error:
            logger.warning("sink=%s points older than an hour are skipped: %s", NAME, error)
            return False

    def history_of(self, metric: str) -> bool:
        """Return whether the account takes old points of the metric; raises as `post` does."""
        if self.service.app_token is None:
            return False
        path = f"/api/v2/metrics/historical-metrics-configurations/{metric}"
        key = self.service.app_token.get_secret_value()
        answer = self._ask("GET", path, headers={"DD-APPLICATION-KEY": key})
        if answer.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise self.error_of(answer)
        return answer.status == HTTPStatus.OK

    def _ask(self, method: str, path: str, **content: Any) -> Answer:
        return self.call(method, self.service.url + path, path.rpartition("/")[2], **content)

    def no_answer(self, what: str, problem: str, is_late: bool) -> SinkUnavailable:
        """Return SinkUnavailable."""
        return self._unavailable(f"no answer: {problem}")

    def error_of(self, answer: Answer) -> SinkUnavailable | SinkRefused:
        """Return SinkUnavailable when it asks to come again, else SinkRefused until it is fixed."""
        words = self.words(answer)
        if answer.asks_again:
            reset = seconds_asked(answer.headers.get("X-RateLimit-Reset"))
            asked = answer.retry_after if answer.retry_after is not None else reset
            return self._unavailable(f"HTTP {answer.status}: {words}", asked)
        facts = {"sink": NAME, "url": self.service.url, "problem": words}
        return SinkRefused(**facts, status=int(answer.status), fix=_fix_of(answer, self.service))

    def words(self, answer: Answer) -> str:
        """Return the errors in the answer, else its text."""
        errors = _content(answer).get("errors")
        text = "; ".join(map(str, errors)) if isinstance(errors, list) else ""
        return self.quoted(text or answer.flaw or answer.body.decode("utf-8", "replace"))

    def redacted(self, text: str) -> str:
        """Return the text without either key."""
        key = self.service.app_token.get_secret_value() if self.service.app_token else ""
        return super().redacted(text.replace(key, "***") if key else text)

    def _unavailable(self, problem: str, retry_after: float | None = None) -> SinkUnavailable:
        facts = {"sink": NAME, "url": self.service.url, "problem": self.quoted(problem)}
        return SinkUnavailable(**facts, retry_after=retry_after)


class _ApiKey(AuthBase):
    """Sends the API key as it is now."""

    def __init__(self, service: DatadogService) -> None:
        self._service = service

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["DD-API-KEY"] = bearer(self._service)
        return request


@dataclass(frozen=True, slots=True)
class _Row:
    """A point as JSON: what begins its series, and its own part."""

    point: Point
    time: int
    series: str
    value: str

    @classmethod
    def of(cls, point: Point) -> "_Row":
        """Write a point's JSON."""
        facts: dict[str, Any] = {"metric": point.metric.name, "type": GAUGE, "tags": _tags(point)}
        if point.metric.unit:
            facts["unit"] = point.metric.unit
        series = json.dumps(facts, separators=(",", ":"))[:-1] + ',"points":['
        value = f'{{"timestamp":{point.time},"value":{point.value!r}}}'
        return cls(point, point.time, series, value)


@dataclass(frozen=True)
class _Body:
    """Bytes to be sent, and how many they are unpacked."""

    sent: bytes
    unpacked: int

    @property
    def is_full(self) -> bool:
        """Whether it uses up one of the limits."""
        return len(self.sent) >= FULL * MOST_SENT or self.unpacked >= FULL * MOST_UNPACKED


def _tags(point: Point) -> list[str]:
    return [f"{name}:{value}" for name, value in point.labels]


def _unfitness(point: Point) -> str:
    """Why no request can hold the point; empty when one can."""
    if not math.isfinite(point.value):
        return "the values of the step are too large for a mean"
    if longest := max(map(len, _tags(point)), default=0) > LONGEST_TAG:
        return f"a tag is longer than {LONGEST_TAG} characters, and would be cut"
    row = _Row.of(point)
    # text is never larger packed
    size = len(FRAME) + len(row.series) + len(row.value)
    return f"alone it has {size} bytes" if size > MOST_SENT else ""


def _cut(rows: Sequence[_Row], start: int) -> tuple[int, bytes]:
    """Return where a request that begins at `start` ends, and its body."""
    stop = over = _past_unpacked(rows, start) + 1
    fits, body = start, _Body(b"", 0)
    stop -= 1
    while over - fits > 1 and len(body.sent) < NEARLY_FULL * MOST_SENT:
        tried = _pack(rows[start:stop])
        if len(tried.sent) > MOST_SENT:
            over = stop
        else:
            fits, body = stop, tried
        stop = (fits + over) // 2
    if fits < len(rows):
        # after a failure in between, the rest of a step would count as sent
        aligned = bisect_left(rows, rows[fits].time, start, fits, key=lambda row: row.time)
        if start < aligned < fits and (shorter := _pack(rows[start:aligned])).is_full:
            return aligned, shorter.sent
    return fits, body.sent


def _past_unpacked(rows: Sequence[_Row], start: int) -> int:
    """Return where the rows from `start` on become too large unpacked."""
    size, seen = len(FRAME), set()
    for place in range(start, len(rows)):
        row = rows[place]
        size += len(row.value) + 1
        if row.series not in seen:
            seen.add(row.series)
            size += len(row.series) + len("]},")
        if size > MOST_UNPACKED:
            return place
    return len(rows)


def _pack(rows: Sequence[_Row]) -> _Body:
    """Write rows as JSON, each series once, and pack it."""
    values: dict[str, list[str]] = {}
    for row in rows:
        values.setdefault(row.series, []).append(row.value)
    text = FRAME % ",".join(f"{series}{','.join(each)}]}}" for series, each in values.items())
    return _Body(zlib.compress(text.encode("ascii")), len(text))


def _content(answer: Answer) -> Mapping[str, Any]:
    """The JSON object of an answer; empty when it is none."""
    try:
        content = read_json(answer.body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _fix_of(answer: Answer, service: DatadogService) -> str:
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"Set {service.token_from} to an API key of the site {service.url}"
    return f"Check that {service.origin} is the API of a Datadog site, and any proxy in front of it"


def check(service: DatadogService) -> tuple[ServiceCheck, ...]:
    """Whether the API key is known, and an application key may read what is historical."""
    ...
