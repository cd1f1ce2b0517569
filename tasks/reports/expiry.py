"""Expiry of reports of runs in FEDVITALS_HOME."""

import re
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tasks.core.maintenance import ReportsUpkeep
from tasks.core.run_id import run_id_of

# name of a run's folder, see tasks.core.run_id.run_id_of
OF_A_RUN = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")
MOST_REPORTED = 5


def clean_reports(folder: Path, before: datetime) -> ReportsUpkeep:
    """Remove reports of runs before the moment, but never the newest one."""
    found = sorted(_folders(folder))
    limit = run_id_of(before, "")
    removed, size, problems = 0, 0, []
    for each in found[:-1]:
        if each.name >= limit:
            break
        try:
            held = sum(path.lstat().st_size for path in each.rglob("*") if not path.is_dir())
            shutil.rmtree(each)
        except OSError as error:
            problems.append(f"{each} cannot be removed: {error.strerror or error}")
            continue
        removed, size = removed + 1, size + held
    return ReportsUpkeep(
        state="pending" if problems else "done",
        retained=len(found) - removed,
        removed=removed,
        bytes_removed=size,
        problems=tuple(problems[:MOST_REPORTED]),
    )


def _folders(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if OF_A_RUN.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            yield path
