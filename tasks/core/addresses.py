"""Checks of paths and URLs before any work; no message repeats a possible secret."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from tasks.core.errors import ConfigurationInvalid, UsageInvalid
from tasks.core.secrets import secret_of

HEARTBEAT_VARIABLE = "FEDVITALS_HEARTBEAT_URL"
REPORT_URL_VARIABLE = "FEDVITALS_REPORT_URL"
LEDGER_VARIABLE = "FEDVITALS_LEDGER_URL"
NOT_IN_A_LAKE = "[]^|\\%"
OBJECT_STORES = ("s3", "gs", "az")


def check_output(folder: Path | None) -> None:
    """Raise UsageInvalid, before any work, unless a report can be written there."""
    if folder is None:
        return
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UsageInvalid(
            argument="--output",
            problem=f"{there} is not a writable folder",
            fix="Name another folder",
        )


def checked_lake(url: str) -> str:
    """Return the lake's URL or folder; raise ConfigurationInvalid if it is unusable."""
    path = unquote(url.removeprefix("file://")) if url.startswith("file://") else url
    problem = _problem_with_store(url) if "://" in path else _problem_with_folder(path)
    if problem is not None:
        raise ConfigurationInvalid(
            where="FEDVITALS_LAKE_URL (by default lake in FEDVITALS_HOME)",
            problem=problem,
            fix="Name a folder, or an object store such as s3://bucket/prefix, gs:// or az://",
        )
    return url


def _problem_with_folder(path: str) -> str | None:
    unfit = " ".join(sorted(set(path) & set(NOT_IN_A_LAKE)))
    if not unfit:
        return None
    return f"the path has {unfit}, which the Delta library would change"


def _problem_with_store(url: str) -> str | None:
    """Describe the problem without the URL, which may hold a secret."""
    scheme, _, place = url.partition("://")
    if scheme not in OBJECT_STORES:
        return f"{scheme}:// is not an object store that can hold a lake"
    if "@" in place or "?" in place or "#" in place:
        return "holds credentials or a part after ? or #; set these in the store's own variables"
    return None if place.partition("/")[0] else "names no bucket"


def checked_ledger(env: Mapping[str, str]) -> str | None:
    """Return the ledger's URL, if set; refuse one whose password would be cut at its @."""
    url = secret_of(env, LEDGER_VARIABLE)
    if url and not url.startswith("sqlite") and url.count("@") > 1:
        problem = "has more than one @, so what of it is the password is not clear"
        fix = "Write an @ of the user's name or password as %40"
        raise ConfigurationInvalid(where=LEDGER_VARIABLE, problem=problem, fix=fix)
    return url


def check_owner(folder: Path, variable: str) -> None:
    """Refuse a folder that is used without being named, and belongs to another user."""
    files = [folder, *folder.glob("*")] if folder.is_dir() else [folder]
    # of a link both the link and its target; root may do anything anyway
    owners = {look(path).st_uid for path in files if path.exists() for look in (os.lstat, os.stat)}
    if owners - {0, os.getuid()}:
        problem = (
            f"{folder.absolute()} belongs to another user, who would choose what is sent where"
        )
        fix = f"If you trust it, name it in {variable}"
        raise ConfigurationInvalid(where=variable, problem=problem, fix=fix)


def checked_heartbeat(env: Mapping[str, str]) -> SecretStr | None:
    """Return the URL to request after each successful run; its path may hold a token.

    Raises ConfigurationInvalid when it is not an http or https URL.
    """
    url = secret_of(env, HEARTBEAT_VARIABLE)
    return checked_secret_url(url, HEARTBEAT_VARIABLE) if url else None


def checked_secret_url(
    url: str, where: str, example: str = "https://hc.example/ping/<id>"
) -> SecretStr:
    """Return a URL that is secret as a whole; raise ConfigurationInvalid when it is none."""
    if not _is_address(url) or not url.isascii():
        raise ConfigurationInvalid(
            where=where,
            problem="is not an http or https URL",
            fix=f"Give the URL shown by the monitoring service, such as {example}",
        )
    return SecretStr(url)


def checked_report_url(env: Mapping[str, str]) -> str | None:
    """Return the reports' base URL, if set; raise ConfigurationInvalid if it is none."""
    url = env.get(REPORT_URL_VARIABLE)
    fix = "Give the base URL at which a web server shows FEDVITALS_HOME/reports, such as https://fl.example/reports"
    return checked_url(url, REPORT_URL_VARIABLE, fix) if url else None


def checked_url(
    url: str,
    where: str,
    fix: str = "Give a base URL such as http://localhost:9090, and a token in its own variable",
) -> str:
    """Return the base URL without trailing slash, or raise ConfigurationInvalid."""
    problem = _problem_with_url(url)
    if problem is not None:
        raise ConfigurationInvalid(where=where, problem=problem, fix=fix)
    return url.rstrip("/")


def _problem_with_url(url: str) -> str | None:
    if not _is_address(url):
        return "is not an http or https URL"
    if "@" in urlsplit(url).netloc:
        return "holds credentials"
    return "has a part after ? or #" if "?" in url or "#" in url else None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return False
    return bool(is_address) and url.isprintable() and " " not in url
