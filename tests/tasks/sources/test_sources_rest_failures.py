"""What a REST API answers on a bad day, and what becomes of it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer

from tasks.core.errors import (
    AnswerInvalid,
    CertificateInvalid,
    ConfigurationInvalid,
    SourceRefused,
    SourceUnavailable,
    Terminal,
)
from tasks.core.services import Service
from tasks.http import Limits
from tasks.sources.http import API, service_checks
from tasks.sources.rest import LIMITS, RestSource
from tests.support.fakes.api import ENDPOINT, TOKEN, Api
from tests.support.fakes.certificates import Certificates, Kind, over_tls
from tests.support.fakes.raw_http import RawServer
from tests.support.rest_samples import around_now, rest_measurement, rows_of

ENTRY = rest_measurement({"a": "$.a"})
SHORT = Limits(connect=1.0, silence=0.3, total=0.6, largest=1000)
MEBIBYTE = 2**20


@pytest.fixture
def api(httpserver: HTTPServer) -> Api:
    return Api(httpserver)


def ask(service: Service, limits: Limits | None = None) -> list[tuple[object, ...]]:
    source = RestSource(service, limits)
    try:
        return rows_of(source.extract(ENTRY, "production", around_now()))
    finally:
        source.close()


def unavailable(service: Service, limits: Limits | None = None) -> SourceUnavailable:
    with pytest.raises(SourceUnavailable) as caught:
        ask(service, limits)
    return caught.value


DOCUMENT = '{"text \\u00e9\\n": [1.5e-3, true, null, {"}": "]}"}], "a": -7}'


def test_half_a_document_may_come_right(api: Api) -> None:
    for length in range(1, len(DOCUMENT)):
        api.body = DOCUMENT[:length]
        assert unavailable(api.service()).problem == "the answer is truncated", api.body
    api.body = DOCUMENT
    assert ask(api.service()) == [(-7.0,)]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("up", "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("{'a': 1}", "it is not JSON: Expecting property name enclosed in double quotes: line 1"),
        ('{"a": 1}}', "it is not JSON: Extra data: line 1 column 9 (char 8)"),
        (b'{"a": "\xff"}', "its JSON cannot be read: 'utf-8' codec can't decode byte 0xff"),
        ("[" * 200_000, "its JSON cannot be read: it is nested too deeply"),
        (f'{{"a": {"9" * 5000}}}', "its JSON cannot be read: Exceeds the limit (4300 digits)"),
    ],
)
def test_what_is_no_json_is_refused(api: Api, body: str | bytes, problem: str) -> None:
    api.body = body
    with pytest.raises(AnswerInvalid) as caught:
        ask(api.service())
    assert str(caught.value.problem).startswith(problem)


def test_a_page_is_refused(api: Api) -> None:
    api.body = "<html>Log in</html>"
    api.answer = {"content_type": "text/html; charset=utf-8"}
    with pytest.raises(AnswerInvalid, match="it is an HTML page"):
        ask(api.service())


@pytest.mark.promise("Sources: an endpoint or tag that the service does not offer is a warning")
def test_what_is_not_there_is_not_offered(api: Api) -> None:
    api.body, api.answer = "<html>no such page</html>", {"status": 404, "content_type": "text/html"}
    source = RestSource(api.service())
    batch = source.extract(ENTRY, "production", around_now())
    assert (len(batch.frame), batch.warnings) == (
        0,
        (f"{ENDPOINT} is not offered by this service",),
    )
    source.extract(ENTRY, "production", around_now())
    source.close()
    assert len(api.asked) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_not_taken(api: Api, status: int) -> None:
    api.answer = {"status": status}
    with pytest.raises(SourceRefused) as caught:
        ask(api.service())
    assert (caught.value.status, caught.value.problem) == (status, "the token is not accepted")
    assert "FED_VIT_API_TOKEN" in caught.value.fix
    assert TOKEN not in str(caught.value)


def test_a_bad_request_is_quoted_without_the_token(api: Api) -> None:
    api.body, api.answer = f"no {TOKEN} here", {"status": 400}
    with pytest.raises(SourceRefused) as caught:
        ask(api.service())
    assert caught.value.problem == "no *** here"
    assert caught.value.fix == (
        "Check the address in FED_VIT_API_URL, and rest.endpoint in the catalogue"
    )


@pytest.mark.parametrize(("status", "after"), [(429, 3.0), (500, None), (503, 3.0)])
def test_a_bad_moment_is_one_to_try_again_after(api: Api, status: int, after: float | None) -> None:
    headers = {} if after is None else {"Retry-After": f"{after:.0f}"}
    api.body, api.answer = "busy", {"status": status, "headers": headers}
    error = unavailable(api.service())
    assert (error.problem, error.retry_after) == (f"HTTP {status}: busy", after)


@pytest.fixture
def elsewhere() -> Iterator[HTTPServer]:
    with HTTPServer() as server:
        yield server


def test_the_token_follows_no_redirect(api: Api, elsewhere: HTTPServer) -> None:
    other = Api(elsewhere)
    other.body = '{"a": 666}'
    api.answer = {"status": 302, "headers": {"Location": other.url + ENDPOINT}}
    with pytest.raises(SourceRefused) as caught:
        ask(api.service())
    assert (caught.value.status, caught.value.problem) == (302, "it redirects to localhost")
    assert len(api.asked) == 1
    assert other.asked == []


def head(length: int | None) -> bytes:
    size = b"Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}".encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + size + b"\r\n\r\n"


def raw(server: RawServer) -> Service:
    return Service(
        url=server.url,
        token=SecretStr(TOKEN),
        origin="FED_VIT_API_URL",
        token_from="FED_VIT_API_TOKEN",
    )


def test_half_a_body_may_come_right() -> None:
    with RawServer([head(100) + b'{"a": 1']) as server:
        assert "IncompleteRead" in unavailable(raw(server)).problem


def test_fifty_megabytes_are_refused_before_they_are_read() -> None:
    sent = []

    def parts() -> Iterator[bytes]:
        yield head(50 * MEBIBYTE)
        for number in range(50):
            sent.append(number)
            yield b" " * MEBIBYTE

    with RawServer(parts(), pause=0.05) as server:
        with pytest.raises(AnswerInvalid) as caught:
            ask(raw(server))
        assert caught.value.problem == f"it is larger than {16 * MEBIBYTE} bytes"
    assert len(sent) < 10


def test_a_body_of_unreported_size_is_cut_off() -> None:
    chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
    with (
        RawServer([head(None), *[chunk] * 1000]) as server,
        pytest.raises(AnswerInvalid, match="it is larger than 1000 bytes"),
    ):
        ask(raw(server), SHORT)


def test_a_body_as_large_as_it_may_be(api: Api) -> None:
    body = '{"a": 1}'
    api.body = body + " " * (1000 - len(body))
    assert ask(api.service(), SHORT) == [(1.0,)]


def test_silence_is_not_waited_out() -> None:
    with RawServer([head(100), b" "], pause=5.0) as server:
        start = time.monotonic()
        assert unavailable(raw(server), SHORT).retry_after is None
        assert time.monotonic() - start < 2.0


def test_dripping_does_not_pass_the_deadline() -> None:
    with RawServer([head(100), *[b" "] * 99], pause=0.1) as server:
        start = time.monotonic()
        assert unavailable(raw(server), SHORT).problem == "no whole answer within 0.6 s"
        assert time.monotonic() - start < 2.0


def test_nobody_there_may_come_right() -> None:
    with RawServer([]) as server:
        url = server.url
    assert "refused" in unavailable(Service(url=url, origin="X")).problem


@pytest.mark.promise(
    "Secrets: an untrusted certificate gets no token, and is inspected all the same"
)
@pytest.mark.parametrize(
    ("kind", "problem", "fix"),
    [
        ("expired", "certificate has expired", "Renew the service's certificate"),
        (
            "early",
            "certificate is not yet valid",
            "Check the clocks of both machines: the certificate's time has not begun",
        ),
        (
            "other_host",
            "Hostname mismatch, certificate is not valid for 'localhost'",
            "Give an address in FED_VIT_API_URL that the certificate names, or have this one added",
        ),
        (
            "self_signed",
            "self-signed certificate",
            "If you trust it, set REQUESTS_CA_BUNDLE to a PEM file with the certificate of its CA",
        ),
        (
            "other_ca",
            "unable to get local issuer certificate",
            "If you trust it, set REQUESTS_CA_BUNDLE to a PEM file with the certificate of its CA",
        ),
    ],
)
def test_a_certificate_that_is_not_to_be_trusted(
    certificates: Certificates, kind: Kind, problem: str, fix: str
) -> None:
    with over_tls(certificates.context(kind)) as server:
        api = Api(server)
        with pytest.raises(CertificateInvalid) as caught:
            ask(api.service())
        assert api.asked == []
    assert isinstance(caught.value, Terminal)
    assert (caught.value.problem, caught.value.fix) == (problem, fix)
    (check,) = service_checks(API, api.service(), "metrics page", caught.value)
    assert (check.what, check.ok, check.detail, check.fix) == ("reachable", False, problem, fix)


def test_a_certificate_of_a_known_ca_is_good(certificates: Certificates) -> None:
    with over_tls(certificates.context("good")) as server:
        api = Api(server)
        api.body = '{"a": 1}'
        assert ask(api.service()) == [(1.0,)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "other.pem: No such file"), ("no certificate", "no certificate or crl found")],
)
def test_a_file_of_cas_that_cannot_be_read(
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str | None,
    problem: str,
) -> None:
    path = tmp_path / "other.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with (
        over_tls(certificates.context("good")) as server,
        pytest.raises(ConfigurationInvalid) as caught,
    ):
        ask(Api(server).service())
    assert caught.value.where == "REQUESTS_CA_BUNDLE"
    assert problem in caught.value.problem


def test_an_answer_without_tls_is_no_matter_of_trust(api: Api) -> None:
    error = unavailable(Service(url=api.url.replace("http:", "https:"), origin="X"))
    assert "SSL" in error.problem


def test_the_limits_are_finite() -> None:
    assert (LIMITS.connect, LIMITS.silence, LIMITS.total) == (5.0, 15.0, 30.0)
