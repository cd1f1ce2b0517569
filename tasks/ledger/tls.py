"""TLS to the ledger's PostgreSQL, by the settings of libpq."""

import ssl
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from tasks.core.errors import ConfigurationInvalid

SslMode = Literal["disable", "prefer", "require", "verify-full"]
MODE, AUTHORITIES = "sslmode", "sslrootcert"


def tls_context(
    settings: Mapping[str, str | Sequence[str]],
) -> ssl.SSLContext | Literal[False] | None:
    """Return the TLS setting: False for plain text, None for TLS if offered.

    settings: those behind the `?` of the URL. `sslmode=require` encrypts and trusts any server,
    `verify-full` only one whose certificate names it and leads to a CA of `sslrootcert` (a PEM file),
    or of this machine; `prefer` is the default (libpq, "SSL Support", table of sslmode).

    Raises ConfigurationInvalid for another setting, or an unreadable file.
    """
    unknown = sorted(set(settings) - {MODE, AUTHORITIES})
    if unknown:
        raise _wrong(f"has unknown settings: {', '.join(unknown)}")
    mode, authorities = settings.get(MODE, "prefer"), settings.get(AUTHORITIES)
    if mode not in get_args(SslMode):
        raise _wrong(f"has the sslmode {mode}, which is not one of {', '.join(get_args(SslMode))}")
    if authorities is not None and (mode != "verify-full" or not isinstance(authorities, str)):
        raise _wrong("has an sslrootcert, which requires sslmode=verify-full, and only once")
    if mode in ("disable", "prefer"):
        return False if mode == "disable" else None
    context = ssl.create_default_context()
    if mode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authorities is not None:
        context = _trusting(authorities)
    return context


def _trusting(authorities: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities)
    except ssl.SSLError as error:
        raise _unread(authorities, "it holds no certificate") from error
    except OSError as error:
        raise _unread(authorities, error.strerror or "no answer") from error


def _unread(path: str, reason: str) -> ConfigurationInvalid:
    return _wrong(f"names the sslrootcert {path}, which cannot be read: {reason}")


def _wrong(problem: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        where="FEDVITALS_LEDGER_URL",
        problem=problem,
        fix="Append ?sslmode=require, or ?sslmode=verify-full&sslrootcert=/path/ca.pem",
    )
