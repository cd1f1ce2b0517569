"""A ledger from a backup goes on with its incidents, and with those that opened since."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.core.settings import load_settings
from tasks.ledger.incidents import open_incidents
from tasks.ledger.ledger import Ledger
from tasks.ledger.opening import opened_ledger
from tasks.ledger.outbox import messages_of
from tasks.runs.alerts.keeper import Keeper
from tasks.runs.base.alerts import Desk, opened_desk
from tests.support.fakes.github import FakeGitHub
from tests.support.fakes.pagerduty import FakePagerDuty
from tests.support.fakes.slack import FakeSlack
from tests.support.installation import Installation

MINUTE = timedelta(minutes=1)


@dataclass
class Watch:
    """A home with all channels, an Alertmanager that holds what the test says, and a clock."""

    installation: Installation
    server: HTTPServer
    held: list[str] = field(default_factory=list)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self.slack, self.pages = FakeSlack(self.server), FakePagerDuty(self.server)
        self.github = FakeGitHub(self.server)
        started = {"uptime": (self.now - timedelta(days=1)).isoformat()}
        self.server.expect_request("/am/api/v2/status").respond_with_json(started)
        self.server.expect_request("/am/api/v2/silences").respond_with_json([])
        self.server.expect_request("/am/api/v2/alerts").respond_with_handler(self._alerts)
        self.installation.variables |= {
            "ALERTMANAGER_URL": self.slack.url + "/am",
            **self.slack.variables,
            **self.pages.variables,
            **self.github.variables,
        }
        self.began = self.now

    def _alerts(self, _: Any) -> Response:
        alerts = [
            {
                "labels": {"alertname": name, "severity": "critical"},
                "annotations": {"summary": f"{name} is bad"},
                "startsAt": self.began.isoformat(),
                "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
            }
            for name in self.held
        ]
        return Response(json.dumps(alerts), content_type="application/json")

    @contextmanager
    def at_work(self) -> Iterator["At"]:
        settings = load_settings(self.installation.environment)
        with opened_ledger(settings) as ledger, opened_desk(settings, ledger) as opened:
            desk = replace(opened, sender=replace(opened.sender, clock=lambda: self.now))
            yield At(self, desk, Keeper(desk, lambda *_: None, print))

    def names(self) -> dict[str, str]:
        """The open incidents of the home, by name, with their ids."""
        with closing(Ledger(f"sqlite:///{self.installation.home}/ledger.db")) as ledger:
            return {one.newest.name: one.id for one in open_incidents(ledger)}


@dataclass
class At:
    """A keeper that has been started."""

    watch: Watch
    desk: Desk
    keeper: Keeper

    def minute(self, *, deliver: bool = True) -> None:
        self.watch.now += MINUTE
        self.keeper.reconcile_soon()
        self.keeper.keep()
        if deliver:
            for name in ("pagerduty", "github", "slack"):
                self.desk.sender.drain(name)


@pytest.fixture
def watch(bare: Installation, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch(bare, httpserver)
    monkeypatch.setattr("tasks.runs.alerts.keeper.Clock", lambda: lambda: made.now)
    return made


def restore(home: Path) -> None:
    """What docs/runbooks/backup.md says."""
    aside = home / "aside"
    aside.mkdir()
    for path in home.glob("ledger.db*"):
        path.rename(aside / path.name)
    (backup,) = (home / "backups").glob("ledger-*.db")
    shutil.copy(backup, home / "ledger.db")


@pytest.mark.promise(
    "Alerts: a ledger from a backup goes on: nothing is paged twice, and what ends is closed"
)
def test_a_restored_ledger_goes_on_with_open_incidents(watch: Watch) -> None:
    with watch.at_work() as at:
        at.minute()
        watch.held = ["Shown"]
        at.minute()
        watch.held.append("Waiting")
        at.minute(deliver=False)
    assert watch.installation.here("maintain").code == 0
    with watch.at_work() as at:
        watch.held.append("Later")
        at.minute()
    before = watch.names()
    assert (len(before), watch.pages.states()) == (3, ["triggered"] * 3)
    assert (watch.github.open_numbers(), len(watch.slack.messages)) == ([1, 2, 3], 3)
    restore(watch.installation.home)
    assert before.keys() - watch.names().keys() == {"Later"}
    with watch.at_work() as at:
        at.minute()
        # each is the incident that it was, and is shown once where that can be asked
        assert watch.names() == before
        assert watch.pages.states() == ["triggered"] * 3
        assert watch.github.open_numbers() == [1, 2, 3]
        added = watch.slack.titles()[3:]
        repeat = "[CRITICAL] production: Waiting (repeat: it may be here already)"
        assert sorted(added) == ["1 open alert taken over", repeat]
        watch.held.clear()
        for _ in range(7):
            at.minute()
    assert watch.names() == {}
    assert watch.pages.states() == ["resolved"] * 3
    assert watch.github.open_numbers() == []


def test_a_backup_holds_open_incidents_and_what_waits(watch: Watch, tmp_path: Path) -> None:
    with watch.at_work() as at:
        at.minute()
        watch.held = ["Shown"]
        at.minute()
        watch.held.append("Waiting")
        at.minute(deliver=False)
    assert watch.installation.here("maintain").code == 0
    (backup,) = (watch.installation.home / "backups").glob("ledger-*.db")
    copy = tmp_path / "copy.db"
    shutil.copy(backup, copy)
    with closing(Ledger(f"sqlite:///{copy}")) as ledger:
        states = {
            one.newest.name: {row.state for row in messages_of(ledger, one.id)}
            for one in open_incidents(ledger)
        }
    assert states == {"Shown": {"sent"}, "Waiting": {"waiting"}}
