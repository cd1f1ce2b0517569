"""One transport under every adapter: CA, client certificate, proxy, token, for each of them alike."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.channels.grafana import GrafanaChannel
from tasks.channels.heartbeat import Heartbeat
from tasks.core.errors import (
    CertificateInvalid,
    ConfigurationInvalid,
    FedvitalsError,
    SourceRefused,
    SourceUnavailable,
    Transient,
)
from tasks.core.message import Message
from tasks.core.services import InfluxService, InfluxTuning, Service
from tasks.http import CA_VARIABLES, CERT_VARIABLE, KEY_VARIABLE, Limits
from tasks.sinks import influxdb_checks
from tasks.sinks.influxdb import InfluxSink
from tasks.sinks.influxdb_http import InfluxHttp
from tasks.sources.http import API, Client
from tasks.sources.scrape import fetch_page
from tests.support.fakes.certificates import HOST, Certificates, over_tls
from tests.support.fakes.forward_proxy import ForwardProxy, a_forward_proxy
from tests.support.sink_samples import LATENCY, make_cell, to_load

KEY = "planted-key"
TOKEN = SecretStr("t0ken")


def source(url: str) -> None:
    fetch_page(Service(url=url, origin="FED_VIT_API_URL", token=TOKEN))


def influxdb(url: str) -> None:
    service = InfluxService(url=url, origin="INFLUXDB_URL", token=TOKEN, org="o", bucket="b")
    sink = InfluxHttp(service, timedelta(seconds=5), compress=True)
    try:
        assert sink.write(b"m f=1\n", "s").written
    finally:
        sink.close()


def grafana(url: str) -> None:
    service = Service(url=url, origin="GRAFANA_URL", token=TOKEN)
    channel = GrafanaChannel(service, timedelta())
    try:
        channel.send(Message("r1", datetime.now(UTC), "it ran"))
    finally:
        channel.close()


def heartbeat(url: str) -> None:
    Heartbeat(SecretStr(f"{url}/ping/{KEY}")).send(Message("r1", datetime.now(UTC), "it ran"))


Adapter = Callable[[str], None]
ADAPTERS = [source, influxdb, grafana, heartbeat]
WITH_TOKEN = [source, influxdb, grafana]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for name in (*CA_VARIABLES, CERT_VARIABLE, KEY_VARIABLE, *proxies, *map(str.lower, proxies)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def serve(server: HTTPServer) -> str:
    """What all four are answered; returns the URL."""
    server.expect_request("/metrics").respond_with_data("up 1\n")
    server.expect_request("/api/v2/write", method="POST").respond_with_data("", 204)
    server.expect_request("/api/annotations", method="GET").respond_with_data("[]")
    server.expect_request("/api/annotations", method="POST").respond_with_data("{}")
    server.expect_request(f"/ping/{KEY}").respond_with_data("OK")
    return server.url_for("").rstrip("/")


def failure(adapter: Adapter, url: str) -> FedvitalsError:
    with pytest.raises(FedvitalsError) as caught:
        adapter(url)
    assert KEY not in f"{caught.value} {caught.value.facts} {caught.value.__cause__}"
    return caught.value


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("variable", CA_VARIABLES)
def test_a_ca_of_ones_own_is_trusted_by_all(
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    adapter: Adapter,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, str(certificates.ca_file))
    with over_tls(certificates.context("good")) as server:
        adapter(serve(server))
        assert server.log


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_without_the_ca_nothing_is_sent(certificates: Certificates, adapter: Adapter) -> None:
    with over_tls(certificates.context("good")) as server:
        error = failure(adapter, serve(server))
        assert server.log == []
    assert isinstance(error, CertificateInvalid)
    assert error.fix == (
        "If you trust it, set REQUESTS_CA_BUNDLE to a PEM file with the certificate of its CA"
    )
    assert error.problem == "unable to get local issuer certificate"
    assert str(error).count(". ") == 1


def test_a_sink_raises_nothing_of_a_certificate(certificates: Certificates) -> None:
    with over_tls(certificates.context("good")) as server:
        service = InfluxService(url=serve(server), origin="X", token=TOKEN, org="o", bucket="b")
        with closing(InfluxSink(service, InfluxTuning())) as sink:
            cells = [to_load(LATENCY, make_cell(n), [{"time": 0, "x": 1.0}]) for n in range(2)]
            answers = sink.load(LATENCY, "production", cells)
        check, *others = influxdb_checks.check(service)
    assert [type(each.error) for each in answers] == [CertificateInvalid] * 2
    assert [each.values.pending for each in answers] == [1, 1]
    assert (check.what, check.ok, others) == ("reachable", False, [])
    assert check.fix.startswith("If you trust it, set REQUESTS_CA_BUNDLE")


def test_of_two_files_of_cas_that_of_requests_counts(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Certificates(tmp_path / "other").ca_file))
    with over_tls(certificates.context("good")) as server:
        assert isinstance(failure(influxdb, serve(server)), CertificateInvalid)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_file_of_cas_that_is_not_there_is_named(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, adapter: Adapter
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "absent.pem")
    with over_tls(certificates.context("good")) as server:
        error = failure(adapter, serve(server))
    assert isinstance(error, ConfigurationInvalid)
    assert (error.where, error.problem) == (
        "SSL_CERT_FILE",
        "absent.pem: No such file or directory",
    )


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca_file))
    return certificates


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("in_one_file", [False, True])
def test_a_client_certificate_is_presented_by_all(
    trusted: Certificates, monkeypatch: pytest.MonkeyPatch, adapter: Adapter, in_one_file: bool
) -> None:
    certificate, key = trusted.client_files()
    if in_one_file:
        certificate.write_bytes(key.read_bytes() + certificate.read_bytes())
    else:
        monkeypatch.setenv(KEY_VARIABLE, str(key))
    monkeypatch.setenv(CERT_VARIABLE, str(certificate))
    with over_tls(trusted.mutual_context(ssl.TLSVersion.TLSv1_3)) as server:
        adapter(serve(server))
        assert server.log


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("is_set", [False, True])
def test_a_client_certificate_that_is_missing_or_unknown(
    trusted: Certificates, monkeypatch: pytest.MonkeyPatch, adapter: Adapter, is_set: bool
) -> None:
    if is_set:
        certificate, key = trusted.client_files(is_known=False)
        monkeypatch.setenv(CERT_VARIABLE, str(certificate))
        monkeypatch.setenv(KEY_VARIABLE, str(key))
    with over_tls(trusted.mutual_context()) as server:
        error = failure(adapter, serve(server))
        assert server.log == []
    assert isinstance(error, ConfigurationInvalid)
    assert error.where == CERT_VARIABLE
    words = "refuses the client certificate" if is_set else "wants a client certificate"
    assert f"https://{HOST}:{server.port} {words} (" in error.problem


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_with_tls_1_3_a_client_hears_of_it_behind_its_handshake(
    trusted: Certificates, adapter: Adapter
) -> None:
    context = trusted.mutual_context(ssl.TLSVersion.TLSv1_3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Thread(target=shake_hands, args=(context, listener))
        server.start()
        error = failure(adapter, f"https://{HOST}:{listener.getsockname()[1]}")
        server.join()
    assert "wants a client certificate (tlsv13 alert certificate required)" in error.problem


def shake_hands(context: ssl.SSLContext, listener: socket.socket) -> None:
    """Refuse a client, and hear all that it sends: a hang-up with bytes unread would reset it."""
    connection, _ = listener.accept()
    secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    with pytest.raises(ssl.SSLError):
        secured.do_handshake()
    with socket.socket(fileno=secured.detach()) as plain:
        while plain.recv(1 << 16):
            pass


@pytest.mark.parametrize("file", ["certificate", "key"])
@pytest.mark.parametrize("content", [None, "nothing", "of another"])
def test_a_file_of_a_client_certificate_that_cannot_be_used(
    trusted: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    content: str | None,
) -> None:
    certificate, key = trusted.client_files()
    wrong, kept = (certificate, key) if file == "certificate" else (key, certificate)
    wrong.unlink()
    if content == "of another":
        before = kept.read_bytes()
        trusted.client_files()
        kept.write_bytes(before)
    elif content is not None:
        wrong.write_text(content)
    monkeypatch.setenv(CERT_VARIABLE, str(certificate))
    monkeypatch.setenv(KEY_VARIABLE, str(key))
    with over_tls(trusted.mutual_context()) as server:
        error = failure(source, serve(server))
    assert isinstance(error, ConfigurationInvalid)
    assert error.where == CERT_VARIABLE
    assert str(error.problem).startswith(f"{certificate} {key}: ")


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    with a_forward_proxy() as running:
        yield running


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_proxy_is_used_by_all(
    proxy: ForwardProxy,
    httpserver: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    adapter: Adapter,
) -> None:
    url = serve(httpserver)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)
    adapter(url)
    assert proxy.asked
    assert all(f" {url}/" in line for line in proxy.asked)
    # but for what it is not meant for
    asked = len(proxy.asked)
    monkeypatch.setenv("NO_PROXY", HOST)
    adapter(url)
    assert len(proxy.asked) == asked


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_tls_goes_through_a_proxy_unopened(
    trusted: Certificates, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, adapter: Adapter
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with over_tls(trusted.context("good")) as server:
        adapter(serve(server))
        asked = {line.rpartition(" ")[0] for line in proxy.asked}
        assert asked == {f"CONNECT {HOST}:{server.port}"}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_proxy_that_is_down_is_named(
    trusted: Certificates, monkeypatch: pytest.MonkeyPatch, adapter: Adapter
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with over_tls(trusted.context("good")) as server:
        error = failure(adapter, serve(server))
        assert server.log == []
    assert isinstance(error, Transient)
    words = "ProxyError" if adapter is heartbeat else "through a proxy: [Errno 111]"
    assert words in error.problem


def headers_of(server: HTTPServer) -> list[str | None]:
    return [request.headers.get("Authorization") for request, _ in server.log]


@pytest.mark.parametrize("adapter", WITH_TOKEN)
@pytest.mark.parametrize("is_renewed", [True, False])
def test_a_refused_token_is_asked_for_again_once(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, adapter: Adapter, is_renewed: bool
) -> None:
    def refresh(service: Service, refused: str) -> bool:
        assert refused == "t0ken"
        if is_renewed:
            service.__dict__["token"] = SecretStr("n3w")
        return is_renewed

    monkeypatch.setattr(Service, "refresh_token", refresh)
    for path in ("/metrics", "/api/v2/write", "/api/annotations"):
        httpserver.expect_oneshot_request(path).respond_with_data("t0ken n3w", 401)
    url = serve(httpserver)
    scheme = "Token" if adapter is influxdb else "Bearer"
    if is_renewed:
        adapter(url)
        assert headers_of(httpserver)[:2] == [f"{scheme} t0ken", f"{scheme} n3w"]
    else:
        assert failure(adapter, url).status == 401
        assert headers_of(httpserver) == [f"{scheme} t0ken"]


@pytest.mark.promise("Secrets: a token in a file is read again when a service refuses it")
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("held", ["n3w\n", "t0ken\n", None])
def test_a_token_in_a_file_is_read_again(
    httpserver: HTTPServer, tmp_path: Path, held: str | None, status: int
) -> None:
    httpserver.expect_oneshot_request("/metrics").respond_with_data("", status)
    service = Service(url=serve(httpserver), origin="X", token=TOKEN, token_file=tmp_path / "token")
    if held is not None:
        (tmp_path / "token").write_text(held)
    if held == "n3w\n":
        fetch_page(service)
        assert headers_of(httpserver)[:2] == ["Bearer t0ken", "Bearer n3w"]
    else:
        # what the file says is refused already, or it is gone
        with pytest.raises(SourceRefused):
            fetch_page(service)
        assert headers_of(httpserver) == ["Bearer t0ken"]


def test_a_token_that_is_refused_twice_is_not_sent_a_third_time(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Service, "refresh_token", lambda service, refused: True)
    httpserver.expect_request("/metrics").respond_with_data("", 401)
    assert failure(source, httpserver.url_for("").rstrip("/")).status == 401
    assert len(httpserver.log) == 2


def test_a_token_that_another_thread_renewed_is_another_one() -> None:
    service = Service(url="http://h", origin="X", token=TOKEN)
    assert service.refresh_token("old")
    assert not service.refresh_token("t0ken")
    assert not Service(url="http://h", origin="X").refresh_token("old")


def test_a_login_in_the_heartbeats_url_is_sent(httpserver: HTTPServer) -> None:
    url = serve(httpserver)
    heartbeat(url.replace("http://", "http://me:secret@"))
    heartbeat(url)
    assert headers_of(httpserver) == ["Basic bWU6c2VjcmV0", None]


@pytest.mark.parametrize("is_announced", [True, False])
def test_no_more_is_read_than_the_limit(httpserver: HTTPServer, is_announced: bool) -> None:
    body = b"x" * 11

    def answer(_: Request) -> Response:
        return Response(body if is_announced else iter([body]), 503, {"Retry-After": "3"})

    httpserver.expect_request("/").respond_with_handler(answer)
    service = Service(url=httpserver.url_for("").rstrip("/"), origin="X")
    with Client(service, API, Limits(largest=10)) as client:
        cut = client.call("GET", service.url, "it")
    assert (cut.status, cut.is_cut, cut.retry_after) == (503, True, 3.0)
    assert cut.body == (b"" if is_announced else body[:10])
    with Client(service, API, Limits(largest=11)) as client:
        whole = client.call("GET", service.url, "it")
    assert (whole.body, whole.is_cut) == (body, False)


def test_a_token_in_a_reason_is_hidden() -> None:
    service = Service(url="http://127.0.0.1:9", origin="X", token=SecretStr("refused"))
    with Client(service, API) as client, pytest.raises(SourceUnavailable) as caught:
        client.call("GET", service.url, "a page")
    assert (caught.value.what, caught.value.problem) == ("a page", "[Errno 111] Connection ***")
