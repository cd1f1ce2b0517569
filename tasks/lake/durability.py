"""Making a commit survive a power cut: the Delta library itself never calls fsync."""

import json
import os
from pathlib import Path


def sync_commit(table: Path, version: int) -> None:
    """Flushes one commit: its Parquet files, their folder, the log entry, the log folder, in that order.

    A log entry must never be durable before the files that it names.
    """
    log = table / "_delta_log"
    entry = log / f"{version:020d}.json"
    for path in _added_files(entry):
        sync(table / path)
    sync(table)
    sync(entry)
    sync(log)


def sync(path: Path) -> None:
    """Flushes a file's or folder's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _added_files(entry: Path) -> list[str]:
    actions = [json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines()]
    return [action["add"]["path"] for action in actions if "add" in action]
