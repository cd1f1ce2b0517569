"""A Prometheus that refuses what the real one refuses (2.42 was asked for the words)."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

VERSION = "2.42.0"
LIMIT = 11_000
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True)
class FakeSeries:
    """Labels, and the text of the value at a time in milliseconds; None is no sample."""

    labels: Mapping[str, str]
    value: Callable[[int], str | None] = lambda _: "1"
    histogram: bool = False


class Refused(Exception):
    """Carries the status, the error type and the words of an answer."""


@dataclass
class FakePrometheus:
    """Answers the queries in `queries`; any other is a parse error.

    Answers in `instead` are given first, one a request. `asked` keeps all parameters.
    """

    server: HTTPServer
    queries: dict[str, Sequence[FakeSeries]] = field(default_factory=dict)
    token: str | None = None
    instead: list[Response] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.expect_request(re.compile("/.*")).respond_with_handler(self._answer)

    @property
    def url(self) -> str:
        """Its base URL."""
        return self.server.url_for("").rstrip("/")

    def _answer(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        # Go's FormValue: the form first, then the query string
        self.asked.append({**request.args.to_dict(), **request.form.to_dict()})
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return Response("Unauthorized\n", 401)
        if self.instead:
            return self.instead.pop(0)
        try:
            return self._routed(request.path, request.method, self.asked[-1])
        except Refused as error:
            status, kind, words = error.args
            return answer({"status": "error", "errorType": kind, "error": words}, status)

    def _routed(self, path: str, method: str, form: Mapping[str, str]) -> Response:
        if path == "/api/v1/query_range" and method in ("GET", "POST"):
            return self._success({"resultType": "matrix", "result": self._range(form)})
        if path == "/api/v1/query" and method in ("GET", "POST"):
            return self._success({"resultType": "vector", "result": self._instant(form)})
        if path == "/api/v1/label/__name__/values" and method == "GET":
            return self._success(sorted(self.queries))
        if path == "/api/v1/status/buildinfo" and method == "GET":
            return self._success({"version": VERSION})
        return Response("404 page not found\n", 404)

    def _success(self, data: Any) -> Response:
        whole: dict[str, Any] = {"status": "success", "data": data}
        whole |= {"warnings": self.warnings} if self.warnings else {}
        whole |= {"infos": self.infos} if self.infos else {}
        return answer(whole)

    def _series(self, form: Mapping[str, str]) -> Sequence[FakeSeries]:
        if form.get("query", "") not in self.queries:
            raise Refused(400, "bad_data", "1:1: parse error: no expression found in input")
        return self.queries[form["query"]]

    def _range(self, form: Mapping[str, str]) -> list[dict[str, Any]]:
        start, end = _time("start", form), _time("end", form)
        if end < start:
            raise _bad("end", "end timestamp must not be before start time")
        step = _step(form.get("step", ""))
        if (end - start) // step > LIMIT:
            raise Refused(
                400,
                "bad_data",
                "exceeded maximum resolution of 11,000 points per timeseries. "
                "Try decreasing the query resolution (?step=XX)",
            )
        if "timeout" in form:
            _duration("timeout", form["timeout"])
        times = range(start, end + 1, step)
        return [one for series in self._series(form) if (one := _matrix(series, times))]

    def _instant(self, form: Mapping[str, str]) -> list[dict[str, Any]]:
        time = _time("time", form)
        result = []
        for series in self._series(form):
            value = series.value(time)
            if value is not None:
                kind = "histogram" if series.histogram else "value"
                sample = _histogram(value) if series.histogram else value
                result.append({"metric": dict(series.labels), kind: [time / 1000, sample]})
        return result


def answer(content: Any, status: int = 200) -> Response:
    """JSON as compact as Prometheus prints it."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return Response(text, status, content_type="application/json")


def _matrix(series: FakeSeries, times: range) -> dict[str, Any] | None:
    pairs = [
        [time // 1000 if time % 1000 == 0 else time / 1000, value]
        for time in times
        if (value := series.value(time)) is not None
    ]
    if not pairs:
        return None
    if series.histogram:
        histograms = [[time, _histogram(str(value))] for time, value in pairs]
        return {"metric": dict(series.labels), "histograms": histograms}
    return {"metric": dict(series.labels), "values": pairs}


def _histogram(total: str) -> dict[str, Any]:
    return {"count": "3", "sum": total, "buckets": [[0, "0.5", "1", "3"]]}


def _bad(name: str, words: str) -> Refused:
    return Refused(400, "bad_data", f'invalid parameter "{name}": {words}')


def _time(name: str, form: Mapping[str, str]) -> int:
    """Milliseconds."""
    text = form.get(name, "")
    try:
        return round(float(text) * 1000)
    except ValueError:
        raise _bad(name, f'cannot parse "{text}" to a valid timestamp') from None


def _duration(name: str, text: str) -> int:
    parts = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text)
    if parts:
        return int(parts[1]) * UNITS[parts[2]]
    try:
        return round(float(text) * 1000)
    except ValueError:
        raise _bad(name, f'cannot parse "{text}" to a valid duration') from None


def _step(text: str) -> int:
    step = _duration("step", text)
    if step <= 0:
        raise _bad(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        )
    return step
