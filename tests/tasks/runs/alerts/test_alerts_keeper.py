"""The keeper: acknowledgements made in a channel, the dead man's heartbeat, names of clients."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import Connection, update
from werkzeug import Request, Response

from tasks.core.errors import LedgerUnavailable
from tasks.core.incidents import Notice
from tasks.core.settings import load_settings
from tasks.core.severity import Severity
from tasks.core.thresholds import WATCHDOG
from tasks.ledger.incidents import last_tick, open_incidents
from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import as_text, outbox
from tasks.runs.alerts.keeper import Keeper
from tasks.runs.base.alerts import Desk, opened_desk
from tests.support.fakes.pagerduty import TOKEN, FakePagerDuty
from tests.support.fakes.slack import FakeSlack
from tests.support.serving import eventually


def a_notice(now: datetime, **facts: Any) -> Notice:
    """A critical alert."""
    known = {
        "fingerprint": "a" * 16, "environment": "production", "name": "Down", "kind": "alert",
        "severity": Severity.CRITICAL, "origin": "alertmanager", "starts_at": now,
        "received_at": now, "sentence": "it is down",
    }  # fmt: skip
    return Notice(**{**known, **facts})


@pytest.mark.parametrize(("hours", "until"), [(1, 7), (9, None)])
def test_an_acknowledgement_of_a_channel_holds_as_long_as_any(
    tmp_path: Path, httpserver: HTTPServer, hours: int, until: int | None
) -> None:
    """One that is over already is not taken again, though it is still shown there."""
    now = datetime.now(UTC).replace(microsecond=0)
    fake = FakePagerDuty(httpserver, acknowledged_at=f"{now - timedelta(hours=hours):%FT%TZ}")
    settings = load_settings(
        {
            "FEDVITALS_HOME": str(tmp_path),
            **fake.variables,
            "PAGERDUTY_API_TOKEN": TOKEN,
            "PAGERDUTY_API_URL": fake.url,
        }
    )
    with closing(Ledger(settings.ledger_url)) as ledger, opened_desk(settings, ledger) as desk:
        desk.take([a_notice(now)])
        assert desk.sender.drain("pagerduty") == 1
        fake.acknowledge(fake.incidents[0].key, "Ann")
        Keeper(desk, lambda *_: None, print).acknowledge()
        (incident,) = open_incidents(ledger)
    given = incident.acknowledged
    expected = ("Ann", now + timedelta(hours=until)) if until else None
    assert (given and (given.by, given.until)) == expected


@dataclass
class Watched:
    """An intake's keeper that runs, with a clock that is set by hand, and who hears its heartbeat."""

    keeper: Keeper
    desk: Desk
    pages: FakePagerDuty
    now: datetime
    beats: list[str] = field(default_factory=list)

    def hear(self, _: Request) -> Response:
        self.beats.append("beat")
        return Response("OK")

    def minute(self) -> int:
        """Let a minute pass; return how often the heartbeat was heard in it."""
        before = len(self.beats)
        for step in (timedelta(minutes=1), timedelta.resolution):
            self.now += step
            # the second one begins after all of the first is done
            eventually(lambda: self.desk.ledger.patiently(last_tick) == self.now)
        return len(self.beats) - before

    def watchdog(self) -> None:
        self.keeper.without_watchdog([a_notice(self.now, name=WATCHDOG)])


