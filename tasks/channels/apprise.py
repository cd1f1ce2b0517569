"""Whatever apprise speaks: a channel each URL, without retries of its own."""

import re
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from tasks.channels.email import text_of
from tasks.channels.http import HTTP_LOGGER, unlogged
from tasks.core.alert_services import AppriseService
from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable
from tasks.core.incidents import AlertMessage
from tasks.core.ports import AlertChannel

NAME = "apprise"
_FIX = "Check APPRISE_URLS: https://github.com/caronc/apprise names the forms"
# what some service reads as a mention: a character without width takes its meaning away
_MENTIONS = re.compile(r"[@<](?=\S)")


class AppriseChannel(AlertChannel):
    """One URL of APPRISE_URLS. It does not say why it fails."""

    name = NAME

    def __init__(self, service: AppriseService, _: timedelta) -> None:
        """Sends are tried again by the outbox, not here."""
        self._url = service.url

    def send(self, message: AlertMessage, reference: str) -> str:
        """Send a message of its own for each change."""
        service = _opened(self._url)
        if service is None:
            problem = "it does not know the form of the URL"
            raise ChannelRefused(channel=NAME, url=NAME, status=0, problem=problem, fix=_FIX)
        if not _notified(service, message):
            raise ChannelUnavailable(
                channel=NAME, url=NAME, problem="the URL took no message", retry_after=None,
                is_answered=False,
            )  # fmt: skip
        return NAME

    def check(self) -> ServiceCheck:
        """Check that it knows the URL, without sending."""
        is_known = _opened(self._url) is not None
        detail = "the form of the URL is known" if is_known else "the form of the URL is not known"
        return ServiceCheck(NAME, "is set", is_known, detail, "" if is_known else _FIX)

    def close(self) -> None:
        """Nothing is kept open."""


def _opened(url: SecretStr) -> Any:
    """Return what sends to the URL, None for an unknown form."""
    import apprise

    with unlogged(HTTP_LOGGER, "apprise"):
        return apprise.Apprise.instantiate(url.get_secret_value())


def _notified(service: Any, message: AlertMessage) -> bool:
    # a text too long for the service is cut: refused, it would never arrive
    service.overflow_mode = "truncate"
    title, body = (_MENTIONS.sub("\\g<0>\u200b", one) for one in (message.title, text_of(message)))
    with unlogged(HTTP_LOGGER, "apprise"):
        return bool(service.notify(body=body, title=title, body_format="text"))
