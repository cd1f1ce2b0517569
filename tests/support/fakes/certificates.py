"""Certificates of each kind that a service may present, and a server that presents one."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import trustme
from cryptography import x509
from pytest_httpserver import HTTPServer

Kind = Literal["good", "chained", "expired", "early", "other_host", "self_signed", "other_ca"]
HOST = "localhost"
DAY = timedelta(days=1)


class Certificates:
    """A CA whose certificate is in `ca_file`, and server certificates for HOST and 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA(organization_name="tests")
        self.ca_file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca_file)

    def context(self, kind: Kind) -> ssl.SSLContext:
        """What a server presents with this kind of certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if kind == "self_signed":
            path = self._folder / "self_signed.pem"
            other = trustme.CA(organization_name="nobody")
            path.write_bytes(other.private_key_pem.bytes() + other.cert_pem.bytes())
            context.load_cert_chain(path)
        else:
            self._leaf(kind).configure_cert(context)
        return context

    def mutual_context(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
        """What a server presents that takes only clients with a certificate of the CA."""
        context = self.context("good")
        context.maximum_version = version
        context.verify_mode = ssl.CERT_REQUIRED
        self._authority.configure_trust(context)
        return context

    def client_files(self, is_known: bool = True) -> tuple[Path, Path]:
        """Files of a client's certificate, of the CA or of an unknown one, and of its key."""
        leaf = (self._authority if is_known else trustme.CA()).issue_cert("client.example")
        certificate, key = self._folder / "client.pem", self._folder / "client.key"
        certificate.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(key)
        return certificate, key

    def _leaf(self, kind: Kind) -> trustme.LeafCert:
        now = datetime.now(UTC)
        if kind == "expired":
            return self._issue(not_before=now - 30 * DAY, not_after=now - 2 * DAY)
        if kind == "early":
            return self._issue(not_before=now + DAY, not_after=now + 30 * DAY)
        if kind == "other_host":
            return self._authority.issue_cert("other.example", not_after=now + 30 * DAY)
        if kind == "other_ca":
            return trustme.CA().issue_cert(HOST, "127.0.0.1", not_after=now + 30 * DAY)
        if kind == "chained":
            return self._authority.create_child_ca().issue_cert(HOST, not_after=now + 30 * DAY)
        return self._issue(not_after=now + 30 * DAY)

    def _issue(self, not_after: datetime, not_before: datetime | None = None) -> trustme.LeafCert:
        return self._authority.issue_cert(
            HOST, "127.0.0.1", not_before=not_before, not_after=not_after
        )

    @property
    def issuer(self) -> str:
        """The name of the CA."""
        certificate = x509.load_pem_x509_certificate(self._authority.cert_pem.bytes())
        return certificate.subject.rfc4514_string()


@contextmanager
def over_tls(context: ssl.SSLContext) -> Iterator[HTTPServer]:
    """A server on HOST that presents the context's certificate."""
    with HTTPServer(host=HOST, ssl_context=context) as server:
        yield server