@pytest.fixture
def watched(
    tmp_path: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    monkeypatch.setattr("tasks.runs.alerts.keeper.TICK_SECONDS", 0.01)
    monkeypatch.setattr("tasks.runs.alerts.keeper.Clock", lambda: lambda: found.now)
    pages = FakePagerDuty(httpserver)
    url = httpserver.url_for("/ping")
    variables = {"FEDVITALS_HOME": str(tmp_path), "FEDVITALS_ALERT_HEARTBEAT_URL": url}
    settings = load_settings({**variables, **pages.variables})
    with closing(Ledger(settings.ledger_url)) as ledger, opened_desk(settings, ledger) as desk:
        keeper = Keeper(desk, lambda *_: None, print)
        found = Watched(keeper, desk, pages, datetime.now(UTC))
        httpserver.expect_request("/ping").respond_with_handler(found.hear)
        keeper.start()
        found.minute()
        yield found
        keeper.stop()


@pytest.mark.promise("Alerts: the heartbeat stops when no watchdog arrives or a page waits")
def test_the_heartbeat_is_heard_while_a_watchdog_comes(watched: Watched) -> None:
    assert watched.minute() == 0
    watched.watchdog()
    assert [watched.minute() for _ in range(7)] == [1, 1, 1, 1, 0, 0, 0]
    watched.watchdog()
    assert watched.minute() == 1


def test_the_heartbeat_stops_while_a_page_waits(watched: Watched) -> None:
    watched.watchdog()
    watched.pages.faults += [lambda _: Response("", 503)] * 100
    # a warning may wait
    watched.desk.take([a_notice(watched.now, severity=Severity.HIGH, fingerprint="b" * 16)])
    assert watched.minute() == 1
    watched.desk.take([a_notice(watched.now)])
    watched.keeper.changed()
    assert [watched.minute() for _ in range(3)] == [1, 0, 0]
    watched.pages.faults.clear()
    watched.desk.ledger.patiently(sends_at_once)
    watched.keeper.changed()
    eventually(lambda: watched.pages.states() == ["triggered"])
    watched.watchdog()
    eventually(lambda: watched.minute() == 1)


def sends_at_once(connection: Connection) -> None:
    connection.execute(update(outbox).values(next_at=as_text(datetime(2020, 1, 1, tzinfo=UTC))))


def test_the_heartbeat_stops_with_the_tick(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.watchdog()
    assert watched.minute() == 1
    fails = Mock(side_effect=LedgerUnavailable(url="sqlite", problem="it is locked"))
    with patch("tasks.runs.alerts.keeper.tick", fails):
        watched.now += timedelta(minutes=1)
        calls = fails.call_count
        eventually(lambda: fails.call_count > calls + 2)
        assert len(watched.beats) == 1
    assert watched.minute() == 1
    watched.keeper.stop()
    watched.now += timedelta(minutes=1)
    # a run is no intake
    beats = len(watched.beats)
    run = Keeper(watched.desk, lambda *_: None, print)
    run.without_watchdog([a_notice(watched.now, name=WATCHDOG)])
    run.once()
    assert len(watched.beats) == beats


CLIENT = "alice-laptop"
PSEUDONYM = re.compile(r"[0-9a-f]{12}")


@pytest.mark.promise("Alerts: clients are named by pseudonyms, whichever way an alert comes")
def test_a_client_is_a_pseudonym_in_the_ledger_and_in_messages(
    tmp_path: Path, httpserver: HTTPServer
) -> None:
    slack = FakeSlack(httpserver)
    labels = {"alertname": "Loss", "severity": "critical", "client": CLIENT}
    now = datetime.now(UTC)
    alert = {
        "labels": labels,
        "annotations": {"summary": f"{CLIENT} loses packets"},
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(minutes=5)).isoformat(),
        "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
    }
    held: list[dict[str, Any]] = []
    started = {"uptime": (now - timedelta(days=1)).isoformat()}
    httpserver.expect_request("/am/api/v2/status").respond_with_json(started)
    httpserver.expect_request("/am/api/v2/silences").respond_with_json([])
    httpserver.expect_request("/am/api/v2/alerts").respond_with_handler(
        lambda _: Response(json.dumps(held), content_type="application/json")
    )
    firing = {"labels": labels, "state": "firing", "activeAt": now.isoformat(), "value": "1"}
    answer = {"status": "success", "data": {"alerts": [firing]}}
    httpserver.expect_request("/prom/api/v1/alerts").respond_with_json(answer)
    settings = load_settings(
        {
            "FEDVITALS_HOME": str(tmp_path),
            "ALERTMANAGER_URL": slack.url + "/am",
            "PROMETHEUS_URL": slack.url + "/prom",
            **slack.variables,
        }
    )
    with closing(Ledger(settings.ledger_url)) as ledger, opened_desk(settings, ledger) as desk:
        keeper = Keeper(desk, lambda *_: None, print)
        keeper.keep()
        held.append(alert)
        keeper.reconcile_soon()
        keeper.keep()
        (incident,) = open_incidents(ledger)
        pseudonym = incident.newest.labels["client"]
        assert PSEUDONYM.fullmatch(pseudonym)
        assert incident.newest.sentence == f"{pseudonym} loses packets"
        # what fires in Prometheus is not gone, whatever Alertmanager holds
        held.clear()
        keeper.reconcile_soon()
        keeper.keep()
        assert open_incidents(ledger)[0].fires
        assert desk.sender.drain("slack") == 1
    shown = json.dumps(list(slack.messages.values()))
    assert pseudonym in shown
    assert CLIENT not in shown
    assert CLIENT.encode() not in b"".join(one.read_bytes() for one in tmp_path.glob("ledger*"))
