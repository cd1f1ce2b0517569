"""One probe: what each kind of answer is evidence for, and where the token goes."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.health import Endpoint, Sample, Target
from tasks.core.services import Service
from tasks.sources.probe import probe, probe_all
from tests.support.fakes.certificates import Certificates, Kind, over_tls
from tests.support.fakes.hostile import HostileServer, head, zeros
from tests.support.fakes.raw_http import RawServer

TOKEN = "s3cret-token"
SECOND = timedelta(seconds=1)
BRIEF = 0.3 * SECOND


# its stop takes a second
@pytest.fixture(scope="module")
def running() -> Iterator[HTTPServer]:
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.fixture(scope="module")
def other() -> Iterator[HTTPServer]:
    with HTTPServer(host="localhost", threaded=True) as server:
        yield server


@pytest.fixture
def server(running: HTTPServer) -> HTTPServer:
    running.clear()
    return running


def ask(
    url: str, timeout: timedelta = SECOND, service: Service | None = None, **endpoint: Any
) -> Sample:
    target = Target("production", "/health", url, Endpoint.model_validate(endpoint))
    return probe(target, service, timeout)


def answering(server: HTTPServer, body: str | bytes, status: int = 200) -> str:
    server.expect_request("/health").respond_with_data(body, status)
    return server.url_for("/health")


def test_good_answer_is_healthy(server: HTTPServer) -> None:
    sample = ask(answering(server, '{"status": "ok"}'))
    assert (sample.status, sample.status_code, sample.error, sample.state) == ("healthy", 200, "", "up")  # fmt: skip
    assert sample.seconds is not None
    assert 0 < sample.seconds < 1


BODY = json.dumps({"status": "ok", "clients": [3, 5], "connected": True, "version": "1.4"})


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ({"path": "$.status"}, ""),
        ({"path": "$.nothing"}, "$.nothing is missing"),
        ({"path": "$.status", "comparison": "==", "value": "ok"}, ""),
        ({"path": "$.status", "comparison": "!=", "value": "ok"}, "$.status is 'ok', not != ok"),
        ({"path": "$.clients[*]", "comparison": ">", "value": 2}, ""),
        ({"path": "$.clients[*]", "comparison": ">", "value": 4}, "$.clients[*] is 3, not > 4.0"),
        ({"path": "$.connected", "comparison": "==", "value": True}, ""),
        ({"path": "$.status", "comparison": ">", "value": 1}, "$.status is 'ok', not > 1.0"),
        ({"path": "$.version", "pattern": r"^1\."}, ""),
        ({"path": "$.version", "pattern": r"^2\."}, r"$.version is '1.4', and does not match '^2\\.'"),
        ({"pattern": "clients"}, ""),
        ({"pattern": "absent"}, "the body does not match 'absent'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("degrades", [False, True])
def test_conditions_on_the_body(
    server: HTTPServer, condition: dict[str, Any], error: str, degrades: bool
) -> None:
    sample = ask(answering(server, BODY), body=[{**condition, "degrades": degrades}])
    assert sample.error == error
    assert sample.state == ("up" if not error else "degraded" if degrades else "down")


@pytest.mark.parametrize(
    ("body", "status", "endpoint", "state", "error"),
    [
        ("", 500, {}, "down", "HTTP 500 instead of 200"),
        ("", 204, {"status": 204}, "up", ""),
        ("", 200, {"status": 204}, "down", "HTTP 200 instead of 204"),
        ('{"status": "degraded"}', 200, {}, "degraded", 'its status is "degraded"'),
        ('{"status": ', 200, {}, "up", ""),
        ('{"status": ', 200, {"body": [{"path": "$.status"}]}, "down", "the body is not JSON"),
        ("ok", 200, {"response_time": "10ms"}, "degraded", "(limit 0.01 s)"),
        ("ok", 200, {"response_time": "5s"}, "up", ""),
    ],
)
def test_status_body_and_time_decide(
    server: HTTPServer, body: str, status: int, endpoint: dict[str, Any], state: str, error: str
) -> None:
    def answer(_: Request) -> Response:
        time.sleep(0.03)
        return Response(body, status)

    server.expect_request("/health").respond_with_handler(answer)
    sample = ask(server.url_for("/health"), **endpoint)

    assert sample.state == state
    assert error in sample.error
    assert (sample.answered, sample.status_code) == (True, status)


def drip() -> Iterator[bytes]:
    yield head(Content_Length="1000")
    for _ in range(1000):
        yield b"x"


@pytest.mark.parametrize(
    ("parts", "pause"),
    [(lambda: iter([b""]), 60), (drip, 0.05), (lambda: iter([head(Content_Length="9")]), 60)],
    ids=["hangs", "drips", "stops"],
)
def test_an_answer_that_does_not_end_is_late(
    parts: Callable[[], Iterator[bytes]], pause: float
) -> None:
    with HostileServer(parts, pause) as server:
        began = time.monotonic()
        sample = ask(server.url, BRIEF)
        took = time.monotonic() - began

    assert (sample.status, sample.error) == ("error", "no whole answer within 0.3 s")
    assert (sample.answered, sample.is_late, sample.seconds) == (False, True, None)
    assert took < 1.5


def test_a_large_body_is_not_read_to_its_end() -> None:
    with HostileServer(lambda: zeros(10), 0) as server:
        sample = ask(server.url, 10 * SECOND)
    assert (sample.state, sample.answered) == ("down", True)
    assert sample.error == "the body cannot be used: it is larger than the limit"


def test_what_cannot_be_reached_did_not_answer() -> None:
    sample = ask("http://127.0.0.1:9/", 5 * SECOND)
    assert (sample.status, sample.answered, sample.is_late) == ("error", False, False)
    assert sample.error == "Connection refused"


def test_an_answer_that_is_no_http_did_not_answer() -> None:
    with RawServer([b"SSH-2.0-OpenSSH_9.2\r\n"]) as server:
        sample = ask(server.url)
    assert sample.status == "error"


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("expired", "certificate has expired"),
        ("self_signed", "self-signed certificate"),
        ("other_host", "not valid for"),
        ("good", None),
    ],
)
def test_a_certificate_that_is_not_trusted_is_evidence(
    kind: Kind, problem: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = Certificates(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca_file))
    with over_tls(certificates.context(kind)) as server:
        server.expect_request("/health").respond_with_data("ok")
        target = Target("production", "/health", server.url_for("/health"), Endpoint())
        (sample,), _ = probe_all([target], {}, [], 5 * SECOND, certificates=True)

    assert sample.answered
    assert (sample.state, sample.status) == (("up", "healthy") if problem is None else ("down", "error"))  # fmt: skip
    assert (problem or "") in sample.error
    days = {"expired": -2, "good": 30, "other_host": 30}.get(kind)
    assert days is None or sample.certificate_days == pytest.approx(days, abs=0.1)


@pytest.fixture
def heard(server: HTTPServer, other: HTTPServer) -> list[tuple[str, str | None]]:
    """Paths and tokens that reach another server; /n redirects to the server, n times."""
    seen: list[tuple[str, str | None]] = []

    def answer(request: Request) -> Response:
        seen.append((request.path, request.headers.get("Authorization")))
        return Response("{}")

    other.clear()
    other.expect_request("/away").respond_with_handler(answer)
    server.expect_request("/home").respond_with_handler(answer)
    server.expect_request("/to-home").respond_with_data(status=302, headers={"Location": "home"})  # fmt: skip
    away = {"Location": other.url_for("/away")}
    server.expect_request("/to-away").respond_with_data(status=307, headers=away)
    circle = {"Location": "/circle"}
    server.expect_request("/circle").respond_with_data(status=301, headers=circle)
    server.expect_request("/file").respond_with_data(
        status=301, headers={"Location": "file:///etc/passwd"}
    )
    for number in range(1, 8):
        onward = {"Location": f"/hop{number - 1}" if number > 1 else "/home"}
        server.expect_request(f"/hop{number}").respond_with_data(status=308, headers=onward)
    return seen


@pytest.mark.promise(
    "Secrets: a health check follows redirects, and sends no token to another host"
)
@pytest.mark.parametrize(
    ("path", "expected", "error"),
    [
        ("/home", [("/home", f"Bearer {TOKEN}")], ""),
        ("/to-home", [("/home", f"Bearer {TOKEN}")], ""),
        ("/to-away", [("/away", None)], ""),
        ("/hop5", [("/home", f"Bearer {TOKEN}")], ""),
        ("/hop6", [], "it redirects more than 5 times"),
        ("/circle", [], "it redirects in a circle"),
        ("/file", [], "it redirects to no http address"),
    ],
)
def test_redirects_are_followed_without_the_token_to_another_host(
    server: HTTPServer,
    heard: list[tuple[str, str | None]],
    path: str,
    expected: list[tuple[str, str | None]],
    error: str,
) -> None:
    url = server.url_for("").rstrip("/")
    service = Service(url=url, token=SecretStr(TOKEN), origin="FED_VIT_API_URL")
    sample = ask(url + path, 5 * SECOND, service)

    assert heard == expected
    assert (sample.error, sample.answered) == (error, True)
    assert sample.status == ("error" if error else "healthy")


def test_a_token_that_comes_back_is_not_quoted(server: HTTPServer) -> None:
    def echo(request: Request) -> Response:
        return Response(json.dumps({"status": request.headers["Authorization"]}))

    server.expect_request("/health").respond_with_handler(echo)
    url = server.url_for("").rstrip("/")
    service = Service(url=url, token=SecretStr(TOKEN), origin="x")
    condition = {"path": "$.status", "comparison": "==", "value": "ok"}
    sample = ask(f"{url}/health", SECOND, service, body=[condition])
    assert sample.error == "$.status is 'Bearer ***', not == ok"


def test_an_endpoint_with_an_address_of_its_own_gets_no_token(
    server: HTTPServer, heard: list[tuple[str, str | None]]
) -> None:
    service = Service(url="https://fl.example.com", token=SecretStr(TOKEN), origin="x")
    assert ask(server.url_for("/home"), SECOND, service).status == "healthy"
    assert heard == [("/home", None)]


def test_all_are_asked_side_by_side(server: HTTPServer) -> None:
    def slow(_: Request) -> Response:
        time.sleep(0.5)
        return Response("{}")

    server.expect_request("/health").respond_with_handler(slow)
    target = Target("production", "/health", server.url_for("/health"), Endpoint())
    began = time.monotonic()
    samples, controls = probe_all([target] * 30, {}, [server.url_for("/health")], 10 * SECOND)

    assert {one.status for one in (*samples, *controls)} == {"healthy"}
    assert (len(samples), [one.environment for one in controls]) == (30, [""])
    # one after the other they take 15 s
    assert time.monotonic() - began < 5
