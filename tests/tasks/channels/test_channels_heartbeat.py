"""The heartbeat: one GET, and nothing of its URL in any text."""

import logging
import socket
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.channels import heartbeat
from tasks.channels.heartbeat import Heartbeat
from tasks.core.errors import ChannelRefused, ChannelUnavailable, FedvitalsError
from tasks.core.message import Message
from tasks.http import Limits

pytestmark = pytest.mark.promise(
    "Accounts: a heartbeat follows each run that did its work, and shows only the host of its URL"
)

MESSAGE = Message("r1", datetime(2026, 3, 1, tzinfo=UTC), "it ran")
KEY = "5f1c-planted-key"


def beat(server: HTTPServer) -> Heartbeat:
    return Heartbeat(SecretStr(server.url_for(f"/ping/{KEY}?create={KEY}")))


def failure(one: Heartbeat) -> FedvitalsError:
    with pytest.raises(FedvitalsError) as caught:
        one.send(MESSAGE)
    shown = f"{caught.value} {caught.value.facts} {caught.value.__cause__}"
    assert KEY not in shown
    assert caught.value.url == one.host
    return caught.value


def test_one_get_is_sent(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/ping/" + KEY, query_string=f"create={KEY}").respond_with_data("OK")

    beat(httpserver).send(MESSAGE)

    ((request, _),) = httpserver.log
    assert request.method == "GET"
    assert request.headers["User-Agent"] == "fedvitals"
    assert request.get_data() == b""


@pytest.mark.parametrize("status", [201, 204])
def test_any_success_is_one(httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request("/ping/" + KEY).respond_with_data("", status)
    beat(httpserver).send(MESSAGE)


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_an_address_that_takes_none_is_refused(httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request("/ping/" + KEY).respond_with_data(f"no {KEY}", status)

    error = failure(beat(httpserver))

    assert isinstance(error, ChannelRefused)
    assert str(error) == (
        f"heartbeat at {beat(httpserver).host} refused the message (HTTP {status}): it takes no "
        "heartbeat there. Fix: check FEDVITALS_HEARTBEAT_URL"
    )


@pytest.mark.parametrize("status", [301, 408, 429, 500, 503])
def test_what_may_be_better_next_time(httpserver: HTTPServer, status: int) -> None:
    headers = {"Location": httpserver.url_for("/elsewhere")} if status == 301 else {}
    httpserver.expect_request("/ping/" + KEY).respond_with_data(KEY, status, headers)

    error = failure(beat(httpserver))

    assert isinstance(error, ChannelUnavailable)
    assert error.problem == f"HTTP {status}"
    # neither tried again nor sent elsewhere
    assert len(httpserver.log) == 1


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    error = failure(Heartbeat(SecretStr(f"http://127.0.0.1:{port}/ping/{KEY}")))

    assert error.problem == "no answer (ConnectionError)"


def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "LIMITS", Limits(silence=0.2))
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/ping/{KEY}"
        error = failure(Heartbeat(SecretStr(url)))

    assert error.problem == "no answer (ReadTimeout)"


def test_a_server_that_drips_is_given_up(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "LIMITS", Limits(total=0.0))
    drops = iter([b"a", b"b", b"c"])
    httpserver.expect_request("/ping/" + KEY).respond_with_response(Response(drops))

    assert failure(beat(httpserver)).problem == "no whole answer within 0 s"


def test_nothing_is_logged(
    httpserver: HTTPServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = logging.getLogger("urllib3.connectionpool")
    # some libraries set its level or switch it off for the whole process
    monkeypatch.setattr(library, "disabled", False)
    httpserver.expect_request("/ping/" + KEY).respond_with_data("OK")
    httpserver.expect_request("/other").respond_with_data("OK")

    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, library.name):
        beat(httpserver).send(MESSAGE)
        ours = [record.getMessage() for record in caplog.records if record.name != "werkzeug"]
        Heartbeat(SecretStr(httpserver.url_for("/other"))).send(MESSAGE)
        library.debug("of somebody else")

    assert KEY not in "".join(ours)
    # only meanwhile
    assert "of somebody else" in caplog.messages


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (f"https://hc.example/ping/{KEY}", "https://hc.example"),
        (f"https://user:{KEY}@hc.example:8443/?k={KEY}", "https://hc.example:8443"),
    ],
)
def test_only_the_host_is_shown(url: str, host: str) -> None:
    one = Heartbeat(SecretStr(url))

    check = one.check()

    assert one.host == host
    assert (check.service, check.ok) == ("heartbeat", True)
    assert check.detail == f"{host}, after each run that did its work"
    assert KEY not in repr(vars(one))
