"""Durability of commits across a power cut: the Delta library never calls fsync."""

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote

# earlier entries are covered by a checkpoint
ENTRIES_LOOKED_AT = 20
# names that begin with no dot; no scheme, no drive, and nothing encoded twice
_INSIDE = re.compile(r"(?:[\w=-][\w.=-]*/)*[\w-][\w.=-]*")


def sync_commit(table: Path, version: int) -> None:
    """Flush one commit in order: Parquet files, their folder, log entry, log folder.

    A log entry must never be durable before the files that it names. With the entry goes the
    checkpoint that some commits write, and with the first commit the folders above the table.
    """
    log = table / "_delta_log"
    entry = log / f"{version:020d}.json"
    for name in _added_files(entry):
        sync(table / name)
    sync(table)
    sync(entry)
    checkpoints = sorted(log.glob(f"{version:020d}.checkpoint*.parquet"))
    for path in [*checkpoints, log / "_last_checkpoint"] if checkpoints else []:
        sync(path)
    sync(log)
    if version == 0:
        sync(table.parent)
        sync(table.parent.parent)


def empty_entry(table: Path, version: int) -> int | None:
    """Return the last empty one of the newest log entries, as a power cut leaves it.

    The Delta library reads an empty entry as a commit without rows.
    """
    log = table / "_delta_log"
    for number in range(version + 1, max(version - ENTRIES_LOOKED_AT, -1), -1):
        try:
            if (log / f"{number:020d}.json").stat().st_size == 0:
                return number
        except FileNotFoundError:
            continue
    return None


def last_checkpoint(table: Path) -> int | None:
    """Return the version of the table's newest readable checkpoint, if any."""
    try:
        pointer = json.loads(
            (table / "_delta_log" / "_last_checkpoint").read_text(encoding="utf-8")
        )
        return int(pointer["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_outside(path: str) -> bool:
    """Return whether a log's path leads, or might lead, out of the table's folder."""
    return _INSIDE.fullmatch(unquote(path)) is None


def sync(path: Path) -> None:
    """Flush a file's or folder's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _added_files(entry: Path) -> list[str]:
    actions = [json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines()]
    return [action["add"]["path"] for action in actions if "add" in action]
