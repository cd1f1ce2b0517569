"""The whole round: Prometheus, Alertmanager, the intake, and what people see in the channels."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.alerts.notices import of_finding
from tasks.core.errors import SourceUnavailable
from tasks.core.finding import Finding
from tasks.core.incidents import Incident, Silence
from tasks.core.settings import Settings, load_settings, shipped
from tasks.core.severity import Severity
from tasks.ledger.incidents import open_incidents
from tasks.ledger.ledger import Ledger
from tasks.runs.base.alerts import opened_desk
from tasks.servers.intake import intake
from tasks.sources.alertmanager import Alertmanager, HeldSilence
from tests.support.fakes.pagerduty import FakePagerDuty
from tests.support.fakes.slack import FakeSlack
from tests.support.fakes.smtp import FakeMail, fake_mail
from tests.support.intake import TOKEN as PROCESS_TOKEN
from tests.support.intake import IntakeProcess, a_webhook
from tests.support.process import free_port
from tests.support.servers import AlertmanagerServer, PrometheusServer

TOKEN = "planted-token"
HOLD = timedelta(seconds=3)
PATIENCE = 30.0
FINDING = Finding(
    "health", Severity.CRITICAL, "production: /health is down", {"check": "/health"},
    subject="production /health",
)  # fmt: skip
RULES = """
groups:
  - name: training
    rules:
      - alert: Loss
        expr: loss > 0.8
        labels: {severity: critical}
        annotations: {summary: the loss is bad}
"""


@dataclass
class Service:
    """What Prometheus scrapes."""

    loss: float = 0.1

    def page(self, _: Request) -> Response:
        return Response(f"# TYPE loss gauge\nloss {self.loss}\n", content_type="text/plain")


@dataclass
class Round:
    """All that is under way."""

    alertmanager: AlertmanagerServer
    settings: Settings
    ledger: Ledger
    slack: FakeSlack
    pages: FakePagerDuty
    mail: FakeMail
    service: Service

    def send(self, name: str = "Loss", *, ended: bool = False, **labels: str) -> None:
        now = datetime.now(UTC)
        end = now if ended else now + timedelta(minutes=5)
        self.alertmanager.send(
            {
                "labels": {"alertname": name, "severity": "critical", **labels},
                "annotations": {"summary": f"{name} is bad"},
                "startsAt": (now - timedelta(seconds=1)).isoformat(),
                "endsAt": end.isoformat(),
            }
        )

    def open(self) -> list[Incident]:
        return open_incidents(self.ledger)

    def find(self, *findings: Finding) -> None:
        with opened_desk(self.settings, self.ledger) as desk:
            desk.take_findings("health", self.settings.environment(None), findings)


def until(holds: Callable[[], Any], seconds: float = PATIENCE) -> float:
    """Wait until it holds; return for how long."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture
def round_(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    httpserver: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Round]:
    """A round whose alerts a test sends; with the parameter "prometheus" that sends them."""
    monkeypatch.setattr("tasks.analysis.incidents.hold_of", lambda *_: HOLD)
    monkeypatch.setattr("tasks.runs.alerts.keeper.TICK_SECONDS", 0.5)
    monkeypatch.setattr("tasks.runs.alerts.keeper._RECONCILE", timedelta(seconds=1))
    monkeypatch.setattr("tasks.runs.alerts.keeper._MINUTE", timedelta(seconds=1))
    slack, pages = FakeSlack(httpserver), FakePagerDuty(httpserver)
    port, service = free_port(), Service()
    httpserver.expect_request("/metrics").respond_with_handler(service.page)
    with ExitStack() as stack:
        mail = stack.enter_context(fake_mail(tmp_path))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", mail.ca_file)
        home = tmp_path / "alertmanager"
        home.mkdir()
        hook = f"http://127.0.0.1:{port}/alertmanager"
        server = stack.enter_context(AlertmanagerServer(home, hook, TOKEN))
        config = tmp_path / "config"
        shutil.copytree(shipped("config"), config)
        shutil.copytree(shipped("expectations"), tmp_path / "expectations")
        routes = config / "routes.yaml"
        text = routes.read_text().replace("resolve_hold: 5m", "resolve_hold: 2s")
        routes.write_text(text.replace("[pagerduty, slack,", "[pagerduty, slack, email,"))
        variables = {
            "FEDVITALS_HOME": str(tmp_path / "home"),
            "FEDVITALS_CONFIG": str(config),
            "ALERTMANAGER_URL": server.url,
            "FEDVITALS_INTAKE_TOKEN": TOKEN,
            "FEDVITALS_ALERTS_ADDRESS": f"127.0.0.1:{port}",
            **slack.variables,
            **pages.variables,
            **mail.variables,
        }
        if getattr(request, "param", None) == "prometheus":
            folder = tmp_path / "prometheus"
            folder.mkdir()
            target = f"{httpserver.host}:{httpserver.port}"
            prometheus = PrometheusServer(
                folder, rules=RULES, scrape={"service": [target]}, alertmanagers=[server.target]
            )
            variables["PROMETHEUS_URL"] = stack.enter_context(prometheus).url
        settings = load_settings(variables)
        stack.enter_context(intake(settings, print, variables))
        ledger = stack.enter_context(closing(Ledger(settings.ledger_url)))
        # the first look adopts what is there
        time.sleep(1)
        yield Round(server, settings, ledger, slack, pages, mail, service)


