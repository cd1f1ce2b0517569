"""Heartbeat: one GET after each run that did its work, to a service that notices when none comes.

The URL is secret as a whole: with healthchecks.io and its like the path is the key.
"""

from urllib.parse import urlsplit

from pydantic import SecretStr

from tasks.channels.http import HTTP_LOGGER, unlogged
from tasks.core.addresses import HEARTBEAT_VARIABLE
from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable, FedvitalsError
from tasks.core.message import Message
from tasks.core.services import Service
from tasks.http import Limits, Transport

NAME = "heartbeat"
LIMITS = Limits(connect=3.0, silence=3.0, total=5.0, largest=1 << 20)


class Heartbeat(Transport):
    """The one address that is reported of good runs."""

    def __init__(self, url: SecretStr, variable: str = HEARTBEAT_VARIABLE) -> None:
        self._url, self._variable = url, variable
        parts = urlsplit(url.get_secret_value())
        port = f":{parts.port}" if parts.port else ""
        self.host = f"{parts.scheme}://{parts.hostname}{port}"
        super().__init__(Service(url=self.host, origin=variable), NAME, LIMITS)

    def no_answer(self, what: str, problem: str, is_late: bool) -> FedvitalsError:
        """Return ChannelUnavailable."""
        return self._unavailable(problem)

    def send(self, message: Message) -> None:
        """Make one GET; it is not tried again, since the next run brings the next.

        The message stays here: the address is all that the service is given. Raises as Channel says.
        """
        try:
            with unlogged(HTTP_LOGGER):
                answer = self.call("GET", self._url.get_secret_value(), "a heartbeat")
        except FedvitalsError as error:
            # not what it says, nor its cause: they name the whole URL
            cause = error.__cause__
            if isinstance(error, ChannelUnavailable) and cause:
                error = self._unavailable(f"no answer ({type(cause).__name__})")
            raise error from None
        if 400 <= answer.status < 500 and not answer.asks_again:
            facts = {"status": answer.status, "problem": "it takes no heartbeat there"}
            fix = f"Check {self._variable}"
            raise ChannelRefused(channel=NAME, url=self.host, fix=fix, **facts)
        if not 200 <= answer.status < 300:
            raise self._unavailable(f"HTTP {answer.status}")

    def check(self) -> ServiceCheck:
        """That it is set, and where to; asking it would say that a run was good."""
        return ServiceCheck(NAME, "is set", True, f"{self.host}, after each run that did its work")

    def _unavailable(self, problem: str) -> ChannelUnavailable:
        return ChannelUnavailable(channel=NAME, url=self.host, problem=problem, retry_after=None)
