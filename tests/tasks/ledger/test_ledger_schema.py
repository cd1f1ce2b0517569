"""URLs of ledgers: which are taken, and what is said of the others."""

import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from tasks.core.errors import ConfigurationInvalid
from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import as_text, open_engine


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "is not a database URL"),
        ("nonsense", "is not a database URL"),
        ("postgresql://user@host:port/name", "is not a database URL"),
        ("mysql://user@host/name", "mysql is neither sqlite nor postgresql"),
        ("oracle+cx://user:s3cr3t@host/name", "oracle is neither sqlite nor postgresql"),
        ("postgresql://host/name", "names no user"),
        (
            "postgresql://user:s3cr3t@host/name?sslmode=require&timeout=5",
            'has settings that PostgreSQL lacks: invalid connection option "timeout"',
        ),
    ],
)
def test_other_urls_are_refused(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        open_engine(url)
    assert (caught.value.where, caught.value.problem) == ("FEDVITALS_LEDGER_URL", problem)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:////tmp/x.db", "pysqlite"),
        ("sqlite+other:////tmp/x.db", "pysqlite"),
        ("postgresql://user:s3cr3t@host/name", "psycopg"),
        ("postgresql+psycopg2://user@host:5432/name", "psycopg"),
        ("postgresql://user@host/name?sslmode=disable", "psycopg"),
        ("postgresql://user@host/name?sslmode=verify-full&sslrootcert=/ca.pem", "psycopg"),
    ],
)
def test_urls_of_both_databases_are_taken_whatever_the_driver(url: str, driver: str) -> None:
    engine = open_engine(url)
    assert engine.driver == driver
    engine.dispose()


def test_texts_of_times_sort_as_the_times_do() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [start + timedelta(microseconds=n) for n in (0, 1, 500_000, 999_999, 1_000_000)]
    assert sorted(map(as_text, times)) == [as_text(each) for each in times]
    assert as_text(start) == "2026-01-01T00:00:00.000000+00:00"
    india = start.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert as_text(india) == as_text(start)
    assert all(len(as_text(each)) <= 32 for each in times)


# as another process has it: its own connection, which it closes
READS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print([row[0] for row in connection.execute("SELECT digest FROM verified_suites ORDER BY digest")])
connection.close()
"""


def test_a_second_ledger_in_the_process_takes_nothing_from_the_first(tmp_path: Path) -> None:
    """To close a file drops the process's locks of it, and then another removed SQLite's journal."""
    file = tmp_path / "ledger.db"

    def read() -> str:
        command = [sys.executable, "-c", READS, str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with closing(Ledger(f"sqlite:///{file}")) as first:
        first.keep_verified("one")
        Ledger(f"sqlite:///{file}").close()
        before = read()
        first.keep_verified("two")
        after = read()

    assert (before, after) == ("['one']", "['one', 'two']")
