"""The certificate: valid as long as asked for, its CA on disk, failed handshakes counted."""

import ssl
from pathlib import Path

import pytest

from deployments.services.fl_server.tls import Certificate, make_certificate


def handshake(certificate: Certificate, client_context: ssl.SSLContext) -> None:
    """A handshake in memory, until both sides are done or one raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    server = certificate.context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


def test_a_client_with_the_ca_is_let_in(tmp_path: Path) -> None:
    failures: list[str] = []
    certificate = make_certificate(
        "127.0.0.1", tmp_path / "new", 30, lambda: failures.append("failed")
    )
    handshake(certificate, ssl.create_default_context(cafile=certificate.ca_file))
    assert failures == []
    assert certificate.days_left() == pytest.approx(30, abs=0.01)


def test_a_client_without_the_ca_refuses_and_nonsense_is_counted(tmp_path: Path) -> None:
    failures: list[str] = []
    certificate = make_certificate("127.0.0.1", tmp_path, 30, lambda: failures.append("failed"))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certificate, ssl.create_default_context())
    nonsense = ssl.MemoryBIO()
    nonsense.write(b"GET / HTTP/1.1\r\n\r\n")
    server = certificate.context.wrap_bio(nonsense, ssl.MemoryBIO(), server_side=True)
    with pytest.raises(ssl.SSLError):
        server.do_handshake()
    assert failures == ["failed"]


def test_only_the_ca_is_on_disk(tmp_path: Path) -> None:
    certificate = make_certificate("127.0.0.1", tmp_path, 30, lambda: None)
    assert list(tmp_path.iterdir()) == [certificate.ca_file]
    assert "PRIVATE KEY" not in certificate.ca_file.read_text()
