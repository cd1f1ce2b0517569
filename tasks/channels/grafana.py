"""Grafana: a run as an annotation, at most one of each run (Grafana HTTP API, annotations)."""

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable, FedvitalsError
from tasks.core.message import Message
from tasks.core.outside import read_json
from tasks.core.retry import retrying
from tasks.core.services import Service
from tasks.http import Answer, Limits, Transport

NAME = "Grafana"
TAGS = ("automation", "metrics")
LIMITS = Limits(connect=5.0, silence=5.0, total=10.0, largest=1 << 20)
_PATH = "/api/annotations"


class GrafanaChannel(Transport):
    """Annotations of one Grafana."""

    def __init__(self, service: Service, retry_timeout: timedelta) -> None:
        """`retry_timeout` is how long a Grafana that fails is asked again, over all tries."""
        super().__init__(service, NAME, LIMITS)
        self._retry_timeout = retry_timeout.total_seconds()

    def no_answer(self, what: str, problem: str, is_late: bool) -> FedvitalsError:
        """Return ChannelUnavailable."""
        return self._unavailable(f"no answer: {problem}")

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
            fix = f"Check that Grafana runs, and that {self.service.origin} is its URL"
            fix = error.facts.get("fix") or fix
            return ServiceCheck(NAME, "answers", False, str(error.problem), fix)
        return ServiceCheck(NAME, "answers", True, "annotations can be read")

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
        url = self.service.url + _PATH
        content = {"params": query, "json": body, "headers": {"Accept": "application/json"}}
        answer = self.call(method, url, "annotations", **content)
        if answer.status != HTTPStatus.OK:
            raise self._failure(answer)
        try:
            return read_json(answer.body)
        except ValueError as error:
            raise self._refused(HTTPStatus.OK, "the answer is no JSON") from error

    def _failure(self, answer: Answer) -> FedvitalsError:
        words = answer.body.decode("utf-8", "replace").strip()
        if answer.asks_again:
            return self._unavailable(f"HTTP {answer.status}: {words}", answer.retry_after)
        return self._refused(answer.status, words or "no reason given")

    def _unavailable(self, problem: str, retry_after: float | None = None) -> ChannelUnavailable:
        facts = {"channel": NAME, "url": self.service.url, "problem": self.quoted(problem)}
        return ChannelUnavailable(**facts, retry_after=retry_after)

    def _refused(self, status: int, problem: str) -> ChannelRefused:
        facts = {"channel": NAME, "url": self.service.url, "problem": self.quoted(problem)}
        return ChannelRefused(**facts, status=int(status), fix=fix_of(status, self.service))


def fix_of(status: int, service: Service) -> str:
    """What to do when Grafana refuses."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"Set {service.token_from} to a service account's token that may write annotations"
    return f"Check that {service.origin} is the URL of a Grafana, and any proxy in front of it"
