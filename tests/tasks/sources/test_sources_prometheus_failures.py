"""What PrometheusSource makes of each bad answer."""

import time
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.core.batch import Batch
from tasks.core.errors import (
    AnswerInvalid,
    FedvitalsError,
    SourceOverloaded,
    SourceRefused,
    SourceUnavailable,
)
from tasks.core.services import Service
from tasks.http import Limits
from tasks.sources.prometheus import PrometheusSource
from tests.support.fakes.prometheus import FakePrometheus, FakeSeries, answer
from tests.support.fakes.raw_http import RawServer
from tests.support.prometheus_samples import T0, TOKEN, WINDOW, at, extract, measurement


@pytest.fixture
def prometheus(httpserver: HTTPServer) -> FakePrometheus:
    return FakePrometheus(httpserver)


def test_the_token_opens_and_stays_secret(prometheus: FakePrometheus) -> None:
    prometheus.token = TOKEN
    prometheus.queries = {"q_x": [FakeSeries({}, at(s0="1"))]}
    assert extract(prometheus, measurement(x="float"), token=TOKEN).values == 1
    with pytest.raises(SourceRefused) as caught:
        extract(prometheus, measurement(x="float"), token="wr0ng")
    assert (caught.value.status, caught.value.what) == (401, "query of m.x")
    assert caught.value.problem == "the token is not accepted"
    assert caught.value.fix == "Set the variable of its token"
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(SourceRefused, match="no token is set"):
        extract(prometheus, measurement(x="float"))


def test_a_wrong_query_is_named(prometheus: FakePrometheus) -> None:
    with pytest.raises(SourceRefused) as caught:
        extract(prometheus, measurement(x="float"))
    assert caught.value.facts == {
        "service": "Prometheus",
        "url": prometheus.url,
        "what": "query of m.x",
        "status": 400,
        "problem": "bad_data: 1:1: parse error: no expression found in input",
        "fix": "Correct this query: q_x",
    }


def refusal(kind: str, words: str, status: int) -> Response:
    return answer({"status": "error", "errorType": kind, "error": words}, status)


TOO_MANY = "query processing would load too many samples into memory in query execution"
TIMED_OUT = "query timed out in expression evaluation"
IN_QUEUE = "query timed out in query queue"


@pytest.mark.parametrize(
    ("response", "error", "problem"),
    [
        (refusal("execution", "many-to-many", 422), SourceRefused, "execution: many-to-many"),
        (refusal("execution", "many-to-many", 200), SourceRefused, "execution: many-to-many"),
        (refusal("execution", TOO_MANY, 422), SourceOverloaded, f"execution: {TOO_MANY}"),
        (refusal("timeout", TIMED_OUT, 503), SourceOverloaded, f"timeout: {TIMED_OUT}"),
        (refusal("timeout", IN_QUEUE, 503), SourceUnavailable, f"timeout: {IN_QUEUE}"),
        (refusal("canceled", "query was canceled", 499), SourceUnavailable, "canceled: query was canceled"),
        (refusal("unavailable", "starting", 503), SourceUnavailable, "HTTP 503: unavailable: starting"),
        (refusal("internal", "disk", 200), SourceUnavailable, "HTTP 500: internal: disk"),
        (Response("<h1>Bad\n Gateway</h1>", 502), SourceUnavailable, "HTTP 502: <h1>Bad Gateway</h1>"),
        (Response("", 500), SourceUnavailable, "HTTP 500: no reason given"),
        (Response("404 page not found\n", 404), SourceRefused, "404 page not found"),
    ],
)  # fmt: skip
def test_an_error_answer(
    prometheus: FakePrometheus, response: Response, error: type[FedvitalsError], problem: str
) -> None:
    prometheus.instead = [response]
    with pytest.raises(error) as caught:
        extract(prometheus, measurement(x="float"))
    assert type(caught.value) is error
    assert caught.value.problem == problem


def test_too_many_requests_say_when_to_come_again(prometheus: FakePrometheus) -> None:
    prometheus.instead = [Response("slow down", 429, headers={"Retry-After": "7"})]
    with pytest.raises(SourceUnavailable) as caught:
        extract(prometheus, measurement(x="float"))
    assert caught.value.retry_after == 7.0


def test_a_token_that_comes_back_is_blotted_out(prometheus: FakePrometheus) -> None:
    prometheus.instead = [Response(f"bad header: Bearer {TOKEN}", 400)]
    with pytest.raises(SourceRefused) as caught:
        extract(prometheus, measurement(x="float"), token=TOKEN)
    assert caught.value.problem == "bad header: Bearer ***"


def test_no_redirect_is_followed(prometheus: FakePrometheus) -> None:
    where = prometheus.url.replace("localhost", "127.0.0.1")
    location = where.replace("http://", "http://user:pass@") + "/elsewhere"
    prometheus.instead = [Response("", 307, headers={"Location": location})]
    with pytest.raises(SourceRefused) as caught:
        extract(prometheus, measurement(x="float"), token=TOKEN)
    assert (caught.value.status, caught.value.problem) == (307, "it redirects to 127.0.0.1")
    assert caught.value.fix == "Give the address that it redirects to in PROMETHEUS_URL"
    assert len(prometheus.asked) == 1


