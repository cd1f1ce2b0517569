"""URLs of ledgers: which are taken, and what is said of the others."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tasks.core.errors import ConfigurationInvalid
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
