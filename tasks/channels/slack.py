"""Slack: one message an incident, kept up to date, with its history in a thread.

With an incoming webhook nothing can be changed later: the opening and the end are sent, and no more.
"""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from tasks.channels.http import HttpChannel, is_link, sparkline
from tasks.core.alert_services import SlackService
from tasks.core.checks import ServiceCheck
from tasks.core.errors import FedvitalsError
from tasks.core.incidents import Acknowledgement, AlertMessage
from tasks.core.services import Service

NAME = "Slack"
# of Block Kit: a section, its fields, and how many of these; all below what a message may have
LONGEST, LONGEST_FIELD, MOST_FIELDS = 2900, 1900, 10
_COLOURS = {"critical": ":red_circle:", "high": ":large_orange_circle:"}
_OTHER, _ENDED = ":large_yellow_circle:", ":large_green_circle:"
# errors of the Web API that come with HTTP 200 and pass
_PASSING = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
    }
)
_urllib3 = logging.getLogger("urllib3.connectionpool")


class SlackChannel:
    """A channel of Slack by its bot, else by its webhook."""

    name = NAME

    def __init__(self, service: SlackService, _: timedelta) -> None:
        """Sends are tried again by the outbox, not here."""
        self._channel = service.channel
        self._bot = _Bot(service.api) if service.api else None
        self._hook = _Webhook(service.webhook) if service.webhook and not self._bot else None

    def send(self, message: AlertMessage, reference: str) -> str:
        """Show the message; the reference is the channel's id and the message's time."""
        if self._hook is not None:
            if message.action in ("open", "resolve", "summary"):
                self._hook.send(message)
            return "webhook"
        assert self._bot is not None
        return self._bot.send(message, reference, self._channel)

    def acknowledged(self, references: Mapping[str, str]) -> Mapping[str, Acknowledgement]:
        """Return none: nothing is acknowledged there."""
        return {}

    def check(self) -> ServiceCheck:
        """Check the bot's token; a webhook shows only when it is used."""
        if self._bot is None:
            detail = "by a webhook: two messages an incident (a bot's token keeps it at one)"
            return ServiceCheck(NAME, "is set", True, detail)
        return self._bot.check(self._channel)

    def close(self) -> None:
        """Give connections back."""
        for one in (self._bot, self._hook):
            if one is not None:
                one.close()


class _Bot(HttpChannel):
    def __init__(self, service: Service) -> None:
        fix = "Check SLACK_BOT_TOKEN (scope chat:write) and SLACK_CHANNEL, and invite the bot there"
        super().__init__(service, NAME, fix)

    def send(self, message: AlertMessage, reference: str, channel: str) -> str:
        body = body_of(message)
        where, _, moment = reference.partition(" ")
        if not moment:
            made = self._ask("chat.postMessage", {"channel": channel, **body})
            return f"{made['channel']} {made['ts']}"
        self._ask("chat.update", {"channel": where, "ts": moment, **body})
        if message.history:
            text = escaped(message.history)
            self._ask("chat.postMessage", {"channel": where, "thread_ts": moment, "text": text})
        return reference

    def check(self, channel: str) -> ServiceCheck:
        try:
            found = self._ask("auth.test", {})
        except FedvitalsError as error:
            fix = str(error.facts.get("fix") or f"Check {self.service.origin}")
            return ServiceCheck(NAME, "answers", False, str(error.facts["problem"]), fix)
        return ServiceCheck(NAME, "answers", True, f"{found.get('team')}, channel {channel}")

    def _ask(self, method: str, body: Mapping[str, Any]) -> Any:
        answer = self.ask("POST", f"/{method}", json=body)
        found = self.document(answer)
        if found.get("ok"):
            return found
        error = str(found.get("error"))
        if error in _PASSING:
            raise self.unavailable(error, answer.retry_after, is_answered=True)
        raise self.refused(answer.status, error)


class _Webhook(HttpChannel):
    """The URL is the key: no message, error or log may show it."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url
        scheme, _, host, *_ = url.get_secret_value().split("/")
        service = Service(url=f"{scheme}//{host}", origin="SLACK_WEBHOOK_URL")
        super().__init__(
            service, NAME, "Make a new incoming webhook, and set SLACK_WEBHOOK_URL to it"
        )

    def send(self, message: AlertMessage) -> None:
        _urllib3.addFilter(_drop)
        try:
            self.ask("POST", self._url.get_secret_value(), json=body_of(message))
        except FedvitalsError as error:
            if error.facts.get("is_answered") is False:
                # neither its words nor its cause: they name the whole URL
                cause = type(error.__cause__).__name__
                raise self.unavailable(f"no answer ({cause})", is_answered=False) from None
            raise
        finally:
            _urllib3.removeFilter(_drop)


def _drop(_: logging.LogRecord) -> bool:
    return False


def body_of(message: AlertMessage) -> dict[str, Any]:
    """Return text and blocks of a message; what comes from outside calls nobody."""
    is_over = message.action == "resolve"
    sign = _ENDED if is_over else _COLOURS.get(str(message.severity), _OTHER)
    repeat = " (repeat: it may be here already)" if message.is_repeat else ""
    title = f"{sign} *{escaped(message.title)}*{repeat}"
    text = f"{title}\n{escaped(message.sentence)}"
    bars = sparkline(message.newest)
    text += f"\n`{bars}`" if bars else ""
    text += "".join(f"\n• {escaped(name)}" for name in message.failed)
    fields = [
        {"type": "mrkdwn", "text": f"*{escaped(label)}*\n{escaped(value)}"[:LONGEST_FIELD]}
        for label, value in message.facts[:MOST_FIELDS]
    ]
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": text[:LONGEST]}}
    ]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    notes = [escaped(message.history)] if message.history else []
    notes += [_link(title, url) for title, url in message.links]
    if notes:
        line = "  ·  ".join(notes)[:LONGEST_FIELD]
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": line}]})
    return {"text": f"{escaped(message.title)}{repeat}"[:LONGEST], "blocks": blocks}


def _link(title: str, url: str) -> str:
    return (
        f"<{escaped(url)}|{escaped(title)}>"
        if is_link(url)
        else f"{escaped(title)}: {escaped(url)}"
    )


def escaped(text: str) -> str:
    """Escape what Slack reads as a command: a mention is text then."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
