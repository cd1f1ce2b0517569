"""Whatever apprise speaks: each URL by itself, without retries of its own."""

import logging
from collections.abc import Mapping
from datetime import timedelta

from tasks.channels.email import text_of
from tasks.core.alert_services import AppriseService
from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable
from tasks.core.incidents import Acknowledgement, AlertMessage
from tasks.core.units import counted

logger = logging.getLogger("fedvitals")
NAME = "apprise"
_FIX = "Check APPRISE_URLS: https://github.com/caronc/apprise names the forms"


class AppriseChannel:
    """All URLs of APPRISE_URLS. It does not say why one fails."""

    name = NAME

    def __init__(self, service: AppriseService, _: timedelta) -> None:
        """Sends are tried again by the outbox, not here."""
        self._urls = service.urls

    def send(self, message: AlertMessage, reference: str) -> str:
        """Send to each URL; it is sent when one took it, and the others are logged."""
        import apprise

        body = text_of(message)
        failed, wrong = 0, 0
        for number, url in enumerate(self._urls, 1):
            # one object a URL: of several it would not say which failed
            one = apprise.Apprise()
            if not one.add(url.get_secret_value()):
                wrong += 1
            elif not one.notify(body=body, title=message.title, body_format="text"):
                failed += 1
                logger.warning("%s: URL %d of %d took no message", NAME, number, len(self._urls))
        if wrong == len(self._urls):
            problem = "it knows none of the URLs"
            raise ChannelRefused(channel=NAME, url=NAME, status=0, problem=problem, fix=_FIX)
        if failed + wrong == len(self._urls):
            problem = f"{counted(failed, 'URL')} took no message"
            raise ChannelUnavailable(
                channel=NAME, url=NAME, problem=problem, retry_after=None, is_answered=False
            )
        return NAME

    def acknowledged(self, references: Mapping[str, str]) -> Mapping[str, Acknowledgement]:
        """Return none: nothing is acknowledged there."""
        return {}

    def check(self) -> ServiceCheck:
        """Check that it knows each URL, without sending."""
        import apprise

        known = [apprise.Apprise().add(url.get_secret_value()) for url in self._urls]
        detail = f"knows {sum(known)} of {counted(len(known), 'URL')}"
        return ServiceCheck(NAME, "is set", all(known), detail, "" if all(known) else _FIX)

    def close(self) -> None:
        """Nothing is kept open."""