@pytest.mark.promise("Alerts: from a fault in Prometheus to each channel and its end, every time")
@pytest.mark.parametrize("round_", ["prometheus"], indirect=True)
def test_a_fault_is_shown_and_ends_three_times(round_: Round) -> None:
    for time_ in (1, 2, 3):
        round_.service.loss = 0.9
        seconds = until(lambda: round_.slack.titles() == ["[CRITICAL] production: Loss"])
        print(f"fault to Slack: {seconds:.1f} s")
        before = ["resolved"] * (time_ - 1)
        until(lambda: round_.pages.states() == [*before, "triggered"])  # noqa: B023
        until(lambda: len(round_.mail.mails) == 2 * time_ - 1)  # noqa: B023
        round_.service.loss = 0.1
        until(lambda: round_.slack.titles() == ["[RESOLVED] production: Loss"], 60)
        until(lambda: round_.pages.states() == [*before, "resolved"])  # noqa: B023
        until(lambda: len(round_.mail.mails) == 2 * time_)  # noqa: B023
        assert round_.open() == []
    subjects = [one["Subject"] for one in round_.mail.mails]
    assert [("RESOLVED" in one) for one in subjects] == [False, True] * 3


@pytest.mark.promise("Alerts: a page does not wait for Prefect")
def test_a_critical_alert_is_shown_while_the_prefect_server_is_dead(
    tmp_path: Path, httpserver: HTTPServer
) -> None:
    slack, pages = FakeSlack(httpserver), FakePagerDuty(httpserver)
    dead = {"PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"}
    with IntakeProcess(tmp_path, {**slack.variables, **pages.variables, **dead}) as intake:
        body = a_webhook("Loss", "critical", datetime.now(UTC))
        headers = {"Authorization": f"Bearer {PROCESS_TOKEN}"}
        began = time.monotonic()
        answer = requests.post(f"{intake.url}/alertmanager", body, headers=headers, timeout=10)
        assert answer.json() == {"taken": 1}
        until(lambda: pages.states() == ["triggered"])
        until(lambda: slack.titles() == ["[CRITICAL] production: Loss"])
        print(f"webhook to PagerDuty and Slack: {time.monotonic() - began:.2f} s")


@pytest.mark.promise("Alerts: from Alertmanager to PagerDuty and Slack, and to the end of both")
def test_an_alert_is_shown_and_ends(round_: Round) -> None:
    round_.send()
    until(lambda: round_.pages.incidents)
    until(lambda: round_.slack.messages)
    assert round_.pages.states() == ["triggered"]
    (incident,) = round_.open()
    # both were told within two seconds of the webhook
    assert datetime.now(UTC) - incident.opened_at < timedelta(seconds=2)
    # Alertmanager repeats, and so may a Prometheus
    round_.send()
    time.sleep(1.5)
    assert (round_.pages.states(), len(round_.slack.messages)) == (["triggered"], 1)
    round_.send(ended=True)
    until(lambda: round_.pages.states() == ["resolved"])
    until(lambda: round_.slack.titles() == ["[RESOLVED] production: Loss"])
    assert round_.open() == []


def test_what_is_silenced_is_noted_and_its_end_too(round_: Round) -> None:
    round_.send()
    until(lambda: round_.pages.incidents)
    now = datetime.now(UTC)
    silence = {
        "matchers": [{"name": "alertname", "value": "Loss", "isRegex": False}],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "ann",
        "comment": "known",
    }
    requests.post(
        f"{round_.alertmanager.url}/api/v2/silences", json=silence, timeout=5
    ).raise_for_status()
    until(lambda: round_.open()[0].muted == "silenced")
    # Alertmanager says nothing of the end of a silenced alert
    round_.send(ended=True)
    until(lambda: round_.pages.states() == ["resolved"], 60)
    assert round_.open() == []


