"""Upkeep of a SQLite ledger that somebody else is writing to, and after one that died."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.core.errors import LedgerUnavailable
from tasks.ledger.deferred import deferred_cells, put_aside
from tasks.ledger.ledger import Ledger
from tasks.ledger.maintenance import back_up, clean, forget_before, shrink
from tests.support.ledger_behaviours import cell

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Most of it is free space, and it waits for nobody."""
    made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    for number in range(100):
        made.keep_page("production", str(number), NOW, b"x" * 10_000)
    clean(made, NOW.replace(year=2027), None)
    with made.transaction() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    with closing(made):
        yield made


def pages(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA page_count").fetchone()[0])


def test_space_that_somebody_holds_is_left_for_next_time(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    full = pages(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shrink(ledger)
        assert pages(path) == full
        other.execute("ROLLBACK")

    shrink(ledger)

    assert pages(path) < full / 4


def test_what_is_wrong_otherwise_is_reported(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        connection.exec_driver_sql("PRAGMA query_only = 1")

    with pytest.raises(LedgerUnavailable, match="readonly"):
        shrink(ledger)


@pytest.mark.promise(
    "Maintenance: a ledger backup is complete before an older one is removed; a partial one is removed"
)
def test_what_a_dead_process_left_of_a_backup_goes_and_what_is_being_written_stays(
    ledger: Ledger, tmp_path: Path
) -> None:
    left, written = (tmp_path / f".ledger-{name}.db.0a1b" for name in ("old", "now"))
    for path in (left, written):
        path.write_bytes(b"half a backup")
    os.utime(left, (0, 0))

    made = back_up(ledger, tmp_path, "new", keep=1)

    assert made is not None
    assert (made.path.exists(), left.exists(), written.exists()) == (True, False, True)


def test_what_was_set_aside_expires_with_its_cell(ledger: Ledger) -> None:
    put_aside(ledger, "m", "production", [cell(0), cell(1)], "run-1", "wrong")
    put_aside(ledger, "n", "production", [cell(0)], "run-1", "wrong")

    assert forget_before(ledger, "m", cell(0).stop) == 0

    assert deferred_cells(ledger, "m", "production") == {cell(1): "run-1"}
    assert deferred_cells(ledger, "n", "production") == {cell(0): "run-1"}
