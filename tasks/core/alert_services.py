"""The services that show incidents, from variables; they are the same for all environments."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from pydantic import SecretStr

from tasks.core.addresses import checked_secret_url, checked_url
from tasks.core.errors import ConfigurationInvalid
from tasks.core.secrets import secret_of
from tasks.core.services import Service, checked_token

HEARTBEAT = "FEDVITALS_ALERT_HEARTBEAT_URL"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_KEY = re.compile(r"[A-Za-z0-9_-]{32}")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+")
_NOT_IN_URLS = frozenset({"retry", "wait", "rto", "cto", "optional"})


class SlackService(NamedTuple):
    """Slack by a bot's token with a channel, or by an incoming webhook, whose URL is a secret."""

    api: Service | None
    channel: str
    webhook: SecretStr | None


class PagerDutyService(NamedTuple):
    """PagerDuty's events, and its API where acknowledgements are asked for."""

    events: Service
    key: SecretStr
    api: Service | None


class GitHubService(NamedTuple):
    """GitHub's issues of a repository."""

    api: Service
    repository: str
    assignees: tuple[str, ...]


class EmailService(NamedTuple):
    """A mail server with STARTTLS."""

    host: str
    port: int
    user: str
    password: SecretStr | None
    sender: str
    recipients: tuple[str, ...]


class AppriseService(NamedTuple):
    """What apprise speaks: a URL that is a secret."""

    url: SecretStr


@dataclass(frozen=True)
class AlertSettings:
    """Where incidents are shown, and how others reach and watch the intake."""

    services: Mapping[str, Any] = field(default_factory=dict, repr=False)
    logs_url: str = ""
    intake_url: str = ""
    intake_token: SecretStr | None = None
    heartbeat_url: SecretStr | None = None


def read_alert_settings(env: Mapping[str, str]) -> AlertSettings:
    """Read all variables of alerts; raise ConfigurationInvalid for a wrong one."""
    logs, intake = env.get("LOGS_URL"), env.get("FEDVITALS_INTAKE_URL")
    token = secret_of(env, "FEDVITALS_INTAKE_TOKEN")
    heartbeat = secret_of(env, HEARTBEAT)
    return AlertSettings(
        services=_services(env),
        logs_url=checked_url(logs, "LOGS_URL") if logs else "",
        intake_url=checked_url(intake, "FEDVITALS_INTAKE_URL") if intake else "",
        intake_token=SecretStr(token) if token else None,
        heartbeat_url=checked_secret_url(heartbeat, HEARTBEAT) if heartbeat else None,
    )


def _services(env: Mapping[str, str]) -> dict[str, Any]:
    """Return the services that are set, by channel.

    Raises:
        ConfigurationInvalid: when one is set in part, or wrongly.
    """
    readers: dict[str, Callable[[Mapping[str, str]], Any]] = {
        "slack": _slack,
        "pagerduty": _pagerduty,
        "github": _github,
        "email": _email,
    }
    found = {name: read(env) for name, read in readers.items()}
    # a channel each: which of several failed, one would not know
    found |= {f"apprise-{n}": one for n, one in enumerate(_apprise(env), 1)}
    return {name: service for name, service in found.items() if service is not None}


def _slack(env: Mapping[str, str]) -> SlackService | None:
    token, channel = secret_of(env, "SLACK_BOT_TOKEN"), env.get("SLACK_CHANNEL") or ""
    webhook = secret_of(env, "SLACK_WEBHOOK_URL")
    if token and not channel:
        raise _lacks("SLACK_BOT_TOKEN", "SLACK_CHANNEL", "the channel's id or name")
    if not token and not webhook:
        return None
    api = _service(env, "SLACK_API_URL", "https://slack.com/api", "SLACK_BOT_TOKEN", token)
    hook = checked_secret_url(webhook, "SLACK_WEBHOOK_URL") if webhook else None
    return SlackService(api if token else None, channel, hook)


