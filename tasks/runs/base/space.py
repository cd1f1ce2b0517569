"""The disks that a run fills: what they have free, and whether that is enough."""

import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import make_url

from tasks.core.checks import ServiceCheck
from tasks.core.disk import disks_of, free_space, require_space
from tasks.core.settings import Settings
from tasks.lake.delta import local_path


def require_disks(settings: Settings) -> None:
    """Raise DiskFull unless home, lake and ledger can be written."""
    for folder in disks_of(_data_folders(settings)):
        require_space(folder)


def check_disks(settings: Settings) -> Iterator[ServiceCheck]:
    """Compare the free space of each disk with `min_free_space`."""
    least = settings.pipeline.min_free_space
    # as the libraries find it, whether it has space or not
    temporary = Path(os.environ.get("TMPDIR") or "/tmp")
    for folder in disks_of([*_data_folders(settings), temporary]):
        free = free_space(folder)
        detail = f"{folder} has {free.human_readable(decimal=True)} free"
        fix = f"Free space, or lower pipeline.min_free_space ({least.human_readable(decimal=True)})"
        is_enough = free >= least
        yield ServiceCheck("disk", "has space", is_enough, detail, "" if is_enough else fix)


def low_space(settings: Settings) -> tuple[str, ...]:
    """Warn of disks with less than `min_free_space`."""
    low = [check for check in check_disks(settings) if not check.ok]
    details = ", ".join(check.detail for check in low)
    return (f"little space is left: {details}. Fix: free space",) if low else ()


def _data_folders(settings: Settings) -> Iterator[Path]:
    yield settings.home
    lake, ledger = local_path(settings.lake_url), make_url(settings.ledger_url)
    if lake is not None:
        yield lake
    if ledger.get_backend_name() == "sqlite" and ledger.database:
        yield Path(ledger.database).parent
