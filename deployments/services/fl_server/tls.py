"""The HTTPS certificate, made at start; only the CA's certificate goes to disk."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

CA_FILE_NAME = "ca.pem"
SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class Certificate:
    """The certificate of the HTTPS port, and the file to trust it with."""

    context: ssl.SSLContext
    ca_file: Path
    not_after: datetime

    def days_left(self) -> float:
        """Return the days until the certificate ends; below 0 once it has."""
        return (self.not_after - datetime.now(UTC)).total_seconds() / SECONDS_PER_DAY


def make_certificate(
    host: str, folder: Path, days: float, on_handshake_failure: Callable[[], None]
) -> Certificate:
    """Make a CA and a certificate for host and loopback; only ca.pem goes to disk."""
    authority = trustme.CA(organization_name="fedvitals demo service")
    not_after = datetime.now(UTC) + timedelta(days=days)
    leaf = authority.issue_cert(*sorted({host, "localhost", "127.0.0.1"}), not_after=not_after)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslobject_class = _watched(on_handshake_failure)
    leaf.configure_cert(context)
    folder.mkdir(parents=True, exist_ok=True)
    ca_file = folder / CA_FILE_NAME
    authority.cert_pem.write_to_path(ca_file)
    return Certificate(context, ca_file, not_after)


def _watched(on_failure: Callable[[], None]) -> type[ssl.SSLObject]:
    class WatchedSslObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                # the handshake waits for the network: not a failure
                raise
            except ssl.SSLError:
                on_failure()
                raise

    return WatchedSslObject
