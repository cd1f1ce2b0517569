"""Atomic writes of files."""

import json
import os
import secrets
from pathlib import Path
from typing import Any


def replace_file(path: Path, data: bytes) -> Path:
    """Write a file atomically; raise OSError when the folder refuses."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def replace_json(path: Path, document: Any) -> Path:
    """Write a document as JSON of finite numbers, as replace_file does."""
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    return replace_file(path, f"{text}\n".encode())
