"""Slack: one message an incident, kept up to date, with its history in a thread.

With an incoming webhook nothing can be changed later: the opening, the end, and what became worse
or was escalated are sent, and no more.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from tasks.channels.http import HTTP_LOGGER, HttpChannel, is_link, sparkline, unlogged
from tasks.core.alert_services import SlackService
from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable, FedvitalsError
from tasks.core.incidents import AlertMessage
from tasks.core.ports import AlertChannel
from tasks.core.services import Service

NAME = "Slack"
# of Block Kit: a header, a section, its fields and how many, and all below what a message may have
LONGEST_TITLE, LONGEST, LONGEST_FIELD, MOST_FIELDS = 150, 2500, 300, 10
LONGEST_URL, MOST_LINKS = 450, 5
_SIGNS = {"critical": "🔴", "high": "🟠"}
_OTHER, _ENDED = "🟡", "🟢"
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
# of a message that cannot be changed any more
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
# what a URL in an alert shows is not fetched
_POSTING = {"unfurl_links": False, "unfurl_media": False}


class SlackChannel(AlertChannel):
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
            if message.is_news or message.action in ("open", "resolve", "summary"):
                self._hook.send(message)
            return "webhook"
        assert self._bot is not None
        return self._bot.send(message, reference, self._channel)

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
        if not moment or not self._update({"channel": where, "ts": moment, **body}):
            made = self._ask("chat.postMessage", {"channel": channel, **body, **_POSTING})
            return f"{made['channel']} {made['ts']}"
        if message.history:
            reply = {"text": escaped(message.history), "mrkdwn": False, **_POSTING}
            self._ask("chat.postMessage", {"channel": where, "thread_ts": moment, **reply})
        return reference

    def check(self, channel: str) -> ServiceCheck:
        return self.tried(lambda: f"{self._ask('auth.test', {}).get('team')}, channel {channel}")

    def _update(self, body: Mapping[str, Any]) -> bool:
        """Return whether the message is there to be updated."""
        try:
            self._ask("chat.update", body)
        except ChannelRefused as error:
            if error.facts["problem"] in _GONE:
                return False
            raise
        return True

    def _ask(self, method: str, body: Mapping[str, Any]) -> Any:
        answer = self.ask("POST", f"/{method}", json=body)
        found = self.document(answer)
        if not isinstance(found, dict):
            raise self.refused(answer.status, "the answer is not Slack's")
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
        fix = "Make a new incoming webhook, and set SLACK_WEBHOOK_URL to it"
        super().__init__(service, NAME, fix)

    def send(self, message: AlertMessage) -> None:
        try:
            with unlogged(HTTP_LOGGER):
                self.ask(
                    "POST", self._url.get_secret_value(), json={**body_of(message), **_POSTING}
                )
        except FedvitalsError as error:
            cause = error.__cause__
            if isinstance(error, ChannelUnavailable) and cause:
                is_answered = bool(error.facts["is_answered"])
                problem = f"no answer ({type(cause).__name__})"
                error = self.unavailable(problem, is_answered=is_answered)
            # neither the words nor the cause: they name the whole URL
            raise error from None

    def redacted(self, text: str) -> str:
        """Return the text without the path, by which anyone may write."""
        return text.replace(self._url.get_secret_value().removeprefix(self.service.url), "***")


def body_of(message: AlertMessage) -> dict[str, Any]:
    """Return text and blocks of a message; what comes from outside is plain text in each."""
    sign = _ENDED if message.action == "resolve" else _SIGNS.get(str(message.severity), _OTHER)
    repeat = " (repeat: it may be here already)" if message.is_repeat else ""
    title = f"{sign} {message.title}"
    lines = [message.sentence, sparkline(message.newest), *(f"• {one}" for one in message.failed)]
    text = "\n".join(line for line in lines if line) + repeat
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(title, LONGEST_TITLE)}]
    if text:
        blocks.append({"type": "section", "text": _plain(text, LONGEST)})
    fields = [f"{label}\n{value}" for label, value in message.facts[:MOST_FIELDS]]
    if fields:
        shown = [_plain(one, LONGEST_FIELD) for one in fields]
        blocks.append({"type": "section", "fields": shown})
    notes = [_plain(message.history, LONGEST_FIELD)] if message.history else []
    notes += [_link(one, url) for one, url in message.links[:MOST_LINKS]]
    if notes:
        blocks.append({"type": "context", "elements": notes})
    return {"text": f"{_cut(message.title, LONGEST_TITLE)}{repeat}", "blocks": blocks}


def _link(title: str, url: str) -> dict[str, Any]:
    if is_link(url) and len(url) <= LONGEST_URL:
        return {"type": "mrkdwn", "text": f"<{escaped(url)}|{escaped(title)}>"}
    return _plain(f"{title}: {url}", LONGEST_FIELD)


def _plain(text: str, longest: int) -> dict[str, Any]:
    """Return a text object in which nothing mentions, links or formats."""
    return {"type": "plain_text", "text": _cut(text, longest), "emoji": False}


def _cut(text: str, longest: int) -> str:
    """Return the text escaped, cut to at most so many characters, no escape in two."""
    while len(escaped(text)) > longest:
        text = text[: len(text) * longest // len(escaped(text))]
    return escaped(text)


def escaped(text: str) -> str:
    """Escape what Slack reads as a command: a mention is text then."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
