"""Datadog: series of its API, version 2, as JSON that is cut and packed within its limits."""

import json
import logging
import math
import time
import zlib
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

from requests import PreparedRequest

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
# bytes of a request, as sent and unpacked
MOST_SENT, MOST_UNPACKED = 512_000, 5_242_880 - 1
# of a point; a request uses this much of a limit, and the search for its end aims at more
SHORTEST, FULL, AIM = 28, 0.95, 0.97
LONGEST_TAG = 200
GAUGE = 3
# the last, 15 months, is of metrics with historical ingestion
AHEAD, BACK, LONG_BACK = timedelta(minutes=10), timedelta(hours=1), timedelta(days=15 * 30)
FRAME = '{"series":[%s]}'


class DatadogSink(MetricsSink):
    """Metrics of one Datadog account."""

    name = NAME
    check_id = "datadog_refused"

    def __init__(
        self, service: DatadogService, tuning: DatadogTuning, deadline_seconds: float
    ) -> None:
        super().__init__(service, tuning, deadline_seconds)
        self._http = DatadogHttp(service, tuning.timeout)
        self._is_historical: dict[str, bool] = {}
        # of the request under way, the parts to be sent with their places, last first
        self._parts: list[tuple[int, Prepared]] = []
        self._request, self._refused = Prepared((), b""), dict[int, str]()

    @property
    def ages(self) -> Ages:
        """15 months if some metrics may have historical ingestion, else an hour."""
        return Ages(LONG_BACK if self._http.service.app_token else BACK, AHEAD)

    def takes(self, point: Point) -> bool:
        """Return whether it is young, or of a metric with historical ingestion."""
        name, begins = point.metric.name, time.time() - (BACK - MARGIN).total_seconds()
        if point.time < begins and name not in self._is_historical:
            try:
                self._is_historical[name] = retrying(self._deadline)(self._http.historical, name)
            except SinkRefused as error:
                logging.getLogger("fedvitals").warning("old points are skipped: %s", error)
                self._is_historical[name] = False
        return point.time >= begins or self._is_historical[name]

    def prepare(self, points: Sequence[Point]) -> Iterator[Prepared | Unfit]:
        """Cut the points into requests within both limits."""
        made = [_row(point) for point in points]
        rows = [each for each in made if isinstance(each, _Row)]
        unfit = deque(each for each in made if isinstance(each, Unfit))
        start = 0
        while start < len(rows):
            stop, body = _cut(rows, start)
            yield Prepared([row.point for row in rows[start:stop]], body)
            start = stop
            # not before earlier points, which would count as sent
            while unfit and start < len(rows) and unfit[0].point.time < rows[start].point.time:
                yield unfit.popleft()
        yield from unfit

    def send(self, request: Prepared) -> Mapping[int, str]:
        """Post it, in halves if it is too large; another try posts only what was not taken."""
        if request is not self._request:
            self._request, self._parts, self._refused = request, [(0, request)], {}
        while self._parts:
            place, part = self._parts[-1]
            too_large = self._http.post(part.body)
            self._parts.pop()
            half = len(part.points) // 2
            if too_large and not half:
                self._refused[place] = too_large
            elif too_large:
                for begin, points in ((half, part.points[half:]), (0, part.points[:half])):
                    rows = [row for row in map(_row, points) if isinstance(row, _Row)]
                    self._parts.append((place + begin, Prepared(points, _pack(rows)[0])))
        return self._refused

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()


