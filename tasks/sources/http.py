"""How a source is asked over HTTP: bounded in time, no redirects, failures as our errors."""

import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import requests
import urllib3

from tasks.core.bearer import BearerSession
from tasks.core.checks import ServiceCheck
from tasks.core.errors import (
    AnswerInvalid,
    CertificateInvalid,
    ConfigurationInvalid,
    FedvitalsError,
    SourceRefused,
    SourceTimedOut,
    SourceUnavailable,
)
from tasks.core.retry import seconds_asked
from tasks.core.settings import Service
from tasks.core.variables import VARIABLES

JSON = "application/json"
PART_BYTES = 1 << 18
QUOTED = 300
UNAUTHORISED = (401, 403)
CA_VARIABLE = "REQUESTS_CA_BUNDLE"
# how OpenSSL's errors begin that come of reading files of certificates, not what a service sends
CA_FILE_ERRORS = ("[X509", "[PEM")
# of OpenSSL's reasons (x509_vfy.h) those that another CA file would not fix
TOO_EARLY, EXPIRED, OTHER_NAME, OTHER_ADDRESS = 9, 10, 62, 64


@dataclass(frozen=True)
class Kind:
    """A sort of service: its name in messages, and environments.yaml's key for its token."""

    name: str
    token_key: str


PROMETHEUS = Kind("Prometheus", "prometheus_token")
API = Kind("the service's API", "api_token")


@dataclass(frozen=True)
class Limits:
    """Limit a request: seconds to connect, between two bytes and in all; bytes of the body."""

    connect: float = 5.0
    silence: float = 60.0
    total: float = 120.0
    largest: int | None = None