def test_what_it_holds_before_the_first_look_is_adopted_in_silence(
    tmp_path: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.runs.alerts.keeper.TICK_SECONDS", 0.5)
    slack = FakeSlack(httpserver)
    with AlertmanagerServer(tmp_path, None) as server:
        variables = {
            "FEDVITALS_HOME": str(tmp_path / "home"),
            "ALERTMANAGER_URL": server.url,
            "FEDVITALS_ALERTS_ADDRESS": "127.0.0.1:0",
            **slack.variables,
        }
        settings = load_settings(variables)
        now = datetime.now(UTC)
        server.send(
            {"labels": {"alertname": "Old", "severity": "critical"}, "startsAt": now.isoformat()}
        )
        with intake(settings, print, variables), closing(Ledger(settings.ledger_url)) as ledger:
            until(lambda: open_incidents(ledger))
            time.sleep(1.5)
            assert [one.newest.name for one in open_incidents(ledger)] == ["Old"]
    # one message about all
    assert slack.titles() == ["1 open alert taken over"]


@pytest.mark.promise(
    "Alerts: a finding posted to Alertmanager stays one incident until a check passes"
)
def test_a_finding_goes_through_alertmanager(round_: Round) -> None:
    round_.find(FINDING)
    until(lambda: round_.pages.incidents)
    (incident,) = round_.open()
    assert (incident.newest.fingerprint, incident.newest.origin) == (
        FINDING.fingerprint, "alertmanager",
    )  # fmt: skip
    # the keeper posts it again, and the next check finds it again
    time.sleep(2.5)
    round_.find(FINDING)
    time.sleep(1.5)
    assert round_.pages.states() == ["triggered"]
    round_.find()
    until(lambda: round_.pages.states() == ["resolved"])
    assert round_.open() == []


def test_with_alertmanager_dead_findings_go_by_the_routes(round_: Round) -> None:
    round_.alertmanager.kill()
    round_.find(FINDING)
    until(lambda: round_.pages.incidents)
    until(lambda: round_.slack.messages)
    # nothing is closed because it is away
    time.sleep(HOLD.total_seconds() + 2)
    assert round_.pages.states() == ["triggered"]
    assert [one.newest.fingerprint for one in round_.open()] == [FINDING.fingerprint]


def test_an_alertmanager_that_starts_anew_closes_nothing(round_: Round, tmp_path: Path) -> None:
    round_.send()
    until(lambda: round_.pages.incidents)
    round_.alertmanager.kill()
    (tmp_path / "alertmanager" / "data").rename(tmp_path / "lost")
    round_.alertmanager.start()
    # it knows nothing, until Prometheus sends its alerts again
    time.sleep(1)
    round_.send()
    time.sleep(HOLD.total_seconds() + 3)
    assert (round_.pages.states(), len(round_.slack.messages)) == (["triggered"], 1)


@pytest.mark.promise("Alerts: `alerts silence` is a silence of Alertmanager too, and ends there")
def test_our_silence_is_one_of_alertmanager(round_: Round) -> None:
    round_.send(job="trainer")
    until(lambda: round_.pages.incidents)
    (incident,) = round_.open()
    now = datetime.now(UTC)
    with opened_desk(round_.settings, round_.ledger) as desk:
        desk.silence(incident, Silence("ann", now, now + timedelta(hours=1), "known"), "ann")
    until(lambda: round_.open()[0].muted == "silenced")
    (held,) = silences(round_)
    assert (held.created_by, held.comment) == ("ann", "known")
    assert held.what == "alertname=Loss, job=trainer"
    # another alert of that name is not silenced
    round_.send(job="server")
    until(lambda: len(round_.pages.incidents) == 2)
    with opened_desk(round_.settings, round_.ledger) as desk:
        desk.silence(incident, None, "ann")
    assert silences(round_) == []
    until(lambda: not any(one.is_muted for one in round_.open()))


def test_our_silence_of_a_finding_is_of_its_environment(round_: Round) -> None:
    """A finding that was taken here has no label of it, and its alert there has."""
    now = datetime.now(UTC)
    notice = of_finding(FINDING, "production", "health", now, "")
    with opened_desk(round_.settings, round_.ledger) as desk:
        desk.take([notice])
        (incident,) = round_.open()
        desk.silence(incident, Silence("ann", now, now + timedelta(hours=1)), "ann")
    (held,) = silences(round_)
    assert held.what == "alertname=/health, environment=production, flow=health"


def silences(round_: Round) -> list[HeldSilence]:
    service = round_.settings.environment(None).services["alertmanager"]
    with closing(Alertmanager(service)) as client:
        return client.silences()


def test_a_silence_that_alertmanager_does_not_take_is_an_error(round_: Round) -> None:
    round_.send()
    until(lambda: round_.pages.incidents)
    (incident,) = round_.open()
    round_.alertmanager.kill()
    now = datetime.now(UTC)
    given = Silence("ann", now, now + timedelta(hours=1))
    with opened_desk(round_.settings, round_.ledger) as desk, pytest.raises(SourceUnavailable):
        desk.silence(incident, given, "ann")
    assert round_.open()[0].silence is None
