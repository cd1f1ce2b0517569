"""Every step fails, before servers that repeat what they were sent: no secret is seen anywhere."""

import base64
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import pandas as pd
import pytest
import requests
from pytest_httpserver import HTTPServer

from tasks.core.settings import load_settings, shipped
from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import outbox
from tasks.servers.intake import intake
from tests.support.fakes.smtp import fake_mail
from tests.support.faulty import constant, faulty_prometheus
from tests.support.installation import Installation, entry
from tests.support.intake import a_webhook
from tests.support.planted import Echo, files_below, found_in, owner, planted_at
from tests.support.process import free_port
from tests.support.servers import PrefectServer
from tests.support.serving import eventually

# what is asked of each, in an order in which the former make work for the latter
COMMANDS = (
    "doctor", "catalogue", "collect", "collect --start -3h", "federated", "health", "init -o made",
    "backfill --start -5h --stop -4h", "replay --sink otlp --start -3h --stop -1h",
    "reconcile --start -3h --stop -1h", "quarantine ls", "quarantine retry",
    "report --start -3h", "rules evaluate", "slo evaluate", "alerts ls", "alerts test",
    "alerts shadow", "digest --send", "maintain", "lake ls", "ledger ls",
)  # fmt: skip
SINKS = {name: {"enabled": True} for name in ("datadog", "cloudwatch", "otlp")}


