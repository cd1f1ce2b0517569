"""One HTTP transport for every adapter: token, trust, proxy, and limits in time and size."""

import io
import os
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_auth_from_url
from urllib3.connection import HTTPConnection, HTTPSConnection

from tasks.core.clocks import note_date
from tasks.core.errors import CertificateInvalid, ConfigurationInvalid, FedvitalsError
from tasks.core.outside import shortened
from tasks.core.retry import seconds_asked
from tasks.core.services import Service

# the first two are those of requests, the third is OpenSSL's
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
CERT_VARIABLE, KEY_VARIABLE = "FEDVITALS_TLS_CERT", "FEDVITALS_TLS_KEY"
PART_BYTES = 1 << 18
_OTHER_NAME = "Give an address in {origin} that the certificate names, or have this one added"
# by OpenSSL's reasons (x509_vfy.h), those that another CA file would not fix
CERTIFICATE_FIXES = {
    9: "Check the clocks of both machines: the certificate's time has not begun",
    10: "Renew the service's certificate",
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
TRUST_IT = f"If you trust it, set {CA_VARIABLES[0]} to a PEM file with the certificate of its CA"
# how a server ends a handshake that lacks a client certificate, or has a wrong one
CLIENT_ALERTS = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE")


@dataclass(frozen=True)
class Limits:
    """Limit a request: seconds to connect, between two bytes and in all; bytes of the body."""

    connect: float = 5.0
    silence: float = 60.0
    total: float = 120.0
    largest: int = 64 * 2**20


@dataclass(frozen=True)
class Answer:
    """An answer; its body is whole unless `is_cut`, since it was larger than the limit.

    The body of an answer in an `encoding` is not read: none was asked for, and few bytes may stand
    for any number.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False
    encoding: str = ""

    @property
    def flaw(self) -> str:
        """Describe why the body is not whole; empty when it is."""
        if self.encoding:
            return f"it is encoded ({shortened(self.encoding)}), and no encoding was requested"
        return "it is larger than the limit" if self.is_cut else ""

    @property
    def retry_after(self) -> float | None:
        """Seconds of Retry-After, which is a number or an HTTP date; None when not given."""
        return seconds_asked(self.headers.get("Retry-After"))

    @property
    def asks_again(self) -> bool:
        """The same request may succeed later."""
        return self.status in (408, 429) or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


def bearer(service: Service) -> str:
    """Return the service's token as it is now; empty without one."""
    return service.token.get_secret_value() if service.token else ""


class Transport(ABC):
    """A pooled session to one service; threads may share it. Retries belong to the adapters."""

    def __init__(
        self, service: Service, name: str, limits: Limits | None = None, scheme: str = "Bearer"
    ) -> None:
        """`name` is the service's in messages, `scheme` that of its Authorization header."""
        self.service = service
        self.name = name
        self.limits = limits or Limits()
        self.session = _Session()
        self.session.auth = _Token(service, scheme)
        # gzip is slower than plain bytes on one machine and in one rack
        self.session.headers.update({"User-Agent": "fedvitals", "Accept-Encoding": "identity"})
        self.session.verify = _ca_bundle()[1]
        self.session.cert = _client_certificate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self.session.close()

    @abstractmethod
    def no_answer(self, what: str, problem: str, is_late: bool) -> FedvitalsError:
        """Return the adapter's error for no connection or half an answer, or for none in time."""

    def call(self, method: str, url: str, what: str, **content: Any) -> Answer:
        """Return the answer, whatever its status; `content` is as requests takes it.

        A token that is refused (by some services with 403) is read again, and sent once more if it
        has changed. Raises what `unanswered` returns.
        """
        sent = bearer(self.service)
        answer = self._call(method, url, what, content)
        is_refused = answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        if is_refused and self.service.refresh_token(sent):
            answer = self._call(method, url, what, content)
        return answer

    def _call(self, method: str, url: str, what: str, content: Mapping[str, Any]) -> Answer:
        with _Deadline(self.limits.total) as deadline:
            try:
                with self.session.request(
                    method,
                    url,
                    **content,
                    timeout=(self.limits.connect, self.limits.silence),
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    note_date(self.service.url, response.headers, response.elapsed)
                    answer = self._read(response, deadline)
            # those of requests are OSErrors, as is that of a file of certificates that is not there;
            # a ValueError is a number in a header that is none
            except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
                if not deadline.is_over:
                    raise self.unanswered(error, what) from error
            if deadline.is_over:
                raise self.no_answer(what, f"no whole answer within {self.limits.total:g} s", True)
        return answer

    def _read(self, response: requests.Response, deadline: "_Deadline") -> Answer:
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        encoding = "" if encoding == "identity" else encoding
        # of more digits than a size has
        announced = response.headers.get("Content-Length", "")[:18]
        is_cut = announced.isdecimal() and int(announced) > self.limits.largest
        # its bytes are not copied when they are complete
        body = io.BytesIO()
        # read1 returns after each arrival
        while not (is_cut or encoding or deadline.is_over):
            part = response.raw.read1(PART_BYTES, decode_content=False)
            if not part:
                break
            body.write(part)
            is_cut = body.tell() > self.limits.largest
        if is_cut:
            body.truncate(self.limits.largest)
        return Answer(response.status_code, body.getvalue(), response.headers, is_cut, encoding)

    def unanswered(self, error: Exception, what: str) -> FedvitalsError:
        """Return our error for one of requests: that of `no_answer`, or for a certificate or its file."""
        for cause in causes_of(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return self._untrusted(cause, what)
            if isinstance(cause, ssl.SSLError) or type(error) is OSError:
                trusting()
            if isinstance(cause, ssl.SSLError) and _is_client_alert(cause.reason or ""):
                return self._client_certificate_refused(cause)
        *_, innermost = causes_of(error)
        # the one that a person can act on
        reason = self.redacted(str(innermost) or type(innermost).__name__)
        through = "through a proxy: " if isinstance(error, requests.exceptions.ProxyError) else ""
        late = requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError
        is_late = any(isinstance(cause, late) for cause in causes_of(error))
        return self.no_answer(what, through + reason, is_late)

    def _untrusted(self, cause: ssl.SSLCertVerificationError, what: str) -> CertificateInvalid:
        fix = CERTIFICATE_FIXES.get(cause.verify_code, TRUST_IT)
        return CertificateInvalid(
            service=self.name,
            url=self.service.url,
            what=what,
            problem=cause.verify_message.removesuffix("."),
            fix=fix.format(origin=self.service.origin),
        )

    def _client_certificate_refused(self, cause: ssl.SSLError) -> ConfigurationInvalid:
        is_set = self.session.cert is not None
        whose = "refuses the client certificate" if is_set else "wants a client certificate"
        words = (cause.reason or "").lower().replace("_", " ")
        return ConfigurationInvalid(
            where=CERT_VARIABLE,
            problem=f"{self.name} at {self.service.url} {whose} ({words})",
            fix=f"Name the PEM file of one that it accepts, and its key in {KEY_VARIABLE}",
        )

    def redacted(self, text: str) -> str:
        """Return the text without our token, should something on the way have echoed it."""
        token = bearer(self.service)
        return text.replace(token, "***") if token else text

    def quoted(self, text: str) -> str:
        """Return what the server said, on one line, cut, and without our token."""
        return shortened(self.redacted(text))


class _Deadline:
    """Hangs up when the time of one exchange is over: a time-out begins anew with each byte."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._connection: HTTPConnection | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        _exchange.deadline = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _exchange.deadline = None

    def guard(self, connection: HTTPConnection) -> None:
        """Hang up on this connection, which waits for its answer."""
        self._connection = connection

    def _end(self) -> None:
        self.is_over = True
        wire = getattr(self._connection, "sock", None)
        if wire is None:
            return
        # also of TLS, which wraps a socket; another thread may close it meanwhile
        with suppress(OSError), socket.socket(fileno=os.dup(wire.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)


_exchange = threading.local()


class _Guarded(HTTPConnection):
    """A connection whose exchange the deadline may end."""

    def getresponse(self) -> Any:
        _exchange.deadline.guard(self)
        return super().getresponse()


class _GuardedTls(_Guarded, HTTPSConnection):
    """A connection over TLS."""


class _Adapter(HTTPAdapter):
    """Makes guarded connections."""

    def get_connection_with_tls_context(self, *args: Any, **keywords: Any) -> Any:
        """Return the pool of connections to the service."""
        pool: Any = super().get_connection_with_tls_context(*args, **keywords)
        pool.ConnectionCls = _GuardedTls if pool.scheme == "https" else _Guarded
        return pool


class _Session(requests.Session):
    """Follows no redirect, whoever asks, so that the token goes to no other host."""

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter())

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Name no target, whatever the answer says."""


class _Token(AuthBase):
    """Sends the token, else a login in the URL. Keeps requests from taking one out of ~/.netrc."""

    def __init__(self, service: Service, scheme: str) -> None:
        self._service = service
        self._scheme = scheme

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        login = get_auth_from_url(request.url or "")
        if token := bearer(self._service):
            between = "" if self._scheme.endswith("=") else " "
            request.headers["Authorization"] = f"{self._scheme}{between}{token}"
        elif any(login):
            HTTPBasicAuth(*login)(request)
        return request


def trusting() -> ssl.SSLContext:
    """Return a context that trusts as every request does, and has the client certificate.

    Raises:
        ConfigurationInvalid: a file or folder of either cannot be read.
    """
    where, path = _ca_bundle()
    file, folder = (None, path) if Path(path).is_dir() else (path, None)
    fix = "Name a file of certificates in PEM form"
    try:
        context = ssl.create_default_context(cafile=file, capath=folder)
        if certificate := _client_certificate():
            where, path = CERT_VARIABLE, " ".join(certificate)
            fix = f"Name a PEM file with a certificate, and one with its key in {KEY_VARIABLE}"
            # a key with a passphrase would ask for it on the terminal
            context.load_cert_chain(*certificate, password="")
    except OSError as error:
        problem = f"{path}: {error.strerror or error}"
        raise ConfigurationInvalid(where=where, problem=problem, fix=fix) from error
    return context


def _ca_bundle() -> tuple[str, str]:
    """The file or folder of CAs in force, behind the variable that names it or could."""
    found = ((name, os.environ[name]) for name in CA_VARIABLES if os.environ.get(name))
    return next(found, (CA_VARIABLES[0], DEFAULT_CA_BUNDLE_PATH))


def _client_certificate() -> tuple[str, str] | None:
    """The files of certificate and key, which may be one."""
    certificate = os.environ.get(CERT_VARIABLE)
    return (certificate, os.environ.get(KEY_VARIABLE) or certificate) if certificate else None


def _is_client_alert(reason: str) -> bool:
    return "_ALERT_" in reason and any(word in reason for word in CLIENT_ALERTS)


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, and what it was raised from."""
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        # urllib3 wraps some errors without raising them from their cause
        wrapped = (each for each in inner.args if isinstance(each, BaseException))
        inner = inner.__cause__ or inner.__context__ or next(wrapped, None)