def _pagerduty(env: Mapping[str, str]) -> PagerDutyService | None:
    key = secret_of(env, "PAGERDUTY_INTEGRATION_KEY")
    if not key:
        return None
    if not _KEY.fullmatch(key):
        raise ConfigurationInvalid(
            where="PAGERDUTY_INTEGRATION_KEY",
            problem="it does not have 32 letters and digits",
            fix="Copy the integration key of an Events API v2 integration",
        )
    events = _service(env, "PAGERDUTY_EVENTS_URL", "https://events.pagerduty.com", "", None)
    token = secret_of(env, "PAGERDUTY_API_TOKEN")
    api = _service(
        env, "PAGERDUTY_API_URL", "https://api.pagerduty.com", "PAGERDUTY_API_TOKEN", token
    )
    return PagerDutyService(events, SecretStr(key), api if token else None)


def _github(env: Mapping[str, str]) -> GitHubService | None:
    token, repository = secret_of(env, "GITHUB_TOKEN"), env.get("GITHUB_REPOSITORY") or ""
    if not token or not repository:
        return None
    if not _REPOSITORY.fullmatch(repository):
        raise ConfigurationInvalid(
            where="GITHUB_REPOSITORY",
            problem=f"{repository!r} is no repository",
            fix="Give one as OWNER/NAME",
        )
    api = _service(env, "GITHUB_API_URL", "https://api.github.com", "GITHUB_TOKEN", token)
    return GitHubService(api, repository, _listed(env.get("GITHUB_ASSIGNEES")))


def _email(env: Mapping[str, str]) -> EmailService | None:
    host = env.get("EMAIL_SMTP_HOST")
    if not host:
        return None
    port = env.get("EMAIL_SMTP_PORT") or "587"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigurationInvalid(
            where="EMAIL_SMTP_PORT", problem=f"{port!r} is no port", fix="Give one such as 587"
        )
    sender, recipients = env.get("EMAIL_SMTP_FROM") or "", _listed(env.get("EMAIL_SMTP_TO"))
    if not sender or not recipients:
        raise _lacks("EMAIL_SMTP_HOST", "EMAIL_SMTP_FROM and EMAIL_SMTP_TO", "addresses of mail")
    for address in (sender, *recipients):
        if not _ADDRESS.fullmatch(address):
            raise ConfigurationInvalid(
                where="EMAIL_SMTP_FROM and EMAIL_SMTP_TO",
                problem=f"{address!r} is no address of mail",
                fix="Give plain addresses such as ops@example.com, without names",
            )
    password = secret_of(env, "EMAIL_SMTP_PASSWORD")
    user = env.get("EMAIL_SMTP_USER") or (sender if password else "")
    secret = checked_token(password, "EMAIL_SMTP_PASSWORD") if password else None
    return EmailService(host, int(port), user, secret, sender, recipients)


def _apprise(env: Mapping[str, str]) -> list[AppriseService]:
    urls = (secret_of(env, "APPRISE_URLS") or "").split()
    for url in urls:
        # a second layer of retries would send twice, and what is optional never fails
        own = {name.lower().strip() for name, _ in parse_qsl(url.partition("?")[2], True)}
        if found := sorted(own & _NOT_IN_URLS):
            raise ConfigurationInvalid(
                where="APPRISE_URLS",
                problem=f"a URL sets {', '.join(found)}",
                fix="Remove it: fedvitals sends again what fails",
            )
    return [AppriseService(SecretStr(url)) for url in urls]


def _service(
    env: Mapping[str, str], variable: str, default: str, token_from: str, token: str | None
) -> Service:
    return Service(
        url=checked_url(env.get(variable) or default, variable, f"Give one such as {default}"),
        origin=variable,
        token=checked_token(token, token_from) if token else None,
        token_from=token_from or variable,
        token_file=Path(file) if (file := env.get(f"{token_from}_FILE")) else None,
    )


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[,\s]+", text or "") if part)


def _lacks(given: str, lacking: str, what: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        where=given, problem=f"it is set, and {lacking} is not", fix=f"Set {lacking}: {what}"
    )
