"""The intake: who is let in, what is on the disk before the answer, and what is refused."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
import requests

from tasks.core.errors import LedgerUnavailable
from tasks.core.incidents import Incident
from tasks.core.settings import Settings, load_settings
from tasks.ledger.incidents import intake_runs, open_incidents
from tasks.ledger.ledger import Ledger
from tasks.runs.base.alerts import SIGNATURE, TIME, signature
from tasks.servers import intake as served
from tasks.servers.http_server import listen
from tasks.servers.intake import intake
from tests.support.incident_samples import NOW, firing

TOKEN, OLD = "planted-token", "planted-older-token"
ZERO = "0001-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings({"FEDVITALS_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "token"
    path.write_text(TOKEN)
    return path


@pytest.fixture(scope="module")
def url(settings: Settings, token_file: Path) -> Iterator[str]:
    variables = {
        "FEDVITALS_ALERTS_ADDRESS": "127.0.0.1:0",
        "FEDVITALS_INTAKE_TOKEN_FILE": str(token_file),
        "FEDVITALS_INTAKE_TOKEN_PREVIOUS": OLD,
    }
    with intake(settings, print, variables) as url:
        yield url


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    with closing(Ledger(settings.ledger_url)) as ledger:
        yield ledger


def alert(name: str, status: str = "firing", **labels: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "critical", **labels},
        "annotations": {"summary": f"{name} is bad"},
        "startsAt": NOW.isoformat(),
        "endsAt": "2026-12-01T09:10:00Z" if status == "resolved" else ZERO,
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "0" * 16,
    }


def webhook(*alerts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": "4", "status": "firing", "receiver": "fedvitals", "alerts": alerts, **more}


def post(url: str, body: Any, token: str | None = TOKEN) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(f"{url}/alertmanager", data=data, headers=headers, timeout=30)


def post_event(url: str, body: Any, *, off: int = 0, token: str = TOKEN) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    at = str(int(time.time()) + off)
    headers = {TIME: at, SIGNATURE: signature(token, at, data)}
    return requests.post(f"{url}/events", data=data, headers=headers, timeout=30)


def named(ledger: Ledger, name: str) -> Incident:
    (found,) = (one for one in open_incidents(ledger) if one.newest.name == name)
    return found


def test_a_webhook_opens_one_incident_an_alert(url: str, ledger: Ledger) -> None:
    body = webhook(alert("A"), alert("B", client="x"), alert("B", client="y"))
    assert post(url, body).json() == {"taken": 3}
    # a repeat is taken, and changes nothing
    assert post(url, body).status_code == 200
    names = sorted(one.newest.name for one in open_incidents(ledger))
    assert names.count("A") == 1
    assert names.count("B") == 2
    first = named(ledger, "A")
    assert (first.newest.sentence, first.newest.environment) == ("A is bad", "production")
    assert post(url, webhook(alert("A", "resolved"))).status_code == 200
    assert named(ledger, "A").quiet_since is not None


def test_a_client_of_a_webhook_is_a_pseudonym(url: str, ledger: Ledger) -> None:
    body = webhook(
        alert("Battery", client="alice-laptop")
        | {"annotations": {"summary": "alice-laptop is low"}}
    )
    assert post(url, body).status_code == 200
    newest = named(ledger, "Battery").newest
    assert newest.labels["client"] not in ("alice-laptop", "")
    assert newest.sentence == f"{newest.labels['client']} is low"


def test_an_event_is_its_name_and_environment(url: str, ledger: Ledger) -> None:
    event = {"action": "alert-triggered", "alert_name": "Loss", "severity": "high"}
    for text in ("first", "second"):
        assert post_event(url, {**event, "description": text}).status_code == 200
    assert post_event(url, {**event, "environment": "staging"}).status_code == 200
    found = [one.newest for one in open_incidents(ledger) if one.newest.name == "Loss"]
    assert sorted((one.environment, one.sentence) for one in found) == [
        ("production", "second"), ("staging", "Loss"),
    ]  # fmt: skip
    assert post_event(url, {**event, "action": "alert-resolved"}).status_code == 200


@pytest.mark.parametrize("token", ["wrong", None, "planted-tokem"])
def test_an_unknown_sender_gets_401_before_its_body_is_read(url: str, token: str | None) -> None:
    with patch.object(served, "_read", side_effect=AssertionError):
        refused = post(url, webhook(alert("never")), token)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "FEDVITALS_INTAKE_TOKEN" in refused.json()["detail"]


def test_a_token_and_its_predecessor_are_valid_and_read_again(url: str, token_file: Path) -> None:
    assert post(url, webhook(), OLD).status_code == 200
    token_file.write_text("rotated-token")
    assert post(url, webhook(), "rotated-token").status_code == 200
    assert post(url, webhook()).status_code == 401
    token_file.write_text(TOKEN)
    assert post(url, webhook()).status_code == 200


@pytest.mark.parametrize(
    ("off", "token", "why"),
    [(400, TOKEN, "400 s off"), (-900, TOKEN, "900 s off"), (0, "wrong", SIGNATURE)],
)
def test_a_signature_of_another_time_or_token_is_refused(
    url: str, off: int, token: str, why: str
) -> None:
    refused = post_event(
        url, {"action": "alert-triggered", "alert_name": "x"}, off=off, token=token
    )
    assert refused.status_code == 401
    # a second may pass on the way
    assert why in refused.json()["detail"].replace("399", "400").replace("901", "900")
    unsigned = requests.post(f"{url}/events", json={}, timeout=5)
    assert unsigned.status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b'{"version": "4"}',
        json.dumps({"version": "3", "alerts": []}).encode(),
        b"[" * 100_000,
        b'{"version":"4","alerts":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        json.dumps(webhook({"labels": {}, "startsAt": "yesterday"})).encode(),
        json.dumps(webhook(alert(""))).encode(),
    ],
    ids=["empty", "text", "no alerts", "version", "bomb", "nested", "time", "no name"],
)
def test_what_can_never_be_read_is_refused_once(url: str, ledger: Ledger, body: bytes) -> None:
    before = len(open_incidents(ledger))
    assert post(url, body).status_code == 400
    # a known sender that is refused is a finding
    named(ledger, "the intake refuses 127.0.0.1")
    assert len(open_incidents(ledger)) <= before + 1


def test_what_lacks_a_name_keeps_nothing_else_out(url: str, ledger: Ledger) -> None:
    assert post(url, webhook(alert(""), alert("beside"))).json() == {"taken": 1}
    assert named(ledger, "beside").is_open


def test_a_url_in_a_notice_is_never_fetched(url: str, httpserver: Any) -> None:
    trap = httpserver.url_for("/trap")
    hostile = alert("trap") | {"generatorURL": trap}
    hostile["annotations"] = {"summary": trap, "runbook_url": trap}
    assert post(url, webhook(hostile)).status_code == 200
    assert httpserver.log == []


def test_more_than_32_mb_are_refused_and_asked_for(url: str) -> None:
    asked = threading.Event()
    large = b'{"version": "4", "alerts": [], "x": "' + b"x" * (served.LARGEST + 1) + b'"}'
    with patch("tasks.runs.alerts.keeper.Keeper.reconcile_soon", lambda self: asked.set()):
        refused = post(url, large)
        assert refused.status_code == 413
        assert asked.is_set()
        asked.clear()
        # in parts of an unknown sum
        headers = {"Authorization": f"Bearer {TOKEN}"}
        parts = (large[n : n + (1 << 20)] for n in range(0, len(large), 1 << 20))
        # the answer may come before the last part is sent
        with suppress(requests.ConnectionError):
            streamed = requests.post(f"{url}/alertmanager", data=parts, headers=headers, timeout=30)
            assert streamed.status_code == 413
        assert asked.is_set()
        asked.clear()
        assert post(url, webhook(alert("cut"), truncatedAlerts=7)).status_code == 200
        assert asked.is_set()


def test_without_its_ledger_it_answers_503(url: str) -> None:
    away = LedgerUnavailable(url="sqlite", problem="it is locked")
    with patch("tasks.runs.base.alerts.take", side_effect=away):
        answer = post(url, webhook(alert("later")))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert post(url, webhook(alert("later"))).status_code == 200


@pytest.mark.promise("Alerts: a known sender that sends too much is answered 503, never 4xx")
def test_over_its_limit_it_answers_503(url: str) -> None:
    go_on = threading.Event()

    def slow(*_: Any, **__: Any) -> list[Any]:
        assert go_on.wait(30)
        return []

    many = [alert(f"n{n}") for n in range(served.MOST_WAITING // 4)]
    with patch("tasks.runs.base.alerts.take", slow), ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(post, url, webhook(*many)) for _ in range(8)]
        # none is taken, so the first answer is for one that is too many
        first = next(as_completed(answers))
        go_on.set()
        codes = {one.result().status_code for one in answers}
    assert (first.result().status_code, codes) == (503, {200, 503})


@pytest.mark.promise("Alerts: a notice that meets a defect keeps no other sender waiting in vain")
def test_a_defect_in_one_notice_is_no_others() -> None:
    def take(notices: list[Any]) -> None:
        if any(one.name == "poison" for one in notices):
            raise KeyError("x")

    taker = served.Taker(Mock(take=take), Mock())
    answers = {name: taker.put([firing(0, name=name)]) for name in ("a", "poison", "b")}
    taker.start()
    taker.stop()
    assert {name: type(answer and answer.exception()) for name, answer in answers.items()} == {
        "a": type(None), "poison": KeyError, "b": type(None),
    }  # fmt: skip


def test_it_says_that_it_runs(url: str, ledger: Ledger) -> None:
    assert requests.get(f"{url}/health", timeout=5).json() == {"status": "ok"}
    for _ in range(50):
        if intake_runs(ledger, datetime.now(UTC)):
            break
        time.sleep(0.1)
    assert intake_runs(ledger, datetime.now(UTC))


def test_an_answer_does_not_wait_for_a_delayed_acknowledgement() -> None:
    with listen("127.0.0.1:0", "A", "127.0.0.1:1", has_token=True) as listener:
        address = listener.getsockname()
        with socket.create_connection(address), listener.accept()[0] as connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_it_is_small_without_a_lake() -> None:
    code = "import sys, tasks.servers.intake; print('deltalake' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