class DatadogHttp(Transport):
    """Requests to one Datadog, and what its answers mean."""

    service: DatadogService

    def __init__(self, service: DatadogService, timeout: timedelta) -> None:
        seconds = timeout.total_seconds()
        super().__init__(service, NAME, Limits(silence=seconds, total=seconds, largest=1 << 20))
        self.session.auth = self._sign
        self._app_key = service.app_token.get_secret_value() if service.app_token else ""

    def post(self, body: bytes) -> str:
        """Post series; return why they are too large, or nothing. Raises as MetricsSink.send says."""
        headers = {"Content-Type": "application/json", "Content-Encoding": "deflate"}
        answer = self.ask("POST", "/api/v2/series", (202, 413), data=body, headers=headers)
        errors = self._errors(answer)
        if answer.status == 202 and errors:
            raise self._unavailable(f"HTTP 202: {errors}", None)
        return f"HTTP 413: {errors}" if answer.status == 413 else ""

    def historical(self, metric: str) -> bool:
        """Return whether the account takes old points of the metric; raises as `ask` does."""
        if not self._app_key:
            return False
        path = f"/api/v2/metrics/historical-metrics-configurations/{metric}"
        headers = {"DD-APPLICATION-KEY": self._app_key}
        return self.ask("GET", path, (200, 404), headers=headers).status == 200

    def ask(
        self, method: str, path: str, statuses: Sequence[int] = (200,), **content: Any
    ) -> Answer:
        """Return an answer of these statuses, or raise SinkUnavailable or SinkRefused."""
        answer = self.call(method, self.service.url + path, path, **content)
        if answer.status in statuses:
            return answer
        problem = self._errors(answer)
        if answer.asks_again:
            asked = answer.headers.get("Retry-After") or answer.headers.get("X-RateLimit-Reset")
            raise self._unavailable(f"HTTP {answer.status}: {problem}", seconds_asked(asked))
        key = "an application key may read metrics (metrics_read)"
        fix = f"Check {self.service.origin} and {self.service.token_from}, and that {key}"
        facts = {"sink": NAME, "url": self.service.url, "problem": problem}
        raise SinkRefused(**facts, status=int(answer.status), fix=fix)

    def no_answer(self, what: str, problem: str, is_late: bool) -> SinkUnavailable:
        """Return SinkUnavailable."""
        return self._unavailable(f"no answer: {problem}", None)

    def redacted(self, text: str) -> str:
        """Return the text without either key."""
        return super().redacted(text.replace(self._app_key, "***") if self._app_key else text)

    def _sign(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["DD-API-KEY"] = bearer(self.service)
        return request

    def _unavailable(self, problem: str, retry_after: float | None) -> SinkUnavailable:
        facts = {"sink": NAME, "url": self.service.url, "problem": problem}
        return SinkUnavailable(**facts, retry_after=retry_after)

    def _errors(self, answer: Answer) -> str:
        """The errors that it names, or all of it if it is no JSON."""
        text = answer.flaw or answer.body.decode("utf-8", "replace")
        with suppress(ValueError, AttributeError, TypeError):
            text = "; ".join(map(str, read_json(answer.body).get("errors", ())))
        return self.quoted(text)


class _Row(NamedTuple):
    point: Point
    series: str  # how the JSON of its series begins
    value: str


def _row(point: Point) -> _Row | Unfit:
    tags = [f"{name}:{value}" for name, value in point.labels]
    facts: dict[str, Any] = {"metric": point.metric.name, "type": GAUGE, "tags": tags}
    if point.metric.unit:
        facts["unit"] = point.metric.unit
    series = json.dumps(facts, separators=(",", ":"))[:-1] + ',"points":['
    value = point.value
    row = _Row(point, series, f'{{"timestamp":{point.time},"value":{value!r}}}')
    if not math.isfinite(value):
        return Unfit(point, "the mean of the step's values is too large for a number")
    if any(len(tag) > LONGEST_TAG for tag in tags):
        return Unfit(point, f"a tag has more than {LONGEST_TAG} characters, and would be cut")
    # text is never larger packed
    is_too_large = len(FRAME + row.series + row.value) > MOST_SENT
    return Unfit(point, f"it is larger than {MOST_SENT} bytes") if is_too_large else row


def _cut(rows: Sequence[_Row], start: int) -> tuple[int, bytes]:
    """Return where a request that begins at `start` ends, and its body."""
    stop = min(len(rows), start + MOST_UNPACKED // SHORTEST)
    fits, over, body, used = start, stop + 1, b"", 0.0
    while over - fits > 1 and used < AIM:
        packed, tried = _pack(rows[start:stop])
        if tried > 1:
            over = stop
        else:
            fits, body, used = stop, packed, tried
        stop = (fits + over) // 2
    if fits < len(rows):
        # after a failure in between, the rest of a step would count as sent
        step = bisect_left(rows, rows[fits].point.time, start, fits, key=lambda r: r.point.time)
        packed, used = _pack(rows[start:step])
        fits, body = (step, packed) if used >= FULL else (fits, body)
    return fits, body


def _pack(rows: Sequence[_Row]) -> tuple[bytes, float]:
    """Write and pack rows, each series once; return also how much of the limits they use."""
    series: dict[str, list[str]] = {}
    for row in rows:
        series.setdefault(row.series, []).append(row.value)
    text = FRAME % ",".join(f"{begin}{','.join(each)}]}}" for begin, each in series.items())
    packed = zlib.compress(text.encode("ascii"))
    return packed, max(len(packed) / MOST_SENT, len(text) / MOST_UNPACKED)


def check(service: DatadogService) -> tuple[ServiceCheck, ...]:
    """Check the API key, and whether the guide's metric may be old."""
    name = next(iter(DatadogTuning().send.values())).name
    with DatadogHttp(service, timedelta(seconds=10)) as http:
        try:
            http.ask("GET", "/api/v1/validate")
            old = "taken" if http.historical(name) else "skipped"
        except FedvitalsError as error:
            fix = error.facts.get("fix") or f"Check that {service.origin} is right and reachable"
            return (ServiceCheck(NAME, "takes the keys", False, str(error.problem), fix),)
    detail = f"points of {name} that are older than an hour are {old}"
    return (ServiceCheck(NAME, "takes the keys", True, detail),)
