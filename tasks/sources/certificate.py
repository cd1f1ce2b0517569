"""The certificate that a server presents, also one that is not to be trusted."""

import socket
import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

from cryptography import x509

from tasks.core.errors import ConfigurationInvalid
from tasks.http import trusting

HTTPS_PORT = 443
# to connect, and for each step of the handshake
SECONDS = 5.0
SECONDS_PER_DAY = 86_400.0


def presented(host: str, port: int) -> tuple[bytes, bool]:
    """Return the certificate in DER, and whether it is trusted; raise OSError without one.

    The connection is direct, through no proxy.
    """
    try:
        return _handshake(host, port, _context(verifies=True)), True
    except ssl.SSLCertVerificationError:
        return _handshake(host, port, _context(verifies=False)), False


def days_left(certificate: x509.Certificate) -> float:
    """Return the days until it expires; negative once it has."""
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    return left.total_seconds() / SECONDS_PER_DAY


def days_left_at(url: str) -> float | None:
    """Return the days left of the certificate behind a URL; None for none that can be read."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        return None
    try:
        encoded, _ = presented(parts.hostname or "", parts.port or HTTPS_PORT)
        return days_left(x509.load_der_x509_certificate(encoded))
    # the request itself reports what is wrong
    except (OSError, ValueError, x509.InvalidVersion, ConfigurationInvalid):
        return None


def _handshake(host: str, port: int, context: ssl.SSLContext) -> bytes:
    with (
        socket.create_connection((host, port), timeout=SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        certificate = secured.getpeercert(binary_form=True)
    # a server without one cannot finish a handshake that we take part in
    assert certificate is not None
    return certificate


def _context(verifies: bool) -> ssl.SSLContext:
    context = trusting() if verifies else ssl.create_default_context()
    context.check_hostname = False
    if not verifies:
        # nothing is sent over this connection: it is made to look at what cannot be trusted
        context.verify_mode = ssl.CERT_NONE
    return context
