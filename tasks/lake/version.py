"""The file with the lake's version, against misreading, and its ledger's id."""

import json
from typing import Any

from deltalake._internal import DeltaFileSystemHandler

from tasks.core.errors import LakeDamaged, LakeDiffers, MadeByNewer
from tasks.core.whole_file import replace_file
from tasks.lake.delta import lake_errors, local_path
from tasks.lake.durability import sync
from tasks.lake.storage import storage_options

FILE = "_fedvitals.json"
# of a lake without the file, which is older than the file itself
LAKE_VERSION = 1


def check_version(url: str) -> bool:
    """Return whether the lake has a version file; without one it is version 1.

    Raises MadeByNewer for an unknown version, LakeDamaged when the file is corrupt, LakeUnavailable,
    LakeRefused of an object store.
    """
    return _facts(url) is not None


def ledger_id_of(url: str) -> str | None:
    """Return the id of the lake's ledger, if any. Raises as check_version does."""
    found = (_facts(url) or {}).get("ledger")
    return found if isinstance(found, str) else None


def check_id(url: str, known: str) -> None:
    """Raise LakeDiffers when the lake has another id, or none."""
    found = ledger_id_of(url)
    if found != known:
        raise LakeDiffers(url=url, found=found, known=known)


def write_version(url: str, ledger_id: str | None = None) -> None:
    """Write this fedvitals's layout version atomically, flushed to a local disk."""
    facts = {"lake": LAKE_VERSION} | ({} if ledger_id is None else {"ledger": ledger_id})
    content = json.dumps(facts).encode()
    folder = local_path(url)
    with lake_errors(FILE):
        if folder is None:
            stream = _store(url).open_output_stream(FILE, None)
            stream.write(content)
            stream.close()  # type: ignore[attr-defined]
            return
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / FILE, content)
        sync(folder)


def _read(url: str) -> bytes | None:
    folder = local_path(url)
    with lake_errors(FILE):
        try:
            if folder is not None:
                return (folder / FILE).read_bytes()
            stream = _store(url).open_input_file(FILE)
            return bytes(stream.read(stream.size()))
        except (FileNotFoundError, NotADirectoryError):
            return None


def _facts(url: str) -> dict[str, Any] | None:
    content = _read(url)
    if content is None:
        return None
    try:
        facts: dict[str, Any] = json.loads(content)
        version = facts["lake"]
    except (ValueError, KeyError, TypeError):
        version = None
    if not isinstance(version, int) or version < 1:
        raise LakeDamaged(table=FILE, problem="it has no version")
    if version > LAKE_VERSION:
        raise MadeByNewer(what=f"lake {url}", version=version, known=LAKE_VERSION)
    return facts


def _store(url: str) -> DeltaFileSystemHandler:
    return DeltaFileSystemHandler(url, storage_options(url))
