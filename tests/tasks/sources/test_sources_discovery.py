"""The look at a live Prometheus, through prometheus_api_client."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.core.checks import ServiceCheck
from tasks.core.errors import AnswerInvalid, SourceRefused, SourceUnavailable
from tasks.core.measurement import FieldSpec, Measurement
from tasks.core.services import Service
from tasks.sources.discovery import FieldFinding, check, probe
from tests.support.fakes.prometheus import FakePrometheus, FakeSeries, answer
from tests.support.fakes.raw_http import RawServer

NOW = datetime(2026, 3, 1, 10, 0, 0, 250_000, tzinfo=UTC)
TOKEN = "s3cr3t-token"
X = FieldSpec(query="q_x")


@pytest.fixture
def prometheus(httpserver: HTTPServer) -> FakePrometheus:
    return FakePrometheus(httpserver)


def service(prometheus: FakePrometheus, token: str | None = None) -> Service:
    secret = SecretStr(token) if token else None
    return Service(url=prometheus.url, token=secret, origin="PROMETHEUS_URL")


def measurement(**fields: FieldSpec) -> Measurement:
    return Measurement(
        name="m",
        type="performance",
        tags=("method", "client"),
        fields=fields,
        step=timedelta(seconds=15),
        every=timedelta(seconds=60),
        max_series=2,
    )


def found(prometheus: FakePrometheus, *series: FakeSeries) -> FieldFinding:
    prometheus.queries = {"q_x": series}
    [finding] = probe(service(prometheus), measurement(x=X), NOW)
    assert (finding.measurement, finding.field) == ("m", "x")
    return finding


def test_every_query_is_asked_at_the_moment(prometheus: FakePrometheus) -> None:
    prometheus.token = TOKEN
    prometheus.queries = {"q_x": [FakeSeries({"method": "GET"})], "q_y": []}
    scraped = FieldSpec.model_validate({"scrape": {"metric": "z", "as": "value"}})
    entry = measurement(x=X, y=FieldSpec(query="q_y"), z=scraped)
    findings = probe(service(prometheus, TOKEN), entry, NOW)
    assert findings == (
        FieldFinding("m", "x", "ok", 1, "1 series"),
        FieldFinding(
            "m",
            "y",
            "no_data",
            0,
            "no series now",
            "Check the metric's name, and that it is scraped",
        ),
    )
    assert prometheus.asked == [
        {"query": "q_x", "time": "1772359200.250"},
        {"query": "q_y", "time": "1772359200.250"},
    ]


def test_labels_that_differ(prometheus: FakePrometheus) -> None:
    finding = found(prometheus, FakeSeries({"method": "GET", "job": "a", "instance": "b"}))
    assert (finding.state, finding.series) == ("labels_differ", 1)
    assert finding.detail == (
        "it has the labels ['instance', 'job'] besides the tags ['method', 'client']"
    )


def test_too_many_series(prometheus: FakePrometheus) -> None:
    series = [FakeSeries({"method": "GET", "client": str(n)}) for n in range(3)]
    assert found(prometheus, *series[:2]).state == "ok"
    finding = found(prometheus, *series)
    assert (finding.state, finding.series) == ("too_many_series", 3)
    assert finding.detail == "max_series is 2; the label with the most values is client (3)"


def test_a_wrong_query_is_a_finding(prometheus: FakePrometheus) -> None:
    [finding] = probe(service(prometheus), measurement(x=X), NOW)
    assert finding == FieldFinding(
        "m",
        "x",
        "refused",
        0,
        "bad_data: 1:1: parse error: no expression found in input",
        "Correct this query: q_x",
    )


def test_a_query_that_is_too_much_is_a_finding(prometheus: FakePrometheus) -> None:
    words = {"status": "error", "errorType": "timeout", "error": "query timed out"}
    prometheus.instead = [answer(words, 503)]
    [finding] = probe(service(prometheus), measurement(x=X), NOW)
    assert (finding.state, finding.fix) == ("refused", "Make the query cheaper")
    assert finding.detail == "timeout: query timed out"


def test_values_that_would_be_left_out(prometheus: FakePrometheus) -> None:
    nan = FakeSeries({"method": "GET"}, lambda _: "NaN")
    assert found(prometheus, nan).detail == "only NaN or Inf now, which are dropped"
    assert "idle" in found(prometheus, nan).fix
    inf = FakeSeries({"method": "POST"}, lambda _: "+Inf")
    assert "idle" not in found(prometheus, nan, inf).fix
    assert found(prometheus, nan, FakeSeries({})).state == "ok"
    native = found(prometheus, FakeSeries({}, histogram=True))
    assert (native.state, native.series) == ("no_data", 1)
    assert "histogram_quantile" in native.fix


def result(kind: str, content: Any) -> Response:
    return answer({"status": "success", "data": {"resultType": kind, "result": content}})


def test_a_range_is_refused_and_a_scalar_is_one_series(prometheus: FakePrometheus) -> None:
    prometheus.instead = [
        result("matrix", [{"metric": {}, "values": [[1, "1"]]}]),
        result("scalar", [1, "1"]),
    ]
    findings = probe(service(prometheus), measurement(x=X, y=X), NOW)
    assert [(one.state, one.series) for one in findings] == [("refused", 1), ("ok", 1)]


@pytest.mark.parametrize(
    ("response", "error", "problem"),
    [
        (Response("no", 403), SourceRefused, "the token is not accepted"),
        (Response("", 302, headers={"Location": "http://a.invalid/"}), SourceRefused, "it redirects to a.invalid"),
        (Response("no such page", 404), SourceRefused, "no such page"),
        (Response("down", 503), SourceUnavailable, "HTTP 503: down"),
        (Response("<html>"), AnswerInvalid, "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (Response("{}"), AnswerInvalid, "its JSON is not an answer's envelope"),
        (Response("[]"), AnswerInvalid, "its JSON is not an answer's envelope"),
    ],
)  # fmt: skip
def test_what_concerns_the_whole_service_is_raised(
    prometheus: FakePrometheus, response: Response, error: type[Exception], problem: str
) -> None:
    prometheus.instead = [response]
    with pytest.raises(error) as caught:
        probe(service(prometheus, TOKEN), measurement(x=X), NOW)
    assert caught.value.problem == problem  # type: ignore[attr-defined]
    assert caught.value.what == "query of m.x"  # type: ignore[attr-defined]
    assert TOKEN not in str(caught.value)


def test_probe_of_nobody() -> None:
    with RawServer([]) as server:
        url = server.url
    with pytest.raises(SourceUnavailable, match="refused"):
        probe(Service(url=url, origin="X"), measurement(x=X), NOW)


def test_check_finds_all_well(prometheus: FakePrometheus) -> None:
    prometheus.token = TOKEN
    prometheus.queries = {"up": [], "go_goroutines": []}
    assert check(service(prometheus, TOKEN)) == (
        ServiceCheck("Prometheus", "reachable", True, prometheus.url),
        ServiceCheck("Prometheus", "authorised", True, "with a token"),
        ServiceCheck("Prometheus", "is a Prometheus", True, "version 2.42.0"),
        ServiceCheck("Prometheus", "has data", True, "2 metric names"),
    )


def test_check_of_an_empty_one(prometheus: FakePrometheus) -> None:
    last = check(service(prometheus))[-1]
    assert (last.what, last.ok, last.detail) == ("has data", False, "0 metric names")
    assert "scrape_configs" in last.fix


@pytest.mark.parametrize(
    ("response", "what", "detail"),
    [
        (Response("no", 401), "authorised", "no token is set"),
        (Response("404 page not found\n", 404), "is a Prometheus", "404 page not found"),
        (Response("<html>"), "is a Prometheus", "JSON is malformed: invalid character (byte 0)"),
        (Response("", 502), "reachable", "HTTP 502: no reason given"),
    ],
)
def test_check_names_what_is_wrong(
    prometheus: FakePrometheus, response: Response, what: str, detail: str
) -> None:
    prometheus.instead = [response]
    checks = check(service(prometheus))
    assert [one.ok for one in checks] == [True] * (len(checks) - 1) + [False]
    assert (checks[-1].what, checks[-1].detail) == (what, detail)
    assert checks[-1].fix


def test_check_of_nobody() -> None:
    with RawServer([]) as server:
        url = server.url
    [reachable] = check(Service(url=url, origin="PROMETHEUS_URL"))
    assert (reachable.what, reachable.ok) == ("reachable", False)


@pytest.mark.slow
def test_the_heavy_package_comes_late() -> None:
    code = (
        "import sys, tasks.sources.discovery, tasks.sources.prometheus, tasks.sources.scrape;"
        "print([m for m in ('matplotlib', 'prometheus_api_client') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
