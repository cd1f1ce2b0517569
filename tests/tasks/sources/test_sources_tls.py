"""The certificate of a service, looked at from outside."""

import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tasks.core.batch import Batch, empty_frame
from tasks.core.errors import AnswerInvalid, ConfigurationInvalid, SourceUnavailable
from tasks.core.services import Service
from tasks.core.window import Window, floor
from tasks.sources.tls import TlsSource
from tests.support.fakes.certificates import Certificates, Kind, over_tls
from tests.support.fakes.raw_http import RawServer
from tests.support.rest_samples import HOUR, around_now, rows_of, tls_measurement

ENTRY = tls_measurement()
FIELDS = ("days_left", "issuer", "subject", "host_matches", "trusted")


def look(url: str) -> Batch:
    source = TlsSource(Service(url=url, origin="FED_VIT_API_URL"))
    batch = source.extract(ENTRY, "production", around_now())
    source.close()
    return batch


def facts(certificates: Certificates, kind: Kind, host: str = "localhost") -> dict[str, object]:
    with over_tls(certificates.context(kind)) as server:
        batch = look(f"https://{host}:{server.port}")
    assert (batch.warnings, batch.rejected_values, batch.dropped) == ((), 0, {})
    ((*values,),) = rows_of(batch)
    return dict(zip(FIELDS, values, strict=True))


@pytest.mark.promise(
    "Secrets: an untrusted certificate gets no token, and is inspected all the same"
)
@pytest.mark.parametrize(
    ("kind", "host", "days", "host_matches", "trusted"),
    [
        ("good", "localhost", 30, True, True),
        ("good", "127.0.0.1", 30, True, True),
        ("chained", "localhost", 30, True, True),
        ("chained", "127.0.0.1", 30, False, True),
        ("expired", "localhost", -2, True, False),
        ("early", "localhost", 30, True, False),
        ("other_host", "localhost", 30, False, True),
        ("other_ca", "localhost", 30, True, False),
    ],
)
def test_every_kind_of_certificate_can_be_looked_at(
    certificates: Certificates,
    kind: Kind,
    host: str,
    days: int,
    host_matches: bool,
    trusted: bool,
) -> None:
    found = facts(certificates, kind, host)
    left = found["days_left"]
    assert isinstance(left, float)
    assert days - 0.01 < left < days
    assert (found["host_matches"], found["trusted"]) == (host_matches, trusted)
    assert (found["issuer"] == certificates.issuer) == (kind not in ("other_ca", "chained"))
    assert str(found["subject"]).startswith("OU=Testing cert #")


def test_a_self_signed_certificate_names_no_host(certificates: Certificates) -> None:
    found = facts(certificates, "self_signed")
    assert found["issuer"] == found["subject"]
    assert str(found["issuer"]).endswith("O=nobody")
    assert (found["host_matches"], found["trusted"]) == (False, False)


def test_tags_time_and_types(certificates: Certificates) -> None:
    entry = tls_measurement("port", "host")
    with over_tls(certificates.context("good")) as server:
        source = TlsSource(Service(url=f"https://localhost:{server.port}", origin="X"))
        before = datetime.now(UTC)
        batch = source.extract(entry, "production", around_now())
    assert rows_of(batch)[0][:2] == (str(server.port), "localhost")
    minute = timedelta(minutes=1)
    slots = {floor(before, minute), floor(datetime.now(UTC), minute)}
    assert set(batch.frame["time"]) <= slots
    assert batch.frame.dtypes.astype(str).to_dict() == {
        "time": "datetime64[us, UTC]",
        "environment": "category",
        "port": "category",
        "host": "category",
        "days_left": "float64",
        "issuer": "str",
        "subject": "str",
        "host_matches": "boolean",
        "trusted": "boolean",
    }


