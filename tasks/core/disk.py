"""Free space of a folder's disk, and the error of a full one."""

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import ByteSize

from tasks.core.errors import DiskFull

# with less, neither the ledger nor a commit can be written to its end
LEAST_BYTES = 4_000_000
FULL = (errno.ENOSPC, errno.EDQUOT)


def free_space(folder: Path) -> ByteSize:
    """Return the free bytes of the disk on which a folder is, or will be created."""
    return ByteSize(shutil.disk_usage(_existing(folder)).free)


def disks_of(folders: Iterable[Path]) -> list[Path]:
    """Return the first of the folders on each disk."""
    found: dict[int, Path] = {}
    for folder in folders:
        found.setdefault(os.stat(_existing(folder)).st_dev, folder)
    return list(found.values())


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def disk_full(folder: Path) -> DiskFull:
    """Return the error that names the folder and its free space."""
    return DiskFull(folder=folder, free=free_space(folder).human_readable(decimal=True))


def require_space(folder: Path, more_bytes: int = 0) -> None:
    """Raise DiskFull unless a run can write there, and so many bytes besides."""
    if free_space(folder) < LEAST_BYTES + more_bytes:
        raise disk_full(folder)
