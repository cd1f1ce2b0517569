"""Grafana: a run as an annotation, at most one of each run (Grafana HTTP API, annotations)."""

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, NoReturn

import requests
import urllib3

from tasks.core.bearer import BearerSession
from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable, FedvitalsError
from tasks.core.message import Message
from tasks.core.retry import retrying, seconds_asked
from tasks.core.settings import Service

NAME = "Grafana"
TAGS = ("automation", "metrics")
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 5.0
TOTAL_SECONDS = 10.0
LARGEST_ANSWER = 1 << 20
_QUOTED = 300
_PART = 1 << 16
_PATH = "/api/annotations"


class GrafanaChannel:
    """Annotations of one Grafana."""

    name = NAME

    def __init__(self, service: Service, retry_timeout: timedelta) -> None:
        """`retry_timeout` is how long a Grafana that fails is asked again, over all tries."""
        self.service = service
        self._retry_timeout = retry_timeout.total_seconds()
        self._token = service.token.get_secret_value() if service.token else ""
        self._session = BearerSession(self._token)
        self._session.headers["Accept"] = "application/json"

    def close(self) -> None:
        """Gives the connections back."""
        self._session.close()

    def send(self, message: Message) -> None:
        """Add the message as an annotation, unless its run has one.

        Every try looks first: Grafana takes the same one twice, and an answer may get lost. Raises as
        Channel says.
        """
        retrying(self._retry_timeout)(self._send_once, message)

    def check(self) -> ServiceCheck:
        """Whether it answers with this token; whether it may write shows only when it writes."""
        try:
            self._search({"limit": "1"})
        except FedvitalsError as error:
            return ServiceCheck(NAME, "answers", False, str(error.problem), fix=self._fix(error))
        return ServiceCheck(NAME, "answers", True, "annotations can be read")

    def _fix(self, error: FedvitalsError) -> str:
        if isinstance(error, ChannelRefused):
            return str(error.fix)
        return f"Check that Grafana runs, and that {self.service.origin} is its URL"

    def _search(self, query: Mapping[str, str]) -> list[Any]:
        found = self._ask("GET", query, None)
        if not isinstance(found, list):
            raise self._refused(HTTPStatus.OK, "the answer is no list of annotations")
        return found

    def _send_once(self, message: Message) -> None:
        key = f"run:{message.run_id}"
        if self._search({"tags": key, "limit": "1"}):
            return
        # its time is in milliseconds since the epoch
        milliseconds = round(message.time.timestamp() * 1000)
        body = {"time": milliseconds, "text": message.text, "tags": [*TAGS, key]}
        self._ask("POST", {}, body)

    def _ask(self, method: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> Any:
        """The JSON of an answer with status 200."""
        try:
            with self._session.request(
                method,
                self.service.url + _PATH,
                params=query,
                json=body,
                timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as response:
                text = self._read(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._unavailable(f"no answer: {error}", None) from error
        if response.status_code != HTTPStatus.OK:
            self._fail(response, text)
        try:
            return json.loads(text)
        except ValueError as error:
            raise self._refused(HTTPStatus.OK, "the answer is no JSON") from error

    def _read(self, response: requests.Response) -> bytes:
        """The body up to LARGEST_ANSWER: whoever says more is no Grafana, or says it in vain."""
        deadline = time.monotonic() + TOTAL_SECONDS
        parts: list[bytes] = []
        # read1 returns after each arrival, so that a server that drips cannot pass the deadline
        while part := response.raw.read1(_PART, decode_content=True):
            parts.append(part)
            if sum(map(len, parts)) > LARGEST_ANSWER:
                break
            if time.monotonic() > deadline:
                raise self._unavailable(f"no whole answer within {TOTAL_SECONDS:g} s", None)
        return b"".join(parts)[:LARGEST_ANSWER]

    def _fail(self, response: requests.Response, body: bytes) -> NoReturn:
        status = response.status_code
        problem = f"HTTP {status}: {' '.join(body.decode('utf-8', 'replace').split())}"
        asks_again = status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
        if asks_again or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise self._unavailable(problem, seconds_asked(response.headers.get("Retry-After")))
        raise self._refused(status, problem.partition(": ")[2] or "no reason given")

    def _unavailable(self, problem: str, retry_after: float | None) -> ChannelUnavailable:
        return ChannelUnavailable(
            channel=NAME, url=self.service.url, problem=self._safe(problem), retry_after=retry_after
        )

    def _refused(self, status: int, problem: str) -> ChannelRefused:
        return ChannelRefused(
            channel=NAME,
            url=self.service.url,
            status=int(status),
            problem=self._safe(problem),
            fix=fix_of(status, self.service),
        )

    def _safe(self, text: str) -> str:
        """Without our token, should something on the way have echoed it."""
        safe = text.replace(self._token, "***") if self._token else text
        return safe if len(safe) <= _QUOTED else f"{safe[:_QUOTED]}…"


def fix_of(status: int, service: Service) -> str:
    """What to do when Grafana refuses."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return (
            "Set GRAFANA_API_KEY (or the variable that environments.yaml names) to a service account's "
            "token that may write annotations"
        )
    return f"Check that {service.origin} is the URL of a Grafana, and any proxy in front of it"
