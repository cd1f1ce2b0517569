"""Services that show incidents: which variables make them, and which are refused."""

from pathlib import Path

import pytest

from tasks.core.alert_services import read_alert_settings
from tasks.core.errors import ConfigurationInvalid

KEY = "0123456789abcdef0123456789abcdef"
WHOLE = {
    "SLACK_BOT_TOKEN": "s3cret-slack",
    "SLACK_CHANNEL": "#alerts",
    "PAGERDUTY_INTEGRATION_KEY": KEY,
    "PAGERDUTY_API_TOKEN": "s3cret-pager",
    "GITHUB_TOKEN": "s3cret-github",
    "GITHUB_REPOSITORY": "fl/service",
    "GITHUB_ASSIGNEES": "ann, bob",
    "EMAIL_SMTP_HOST": "mail.example.com",
    "EMAIL_SMTP_FROM": "fedvitals@example.com",
    "EMAIL_SMTP_TO": "ops@example.com ann@example.com",
    "EMAIL_SMTP_PASSWORD": "s3cret-mail",
    "APPRISE_URLS": "json://s3cret-one.example/ ntfy://s3cret-two",
}


def test_all_services_with_their_addresses_and_no_secret_in_sight() -> None:
    found = read_alert_settings(WHOLE)
    services = found.services
    assert [*services] == ["slack", "pagerduty", "github", "email", "apprise-1", "apprise-2"]
    assert services["slack"].api.url == "https://slack.com/api"
    assert services["pagerduty"].events.url == "https://events.pagerduty.com"
    assert services["github"].assignees == ("ann", "bob")
    assert services["email"].recipients == ("ops@example.com", "ann@example.com")
    shown = f"{found} {[*services.values()]}"
    assert KEY not in shown
    assert "s3cret" not in shown


def test_without_variables_there_is_none() -> None:
    assert read_alert_settings({}).services == {}


def test_a_token_of_a_file_is_read_again_when_it_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    variables = {"GITHUB_TOKEN_FILE": str(file), "GITHUB_REPOSITORY": "fl/service"}
    service = read_alert_settings(variables).services["github"].api
    file.write_text("new")
    assert service.refresh_token("old")
    assert service.token.get_secret_value() == "new"


@pytest.mark.parametrize(
    ("variable", "value", "where"),
    [
        ("SLACK_CHANNEL", "", "SLACK_BOT_TOKEN"),
        ("SLACK_API_URL", "slack.com", "SLACK_API_URL"),
        ("SLACK_API_URL", "https://user:s3cret@slack.com", "SLACK_API_URL"),
        ("SLACK_WEBHOOK_URL", "hooks.slack.com/s3cret", "SLACK_WEBHOOK_URL"),
        ("PAGERDUTY_INTEGRATION_KEY", "s3cret", "PAGERDUTY_INTEGRATION_KEY"),
        ("PAGERDUTY_API_TOKEN", "s3cret\nX: y", "PAGERDUTY_API_TOKEN"),
        ("GITHUB_REPOSITORY", "fl/service/issues", "GITHUB_REPOSITORY"),
        ("EMAIL_SMTP_PORT", "smtp", "EMAIL_SMTP_PORT"),
        ("EMAIL_SMTP_TO", "", "EMAIL_SMTP_HOST"),
        ("EMAIL_SMTP_FROM", "a@example.com\r\nBcc: b@example.com", "EMAIL_SMTP_FROM"),
        ("EMAIL_SMTP_TO", "Ann <ann@example.com>", "EMAIL_SMTP_FROM"),
        ("EMAIL_SMTP_PASSWORD", "s3cret-\u00fc", "EMAIL_SMTP_PASSWORD"),
        ("APPRISE_URLS", "json://s3cret/?retry=3", "APPRISE_URLS"),
        ("APPRISE_URLS", "json://s3cret/?a=b&Retry=3", "APPRISE_URLS"),
        ("APPRISE_URLS", "json://s3cret/?%72etry=3", "APPRISE_URLS"),
        ("APPRISE_URLS", "json://s3cret/?optional=yes", "APPRISE_URLS"),
    ],
)
def test_what_is_wrong_is_refused_by_its_variable(variable: str, value: str, where: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read_alert_settings({**WHOLE, variable: value})
    assert caught.value.where.startswith(where)
    assert "s3cret" not in f"{caught.value} {caught.value!r}"
