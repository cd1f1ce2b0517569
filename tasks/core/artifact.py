"""Artifacts of a run for a user interface: markdown, tables, pictures, links."""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# Prefect loses the event of an artifact larger than 64 KB
MOST_ROWS = 200


@dataclass(frozen=True)
class Artifact:
    """A markdown text, table (rows by column), PNG picture, or link (its URL)."""

    kind: Literal["markdown", "table", "image", "link"]
    key: str
    content: str | Sequence[dict[str, Any]] | Path
    description: str = ""


def page_artifact(page: Path, link: str | None, key: str, name: str) -> Artifact:
    """Return a link to a page, or host and path, as browsers open no file:// links."""
    if link is not None:
        return Artifact("link", key, link, name)
    place = code(f"{socket.gethostname()}:{page.resolve()}")
    return Artifact("markdown", key, f"{name}: {place}\n")


def code(text: str) -> str:
    """Return external text as a code span, which markdown leaves alone."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def artifact_key(*parts: str) -> str:
    """Return a key of lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower())
