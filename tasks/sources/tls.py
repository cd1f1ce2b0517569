"""The certificate with which a service answers over TLS, also one that is not to be trusted."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from cryptography import x509
from urllib3.util.ssl_match_hostname import CertificateError, match_hostname

from tasks.core.batch import Batch, build_frame
from tasks.core.measurement import Measurement
from tasks.core.ports import History
from tasks.core.services import Service
from tasks.core.window import Window, floor
from tasks.sources.certificate import HTTPS_PORT, days_left, presented
from tasks.sources.http import API, Request
from tasks.sources.sample import Shared, nothing, too_late

WHAT = "its certificate"
_UNKNOWN = (x509.UnsupportedGeneralNameType, x509.DuplicateExtension)


@dataclass(frozen=True)
class Certificate:
    """What is to be known of a service's certificate.

    `days_left` is negative once it has expired; `trusted` says whether it and its chain lead to a
    CA that we trust and are valid now, whatever name they are for; `host_matches` whether it names
    the host that the service is reached by. Each is a Fact that a field can name.
    """

    days_left: float
    issuer: str | None
    subject: str | None
    host_matches: bool
    trusted: bool


class TlsSource:
    """Makes one sample of a measurement from the service's certificate.

    It is looked at once, whoever asks first; use one source a run. Safe between threads. The
    connection is direct, through no proxy.
    """

    name = "tls"
    history: History = "sample"

    def __init__(self, service: Service, now: datetime | None = None) -> None:
        """`now` is what the samples are dated with: the run's time, by default the look's."""
        self._service = service
        parts = urlsplit(service.url)
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or HTTPS_PORT
        self._shared = Shared(self._look, now)

    def close(self) -> None:
        """Nothing is open."""

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """One row at the sample's time, floored to the catalogue's `every`.

        Outside the window there is none, and no request; without https there is none either, with
        a warning.

        Raises:
            SourceUnavailable: no connection, or no TLS.
            AnswerInvalid, ConfigurationInvalid: the certificate, or our CAs, cannot be read.
        """
        if not self._is_tls:
            warning = f"the service is not reached by TLS: {self._service.origin} is an http URL"
            return nothing(measurement, environment, window, warning)
        look = self._shared.within(window, measurement.every)
        if look is None:
            return too_late(measurement, environment, window)
        tags = {"host": self._host, "port": str(self._port)}
        columns: dict[str, object] = {
            "time": [floor(look.time, measurement.every)],
            "environment": [environment],
            **{tag: [tags[tag]] for tag in measurement.tags},
        }
        for name, spec in measurement.fields.items():
            assert spec.fact is not None, "a field of this source names a fact"
            columns[name] = [getattr(look.seen, spec.fact)]
        return Batch(
            measurement=measurement,
            environment=environment,
            window=window,
            frame=build_frame(measurement, columns),
            warnings=look.warnings(measurement.every),
        )

    def _look(self) -> Certificate:
        request = Request(service=API.name, url=self._service.url, what=WHAT)
        try:
            encoded, is_trusted = presented(self._host, self._port)
        except (OSError, UnicodeError) as error:
            raise request.unavailable(str(error)) from error
        try:
            certificate = x509.load_der_x509_certificate(encoded)
            return Certificate(
                days_left=days_left(certificate),
                issuer=certificate.issuer.rfc4514_string() or None,
                subject=certificate.subject.rfc4514_string() or None,
                host_matches=_names(certificate, self._host),
                trusted=is_trusted,
            )
        # also for names of a kind that the library does not know
        except (ValueError, x509.InvalidVersion, *_UNKNOWN) as error:
            raise request.invalid(f"its certificate cannot be read: {error}") from error


def _names(certificate: x509.Certificate, host: str) -> bool:
    """Whether the certificate names the host (RFC 6125: by its subjectAltName alone)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    texts = [("DNS", name) for name in names.get_values_for_type(x509.DNSName)]
    texts += [("IP Address", str(a)) for a in names.get_values_for_type(x509.IPAddress)]
    try:
        match_hostname({"subjectAltName": tuple(texts)}, host)
    except CertificateError:
        return False
    return True
