"""The run `alerts`: the backstop of the intake, the export of incidents, and digests."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from pytest_httpserver import HTTPServer

from tasks.alerts.incidents import silence, take
from tasks.core.alert_report import LimitLine
from tasks.core.errors import LedgerUnavailable, SourceUnavailable, UsageInvalid
from tasks.core.incident_measurement import incident_measurement
from tasks.core.incidents import Notice, Silence, Timing
from tasks.core.receipt import Receipt
from tasks.core.services import Environment
from tasks.core.settings import Settings, load_settings
from tasks.core.severity import Severity
from tasks.core.window import Window, floor
from tasks.lake.tables import Lake
from tasks.ledger.incidents import note_intake, open_incidents
from tasks.ledger.ledger import Ledger
from tasks.runs.alerts.digest import Learn, make_digest
from tasks.runs.alerts.run import AlertsRequest, alerts
from tasks.runs.base.alerts import opened_desk
from tasks.runs.base.run import Run
from tests.support.fakes.slack import FakeSlack

# half an hour before this hour, so that an hour before it is a whole one ago
NOW = floor(datetime.now(UTC), timedelta(hours=1)) - timedelta(minutes=30)
DAY = Window(NOW - timedelta(days=1), NOW + timedelta(hours=1))


@pytest.fixture
def slack(httpserver: HTTPServer) -> FakeSlack:
    return FakeSlack(httpserver)


@pytest.fixture
def settings(tmp_path: Path, slack: FakeSlack) -> Settings:
    return load_settings({"FEDVITALS_HOME": str(tmp_path), **slack.variables})


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    with closing(Ledger(settings.ledger_url)) as ledger:
        yield ledger


def notice(**facts: object) -> Notice:
    """An alert that began an hour ago, by an event."""
    began = NOW - timedelta(hours=1)
    one = Notice(
        fingerprint="a" * 16, environment="production", name="Down", kind="event",
        severity=Severity.HIGH, origin="event", starts_at=began, received_at=began,
        sentence="it is down",
    )  # fmt: skip
    return replace(one, **facts)  # type: ignore[arg-type]


def ran(settings: Settings, request: AlertsRequest, learn: Learn | None = None) -> Receipt:
    with Run("alerts", settings, now=NOW) as run:
        return alerts(run, request, learn=learn)


@pytest.mark.promise("Alerts: where no intake runs, a scheduled run sends what waits")
def test_a_run_sends_what_waits(settings: Settings, ledger: Ledger, slack: FakeSlack) -> None:
    with opened_desk(settings, ledger) as desk:
        desk.take([notice()])
    note_intake(ledger, NOW)
    ran(settings, AlertsRequest())
    assert slack.titles() == []
    note_intake(ledger, NOW - timedelta(hours=1))
    assert ran(settings, AlertsRequest()).sentence == "1 open incident: high Down"
    assert slack.titles() == ["[HIGH] production: Down"]


@pytest.mark.promise("Alerts: changes of incidents land in the lake as `incidents`")
def test_changes_are_exported_once(settings: Settings, ledger: Ledger) -> None:
    take(ledger, [notice()], Timing())
    receipt = ran(settings, AlertsRequest())
    assert receipt.values.landed > 0
    rows = Lake(settings.lake_url).read(incident_measurement(), "production", DAY)
    assert [*rows["alert"], *rows["change"]] == ["Down", "opened"]
    assert ran(settings, AlertsRequest()).values.landed == 0


@pytest.mark.promise("Alerts: a message that no channel takes is a finding of each scheduled run")
def test_what_no_channel_takes_is_a_finding(
    settings: Settings, ledger: Ledger, slack: FakeSlack
) -> None:
    with opened_desk(settings, ledger) as desk:
        desk.take([notice()])
    slack.server.clear_all_handlers()
    slack.server.expect_request("/api/chat.postMessage").respond_with_json(
        {"ok": False, "error": "channel_not_found"}
    )
    for _ in range(2):
        receipt = ran(settings, AlertsRequest())
        (finding,) = (one for one in receipt.findings if one.kind == "undelivered")
        assert "Down (" in finding.sentence
        assert "channel_not_found" in finding.sentence
        # that it is not delivered either is no further one
        assert "undelivered" not in finding.sentence
        assert receipt.exit_code == 1


def test_a_digest_with_a_review_is_sent(
    settings: Settings, ledger: Ledger, slack: FakeSlack
) -> None:
    take(ledger, [notice()], Timing())
    (one,) = open_incidents(ledger)
    given = Silence("ann", NOW, datetime.now(UTC) + timedelta(hours=5), "known")
    silence(ledger, one.id, given, NOW, "ann")

    def learn(_: Settings, environment: Environment, window: Window) -> list[LimitLine]:
        return [LimitLine(rule="loss", limit=2, learned=1.5, fires=1)]

    receipt = ran(settings, AlertsRequest("-24h", review=True), learn)
    assert (receipt.status, [one.ok for one in receipt.deliveries]) == (
        "ok", [True] * len(receipt.deliveries),
    )  # fmt: skip
    (title,) = slack.titles()
    assert title == "Digest of alerts: 1 open incident, 1 fired"
    with opened_desk(settings, ledger) as desk:
        found = make_digest(desk, DAY, learn)
    assert [(one.where, one.what, one.by) for one in found.silences_that_end] == [
        ("fedvitals", "Down", "ann"),
    ]  # fmt: skip
    assert found.review is not None
    assert (found.review.never_acted_on, len(found.review.limits)) == (("Down",), 1)
    assert "target_down" in found.review.never_fired
    assert found.review.silences_without_end == ()
    # one that is over is no silence any more, though nothing has noted that yet
    later = Window(NOW, datetime.now(UTC) + timedelta(hours=6))
    with opened_desk(settings, ledger) as desk:
        assert make_digest(desk, later).silences_that_end == ()


def test_what_a_review_cannot_know_is_said(
    settings: Settings, ledger: Ledger, slack: FakeSlack
) -> None:
    def fails(_: Settings, environment: Environment, window: Window) -> list[LimitLine]:
        raise SourceUnavailable(service="Prometheus", url="http://p", what="x", problem="no answer")

    broken = settings.home / "lake" / "fedvitals_slo" / "_delta_log"
    broken.mkdir(parents=True)
    (broken / f"{0:020}.json").write_text("none")
    with opened_desk(settings, ledger) as desk:
        unknown = make_digest(desk, DAY, fails).not_known
    assert [one.partition(":")[0] for one in unknown] == ["budgets", "limits of production"]


def test_a_digest_that_no_channel_takes_is_a_failed_delivery(
    settings: Settings, ledger: Ledger, slack: FakeSlack
) -> None:
    slack.server.clear_all_handlers()
    slack.server.expect_request("/api/chat.postMessage").respond_with_json(
        {"ok": False, "error": "invalid_auth"}
    )
    receipt = ran(settings, AlertsRequest("-24h"))
    (lost,) = (one for one in receipt.deliveries if not one.ok)
    assert (lost.what, "invalid_auth" in lost.message) == ("digest", True)


def test_a_drill_goes_through_all_channels_of_a_route(
    settings: Settings, ledger: Ledger, slack: FakeSlack
) -> None:
    receipt = ran(settings, AlertsRequest(drill="page"))
    assert (slack.titles(), receipt.findings) == (
        ["TEST [RESOLVED] production: a test of alerts"], (),
    )  # fmt: skip
    slack.server.clear_all_handlers()
    slack.server.expect_request("/api/chat.postMessage").respond_with_json(
        {"ok": False, "error": "invalid_auth"}
    )
    receipt = ran(settings, AlertsRequest(drill="page"))
    (finding,) = receipt.findings
    assert (finding.kind, "slack (" in finding.sentence) == ("drill", True)
    assert receipt.sentence == f"{finding.sentence}; no open incident"
    with pytest.raises(UsageInvalid, match="there is no route 'pages'"):
        ran(settings, AlertsRequest(drill="pages"))


@pytest.mark.parametrize("error", [KeyError("x"), LedgerUnavailable(url="s", problem="locked")])
def test_a_part_that_fails_leaves_the_run_partial(
    settings: Settings, ledger: Ledger, error: Exception
) -> None:
    """A defect and an error of ours alike: a note says which part, and the others go on."""
    with patch("tasks.runs.alerts.keeper.tick", side_effect=error):
        receipt = ran(settings, AlertsRequest())
    assert (receipt.status, receipt.exit_code) == ("degraded", 3)
    assert [note.partition(":")[0] for note in receipt.notes] == ["the ledger"]