def planted(installation: Installation, url: str) -> dict[str, str]:
    """Plant a token in each setting; return them."""
    variables, tokens = planted_at(url, installation.home)
    tokens["AWS_SECRET_ACCESS_KEY"] = "planted-aws-0123456789abcdef0123"
    variables |= {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": tokens["AWS_SECRET_ACCESS_KEY"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    installation.variables |= variables
    return tokens


@pytest.fixture
def echo(request: pytest.FixtureRequest) -> Iterator[Echo]:
    with HTTPServer(threaded=True) as server:
        yield Echo(server, request.param)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.promise("Secrets: none is seen in logs, output, messages, files or the ledger")
@pytest.mark.parametrize("echo", [401, 500, 200], indirect=True)
def test_no_secret_is_seen_when_every_step_fails(
    bare: Installation,
    echo: Echo,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.runs.alerts.keeper.TICK_SECONDS", 0.5)
    monkeypatch.setattr("tasks.runs.alerts.keeper._MINUTE", timedelta(seconds=1))
    caplog.set_level(logging.DEBUG)
    with fake_mail(tmp_path) as mail, faulty_prometheus() as prometheus:
        tokens = planted(bare, echo.server.url_for("").rstrip("/"))
        prometheus.token = tokens["PROMETHEUS_API_TOKEN"]
        prometheus.queries["up"] = [constant()]
        configure_shipped(bare)
        bare.variables |= {
            "EMAIL_SMTP_PORT": str(mail.port),
            "REQUESTS_CA_BUNDLE": mail.ca_file,
        }
        said = run_all(bare)
        # with data the sinks are asked too
        shutil.rmtree(bare.config)
        shutil.rmtree(bare.expectations)
        bare.configure({"a": entry("up")})
        bare.write_yaml("sinks.yaml", SINKS)
        bare.variables["PROMETHEUS_URL"] = prometheus.server.url_for("").rstrip("/")
        said |= {f"{name}, with data": text for name, text in run_all(bare).items()}
        # the webhook of Slack is used without its bot
        del bare.variables["SLACK_BOT_TOKEN"]
        said |= alert_all(bare, echo)
    # the servers of the test log what they get
    ours = [one for one in caplog.records if one.name.partition(".")[0] not in ("mail", "werkzeug")]
    said["log"] = "\n".join(map(caplog.handler.format, ours)).encode()
    assert found_in(said.items(), tokens) == set()
    assert found_in(files_below(tmp_path), tokens) == set()
    assert strangers(echo.heard, tokens) == set()
    # with these answers all is sent that can be
    sent = {name for _, name in found_in([("", t.encode()) for _, t in echo.heard], tokens)}
    assert echo.status != 200 or tokens.keys() - sent <= NOT_SENT


NOT_SENT = {
    "AWS_SECRET_ACCESS_KEY", "CLOUDWATCH_TOKEN", "EMAIL_SMTP_PASSWORD", "FEDVITALS_CLIENT_KEY",
    "FEDVITALS_INTAKE_TOKEN_PREVIOUS", "FEDVITALS_INTAKE_TOKEN",
}  # fmt: skip


def configure_shipped(installation: Installation) -> None:
    """Use the shipped configuration, with little patience."""
    for name in ("config", "expectations"):
        shutil.copytree(shipped(name), installation.folder / name)
    with installation.changed("environments.yaml") as content:
        content["pipeline"]["retry_timeout"] = "1s"


def run_all(installation: Installation) -> dict[str, bytes]:
    """Run every command; return what each said."""
    said = {}
    for command in COMMANDS:
        ran = installation.here(*command.split())
        said[command] = f"{ran.out}{ran.err}{ran.places}".encode()
    return said


def alert_all(installation: Installation, echo: Echo) -> dict[str, bytes]:
    """Take alerts, whose messages no channel takes; return what the intake said."""
    said: list[str] = []
    variables = {**installation.environment, "FEDVITALS_ALERTS_ADDRESS": "127.0.0.1:0"}
    token = variables["FEDVITALS_INTAKE_TOKEN"]
    with patch.dict(os.environ, variables, clear=True):
        settings = load_settings(variables)
        with (
            intake(settings, said.append, variables) as url,
            closing(Ledger(settings.ledger_url)) as ledger,
        ):
            for name, bearer in (("Loss", token), ("Watchdog", token), ("Loss", "wrong")):
                answer = requests.post(
                    f"{url}/alertmanager",
                    a_webhook(name, "critical", datetime.now(UTC)),
                    headers={"Authorization": f"Bearer {bearer}"},
                    timeout=10,
                )
                said.append(answer.text)
            eventually(lambda: all_tried(ledger))
            # while pages wait it stops
            if echo.status != 500:
                beat = urlsplit(variables["FEDVITALS_ALERT_HEARTBEAT_URL"]).path
                eventually(lambda: beat in [path for path, _ in echo.heard])
    return {"intake": "\n".join(said).encode()}


def all_tried(ledger: Ledger) -> bool:
    """Return whether each channel of the route was tried."""
    with ledger.transaction() as connection:
        rows = list(connection.execute(outbox.select()).mappings())
    tried = {one["channel"] for one in rows if one["tries"] or one["ended_at"]}
    return {"slack", "pagerduty", "github", "grafana"} <= tried


def strangers(heard: list[tuple[str, str]], tokens: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return which token went where it does not belong."""
    found = found_in([(path, text.encode()) for path, text in heard], tokens)
    return {(path, name) for path, name in found if not path.startswith(owner(name))}


@pytest.mark.real
@pytest.mark.parametrize("echo", [401], indirect=True)
def test_no_secret_is_in_prefect_when_a_run_fails(
    installed: Installation, echo: Echo, prefect_server: PrefectServer
) -> None:
    configure_shipped(installed)
    tokens = planted(installed, echo.server.url_for("").rstrip("/"))
    for flow in ("collect", "health", "federated", "reconcile --start -2h --stop -1h"):
        assert installed.here(*flow.split()).code == 1
    kept = dict(files_below(prefect_server.home))
    # states, artifacts and logs of these runs are there
    assert any(b"Fix: set PROMETHEUS_API_TOKEN" in text for text in kept.values())
    assert found_in(kept.items(), tokens) == set()


@pytest.mark.parametrize("command", ["doctor", "report", "alerts ls", "digest", "maintain"])
def test_the_password_of_a_ledger_that_is_away_is_not_seen(
    bare: Installation, tmp_path: Path, command: str
) -> None:
    token, place = "planted-ledger-0123456789abcdef", f"127.0.0.1:{free_port()}/fedvitals"
    configure_shipped(bare)
    bare.variables["FEDVITALS_LEDGER_URL"] = f"postgresql://fl:{token}@{place}"
    ran = bare.here(*command.split())
    assert ran.code == 1
    said = f"{ran.out}{ran.err}{ran.places}"
    assert place in said
    assert found_in([("", said.encode()), *files_below(tmp_path)], {"": token}) == set()


@pytest.mark.parametrize("echo", [401], indirect=True)
def test_the_search_sees_a_token_that_is_not_taken_out(
    bare: Installation, echo: Echo, tmp_path: Path
) -> None:
    tokens = planted(bare, echo.server.url_for("").rstrip("/"))
    with patch("tasks.http.Transport.redacted", lambda _, text: text):
        ran = bare.here("doctor")
    assert ("", "GITHUB_TOKEN") in found_in([("", ran.out.encode())], tokens)


def test_the_search_sees_what_is_packed_or_went_astray(tmp_path: Path) -> None:
    tokens = {"GITHUB_TOKEN": "planted-0123456789", "SLACK_BOT_TOKEN": "planted-9876543210"}
    pd.DataFrame({"a": [tokens["GITHUB_TOKEN"]]}).to_parquet(
        tmp_path / "a.parquet", compression="zstd"
    )
    for number in range(3):
        login = f"{'u' * number}:{tokens['SLACK_BOT_TOKEN']}"
        (tmp_path / f"{number}").write_bytes(base64.b64encode(login.encode()))
    assert found_in(files_below(tmp_path), tokens) == {
        ("a.parquet", "GITHUB_TOKEN"), *((f"{number}", "SLACK_BOT_TOKEN") for number in range(3)),
    }  # fmt: skip
    heard = [("/slack/x", tokens["SLACK_BOT_TOKEN"]), ("/slack/x", tokens["GITHUB_TOKEN"])]
    assert strangers(heard, tokens) == {("/slack/x", "GITHUB_TOKEN")}
