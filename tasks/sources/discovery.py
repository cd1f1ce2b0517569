"""Checks of a live Prometheus: for `doctor`, and of the catalogue's queries."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

import msgspec

from tasks.core.checks import ServiceCheck
from tasks.core.errors import FedvitalsError, SourceOverloaded, SourceRefused
from tasks.core.measurement import Measurement
from tasks.core.outside import shown
from tasks.core.services import Service
from tasks.core.window import micros
from tasks.http import Limits
from tasks.sources.answers import METRIC_NAME, failure, read_build, read_refusal
from tasks.sources.http import PROMETHEUS, Client, service_checks
from tasks.sources.json_body import json_of

# a person waits, and the answers are small
LIMITS = Limits(silence=15.0, total=30.0)
FieldState = Literal["ok", "no_data", "labels_differ", "too_many_series", "refused"]
# refusals of the query itself; others concern the whole service
BLAMED = (400, 422)
Found = TypeVar("Found")


@dataclass(frozen=True)
class FieldFinding:
    """State of one field now; `fix` is the advice when it is not ok."""

    measurement: str
    field: str
    state: FieldState
    series: int
    detail: str
    fix: str = ""


def probe(
    service: Service, measurement: Measurement, now: datetime, limits: Limits | None = None
) -> tuple[FieldFinding, ...]:
    """Run each query at `now`; raise for errors of the whole service."""
    with Client(service, PROMETHEUS, limits or LIMITS) as client:
        live = _Live(client)
        return tuple(
            _finding(live, measurement, name, spec.query, now)
            for name, spec in measurement.fields.items()
            if spec.query is not None
        )


def check(service: Service, limits: Limits | None = None) -> tuple[ServiceCheck, ...]:
    """Check that it is reachable, authorises us, is a Prometheus, and has data."""
    with Client(service, PROMETHEUS, limits or LIMITS) as client:
        what = "is a Prometheus"
        try:
            answer = client.ask("/api/v1/status/buildinfo", "its version")
            request = client.request("its version")
            if answer.status != 200:
                raise failure(client, answer, None, "", request)
            version = f"version {read_build(answer.body, request)}"
            checks = service_checks(PROMETHEUS, service, what, version)
            names = len(_Live(client).names())
        except FedvitalsError as error:
            return service_checks(PROMETHEUS, service, what, error)
    fix = "" if names else "Check its scrape_configs: it has not scraped anything yet"
    has_data = ServiceCheck(PROMETHEUS.name, "has data", names > 0, f"{names} metric names", fix)
    return (*checks, has_data)


def _finding(
    live: "_Live", measurement: Measurement, field: str, query: str, now: datetime
) -> FieldFinding:
    def found(state: FieldState, series: int, detail: str, fix: str = "") -> FieldFinding:
        return FieldFinding(measurement.name, field, state, series, detail, fix)

    try:
        result = live.vector(f"query of {measurement.name}.{field}", query, now)
    except SourceOverloaded as error:
        return found("refused", 0, error.problem, "Make the query cheaper")
    except SourceRefused as error:
        if error.status not in BLAMED:
            raise
        return found("refused", 0, error.problem, error.fix)
    # a scalar's answer is a bare pair
    series = [one for one in result if isinstance(one, _Series)]
    if any(one.values or one.histograms for one in series):
        fix = "Put a function such as rate() around it"
        return found("refused", len(series), "the query returns ranges, not values", fix)
    # over a range a scalar is one series without labels
    labels = [one.metric for one in series] or [{}] * bool(result)
    count = len(labels)
    other = sorted({name for one in labels for name in one} - {METRIC_NAME, *measurement.tags})
    if other:
        detail = f"it has the labels {shown(other)} besides the tags {list(measurement.tags)}"
        return found("labels_differ", count, detail, "Aggregate it by exactly the tags")
    if count > measurement.max_series:
        detail = f"max_series is {measurement.max_series}; {_most_values(labels)}"
        fix = "Aggregate that label away, or raise max_series"
        return found("too_many_series", count, detail, fix)
    return found(*_of_values(series, count))


def _of_values(series: list["_Series"], count: int) -> tuple[FieldState, int, str, str]:
    if not count:
        return "no_data", 0, "no series now", "Check the metric's name, and that it is scraped"
    if series and all(one.histogram for one in series):
        fix = "Convert them to numbers, with histogram_quantile for example"
        return "no_data", count, "native histograms only, which are dropped", fix
    numbers = [one.number for one in series if one.number is not None]
    if numbers and not any(math.isfinite(number) for number in numbers):
        fix = "Check the query's divisors"
        if all(map(math.isnan, numbers)):
            # a quantile or ratio of nothing
            fix = "Nothing while the service is idle; else check the query's divisors"
        return "no_data", count, "only NaN or Inf now, which are dropped", fix
    return "ok", count, f"{count} series", ""


def _most_values(labels: list[dict[str, str]]) -> str:
    pairs = Counter(name for name, _ in {pair for one in labels for pair in one.items()})
    name, values = pairs.most_common(1)[0]
    return f"the label with the most values is {shown(name)} ({values})"


class _Live:
    """prometheus_api_client on our session, with our token, time-outs and errors."""

    def __init__(self, client: Client) -> None:
        # the package imports matplotlib, which takes a second
        from prometheus_api_client import PrometheusConnect

        self._client = client
        self._request = client.request("")
        self._query = ""
        self._connect = PrometheusConnect(url=client.service.url, session=_Session(self._answer))

    def vector(self, what: str, query: str, now: datetime) -> list[Any]:
        """Return the result of an instant query."""
        self._request, self._query = self._client.request(what), query
        params = {"time": f"{micros(now) / 1e6:.3f}"}
        found = self._tried(lambda: list(self._connect.custom_query(query, params=params)))
        kind = list[_Series] if any(isinstance(one, dict) for one in found) else list[Any]
        try:
            return msgspec.convert(found, kind, strict=False)
        # half of a surrogate pair is no text
        except (msgspec.ValidationError, UnicodeError) as error:
            raise self._request.invalid(str(error)) from error

    def names(self) -> list[str]:
        """Return the names of all metrics."""
        self._request = self._client.request("its metric names")
        return self._tried(lambda: list(self._connect.all_metrics()))

    def _tried(self, ask: Callable[[], list[Found]]) -> list[Found]:
        try:
            return ask()
        except (KeyError, TypeError) as error:
            raise self._request.invalid("its JSON is not an answer's envelope") from error

    def _answer(self, url: str, params: Mapping[str, str]) -> Any:
        """Return the JSON of an answer with status 200."""
        path = f"{url.removeprefix(self._client.service.url)}?{urlencode(params)}"
        answer = self._client.ask(path, self._request.what)
        if answer.status != 200:
            refusal = read_refusal(answer.body)
            raise failure(self._client, answer, refusal, self._query, self._request)
        return json_of(answer, self._request)


class _Series(msgspec.Struct):
    """One series of an instant query, or of a range."""

    metric: dict[str, str] = {}
    number: float | None = None
    value: tuple[float, float | str] | None = None
    values: list[Any] = []
    histogram: Any = None
    histograms: list[Any] = []

    def __post_init__(self) -> None:
        # Prometheus writes +Inf, which msgspec does not read
        self.number = float(self.value[1]) if self.value else None


@dataclass(frozen=True)
class _Session:
    """Stands in for a session of requests: ours has the limits and the errors."""

    answer: Callable[[str, Mapping[str, str]], Any]
    verify: None = None
    cert: None = None

    def mount(self, *_: object) -> None:
        """Mount nothing: our client connects."""

    def request(self, method: str, url: str, params: Mapping[str, str], **_: object) -> Any:
        """Return an answer that is parsed already."""
        content = self.answer(url, params)
        return SimpleNamespace(status_code=200, json=lambda: content)
