"""The ledger's version: an older one is brought up to date behind a copy, a newer one is refused."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tasks.core.errors import MadeByNewer
from tasks.ledger.ledger import Ledger
from tasks.ledger.version import LEDGER_VERSION
from tests.tasks.lake.test_lake_windows import STATE

pytestmark = pytest.mark.promise(
    "Ledger: a newer lake or ledger is refused; an older ledger is migrated, with a copy of the SQLite file"
)

INDEXES = {"cells_of_run", "cells_read_in_part", "cells_digests", "loads_digests"}
INDEXES |= {"health_samples_by_time", "incidents_by_alert", "incidents_open", "outbox_waiting"}


@contextmanager
def opened(path: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        yield ledger


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(sql).fetchall()
        connection.commit()
        return rows


def indexes(path: Path) -> set[object]:
    rows = ask(path, "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    return {name for (name,) in rows}


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A ledger as it was before it had a version."""
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        ledger.record([STATE])
    for sql in ("DROP TABLE meta", *(f"DROP INDEX {name}" for name in indexes(path))):
        ask(path, sql)
    return path


def test_new_ledger_says_its_version(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    for _ in range(2):
        with opened(path):
            assert ask(path, "SELECT key, value FROM meta") == [("version", str(LEDGER_VERSION))]
    assert indexes(path) >= INDEXES
    assert not list(tmp_path.glob("*.version-*"))


def test_older_ledger_is_brought_up_to_date_behind_a_copy(older: Path) -> None:
    with opened(older) as ledger:
        assert ledger.newest("example", "production") == STATE
    assert ask(older, "SELECT value FROM meta WHERE key = 'version'") == [(str(LEDGER_VERSION),)]
    assert indexes(older) >= INDEXES
    copy = older.with_name("ledger.db.version-1")
    assert ask(copy, "SELECT count(*) FROM cells") == [(1,)]
    assert indexes(copy) == set()
    assert len(list(older.parent.glob("*.version-*"))) == 1


def test_ledger_of_the_version_before_gets_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        ledger.record([STATE])
    for sql in (
        "ALTER TABLE loads DROP COLUMN sent_until",
        "DROP TABLE set_aside",
        "DROP TABLE health_tracks",
        "DROP TABLE health_samples",
        "DROP TABLE maintenance",
        "DROP INDEX cells_digests",
        "DROP INDEX loads_digests",
        "UPDATE meta SET value = '2'",
    ):
        ask(path, sql)
    with opened(path) as ledger:
        assert ledger.newest("example", "production") == STATE
        assert ask(path, "SELECT count(*) FROM set_aside") == [(0,)]
        assert ask(path, "SELECT sent_until FROM loads") == []
        for table in ("health_tracks", "health_samples", "maintenance"):
            assert ask(path, f"SELECT count(*) FROM {table}") == [(0,)]
    assert indexes(path) >= INDEXES
    assert len(list(tmp_path.glob("*.version-2"))) == 1


def test_newer_ledger_is_refused_untouched(older: Path) -> None:
    with opened(older):
        pass
    ask(older, "UPDATE meta SET value = '8' WHERE key = 'version'")
    with pytest.raises(MadeByNewer, match="has version 8, this one supports 7"):
        Ledger(f"sqlite:///{older}")
    assert ask(older, "SELECT count(*) FROM cells") == [(1,)]


def test_several_that_open_it_at_once_do_it_once(older: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        for ledger in pool.map(lambda _: Ledger(f"sqlite:///{older}"), range(4)):
            assert ledger.newest("example", "production") == STATE
            ledger.close()


def test_several_that_make_it_at_once_all_have_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with ThreadPoolExecutor(4) as pool:
        for ledger in pool.map(lambda _: Ledger(url), range(4)):
            ledger.close()
