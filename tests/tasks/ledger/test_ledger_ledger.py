"""The ledger on SQLite: what every ledger does, and a database that does not answer."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.core.errors import LedgerUnavailable
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import FileLocks
from tests.support.ledger_behaviours import CHECKS, DAY, cell, load, state


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}?timeout=0.2")
    yield ledger
    ledger.close()


@pytest.mark.parametrize("check", CHECKS)
def test_ledger_does_what_every_ledger_does(
    ledger: Ledger, check: Callable[[Ledger], None]
) -> None:
    check(ledger)


def test_what_is_recorded_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    first = Ledger(url)
    first.record([state()])
    first.close()
    second = Ledger(url)
    assert second.cells("m", "production", DAY) == {cell(0): state()}
    second.close()


def test_states_are_recorded_all_or_none(ledger: Ledger) -> None:
    with pytest.raises(LedgerUnavailable):
        ledger.record([state(0), state(1, run_id=None)])
    assert ledger.cells("m", "production", DAY) == {}


def test_database_writes_through_to_the_disk(ledger: Ledger, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_locked_database_is_unavailable_to_writers_and_not_for_ever(
    ledger: Ledger, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writes: list[Callable[[], None]] = [
        lambda: ledger.record([state()]),
        lambda: ledger.record_loads([load()]),
        lambda: ledger.keep_verified("d"),
    ]
    for write in writes:
        with pytest.raises(
            LedgerUnavailable, match=r"database is locked\. Fix: check the database"
        ):
            write()
    assert ledger.cells("m", "production", DAY) == {}
    other.execute("ROLLBACK")
    other.close()
    ledger.record([state()])
    assert len(ledger.cells("m", "production", DAY)) == 1


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    errors: list[Exception] = []

    def write(first: int) -> None:
        try:
            for hour in range(first, 24, 4):
                ledger.record([state(hour)])
        except LedgerUnavailable as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(ledger.cells("m", "production", DAY)) == 24
    ledger.close()


def test_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(LedgerUnavailable, match="file is not a database"):
        Ledger(f"sqlite:///{path}")
    assert path.read_bytes() == b"no database at all" * 100


def test_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="unable to open database file"):
        Ledger(f"sqlite:///{tmp_path / 'absent' / 'ledger.db'}")


def test_database_that_is_read_only_is_unavailable_to_writers(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    first = Ledger(f"sqlite:///{path}")
    first.record([state()])
    first.close()
    ledger = Ledger(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert len(ledger.cells("m", "production", DAY)) == 1
    with pytest.raises(LedgerUnavailable, match="readonly database"):
        ledger.record([state(1)])
    ledger.close()


def test_table_that_is_gone_is_reported(ledger: Ledger, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "ledger.db")
    other.execute("DROP TABLE cells")
    other.close()
    with pytest.raises(LedgerUnavailable, match="no such table: cells"):
        ledger.newest("m", "production")


def test_server_that_is_down_is_unavailable_and_its_password_is_reported_to_nobody() -> None:
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger("postgresql://user:s3cr3t@127.0.0.1:1/name")
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.url == "postgresql://user:***@127.0.0.1:1/name"


def test_locks_of_a_file_are_files(ledger: Ledger, tmp_path: Path) -> None:
    locks = ledger.locks(tmp_path / "locks")
    assert isinstance(locks, FileLocks)
    with locks.hold("m", "production", "run-1") as lock:
        lock.check()
    assert (tmp_path / "locks").is_dir()