def matrix(result: Any) -> Response:
    return answer({"status": "success", "data": {"resultType": "matrix", "result": result}})


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        (Response("<html>login</html>", content_type="text/html"), "JSON is malformed"),
        (Response("[]"), "Expected `object`"),
        (answer({"status": "success"}), "it has no data"),
        (answer({"status": "success", "data": {"resultType": "vector", "result": []}}), "it is a vector, not a matrix"),
        (matrix({}), "Expected `array`"),
        (matrix([{"metric": {"a": 1}, "values": []}]), "Expected `str`"),
        (matrix([{"metric": {}, "values": [[T0, "one"]]}]), "not a time and a number"),
        (matrix([{"metric": {}, "values": [[T0, ""]]}]), "not a time and a number"),
        (matrix([{"metric": {}, "values": [[T0, None]]}]), "not a time and a number"),
        (matrix([{"metric": {}, "values": [[T0]]}]), "not a time and a number"),
        (matrix([{"metric": {}, "values": [[T0, "1", "2"], [T0 + 15]]}]), "not a time and a number"),
        (matrix([{"metric": {}, "values": [[T0, ["1"]]]}]), "1 of 2 samples can be read"),
        (matrix([{"metric": {}, "values": {}}]), "not a time and a number"),
        (matrix([{"metric": {}, "values": [["NaN", "1"]]}]), "a sample has no time"),
        (matrix([{"metric": {}, "histograms": {}}]), "histograms: Expected `array`"),
        (matrix([{"metric": {}, "values": [[T0 + 1, "1"]]}]), "it has a time outside of the query"),
        (matrix([{"metric": {}, "values": [[T0 + 60, "1"]]}]), "it has a time outside of the query"),
        (matrix([{"metric": {}, "values": [[T0 - 15, "1"]]}]), "it has a time outside of the query"),
        (matrix([{"metric": {}, "values": [[T0, "1"], [T0, "1"]]}]), "the times of a series are not in order"),
        (matrix([{"metric": {}, "values": [[T0 + 15, "1"], [T0, "1"]]}]), "the times of a series are not in order"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_matrix(
    prometheus: FakePrometheus, response: Response, problem: str
) -> None:
    prometheus.instead = [response]
    with pytest.raises(AnswerInvalid) as caught:
        extract(prometheus, measurement(x="float"))
    assert problem in caught.value.problem


def test_json_with_blanks_is_read_as_well(prometheus: FakePrometheus) -> None:
    text = (
        '{"status": "success", "data": {"resultType": "matrix", "result": [\n'
        f' {{"metric": {{}}, "values": [ [{T0}, "1.5"],\n [{T0 + 15}.000, "2" ] ]}}]}}}}'
    )
    prometheus.instead = [Response(text)]
    assert extract(prometheus, measurement(x="float")).frame["x"].tolist() == [1.5, 2.0]


@pytest.mark.parametrize("cut", [1, 40, 100])
def test_json_that_ends_early_may_come_right(prometheus: FakePrometheus, cut: int) -> None:
    whole = matrix([{"metric": {}, "values": [[T0, "1"], [T0 + 15, "1"]]}]).get_data()
    prometheus.instead = [Response(whole[:-cut])]
    with pytest.raises(SourceUnavailable, match="the answer is truncated"):
        extract(prometheus, measurement(x="float"))


def ask_raw(server: RawServer, limits: Limits | None = None) -> Batch:
    source = PrometheusSource(Service(url=server.url, origin="PROMETHEUS_URL"), limits)
    return source.extract(measurement(x="float"), "production", WINDOW)


GOOD = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def test_a_chunked_answer() -> None:
    parts = [CHUNKED, b"20\r\n", GOOD[:32], b"\r\n", b"1f\r\n", GOOD[32:], b"\r\n0\r\n\r\n"]
    with RawServer(parts) as server:
        assert len(ask_raw(server).frame) == 0


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD + b"Content-Length: 999\r\n\r\n", GOOD],
        [CHUNKED, b"100\r\n", GOOD],
        [CHUNKED, b"3f\r\n", GOOD, b"\r\n"],
        [b""],
    ],
    ids=["short of its length", "short chunk", "no last chunk", "nothing"],
)
def test_half_an_answer_may_come_right(parts: list[bytes]) -> None:
    with RawServer(parts) as server, pytest.raises(SourceUnavailable) as caught:
        ask_raw(server)
    assert caught.value.what == "query of m.x"


def test_a_server_that_drips_meets_the_deadline() -> None:
    parts = [HEAD + b"Content-Length: 63\r\n\r\n", *(GOOD[n : n + 1] for n in range(63))]
    begin = time.monotonic()
    with (
        RawServer(parts, pause=0.1) as server,
        pytest.raises(SourceUnavailable, match=r"no whole answer within 0\.5 s"),
    ):
        ask_raw(server, Limits(silence=5, total=0.5))
    assert time.monotonic() - begin < 3


def test_a_silent_server_meets_the_time_out() -> None:
    with (
        RawServer([b"", GOOD], pause=5) as server,
        pytest.raises(SourceUnavailable, match="timed out"),
    ):
        ask_raw(server, Limits(silence=0.2))


def test_nobody_there(unused_url: str) -> None:
    source = PrometheusSource(Service(url=unused_url, origin="PROMETHEUS_URL"))
    with pytest.raises(SourceUnavailable) as caught:
        source.extract(measurement(x="float"), "production", WINDOW)
    assert "refused" in caught.value.problem
    assert caught.value.retry_after is None


@pytest.fixture
def unused_url() -> str:
    with RawServer([]) as server:
        return server.url
