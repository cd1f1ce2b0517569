"""Atomic writes of files."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# the umask of a process that writes below FEDVITALS_HOME
PRIVATE = 0o077


@contextmanager
def draft_of(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Create a file beside this one, which nothing else can have made; remove what is left of it."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def replace_file(path: Path, data: bytes) -> Path:
    """Write a file atomically, flushed to the disk; raise OSError when the folder refuses."""
    with draft_of(path) as draft:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    return path


def make_private(folder: Path) -> None:
    """Create a folder, and those above it, for their owner alone; others stay as they are."""
    for path in reversed((folder, *folder.parents)):
        path.mkdir(mode=0o700, exist_ok=True)


def replace_json(path: Path, document: Any) -> Path:
    """Write a document as JSON of finite numbers, as replace_file does."""
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    return replace_file(path, f"{text}\n".encode())
