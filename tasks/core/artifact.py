"""What a run shows beside itself in a user interface: texts, tables, pictures, files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# an artifact of more than 64 KB would lose its event
MOST_ROWS = 200


@dataclass(frozen=True)
class Artifact:
    """One text in markdown, table (rows by column), PNG picture, or file to open."""

    kind: Literal["markdown", "table", "image", "link"]
    key: str
    content: str | Sequence[dict[str, Any]] | Path
    description: str = ""


def artifact_key(*parts: str) -> str:
    """Return a key of lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower())
