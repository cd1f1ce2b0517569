"""The ledger on a PostgreSQL that is spoken to by TLS, and servers that are not to be trusted."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from sqlalchemy import create_engine, text

from tasks.core.errors import LedgerUnavailable
from tasks.ledger.ledger import Ledger
from tests.support.installation import Installation
from tests.support.servers import PostgresServer


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(postgresql: PostgresServer, authority: trustme.CA) -> Iterator[PostgresServer]:
    """One with a certificate for 127.0.0.1, which it does not use before it is reported to."""
    certificate = authority.issue_cert("127.0.0.1")
    pems = {"key": certificate.private_key_pem, "crt": certificate.cert_chain_pems[0]}
    for kind, pem in pems.items():
        path = postgresql.data / f"server.{kind}"
        pem.write_to_path(path)
        path.chmod(0o600)
        if postgresql.user is not None:
            shutil.chown(path, postgresql.user)
    yield postgresql
    _reported(postgresql, "ALTER SYSTEM RESET ssl")


@pytest.fixture
def encrypting(server: PostgresServer) -> PostgresServer:
    _reported(server, "ALTER SYSTEM SET ssl = on")
    return server


def _reported(server: PostgresServer, statement: str) -> None:
    engine = create_engine(server.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def is_encrypted(url: str) -> bool:
    ledger = Ledger(url)
    with ledger.transaction() as connection:
        found = connection.scalar(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    ledger.close()
    return bool(found)


def test_a_server_without_tls_is_not_spoken_to_in_the_clear(server: PostgresServer) -> None:
    _reported(server, "ALTER SYSTEM SET ssl = off")

    url = server.make_database()

    assert not is_encrypted(url)
    with pytest.raises(LedgerUnavailable, match="SSL"):
        Ledger(f"{url}?sslmode=require")


@pytest.mark.parametrize(
    ("settings", "encrypted"),
    [("", True), ("?sslmode=disable", False), ("?sslmode=require", True)],
)
def test_sessions_are_encrypted_where_it_is_said(
    encrypting: PostgresServer, settings: str, encrypted: bool
) -> None:
    assert is_encrypted(encrypting.make_database() + settings) is encrypted


def test_a_server_whose_ca_is_known_is_trusted(encrypting: PostgresServer, ca_file: Path) -> None:
    url = encrypting.make_database()

    assert is_encrypted(f"{url}?sslmode=verify-full&sslrootcert={ca_file}")


def test_a_server_that_nobody_vouches_for_is_refused(
    encrypting: PostgresServer, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    url = encrypting.make_database()

    for settings in ("", f"&sslrootcert={other}"):
        with pytest.raises(LedgerUnavailable, match=r"(?i)certificate"):
            Ledger(f"{url}?sslmode=verify-full{settings}")


def test_a_server_of_another_name_is_refused(encrypting: PostgresServer, ca_file: Path) -> None:
    url = encrypting.make_database().replace("127.0.0.1", "localhost")

    with pytest.raises(LedgerUnavailable, match=r"(?i)localhost"):
        Ledger(f"{url}?sslmode=verify-full&sslrootcert={ca_file}")


def test_doctor_by_tls(encrypting: PostgresServer, ca_file: Path, tmp_path: Path) -> None:
    url = f"{encrypting.make_database()}?sslmode=verify-full&sslrootcert={ca_file}"
    ran = Installation(tmp_path, {"FEDVITALS_LEDGER_URL": url}).here("doctor", "--json")

    (check,) = [one for one in ran.document["checks"] if one["service"] == "ledger"]
    assert check["ok"]
    assert encrypting.password not in ran.out
