"""Repair of a table on the local disk: corrupt files are found, and moved aside.

Nothing is ever deleted. Files that a crash left beside the log are not corrupt; `maintain`
removes them.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from tasks.lake.durability import is_outside, sync

_ENTRY = re.compile(r"\d{20}\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(\..+)?\.parquet")
_LAST = "_last_checkpoint"
_OUTSIDE = "it names a file outside of the table"


@dataclass(frozen=True)
class Damage:
    """One bad file of a table, by its path in the table's folder, and its problem.

    `is_there` is false for a missing file; the whole folder has the path `.`.
    """

    path: str
    problem: str
    is_there: bool = True


def damage_of_log(folder: Path) -> list[Damage]:
    """Return the log files to move aside to make the log readable, newest first.

    After the last sound checkpoint, these are all entries from the first corrupt or missing one on,
    since each builds on those before. Of the entries before it, which are not needed, corrupt ones.
    """
    log = folder / "_delta_log"
    checkpoints = list(_torn_checkpoints(log))
    torn = {Path(each.path).name for each in checkpoints}
    base = max((v for v, name in _checkpoints(log) if name not in torn), default=-1)
    entries = sorted((int(p.stem), p) for p in _matching(log, _ENTRY))
    found = [
        Damage(_in(folder, path), problem)
        for version, path in entries
        if version <= base and (problem := _problem_of_entry(path))
    ]
    behind = [(version, path) for version, path in entries if version > base]
    cut = _first_unusable(behind, base)
    for version, path in behind:
        if cut is not None and version >= cut:
            found.append(
                Damage(_in(folder, path), _problem_of_entry(path) or "follows a corrupt entry")
            )
    found += checkpoints
    return sorted(found, key=lambda each: each.path, reverse=True)


def damage_of_files(folder: Path, log: list[Damage]) -> list[Damage] | None:
    """Return the table's missing or unreadable Parquet files; each is read to its end.

    `log` will be moved aside. None when the rest of the log has no state of the table.
    """
    files = _files(folder, {Path(each.path).name for each in log})
    if files is None:
        return None
    found = []
    for path, size in sorted(files.items()):
        problem = _problem_of_parquet(folder / path, size)
        if problem is not None:
            found.append(Damage(path, problem, is_there=(folder / path).exists()))
    return found


def _files(folder: Path, gone: set[str]) -> dict[str, int] | None:
    """Return the table's Parquet files by the sound part of its log, with sizes."""
    with tempfile.TemporaryDirectory() as copy:
        log = Path(copy) / "_delta_log"
        log.mkdir()
        for path in (folder / log.name).iterdir():
            if path.is_file() and path.name not in gone:
                shutil.copy(path, log / path.name)
        try:
            table = DeltaTable(copy)
            actions = pa.table(table.get_add_actions(flatten=True))
        except (DeltaError, OSError):
            return None
    names = [unquote(name) for name in actions["path"].to_pylist()]
    return dict(zip(names, actions["size_bytes"].to_pylist(), strict=True))


def move_aside(folder: Path, target: Path, damage: list[Damage]) -> None:
    """Move existing files into the target folder, in this order, flushed to the disk."""
    for each in damage:
        if not each.is_there:
            continue
        source, destination = folder / each.path, target / each.path
        destination.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, destination)
        sync(destination.parent)
        sync(source.parent)


def _first_unusable(entries: list[tuple[int, Path]], base: int) -> int | None:
    expected = base + 1
    for version, path in entries:
        if version != expected or _problem_of_entry(path):
            return min(version, expected)
        expected += 1
    return None


def _problem_of_entry(path: Path) -> str | None:
    content = path.read_bytes()
    if not content.strip():
        return "an empty log entry"
    try:
        actions = [json.loads(line) for line in content.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return "a corrupt log entry"
    if not all(isinstance(action, dict) for action in actions):
        return "a corrupt log entry"
    files = [each for action in actions for each in action.values() if isinstance(each, dict)]
    return _OUTSIDE if any(is_outside(str(file.get("path", "x"))) for file in files) else None


def _problem_of_parquet(path: Path, size: int) -> str | None:
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        return "a missing Parquet file"
    if found == 0:
        return "an empty Parquet file"
    if found != size:
        return f"a Parquet file of {found} bytes instead of {size}"
    return None if _is_parquet(path) else "a corrupt Parquet file"


def _is_parquet(path: Path) -> bool:
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group)
    except (OSError, pa.ArrowException):
        return False
    return True


def _torn_checkpoints(log: Path) -> Iterator[Damage]:
    names = [name for _, name in _checkpoints(log)]
    torn = {name: problem for name in names if (problem := _problem_of_checkpoint(log / name))}
    yield from (Damage(f"{log.name}/{name}", torn[name]) for name in sorted(torn))
    last = log / _LAST
    if last.exists() and not _is_sound_pointer(last, set(names) - set(torn)):
        yield Damage(f"{log.name}/{_LAST}", "it names no readable checkpoint")


def _problem_of_checkpoint(path: Path) -> str | None:
    if not _is_parquet(path):
        return "a corrupt checkpoint"
    with pq.ParquetFile(path) as file:
        added = file.read(columns=["add.path"]).flatten()[0]
    return _OUTSIDE if any(map(is_outside, added.drop_null().to_pylist())) else None


def _is_sound_pointer(last: Path, names: set[str]) -> bool:
    try:
        version = int(json.loads(last.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return any(name.startswith(f"{version:020d}.") for name in names)


def _checkpoints(log: Path) -> list[tuple[int, str]]:
    found = ((_CHECKPOINT.fullmatch(p.name), p.name) for p in _matching(log, _CHECKPOINT))
    return [(int(match[1]), name) for match, name in found if match]


def _matching(log: Path, pattern: re.Pattern[str]) -> list[Path]:
    return [path for path in sorted(log.glob("*")) if pattern.fullmatch(path.name)]


def _in(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder))
