"""`fedvitals alerts`, and the findings of runs that become incidents."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.core.settings import shipped
from tests.support.fakes.pagerduty import FakePagerDuty
from tests.support.fakes.slack import FakeSlack
from tests.support.installation import Installation

WEBHOOK = {
    "version": "4",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "Loss", "severity": "critical"},
            "annotations": {"summary": "the loss grows"},
            "startsAt": "2026-12-01T09:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
        }
    ],
}
EVENT = {"action": "alert-triggered", "alert_name": "Loss", "severity": "high", "description": "x"}


@pytest.fixture
def slack(httpserver: HTTPServer) -> FakeSlack:
    return FakeSlack(httpserver)


@pytest.fixture
def alerted(bare: Installation, slack: FakeSlack, httpserver: HTTPServer) -> Installation:
    """An installation with Slack and PagerDuty, whose service answers as the test says."""
    pages = FakePagerDuty(httpserver)
    bare.variables |= {**slack.variables, **pages.variables, "FED_VIT_API_URL": slack.url + "/fl"}
    return bare


def ends(httpserver: HTTPServer, status: int) -> None:
    """Let the one endpoint that is checked answer so."""
    httpserver.clear_all_handlers()
    httpserver.expect_request("/fl/health").respond_with_handler(
        lambda request: Response('{"status": "ok"}', status, content_type="application/json")
    )


def listed(installation: Installation, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = installation.here("alerts", "ls", "--json", *options).document[
        "incidents"
    ]
    return found


def checked(installation: Installation, config: Path) -> None:
    """Check one endpoint alone, which is down at its first failure."""
    shutil.copytree(shipped("config"), config)
    shutil.copytree(shipped("expectations"), config.with_name("expectations"))
    text = "endpoints: {/health: {severity: critical}}\ntraining: null\nfailures: 1\nsuccesses: 1\n"
    (config / "health.yaml").write_text(text)
    installation.variables["FEDVITALS_CONFIG"] = str(config)


def test_nothing_is_open_at_first(bare: Installation) -> None:
    assert bare.here("alerts", "ls").out == "no open incidents\n"
    assert listed(bare) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("show", "f00"),
            "f00: there is no such incident. Fix: list them: fedvitals alerts ls --all",
        ),
        (("ack", "f00"), "f00: there is no such incident"),
        (("explain", "nothing.json"), "nothing.json: No such file or directory"),
        (("test", "slack"), "slack: it is not configured (configured: none)"),
        (("test", "--route", "none"), "--route: there is no route 'none'. Fix: use one of: page,"),
    ],
)
def test_a_mistake_is_one_line(
    bare: Installation, arguments: tuple[str, ...], complaint: str
) -> None:
    ran = bare.here("alerts", *arguments)
    assert ran.code == 2
    assert ran.complaint.startswith(complaint)


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"SLACK_BOT_TOKEN": "x"}, "SLACK_BOT_TOKEN: it is set, and SLACK_CHANNEL is not"),
        ({"PAGERDUTY_INTEGRATION_KEY": "x"}, "PAGERDUTY_INTEGRATION_KEY: it does not have 32"),
        ({"EMAIL_SMTP_HOST": "h"}, "EMAIL_SMTP_HOST: it is set, and EMAIL_SMTP_FROM and"),
        ({"APPRISE_URLS": "json://h?retry=3"}, "APPRISE_URLS: a URL sets retry"),
    ],
)
def test_a_channel_that_is_set_in_part_is_refused(
    bare: Installation, variables: dict[str, str], complaint: str
) -> None:
    bare.variables |= variables
    ran = bare.here("alerts", "ls")
    assert ran.code == 2
    assert ran.complaint.startswith(complaint)


def test_explain_says_what_an_alert_would_do(alerted: Installation, slack: FakeSlack) -> None:
    file = alerted.folder / "webhook.json"
    file.write_text(json.dumps(WEBHOOK))
    (one,) = alerted.here("alerts", "explain", str(file), "--json").document["alerts"]
    assert (one["route"], one["changes"], one["incident"]) == ("page", ["opened"], None)
    assert one["steps"][0]["channels"] == ["pagerduty", "slack"]
    assert one["steps"][1]["not_configured"] == ["email", "apprise"]
    file.write_text(json.dumps(EVENT))
    out = alerted.here("alerts", "explain", str(file)).out
    assert out.startswith("Loss (high) in production: opened; route high\n")
    assert slack.messages == {}
    assert listed(alerted) == []


def test_a_drill_is_marked_and_resolves_itself(alerted: Installation, slack: FakeSlack) -> None:
    ran = alerted.here("alerts", "test", "--route", "page", "--json")
    assert [(one["channel"], one["ok"]) for one in ran.document["channels"]] == [
        ("pagerduty", True), ("slack", True),
    ]  # fmt: skip
    assert slack.titles() == ["TEST [RESOLVED] production: a test of alerts"]
    alerted.variables["SLACK_CHANNEL"] = "#gone"
    failed = alerted.here("alerts", "test", "slack")
    assert failed.code == 1
    assert "channel_not_found" in failed.out


@pytest.mark.promise(
    "Alerts: what a run finds opens one incident, and the run that finds it no more ends it"
)
def test_what_health_finds_is_an_incident(
    alerted: Installation, slack: FakeSlack, httpserver: HTTPServer, tmp_path: Path
) -> None:
    checked(alerted, tmp_path / "conf")
    ends(httpserver, 200)
    FakeSlack.__post_init__(slack)
    assert alerted.here("health", "--json").code == 0
    ends(httpserver, 500)
    FakeSlack.__post_init__(slack)
    assert alerted.here("health", "--json").code == 1
    assert alerted.here("health", "--json").code == 1
    (one,) = listed(alerted)
    assert (one["severity"], one["state"], one["alert"]) == ("critical", "open", "/health")
    assert slack.titles() == ["[CRITICAL] production: /health"]
    shown = alerted.here("alerts", "show", one["id"][:4], "--json").document
    assert [event["change"] for event in shown["events"]] == ["opened"]
    assert {m["channel"]: m["state"] for m in shown["messages"]}["slack"] == "sent"
    assert alerted.here("alerts", "ack", one["id"], "--reason", "on it").code == 0
    (one,) = listed(alerted)
    assert one["state"] == "acknowledged"
    ends(httpserver, 200)
    FakeSlack.__post_init__(slack)
    alerted.here("health", "--json")
    (one,) = listed(alerted)
    assert one["state"] == "quiet"
    digest = alerted.here("digest", "--json").document
    assert (digest["fired"], digest["acted_on"], digest["noise"]) == (
        {"/health": 1}, {"/health": 1}, {},
    )  # fmt: skip
    assert digest["open"][0]["acknowledged_by"]
    assert alerted.here("alerts", "resolve", one["id"], "--reason", "seen").code == 0
    assert listed(alerted) == []
    assert listed(alerted, "--all")[0]["state"] == "by hand"
    assert slack.titles() == ["[RESOLVED] production: /health"]
    assert "acknowledged by" in " ".join(slack.replies[next(iter(slack.messages))])


def test_a_digest_is_sent_where_routes_say(alerted: Installation, slack: FakeSlack) -> None:
    ran = alerted.here("digest", "--since", "-7d", "--send")
    assert ran.code == 0
    assert ran.out.startswith("Digest of alerts: 0 open incidents, 0 fired\n")
    assert ran.out.endswith("slack: sent\n")
    assert slack.titles() == ["Digest of alerts: 0 open incidents, 0 fired"]
    alerted.variables["SLACK_CHANNEL"] = "#gone"
    assert alerted.here("digest", "--send").code == 1
    assert alerted.here("digest", "--since", "soon").code == 2


@pytest.mark.promise("Alerts: a run whose ledger does not last starts no incident")
def test_a_first_run_of_a_home_pages_nobody(
    alerted: Installation, slack: FakeSlack, httpserver: HTTPServer, tmp_path: Path
) -> None:
    checked(alerted, tmp_path / "conf")
    for number in range(2):
        ends(httpserver, 500)
        FakeSlack.__post_init__(slack)
        alerted.variables["FEDVITALS_HOME"] = str(tmp_path / f"home{number}")
        assert alerted.here("health", "--json").code == 1
    assert slack.messages == {}
