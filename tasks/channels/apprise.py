"""Whatever apprise speaks: each URL by itself, without retries of its own."""

import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from tasks.channels.email import text_of
from tasks.channels.http import HTTP_LOGGER, unlogged
from tasks.core.alert_services import AppriseService
from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable
from tasks.core.incidents import Acknowledgement, AlertMessage
from tasks.core.units import counted

logger = logging.getLogger("fedvitals")
NAME = "apprise"
# a URL that takes no message is left out after so many tries, when another one took it
MOST_TRIES = 5
_FIX = "Check APPRISE_URLS: https://github.com/caronc/apprise names the forms"
# what some service reads as a mention: a character without width takes its meaning away
_MENTIONS = re.compile(r"[@<](?=\S)")


class AppriseChannel:
    """All URLs of APPRISE_URLS. It does not say why one fails."""

    name = NAME

    def __init__(self, service: AppriseService, _: timedelta) -> None:
        """Sends are tried again by the outbox, not here."""
        self._urls = service.urls
        # of messages that not all URLs took: those that did, and the tries
        self._taken: dict[tuple[str, str], tuple[set[int], int]] = {}

    def send(self, message: AlertMessage, reference: str) -> str:
        """Send to each URL that has not taken the message yet."""
        key = (message.incident_id, message.action)
        taken, tries = self._taken.pop(key, (set[int](), 0))
        services = [_opened(url) for url in self._urls]
        if not any(services):
            problem = "it knows none of the URLs"
            raise ChannelRefused(channel=NAME, url=NAME, status=0, problem=problem, fix=_FIX)
        missing = [number for number, one in enumerate(services) if one and number not in taken]
        taken |= {number for number in missing if _notified(services[number], message)}
        failed = [number + 1 for number in missing if number not in taken]
        if not failed:
            return NAME
        problem = f"{counted(len(failed), 'URL')} of {len(self._urls)} took no message"
        if taken and tries + 1 >= MOST_TRIES:
            logger.error("%s: %s after %d tries: numbers %s", NAME, problem, MOST_TRIES, failed)
            return NAME
        self._taken[key] = (taken, tries + 1)
        raise ChannelUnavailable(
            channel=NAME, url=NAME, problem=problem, retry_after=None, is_answered=False
        )

    def acknowledged(self, references: Mapping[str, str]) -> Mapping[str, Acknowledgement]:
        """Return none: nothing is acknowledged there."""
        return {}

    def check(self) -> ServiceCheck:
        """Check that it knows each URL, without sending."""
        known = [_opened(url) is not None for url in self._urls]
        detail = f"knows {sum(known)} of {counted(len(known), 'URL')}"
        return ServiceCheck(NAME, "is set", all(known), detail, "" if all(known) else _FIX)

    def close(self) -> None:
        """Nothing is kept open."""


def _opened(url: SecretStr) -> Any:
    """Return what sends to one URL, None for an unknown form: of several, none says which failed."""
    import apprise

    with unlogged(HTTP_LOGGER, "apprise"):
        return apprise.Apprise.instantiate(url.get_secret_value())


def _notified(service: Any, message: AlertMessage) -> bool:
    # a text too long for the service is cut: refused, it would never arrive
    service.overflow_mode = "truncate"
    title, body = (_MENTIONS.sub("\\g<0>\u200b", one) for one in (message.title, text_of(message)))
    with unlogged(HTTP_LOGGER, "apprise"):
        return bool(service.notify(body=body, title=title, body_format="text"))
