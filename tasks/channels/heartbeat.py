"""Heartbeat: one GET after each run that did its work, to a service that notices when none comes.

The URL is secret as a whole: with healthchecks.io and its like the path is the key.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from pydantic import SecretStr

from tasks.core.addresses import HEARTBEAT_VARIABLE
from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable, FedvitalsError, NoAnswer
from tasks.core.message import Message
from tasks.core.settings import Service
from tasks.http import Limits, Transport

NAME = "heartbeat"
LIMITS = Limits(connect=3.0, silence=3.0, total=5.0, largest=1 << 20)
# at debug level it logs the path of each request
_urllib3 = logging.getLogger("urllib3.connectionpool")


class Heartbeat:
    """The one address that is reported of good runs."""

    name = NAME

    def __init__(self, url: SecretStr) -> None:
        self._url = url
        parts = urlsplit(url.get_secret_value())
        port = f":{parts.port}" if parts.port else ""
        self.host = f"{parts.scheme}://{parts.hostname}{port}"
        self._service = Service(url=self.host, origin=HEARTBEAT_VARIABLE)

    def send(self, message: Message) -> None:
        """Make one GET; it is not tried again, since the next run brings the next.

        The message stays here: the address is all that the service is given. Raises as Channel says.
        """
        try:
            with _unlogged(), Transport(self._service, NAME, LIMITS) as transport:
                answer = transport.request("GET", self._url.get_secret_value(), "a heartbeat")
        except NoAnswer as error:
            # not what it says, nor its cause: they name the whole URL
            cause = error.__cause__
            problem = f"no answer ({type(cause).__name__})" if cause else error.problem
            raise self._unavailable(problem) from None
        except FedvitalsError as error:
            raise error from None
        if 400 <= answer.status < 500 and not answer.asks_again:
            facts = {"status": answer.status, "problem": "it takes no heartbeat there"}
            fix = f"Check {HEARTBEAT_VARIABLE}"
            raise ChannelRefused(channel=NAME, url=self.host, fix=fix, **facts)
        if not 200 <= answer.status < 300:
            raise self._unavailable(f"HTTP {answer.status}")

    def check(self) -> ServiceCheck:
        """That it is set, and where to; asking it would say that a run was good."""
        return ServiceCheck(NAME, "is set", True, f"{self.host}, after each run that did its work")

    def close(self) -> None:
        """Do nothing: each GET has a connection of its own."""

    def _unavailable(self, problem: str) -> ChannelUnavailable:
        return ChannelUnavailable(channel=NAME, url=self.host, problem=problem, retry_after=None)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keeps the library from logging the path meanwhile."""

    def drop(record: logging.LogRecord) -> bool:
        return False

    _urllib3.addFilter(drop)
    try:
        yield
    finally:
        _urllib3.removeFilter(drop)
