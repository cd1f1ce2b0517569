"""The pooled client: what it sends, and how failures become our errors."""

import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.errors import SourceRefused, SourceUnavailable
from tasks.core.outside import LONGEST_QUOTE
from tasks.core.services import Service
from tasks.http import Answer
from tasks.sources.http import API, PROMETHEUS, Client
from tests.support.fakes.raw_http import RawServer


def client_of(server: HTTPServer, token: str | None = None) -> Client:
    secret = SecretStr(token) if token else None
    service = Service(
        url=server.url_for("").rstrip("/"),
        token=secret,
        origin="FED_VIT_API_URL",
        token_from="FED_VIT_API_TOKEN",
    )
    return Client(service, API)


def test_a_get_and_its_headers(httpserver: HTTPServer) -> None:
    seen: list[Request] = []

    def take(request: Request) -> Response:
        seen.append(request)
        return Response(b"body", 200, headers={"X-It": "1"})

    httpserver.expect_request("/page", method="GET").respond_with_handler(take)
    with client_of(httpserver, "t0ken") as client:
        answer = client.ask("/page", "its page", accept="text/plain")
    assert (answer.status, answer.body, answer.headers["x-it"]) == (200, b"body", "1")
    sent = seen[0].headers
    assert sent["Authorization"] == "Bearer t0ken"
    assert sent["Accept"] == "text/plain"
    assert sent["Accept-Encoding"] == "identity"


def test_a_login_in_netrc_is_not_sent(
    httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = tmp_path / "netrc"
    logins.write_text("machine localhost login me password secret\n")
    monkeypatch.setenv("NETRC", str(logins))
    seen: list[str | None] = []

    def take(request: Request) -> Response:
        seen.append(request.headers.get("Authorization"))
        return Response()

    httpserver.expect_request("/").respond_with_handler(take)
    for token in (None, "t0ken"):
        with client_of(httpserver, token) as client:
            client.ask("/", "it")
    assert seen == [None, "Bearer t0ken"]


class Counting(BaseHTTPRequestHandler):
    """Keeps connections open, and counts them."""

    protocol_version = "HTTP/1.1"
    connections = 0

    def setup(self) -> None:
        type(self).connections += 1
        super().setup()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_connections_are_used_again() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        with Client(Service(url=url, origin="X"), PROMETHEUS) as client:
            assert [client.ask(path, "it").body for path in ("/a", "/bc")] == [b"/a", b"/bc"]
        server.shutdown()
        thread.join()
    assert Counting.connections == 1


@pytest.mark.parametrize("status", [401, 403])
def test_the_token_that_is_missing_is_named(httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request("/").respond_with_data("", status=status)
    with client_of(httpserver) as client, pytest.raises(SourceRefused) as caught:
        client.ask("/", "it")
    assert caught.value.problem == "no token is set"
    assert caught.value.fix == "Set FED_VIT_API_TOKEN"


def test_a_redirect_without_a_host(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_data("", status=301, headers={"Location": "/x"})
    with client_of(httpserver) as client, pytest.raises(SourceRefused, match="another path"):
        client.ask("/", "it")


def test_the_error_pickles() -> None:
    with (
        RawServer([b""]) as server,
        Client(Service(url=server.url, origin="X"), PROMETHEUS) as client,
        pytest.raises(SourceUnavailable) as caught,
    ):
        client.ask("/", "it")
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.facts == caught.value.facts
    assert str(again) == str(caught.value)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("", None), ("soon", None), ("Mon, 01 Jan 2024 00:00:00 GMT", 0.0)],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    assert Answer(503, b"", {"Retry-After": header}).retry_after == seconds


def test_retry_after_a_date() -> None:
    text = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    seconds = Answer(503, b"", {"Retry-After": text}).retry_after
    assert seconds is not None
    assert 85 < seconds <= 90


def test_quotes_are_short_and_secret(httpserver: HTTPServer) -> None:
    client = client_of(httpserver, "t0ken")
    assert client.quoted(" two\n lines t0ken ") == "two lines ***"
    cut = client.quoted("x" * 999 + ": the cause t0ken")
    assert len(cut) == LONGEST_QUOTE
    assert cut.endswith("x: the cause ***")
