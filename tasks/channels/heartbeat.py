"""Heartbeat: one GET after each run that did its work, to a service that notices when none comes.

The URL is secret as a whole: with healthchecks.io and its like the path is the key.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests
import urllib3
from pydantic import SecretStr

from tasks.core.addresses import HEARTBEAT_VARIABLE
from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable
from tasks.core.message import Message

NAME = "heartbeat"
CONNECT_SECONDS = 3.0
SILENCE_SECONDS = 3.0
TOTAL_SECONDS = 5.0
_PART = 1 << 12
_CLIENT_ERRORS = range(400, 500)
_COME_AGAIN = (408, 429)
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

    def send(self, message: Message) -> None:
        """Make one GET; it is not tried again, since the next run brings the next.

        The message stays here: the address is all that the service is given. Raises as Channel says.
        """
        started = time.monotonic()
        try:
            with _unlogged(), self._get() as response:
                # read to the end or the deadline: some count only what was answered whole
                while response.raw.read1(_PART):
                    if time.monotonic() - started > TOTAL_SECONDS:
                        raise self._unavailable(f"no whole answer within {TOTAL_SECONDS:g} s")
                status = response.status_code
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            # not what it says, nor its cause: they name the whole URL
            raise self._unavailable(f"no answer ({type(error).__name__})") from None
        if status in _CLIENT_ERRORS and status not in _COME_AGAIN:
            facts = {"status": status, "problem": "it takes no heartbeat there"}
            fix = f"Check {HEARTBEAT_VARIABLE}"
            raise ChannelRefused(channel=NAME, url=self.host, fix=fix, **facts)
        if not 200 <= status < 300:
            raise self._unavailable(f"HTTP {status}")

    def check(self) -> ServiceCheck:
        """That it is set, and where to; asking it would say that a run was good."""
        return ServiceCheck(NAME, "is set", True, f"{self.host}, after each run that did its work")

    def close(self) -> None:
        """Do nothing: each GET has a connection of its own."""

    def _get(self) -> requests.Response:
        return requests.get(
            self._url.get_secret_value(),
            headers={"User-Agent": "fedvitals"},
            timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
            # the key goes to no other host
            allow_redirects=False,
            stream=True,
        )

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
