"""What sources have in common over HTTP: what they ask, and failures as their errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tasks.core.checks import ServiceCheck
from tasks.core.errors import (
    AnswerInvalid,
    AnswerTooLarge,
    CertificateInvalid,
    ConfigurationInvalid,
    FedvitalsError,
    SourceRefused,
    SourceTimedOut,
    SourceUnavailable,
)
from tasks.core.services import Service
from tasks.http import Answer, Limits, Transport

JSON = "application/json"
UNAUTHORISED = (401, 403)


@dataclass(frozen=True)
class Kind:
    """A sort of service: its name in messages."""

    name: str


PROMETHEUS = Kind("Prometheus")
API = Kind("the service's API")


@dataclass(frozen=True)
class Request:
    """The facts that every error of a source has: which service, where, and what for."""

    service: str
    url: str
    what: str

    def invalid(self, problem: str) -> AnswerInvalid:
        """The error for an answer that is not the service's protocol."""
        return AnswerInvalid(**vars(self), problem=problem)

    def unavailable(self, problem: str, retry_after: float | None = None) -> SourceUnavailable:
        """The error for an answer that may come right; retry_after in seconds."""
        return SourceUnavailable(**vars(self), problem=problem, retry_after=retry_after)

    def refused(self, status: int, problem: str, fix: str) -> SourceRefused:
        """The error for a question that will be refused again."""
        return SourceRefused(**vars(self), status=status, problem=problem, fix=fix)


class Client(Transport):
    """A source's transport: failures are errors of sources."""

    def __init__(self, service: Service, kind: Kind, limits: Limits | None = None) -> None:
        super().__init__(service, kind.name, limits)
        self.kind = kind

    def no_answer(self, what: str, problem: str, is_late: bool) -> FedvitalsError:
        """Return SourceUnavailable, or SourceTimedOut."""
        kind = SourceTimedOut if is_late else SourceUnavailable
        return kind(**vars(self.request(what)), problem=problem, retry_after=None)

    def request(self, what: str) -> Request:
        """The facts of a request to this service."""
        return Request(service=self.kind.name, url=self.service.url, what=what)

    def ask(
        self, path: str, what: str, form: Mapping[str, str] | None = None, accept: str = JSON
    ) -> Answer:
        """Return the answer to a GET, or to a POST of the form; its status may be an error's.

        Raises:
            SourceUnavailable, SourceTimedOut: no connection, half an answer; none in time.
            SourceRefused: a redirect, or the token is missing or wrong.
            CertificateInvalid, ConfigurationInvalid: the certificate, or a file of certificates.
            AnswerTooLarge: the body is larger than it may be; the rest of it is not read.
            AnswerInvalid: the body is encoded, which was not asked for.
        """
        method, url = "GET" if form is None else "POST", self.service.url + path
        request = self.request(what)
        answer = self.call(method, url, what, data=form, headers={"Accept": accept})
        if answer.is_cut:
            problem = f"it is larger than {self.limits.largest} bytes"
            raise AnswerTooLarge(**vars(request), problem=problem)
        if answer.flaw:
            raise request.invalid(answer.flaw)
        self.refuse_detours(answer, request)
        return answer

    def refuse_detours(self, answer: Answer, request: Request) -> None:
        """Raises SourceRefused for a redirect and for a missing or wrong token."""
        if 300 <= answer.status < 400:
            host = urlsplit(answer.headers.get("Location", "")).hostname
            fix = f"Give the address that it redirects to in {self.service.origin}"
            raise request.refused(answer.status, f"it redirects to {host or 'another path'}", fix)
        if answer.status in UNAUTHORISED:
            token = "the token is not accepted" if self.service.token else "no token is set"
            fix = f"Set {self.service.token_from}"
            raise request.refused(answer.status, token, fix)

    def unexpected(self, answer: Answer, request: Request, hint: str = "") -> FedvitalsError:
        """Return the error of an answer in whatever words; hint goes on where to look."""
        words = self.quoted(answer.body.decode(errors="replace")) or "no reason given"
        return self.failure(
            answer, request, words, f"Check the address in {self.service.origin}{hint}"
        )

    def failure(self, answer: Answer, request: Request, problem: str, fix: str) -> FedvitalsError:
        """Return the error of an answer without success; problem in the server's words."""
        if answer.asks_again:
            return request.unavailable(f"HTTP {answer.status}: {problem}", answer.retry_after)
        return request.refused(answer.status, problem, fix)


def service_checks(
    kind: Kind, service: Service, what: str, found: str | FedvitalsError
) -> tuple[ServiceCheck, ...]:
    """Check reachable, authorised and `what` by one request's detail, or by its error."""
    token = "with a token" if service.token else "without a token"
    passed = [
        ServiceCheck(kind.name, "reachable", True, service.url),
        ServiceCheck(kind.name, "authorised", True, token),
    ]
    if isinstance(found, str):
        return (*passed, ServiceCheck(kind.name, what, True, found))
    detail = found.facts["problem"]
    fix = found.facts.get("fix") or f"Check the address in {service.origin} and any proxy"
    if isinstance(found, SourceUnavailable):
        fix = f"Start it, or fix the address in {service.origin}"
    if isinstance(found, SourceUnavailable | CertificateInvalid | ConfigurationInvalid):
        return (ServiceCheck(kind.name, "reachable", False, detail, fix),)
    if found.facts.get("status") in UNAUTHORISED:
        return (passed[0], ServiceCheck(kind.name, "authorised", False, detail, fix))
    return (*passed, ServiceCheck(kind.name, what, False, detail, fix))
