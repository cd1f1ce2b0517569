"""What channels of incidents that speak HTTP share: their errors, and texts that are harmless."""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from urllib3.exceptions import ConnectTimeoutError

from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable, FedvitalsError
from tasks.core.outside import read_json
from tasks.core.services import Service
from tasks.http import Answer, Limits, Transport, causes_of

LIMITS = Limits(connect=5.0, silence=10.0, total=15.0, largest=8 << 20)
# at debug level it logs the path of each request
HTTP_LOGGER = "urllib3.connectionpool"
_BARS = "▁▂▃▄▅▆▇█"
# of a gateway, behind which the service may have taken the message
_AMBIGUOUS = (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)


class HttpChannel(Transport):
    """A service that messages are sent to."""

    def __init__(self, service: Service, title: str, fix: str, scheme: str = "Bearer") -> None:
        """`fix` is the advice when it refuses."""
        super().__init__(service, title, LIMITS, scheme)
        self._fix = fix

    def no_answer(self, what: str, problem: str, is_late: bool) -> FedvitalsError:
        """Return ChannelUnavailable: the message may have arrived."""
        return self.unavailable(f"no answer: {problem}", is_answered=False)

    def unanswered(self, error: Exception, what: str) -> FedvitalsError:
        """Return the error; what was never connected has not arrived."""
        found = super().unanswered(error, what)
        if any(isinstance(cause, ConnectTimeoutError) for cause in causes_of(error)):
            found.facts["is_answered"] = True
        return found

    def ask(
        self, method: str, path: str, good: Collection[int] = (HTTPStatus.OK,), **content: Any
    ) -> Answer:
        """Return a good answer; raise as AlertChannel.send for any other."""
        url = path if path.startswith("http") else self.service.url + path
        answer = self.call(method, url, "a message", **content)
        if answer.status in good:
            return answer
        raise self.failure(answer)

    def failure(self, answer: Answer) -> FedvitalsError:
        """Return the error of an answer that is not good."""
        words = answer.body.decode("utf-8", "replace").strip() or "no reason given"
        if answer.asks_again:
            problem = f"HTTP {answer.status}: {words}"
            is_answered = answer.status not in _AMBIGUOUS
            return self.unavailable(problem, answer.retry_after, is_answered=is_answered)
        return self.refused(answer.status, words)

    def tried(self, attempt: Callable[[], str]) -> ServiceCheck:
        """Check by an attempt, which returns the detail when the service answers well."""
        try:
            return ServiceCheck(self.name, "answers", True, attempt())
        except FedvitalsError as error:
            fix = str(error.facts.get("fix") or f"Check {self.service.origin}")
            return ServiceCheck(self.name, "answers", False, str(error.facts["problem"]), fix)

    def document(self, answer: Answer) -> Any:
        """Return the JSON of an answer; raise ChannelRefused when it is none."""
        try:
            return read_json(answer.body)
        except ValueError as error:
            raise self.refused(answer.status, "the answer is no JSON") from error

    def unavailable(
        self, problem: str, retry_after: float | None = None, *, is_answered: bool
    ) -> ChannelUnavailable:
        """Return the error of what may be taken later; it did not arrive when it was answered."""
        return ChannelUnavailable(
            channel=self.name,
            url=self.service.url,
            problem=self.quoted(problem),
            retry_after=retry_after,
            is_answered=is_answered,
        )

    def refused(self, status: int, problem: str) -> ChannelRefused:
        """Return the error of what will be refused again."""
        return ChannelRefused(
            channel=self.name,
            url=self.service.url,
            status=int(status),
            problem=self.quoted(problem),
            fix=self._fix,
        )


@contextmanager
def unlogged(*loggers: str) -> Iterator[None]:
    """Drop what libraries log in this thread during a block, in which a URL is the key."""
    here = threading.get_ident()

    def is_of_another(record: logging.LogRecord) -> bool:
        return record.thread != here

    found = [logging.getLogger(name) for name in loggers]
    for one in found:
        one.addFilter(is_of_another)
    try:
        yield
    finally:
        for one in found:
            one.removeFilter(is_of_another)


def sparkline(values: Sequence[float]) -> str:
    """Return the values as a line of bars; empty for fewer than two."""
    finite = [value for value in values if value - value == 0]
    if len(finite) < 2:
        return ""
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    return "".join(_BARS[min(7, int(8 * (value - low) / span))] for value in finite)


def is_link(url: str) -> bool:
    """Return whether a URL may be shown as a link."""
    return url.startswith(("https://", "http://")) and not set(url) & set("<>|\"'` )(\\")
