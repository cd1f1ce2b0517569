"""Output of commands: JSON or a plain table."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.outside import escaped
from tasks.core.window import iso

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tasks.core.settings import Settings


def print_json(document: Any) -> None:
    """Print a JSON document on standard output; times in ISO 8601."""
    print_clean(json.dumps(document, indent=2, default=_plain, ensure_ascii=False))


def print_document(document: "BaseModel") -> None:
    """Print a document that has a schema."""
    print_clean(document.model_dump_json(indent=2))


def print_clean(text: str) -> None:
    """Print lines; controls in what comes from outside must not draw on the terminal."""
    print("\n".join(map(escaped, text.split("\n"))))


def print_table(rows: Sequence[Mapping[str, Any]], empty: str, zone: tzinfo = UTC) -> None:
    """Print rows in aligned columns, or a sentence for none; times in the zone."""
    if not rows:
        print(empty)
        return
    names = list(rows[0])
    texts = [[_cell(row[name], zone) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in [names, *texts]) for i in range(len(names))]
    for line in [names, *texts]:
        print(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        )


def shown_report(path: str, settings: "Settings | None") -> str:
    """Return a report's path, behind its URL if a web server shows it."""
    link = None if settings is None else settings.report_link(Path(path))
    return path if link is None else f"{link} ({path})"


def _cell(value: Any, zone: tzinfo) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return iso(value, zone)
    if isinstance(value, float):
        return str(value)
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value)) or "-"
    return escaped(str(_plain(value)))


def _plain(value: Any) -> Any:
    return iso(value) if isinstance(value, datetime) else str(value)
