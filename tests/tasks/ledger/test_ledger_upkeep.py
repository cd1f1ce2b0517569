"""Upkeep of a SQLite ledger that somebody else is writing to."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.core.errors import LedgerUnavailable
from tasks.ledger.ledger import Ledger
from tasks.ledger.upkeep import clean, shrink

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


def test_what_is_wrong_otherwise_is_told(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        connection.exec_driver_sql("PRAGMA query_only = 1")

    with pytest.raises(LedgerUnavailable, match="readonly"):
        shrink(ledger)
