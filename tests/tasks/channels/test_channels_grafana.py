"""The Grafana channel: one annotation a run, whatever goes wrong on the way, and no secret reported."""

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.channels.grafana import LIMITS, GrafanaChannel
from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable
from tasks.core.message import Message, message_of
from tasks.core.receipt import Outcome, Receipt, Values, write_receipt
from tasks.core.services import Service
from tasks.core.window import Window
from tests.support.fakes.grafana import TOKEN, FakeGrafana, Fault, fails
from tests.support.fakes.raw_http import RawServer

NOW = datetime(2026, 3, 1, 7, 5, 1, 250_000, tzinfo=UTC)
MESSAGE = Message("r1", NOW, "it ran")
BODY = {
    "time": 1_772_348_701_250,
    "text": "it ran",
    "tags": ["automation", "metrics", "run:r1"],
}


@pytest.fixture
def grafana(httpserver: HTTPServer) -> FakeGrafana:
    return FakeGrafana(httpserver)


def send(service: Service, message: Message = MESSAGE, retry_timeout: float = 2.0) -> None:
    channel = GrafanaChannel(service, timedelta(seconds=retry_timeout))
    try:
        channel.send(message)
    finally:
        channel.close()


def kept(grafana: FakeGrafana) -> list[dict[str, Any]]:
    return [{k: v for k, v in one.items() if k != "id"} for one in grafana.annotations]


def receipt(*outcomes: Outcome) -> Receipt:
    window = Window(NOW - timedelta(hours=1), NOW)
    return write_receipt("collect", "20260301T070501-a1b2c3", "staging", window, outcomes, {})


def test_a_message_says_how_the_run_ended() -> None:
    landed = Outcome(measurement="requests", state="landed", values=Values(9, 7, 2))
    failed = Outcome(measurement="gpu", state="failed", problems=("no",))

    assert message_of(receipt(landed, failed), NOW) == Message(
        time=NOW,
        text="fedvitals collect in staging: 2 values quarantined; gpu failed: no",
        run_id="20260301T070501-a1b2c3",
    )


def test_a_run_without_failure_names_none() -> None:
    assert message_of(receipt(), NOW).text == (
        "fedvitals collect in staging: no data: none was asked"
    )


def test_an_annotation_is_added_with_its_moment_in_milliseconds(grafana: FakeGrafana) -> None:
    send(grafana.service())
    assert kept(grafana) == [BODY]
    assert [(one.method, one.args.to_dict()) for one in grafana.asked] == [
        ("GET", {"tags": "run:r1", "limit": "1"}),
        ("POST", {}),
    ]


def test_the_same_run_is_annotated_once(grafana: FakeGrafana) -> None:
    send(grafana.service())
    send(grafana.service())
    assert kept(grafana) == [BODY]


def test_another_run_is_annotated_too(grafana: FakeGrafana) -> None:
    other = Message("r2", NOW, "it ran again")
    send(grafana.service())
    send(grafana.service(), other)
    assert [one["tags"][-1] for one in grafana.annotations] == ["run:r1", "run:r2"]


def test_a_grafana_that_answers_is_in_order(grafana: FakeGrafana) -> None:
    channel = GrafanaChannel(grafana.service(), timedelta())
    assert channel.check() == ServiceCheck("Grafana", "answers", True, "annotations can be read")
    channel.close()
    assert [(one.method, one.args.to_dict()) for one in grafana.asked] == [("GET", {"limit": "1"})]


@pytest.mark.parametrize(
    ("service", "problem", "fix"),
    [
        (None, '{"message": "Invalid API key"}', "Set GRAFANA_API_KEY"),
        (
            "http://127.0.0.1:9",
            "no answer",
            "Check that Grafana runs, and that GRAFANA_URL is its URL",
        ),
    ],
)
def test_a_grafana_that_is_not_is_checked_once_with_what_to_fix(
    grafana: FakeGrafana, service: str | None, problem: str, fix: str
) -> None:
    wrong = (
        Service(url=service, origin="GRAFANA_URL", token_from="GRAFANA_API_KEY")
        if service
        else grafana.service("wrong")
    )
    found = GrafanaChannel(wrong, timedelta()).check()
    assert not found.ok
    assert problem in found.detail
    assert found.fix.startswith(fix)
    assert len(grafana.asked) == (0 if service else 1)


def test_text_from_outside_stays_text(grafana: FakeGrafana) -> None:
    odd = Message("a b&tags=x", NOW, 'staging "& \n<b>ü</b>')
    send(grafana.service(), odd)
    send(grafana.service(), odd)
    assert len(grafana.annotations) == 1
    assert (grafana.annotations[0]["text"], grafana.annotations[0]["tags"]) == (
        'staging "& \n<b>ü</b>',
        ["automation", "metrics", "run:a b&tags=x"],
    )


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("before", [0, 1])
def test_what_may_come_right_is_tried_again(grafana: FakeGrafana, status: int, before: int) -> None:
    passes: Fault = lambda request: None  # noqa: E731
    grafana.faults = [passes] * before + [fails(status)]
    send(grafana.service())
    assert kept(grafana) == [BODY]