@dataclass(frozen=True)
class Asked:
    """The facts that every error of a source has: which service, where, and what was asked."""

    service: str
    url: str
    what: str

    def invalid(self, problem: str) -> AnswerInvalid:
        """The error for an answer that is not the service's protocol."""
        return AnswerInvalid(**vars(self), problem=problem)

    def unavailable(self, problem: str, retry_after: float | None = None) -> SourceUnavailable:
        """The error for an answer that may come right; retry_after in seconds."""
        return SourceUnavailable(**vars(self), problem=problem, retry_after=retry_after)

    def timed_out(self, problem: str) -> SourceTimedOut:
        """The error for an answer that did not come, or not whole, within its time."""
        return SourceTimedOut(**vars(self), problem=problem, retry_after=None)

    def refused(self, status: int, problem: str, fix: str) -> SourceRefused:
        """The error for a question that will be refused again."""
        return SourceRefused(**vars(self), status=status, problem=problem, fix=fix)


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds of Retry-After, which is a number or an HTTP date; None when not given."""
        return seconds_asked(self.headers.get("Retry-After"))


class Client:
    """A pooled session to one service."""

    def __init__(self, service: Service, kind: Kind, limits: Limits | None = None) -> None:
        self.service = service
        self.kind = kind
        self.limits = limits or Limits()
        self._token = service.token.get_secret_value() if service.token else ""
        self.session = BearerSession(self._token)
        # gzip is slower than plain bytes on one machine and in one rack
        self.session.headers["Accept-Encoding"] = "identity"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back."""
        self.session.close()

    def asked(self, what: str) -> Asked:
        """The facts of a question to this service."""
        return Asked(service=self.kind.name, url=self.service.url, what=what)

    def ask(
        self, path: str, what: str, form: Mapping[str, str] | None = None, accept: str = JSON
    ) -> Answer:
        """Return the answer to a GET, or to a POST of the form; its status may be an error's.

        Raises:
            SourceUnavailable, SourceTimedOut: no connection, half an answer; none in time.
            SourceRefused: a redirect, or the token is missing or wrong.
            CertificateInvalid, ConfigurationInvalid: the certificate, or the file of trusted CAs.
            AnswerInvalid: the body is larger than it may be; the rest of it is not read.
        """
        asked = self.asked(what)
        deadline = time.monotonic() + self.limits.total
        try:
            with self.session.request(
                "GET" if form is None else "POST",
                self.service.url + path,
                data=form,
                headers={"Accept": accept},
                timeout=(self.limits.connect, self.limits.silence),
                allow_redirects=False,
                stream=True,
            ) as response:
                body = self._read(response, deadline, asked)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._failed(error, asked) from error
        except OSError as error:
            # the one thing that requests looks for on the disk
            raise ca_file_invalid(str(error)) from error
        answer = Answer(response.status_code, response.headers, body)
        self.refuse_detours(answer, asked)
        return answer

    def _read(self, response: requests.Response, deadline: float, asked: Asked) -> bytes:
        reported = response.headers.get("Content-Length", "")
        self._check_size(int(reported) if reported.isdecimal() else 0, asked)
        # read1 returns after each arrival, so that a server that drips cannot pass the deadline
        parts: list[bytes] = []
        size = 0
        while part := response.raw.read1(PART_BYTES, decode_content=True):
            parts.append(part)
            size += len(part)
            self._check_size(size, asked)
            if time.monotonic() > deadline:
                raise asked.timed_out(f"no whole answer within {self.limits.total:g} s")
        return b"".join(parts)

    def _check_size(self, size: int, asked: Asked) -> None:
        if self.limits.largest is not None and size > self.limits.largest:
            raise asked.invalid(f"it is larger than {self.limits.largest} bytes")

    def _failed(self, error: Exception, asked: Asked) -> FedvitalsError:
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                fix = _fix_of_certificate(cause.verify_code, self.service.origin)
                problem = cause.verify_message.removesuffix(".")
                return CertificateInvalid(**vars(asked), problem=problem, fix=fix)
            if isinstance(cause, ssl.SSLError) and str(cause).startswith(CA_FILE_ERRORS):
                return ca_file_invalid(str(cause))
            if isinstance(cause, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
                return asked.timed_out(reason(error))
        return asked.unavailable(reason(error))

    def refuse_detours(self, answer: Answer, asked: Asked) -> None:
        """Raises SourceRefused for a redirect and for a missing or wrong token."""
        if 300 <= answer.status < 400:
            host = urlsplit(answer.headers.get("Location", "")).hostname
            fix = f"Give the address that it redirects to in {self.service.origin}"
            raise asked.refused(answer.status, f"it redirects to {host or 'another path'}", fix)
        if answer.status in UNAUTHORISED:
            token = "the token is not accepted" if self.service.token else "no token is set"
            key = self.kind.token_key
            fix = f"Set the token in {VARIABLES[key]}, or in the variable that {key} names in environments.yaml"
            raise asked.refused(answer.status, token, fix)

    def unexpected(self, answer: Answer, asked: Asked, hint: str = "") -> FedvitalsError:
        """Return the error of an answer in whatever words; hint goes on where to look."""
        words = self.quoted(answer.body.decode(errors="replace")) or "no reason given"
        return self.failure(
            answer, asked, words, f"Check the address in {self.service.origin}{hint}"
        )

    def failure(self, answer: Answer, asked: Asked, problem: str, fix: str) -> FedvitalsError:
        """Return the error of an answer without success; problem in the server's words."""
        if answer.status == 429 or answer.status >= 500:
            return asked.unavailable(f"HTTP {answer.status}: {problem}", answer.retry_after)
        return asked.refused(answer.status, problem, fix)

    def quoted(self, text: str) -> str:
        """What the server said, on one line, cut, and without our token should it echo that."""
        safe = text.replace(self._token, "***") if self._token else text
        words = " ".join(safe.split())
        return words if len(words) <= QUOTED else f"{words[:QUOTED]}…"


def reason(error: BaseException) -> str:
    """The innermost cause of a failed request, which is the one that a person can act on."""
    *_, innermost = _causes(error)
    return str(innermost) or type(innermost).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        inner = inner.__cause__ or inner.__context__


def ca_file_invalid(problem: str) -> ConfigurationInvalid:
    """The error for a file or folder of trusted CAs that cannot be read."""
    fix = "Name a file of certificates in PEM form"
    return ConfigurationInvalid(where=CA_VARIABLE, problem=problem, fix=fix)


def _fix_of_certificate(code: int, origin: str) -> str:
    if code == EXPIRED:
        return "Renew the service's certificate"
    if code == TOO_EARLY:
        return "Check the clocks of both machines: the certificate's time has not begun"
    if code in (OTHER_NAME, OTHER_ADDRESS):
        return f"Give an address in {origin} that the certificate names, or have this one added"
    return f"If you trust it, set {CA_VARIABLE} to a PEM file with the certificate of its CA"


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
