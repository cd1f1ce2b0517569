"""Object stores under the lake: their options, content and errors.

A PUT that an object store has answered is durable, so nothing is flushed there.
"""

import os
import re
import secrets
from collections.abc import Mapping

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileInfo, FileSelector, FileType, PyFileSystem

from tasks.core.errors import FedvitalsError, LakeRefused, LakeUnavailable

# variables of each store that the Delta library reads
_VARIABLES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
# otherwise an unavailable store would block a run for minutes, for each table
_RETRY_TIMEOUT = {
    "timeout": "20s",
    "connect_timeout": "5s",
    "max_retries": "3",
    "retry_timeout": "20s",
}
_FIX = (
    "Check FEDVITALS_LAKE_URL, and the variables of its store: AWS_ (key, secret, region, endpoint), "
    "GOOGLE_ or AZURE_"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ASKING = re.compile(r"Error performing \w+ https?://")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"\b([45]\d\d) [A-Z][a-z]")
_NOT_THERE = frozenset({"NoSuchBucket", "ContainerNotFound"})
_ASKED_TO_WAIT = frozenset({"408", "429"})
# of the operating system: no space left, a file size limit, a quota
_FULL = re.compile(r"No space left on device|File too large|Disk quota exceeded")


def scheme_of(url: str) -> str | None:
    """Return s3, gs or az; None for a lake on the local disk."""
    scheme, found, _ = url.partition("://")
    return None if not found or scheme == "file" else scheme


def storage_options(url: str, variables: Mapping[str, str] | None = None) -> dict[str, str] | None:
    """Return the options passed to the store, from its usual variables.

    None for a lake on the local disk. On S3 a commit puts its log entry only where there is none
    (a conditional PUT), so that two concurrent writers never overwrite each other.
    """
    scheme = scheme_of(url)
    if scheme is None:
        return None
    env = os.environ if variables is None else variables
    prefix = _VARIABLES[scheme]
    for name in [n for n, value in os.environ.items() if n.startswith(prefix) and not value]:
        # the Delta library reads them by itself, and panics on an empty address
        del os.environ[name]
    given = {name: value for name, value in env.items() if name.startswith(prefix) and value}
    return {**_RETRY_TIMEOUT, **(_s3_defaults(given) if scheme == "s3" else {}), **given}


def _s3_defaults(given: Mapping[str, str]) -> dict[str, str]:
    defaults = {}
    # with a lock table the user has chosen the other way to commit safely
    if "AWS_S3_LOCKING_PROVIDER" not in given:
        defaults["AWS_CONDITIONAL_PUT"] = "etag"
    endpoint = given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL")
    if endpoint is not None:
        # a self-hosted store: any region works, and its URL may be http
        defaults |= {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1"}
        defaults["AWS_ALLOW_HTTP"] = str(endpoint.startswith("http://")).lower()
    if "AWS_DEFAULT_REGION" in given:
        defaults["AWS_REGION"] = given["AWS_DEFAULT_REGION"]
    return defaults


def folders(url: str) -> list[str]:
    """Return non-empty folders directly below the URL; raise OSError for `trouble`."""
    return sorted(one.base_name for one in _below(url) if one.type == FileType.Directory)


def holds_anything(url: str) -> bool:
    """Return whether there is anything below the URL. Raises as folders does."""
    return bool(_below(url))


def _below(url: str) -> list[FileInfo]:
    store = PyFileSystem(DeltaStorageHandler(url, options=storage_options(url)))
    found: list[FileInfo] = store.get_file_info(
        FileSelector("", recursive=False, allow_not_found=True)
    )
    return found


def try_writing(url: str) -> None:
    """Commit an empty table below the URL, as every landing does, and remove it.

    Raises OSError, DeltaError when the store does not let it; `trouble` translates them.
    """
    name = f"_probe-{secrets.token_hex(4)}"
    options = storage_options(url)
    schema = pa.schema([("time", pa.timestamp("us", tz="UTC"))])
    DeltaTable.create(f"{url}/{name}", schema=schema, storage_options=options)
    DeltaStorageHandler(url, options=options).delete_dir(name)


def trouble(table: str, error: Exception) -> FedvitalsError | None:
    """Translate an error of an object store or a full disk; None for other errors.

    Only codes of the library's message are shown: the message has the whole URL, maybe a secret.
    """
    text = _COLOUR.sub("", str(error))
    full = _FULL.search(text)
    if full is not None:
        fix = "Free space; nothing was lost, the next run tries again"
        return LakeRefused(table=table, problem=f"the disk is full ({full[0]})", fix=fix)
    unusable = "credential error" in text
    if not unusable and _ASKING.search(text) is None:
        return None
    status = next(iter(_STATUS.findall(text)), None)
    code = next(iter(_CODE.findall(text)), "")
    said = " ".join(part for part in (f"HTTP {status}" if status else "", code) if part)
    if code in _NOT_THERE:
        problem = f"there is no such bucket ({said})"
    elif unusable or status in ("401", "403"):
        problem = f"the object store refuses the credentials ({said or 'they cannot be used'})"
    elif status is not None and status.startswith("4") and status not in _ASKED_TO_WAIT:
        problem = f"the object store refuses the request ({said})"
    else:
        return LakeUnavailable(table=table, problem=said or _last_cause(text))
    return LakeRefused(table=table, problem=problem, fix=_FIX)


def first_and_last(error: Exception) -> str:
    """Return the library's first line and the innermost cause, without a URL."""
    text = _COLOUR.sub("", str(error)).strip()
    lines = [line.strip(" ↳") for line in text.splitlines() if line.strip(" ↳")]
    if not lines:
        return type(error).__name__
    tells_more = len(lines) > 1 and "://" not in lines[-1]
    return f"{lines[0]}: {lines[-1]}" if tells_more else lines[0]


def _last_cause(text: str) -> str:
    """Return the innermost of the causes, such as `Connection refused (os error 111)`."""
    lines = [line.strip(" ↳") for line in text.splitlines() if line.strip(" ↳")]
    return lines[-1] if lines and "://" not in lines[-1] else "no answer"