def test_an_annotation_whose_answer_got_lost_is_not_added_again(grafana: FakeGrafana) -> None:
    def stored_and_lost(request: Request) -> Response:
        grafana.annotations.append({"id": 1, **json.loads(request.data)})
        return Response("<html>bad gateway</html>", status=502)

    grafana.faults = [lambda request: None, stored_and_lost]
    send(grafana.service())
    assert kept(grafana) == [BODY]


@pytest.mark.parametrize("dated", [False, True])
def test_it_waits_as_long_as_it_is_asked_to(grafana: FakeGrafana, dated: bool) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=2)
    grafana.faults = [
        fails(429, Retry_After=format_datetime(moment, usegmt=True) if dated else "1")
    ]
    started = time.monotonic()
    send(grafana.service(), retry_timeout=5)
    assert 0.9 <= time.monotonic() - started < 3
    assert kept(grafana) == [BODY]


def test_it_does_not_wait_past_its_patience(grafana: FakeGrafana) -> None:
    grafana.faults = [fails(429, "slow down", Retry_After="30")]
    started = time.monotonic()
    with pytest.raises(ChannelUnavailable) as caught:
        send(grafana.service())
    assert time.monotonic() - started < 1
    assert caught.value.retry_after == 30.0
    assert str(caught.value) == (
        f'Grafana at {grafana.url}: HTTP 429: {{"message": "slow down"}}. '
        "The message was not sent; the run itself is not affected"
    )


def test_a_grafana_that_stays_down_is_reported(grafana: FakeGrafana) -> None:
    grafana.faults = [fails(503)] * 100
    with pytest.raises(ChannelUnavailable, match="HTTP 503"):
        send(grafana.service(), retry_timeout=1)
    assert 2 <= len(grafana.asked) <= 6


def test_nobody_there_is_reported() -> None:
    service = Service(url="http://127.0.0.1:9", origin="GRAFANA_URL", token_from="GRAFANA_API_KEY")
    with pytest.raises(ChannelUnavailable, match="no answer"):
        send(service, retry_timeout=0.1)


def test_half_an_answer_is_no_answer() -> None:
    with RawServer([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{"]) as server:
        service = Service(url=server.url, origin="GRAFANA_URL", token_from="GRAFANA_API_KEY")
        with pytest.raises(ChannelUnavailable, match="no answer"):
            send(service, retry_timeout=0.1)


@pytest.mark.parametrize("status", [400, 404, 412, 422])
def test_what_is_refused_is_not_tried_again(grafana: FakeGrafana, status: int) -> None:
    grafana.faults = [lambda request: None, fails(status, "version-mismatch")]
    with pytest.raises(ChannelRefused) as caught:
        send(grafana.service())
    assert str(caught.value) == (
        f'Grafana at {grafana.url} refused the message (HTTP {status}): {{"message": '
        '"version-mismatch"}. Fix: check that GRAFANA_URL is the URL of a Grafana, and any proxy in front '
        "of it"
    )
    assert len(grafana.asked) == 2


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("wrong", 401), (TOKEN, 403)])
def test_a_token_that_may_not_write_is_reported_once(
    grafana: FakeGrafana, token: str | None, status: int
) -> None:
    grafana.may_write = False
    with pytest.raises(ChannelRefused, match="set GRAFANA_API_KEY") as caught:
        send(grafana.service(token))
    assert caught.value.status == status
    assert grafana.annotations == []


def test_a_redirect_is_refused_and_takes_no_token_along(
    grafana: FakeGrafana, httpserver: HTTPServer
) -> None:
    grafana.faults = [fails(302, Location=httpserver.url_for("/elsewhere"))]
    with pytest.raises(ChannelRefused, match="HTTP 302"):
        send(grafana.service())
    assert [request.path for request in grafana.asked] == ["/api/annotations"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [("<html>login</html>", "no JSON"), ('{"message": "ok"}', "no list of annotations")],
)
def test_an_answer_that_is_not_grafanas_is_refused(
    grafana: FakeGrafana, body: str, problem: str
) -> None:
    grafana.faults = [lambda request: Response(body)]
    with pytest.raises(ChannelRefused, match=problem):
        send(grafana.service())
    assert len(grafana.asked) == 1


def test_an_endless_answer_is_not_read_to_its_end(grafana: FakeGrafana) -> None:
    grafana.faults = [lambda request: Response("[" + " " * 2 * (LIMITS.largest or 0) + "]")]
    with pytest.raises(ChannelRefused, match="no JSON"):
        send(grafana.service())


def test_a_token_that_is_echoed_is_not_reported(grafana: FakeGrafana) -> None:
    grafana.faults = [fails(400, f"no such key {TOKEN}")]
    with pytest.raises(ChannelRefused) as caught:
        send(grafana.service())
    assert TOKEN not in str(caught.value)
    assert "no such key ***" in str(caught.value)
