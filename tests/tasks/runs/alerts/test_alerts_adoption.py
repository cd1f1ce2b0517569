"""An empty ledger takes over what is open elsewhere: no message about each, one about all."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tasks.alerts.incidents import resolve_by_hand
from tasks.core.incidents import Notice
from tasks.core.settings import Settings, load_settings
from tasks.core.severity import Severity
from tasks.ledger.incidents import events_of, open_incidents
from tasks.ledger.ledger import Ledger
from tasks.runs.alerts.keeper import Keeper
from tasks.runs.base.alerts import opened_desk
from tests.support.fakes.github import FakeGitHub
from tests.support.fakes.slack import FakeSlack

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def github(httpserver: HTTPServer) -> FakeGitHub:
    return FakeGitHub(httpserver)


@pytest.fixture
def slack(httpserver: HTTPServer) -> FakeSlack:
    return FakeSlack(httpserver)


def settings_in(folder: Path, github: FakeGitHub, slack: FakeSlack) -> Settings:
    folder.mkdir(exist_ok=True)
    variables = {"FEDVITALS_HOME": str(folder), **github.variables, **slack.variables}
    return load_settings(variables)


def notice(ended: bool = False) -> Notice:
    return Notice(
        fingerprint="a" * 16, environment="production", name="Down", kind="alert",
        severity=Severity.HIGH, origin="event", starts_at=NOW, received_at=datetime.now(UTC),
        sentence="it is down", ends_at=datetime.now(UTC) if ended else None,
    )  # fmt: skip


def kept(settings: Settings, *notices: Notice) -> list[str]:
    """The ids of the incidents that are open after one turn of the keeper, and what it said."""
    with closing(Ledger(settings.ledger_url)) as ledger, opened_desk(settings, ledger) as desk:
        if notices:
            desk.take(notices)
        Keeper(desk, lambda *_: None, print).once()
        return [one.id for one in open_incidents(ledger)]


@pytest.mark.promise("Alerts: a ledger that was lost takes over the open issues of GitHub")
def test_a_new_ledger_takes_over_open_issues_under_their_ids(
    tmp_path: Path, github: FakeGitHub, slack: FakeSlack
) -> None:
    before = settings_in(tmp_path / "before", github, slack)
    ids = kept(before, notice())
    assert (len(ids), github.open_numbers()) == (1, [1])
    after = settings_in(tmp_path / "after", github, slack)
    assert kept(after) == ids
    assert slack.titles() == ["[HIGH] production: Down", "1 open alert taken over"]
    with closing(Ledger(after.ledger_url)) as ledger:
        assert [one.change for one in events_of(ledger, ids[0])] == ["adopted"]
    # a second look takes over nothing, and the alert that fires on opens nothing
    assert kept(after, notice()) == ids
    assert (github.open_numbers(), len(slack.messages)) == ([1], 2)
    with closing(Ledger(after.ledger_url)) as ledger, opened_desk(after, ledger) as desk:
        desk.take([notice(ended=True)])
        resolve_by_hand(ledger, ids[0], datetime.now(UTC), "ann", "", desk.plan)
        desk.sender.drain_all(10)
    assert github.open_numbers() == []


def test_issues_that_are_none_of_ours_are_left_alone(
    tmp_path: Path, github: FakeGitHub, slack: FakeSlack
) -> None:
    labels = ["alert", "monitoring"]
    mark = f"<!-- fedvitals:{'a' * 16}:{'b' * 16}:production -->"
    github.add({"title": "x", "body": "by hand", "labels": labels})
    github.add({"title": "x", "body": f"{mark} quoted by someone", "labels": labels})
    assert kept(settings_in(tmp_path, github, slack)) == []
    assert slack.messages == {}


def test_a_github_that_does_not_answer_holds_up_nothing(
    tmp_path: Path, github: FakeGitHub, slack: FakeSlack, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path, github, slack)
    github.server.clear_all_handlers()
    FakeSlack.__post_init__(slack)
    assert len(kept(settings, notice())) == 1
    assert "open incidents of github" in capsys.readouterr().out
    assert slack.titles() == ["[HIGH] production: Down"]


def test_of_two_issues_about_one_alert_the_newest_goes_on(
    tmp_path: Path, github: FakeGitHub, slack: FakeSlack
) -> None:
    """At most one incident of an alert is open, whatever a repository holds."""
    for number in range(2):
        mark = f"<!-- fedvitals:{'a' * 16}:{str(number) * 16}:production -->"
        made = github.add({"title": "x: Down", "body": mark, "labels": ["alert", "monitoring"]})
        github.issues[made]["created_at"] = f"2026-11-0{number + 1}T00:00:00Z"
    assert kept(settings_in(tmp_path, github, slack)) == ["1" * 16]