def test_it_is_looked_at_once(certificates: Certificates) -> None:
    with over_tls(certificates.context("good")) as server:
        source = TlsSource(Service(url=f"https://localhost:{server.port}", origin="X"))
        with ThreadPoolExecutor(4) as pool:
            window = around_now()
            batches = list(pool.map(lambda _: source.extract(ENTRY, "e", window), range(8)))
    assert len({batch.frame["days_left"][0] for batch in batches}) == 1


def test_a_run_dates_it_with_its_own_time(certificates: Certificates) -> None:
    slot = floor(datetime.now(UTC), HOUR) - 5 * HOUR
    with over_tls(certificates.context("good")) as server:
        service = Service(url=f"https://localhost:{server.port}", origin="X")
        source = TlsSource(service, now=slot + timedelta(seconds=1))
        batch = source.extract(ENTRY, "e", Window(slot, slot + timedelta(minutes=1)))
    assert batch.frame["time"].tolist() == [slot]
    assert batch.warnings[0].startswith("the sample was taken ")


def test_without_tls_there_is_nothing_to_look_at() -> None:
    batch = look("http://localhost:1")
    pd.testing.assert_frame_equal(batch.frame, empty_frame(ENTRY))
    assert batch.warnings == ("the service is not reached by TLS: FED_VIT_API_URL is an http URL",)


def test_outside_the_window_nobody_is_asked() -> None:
    now = datetime.now(UTC)
    source = TlsSource(Service(url="https://localhost:1", origin="X"))
    batch = source.extract(ENTRY, "production", Window(now - 2 * HOUR, now - HOUR))
    pd.testing.assert_frame_equal(batch.frame, empty_frame(ENTRY))
    assert batch.warnings[0].startswith("no sample: ")


def test_nobody_there_may_come_right() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SourceUnavailable) as caught:
        look(f"https://127.0.0.1:{port}")
    assert caught.value.what == "its certificate"
    assert "refused" in caught.value.problem


def test_a_server_without_tls_may_come_right() -> None:
    with (
        RawServer([b"HTTP/1.1 400 Bad Request\r\n\r\n"]) as server,
        pytest.raises(SourceUnavailable, match="SSL"),
    ):
        look(server.url.replace("http:", "https:"))


def test_a_host_that_is_no_name(certificates: Certificates) -> None:
    with pytest.raises(SourceUnavailable):
        look(f"https://{'a' * 64}.example:1")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_cas_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = tmp_path / "other.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with pytest.raises(ConfigurationInvalid) as caught:
        look("https://localhost:1")
    assert caught.value.where == "REQUESTS_CA_BUNDLE"
    assert str(caught.value.problem).startswith(f"{path}: ")


def test_a_service_that_wants_a_client_certificate(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with over_tls(certificates.mutual_context()) as server:
        with pytest.raises(SourceUnavailable, match="HANDSHAKE_FAILURE"):
            look(f"https://localhost:{server.port}")
        certificate, key = certificates.client_files()
        monkeypatch.setenv("FEDVITALS_TLS_CERT", str(certificate))
        monkeypatch.setenv("FEDVITALS_TLS_KEY", str(key))
        assert look(f"https://localhost:{server.port}").frame["trusted"].tolist() == [True]


def test_a_folder_of_cas_is_one_too(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hashed"
    folder.mkdir()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder))
    assert facts(certificates, "good")["trusted"] is False


@pytest.mark.parametrize(
    "names", [b"\x30\x04\xa3\x02\x05\x00", b"\x30\x02\xa5\x00", b"\x30\x01", b"no"]
)
def test_names_that_the_library_does_not_know_are_no_traceback(
    monkeypatch: pytest.MonkeyPatch, names: bytes
) -> None:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    san = x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, names)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    der = built.add_extension(san, False).sign(key, SHA256()).public_bytes(Encoding.DER)
    monkeypatch.setattr("tasks.sources.tls.presented", lambda *_: (der, True))
    source = TlsSource(Service(url="https://h.example", origin="X"))
    with pytest.raises(AnswerInvalid, match="its certificate cannot be read"):
        source.extract(ENTRY, "production", around_now())
