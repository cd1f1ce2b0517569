"""The ledger on PostgreSQL: what every ledger does, and locks that fall with their session."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tasks.core.errors import LedgerUnavailable, LockHeld, LockLost, MadeByNewer
from tasks.core.window import Window
from tasks.ledger.gaps import find_gaps
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import DatabaseLocks
from tasks.ledger.pending import pending_cells, pending_values
from tasks.ledger.version import LEDGER_VERSION
from tasks.ledger.watermark import loaded_until
from tests.support.faulty import constant, faulty_prometheus
from tests.support.gap_behaviours import GAP_CHECKS
from tests.support.installation import Installation, entry
from tests.support.ledger_behaviours import CHECKS, DAY, HOUR, START, cell, load, state
from tests.support.servers import PrefectServer

WINDOW = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T03:00:00Z")
ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from tasks.ledger.ledger import Ledger
with Ledger(sys.argv[1]).locks(Path(".")).hold("m", "production", "run-of-the-child"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    ledger = Ledger(database)
    yield ledger
    ledger.close()


@pytest.fixture
def locks(ledger: Ledger, tmp_path: Path) -> DatabaseLocks:
    locks = ledger.locks(tmp_path)
    assert isinstance(locks, DatabaseLocks)
    return locks


def end_sessions(database: str, like: str = "fedvitals %") -> None:
    """Has the server end the sessions of that application name."""
    engine = create_engine(make_url(database).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE :like AND datname = current_database() AND pid <> pg_backend_pid()"
            ),
            {"like": like},
        )
    engine.dispose()


@pytest.mark.parametrize("check", [*CHECKS, *GAP_CHECKS])
def test_ledger_does_what_every_ledger_does(
    ledger: Ledger, check: Callable[[Ledger], None]
) -> None:
    check(ledger)


def run_sql(database: str, *statements: str) -> list[Any]:
    """What the last one answers."""
    engine = create_engine(make_url(database).set(drivername="postgresql+psycopg"))
    rows: list[Any] = []
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(text(statement))
            rows = [row[0] for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


VERSION = "SELECT value FROM meta WHERE key = 'version'"
INDEXES = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
BY_BYTES = (
    "SELECT table_name || '.' || column_name FROM information_schema.columns "
    "WHERE table_schema = 'public' AND collation_name = 'C' ORDER BY 1"
)


@pytest.mark.promise(
    "Ledger: a newer lake or ledger is refused; an older ledger is migrated, with a copy of the SQLite file"
)
@pytest.mark.parametrize("version", [1, 2])
def test_an_older_ledger_is_brought_up_to_date(database: str, version: int) -> None:
    with closing(Ledger(database)) as ledger:
        ledger.record([state()])
    indexes = run_sql(database, INDEXES)
    made = ["DROP TABLE set_aside", "DROP INDEX cells_digests", "DROP INDEX loads_digests"]
    if version == 1:
        made += ["DROP TABLE meta", "DROP INDEX cells_of_run", "DROP INDEX cells_read_in_part"]
    else:
        made += ["UPDATE meta SET value = '2'"]
    run_sql(database, *made)

    # several processes find it at once
    with ThreadPoolExecutor(4) as pool:
        for ledger in pool.map(lambda _: Ledger(database), range(4)):
            assert ledger.cells("m", "production", DAY) == {cell(0): state()}
            ledger.close()

    assert (run_sql(database, VERSION), run_sql(database, INDEXES)) == (
        [str(LEDGER_VERSION)],
        indexes,
    )


@pytest.mark.promise(
    "Ledger: a newer lake or ledger is refused; an older ledger is migrated, with a copy of the SQLite file"
)
def test_times_that_sort_by_the_servers_language_are_made_to_sort_by_bytes(database: str) -> None:
    with closing(Ledger(database)) as ledger:
        ledger.record([state()])
        ledger.record_loads([load()])
    times, indexes = run_sql(database, BY_BYTES), run_sql(database, INDEXES)
    assert {"cells.cell_start", "cells.covered_until", "loads.cell_start"} <= set(times)
    older = [f"ALTER TABLE {t} ALTER COLUMN {c} TYPE VARCHAR(32) COLLATE \"default\"" for t, c in
             (name.split(".") for name in times)]  # fmt: skip
    run_sql(database, *older, "UPDATE meta SET value = '3'")
    assert run_sql(database, BY_BYTES) == []

    with closing(Ledger(database)) as ledger:
        assert ledger.cells("m", "production", DAY) == {cell(0): state()}
        assert ledger.loads("influxdb", "m", "production", DAY) == {cell(0): load()}

    assert (run_sql(database, BY_BYTES), run_sql(database, INDEXES)) == (times, indexes)
    assert run_sql(database, VERSION) == [str(LEDGER_VERSION)]
    # and the server knows them again, which it forgets with their order
    known = "SELECT tablename FROM pg_stats WHERE attname = 'cell_start' ORDER BY 1"
    assert run_sql(database, known) == ["cells", "loads"]


@pytest.mark.promise(
    "Ledger: a newer lake or ledger is refused; an older ledger is migrated, with a copy of the SQLite file"
)
def test_a_newer_ledger_is_refused_untouched(ledger: Ledger, database: str) -> None:
    ledger.record([state()])
    run_sql(database, "UPDATE meta SET value = '8'")
    with pytest.raises(MadeByNewer, match="has version 8, this one supports 7"):
        Ledger(database)
    assert run_sql(database, "SELECT count(*) FROM cells") == [1]


@pytest.mark.promise(
    "Maintenance: an object store and a PostgreSQL ledger are maintained in the same way"
)
def test_upkeep_and_a_ledger_that_was_emptied(
    tmp_path: Path, database: str, prefect_server: PrefectServer
) -> None:
    here = Installation(tmp_path, {"PREFECT_API_URL": prefect_server.api_url})
    here.configure({"shares": entry("share", tags=("room",))})
    here.variables["FEDVITALS_LEDGER_URL"] = database
    with faulty_prometheus() as prometheus:
        prometheus.queries["share"] = [constant("0.5", room="a")]
        here.variables["PROMETHEUS_URL"] = prometheus.url
        assert here.here("collect", *WINDOW).code == 0
        known = here.here("ledger", "ls", "--json").document["measurements"]

        maintained = here.here("maintain", "--json")
        # all that can be read back from the lake is
        run_sql(database, "DELETE FROM cells", "DELETE FROM loads")
        rebuilt = here.here("ledger", "rebuild", "--json")
        again = here.here("collect", *WINDOW, "--json")

    assert (maintained.code, maintained.document["status"]) == (0, "ok")
    line = maintained.document["details"]["ledger"]
    assert (line["state"], line["backup"], line["bytes_before"]) == ("done", None, None)
    assert "back it up there, with pg_dump" in maintained.document["notes"][0]
    assert run_sql(database, "SELECT count(*) FROM runs WHERE flow = 'maintain'") == [1]
    assert rebuilt.code == 0
    counts = {each["measurement"]: each["values"] for each in rebuilt.document["measurements"]}
    assert (counts["shares"], known[-1]["values"]) == (180, 180)
    reported = here.here("ledger", "ls", "--json").document["measurements"]
    assert [each for each in reported if each["measurement"] == "shares"] == known[-1:]
    assert (again.code, again.document["values"]["unchanged"]) == (0, 180)


ROWS_READ = (
    "SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables)"
    " + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)"
)


def test_questions_read_each_row_a_few_times_though_the_server_knows_nothing_of_its_tables(
    ledger: Ledger, database: str
) -> None:
    """As after a restore: a server without statistics takes a table for one of a row or two."""
    hours = range(300)
    ledger.record(state(hour, covered_until=cell(hour).stop) for hour in hours if hour != 7)
    ledger.record_loads(load(hour) for hour in hours[:-100])
    of, end = ("influxdb", "m", "production"), START + len(hours) * HOUR
    window = Window(START, end)

    def rows_read(ask: Callable[[], object]) -> int:
        before = _rows_read(ledger)
        ask()
        return _rows_read(ledger) - before

    questions: dict[str, Callable[[], object]] = {
        "pending": lambda: list(pending_cells(ledger, *of)),
        "values": lambda: pending_values(ledger, *of, end, "mine"),
        "gaps": lambda: find_gaps(ledger, "m", "production", window, HOUR),
        "loaded": lambda: loaded_until(ledger, ["m"], "production", ["influxdb"]),
        "cells": lambda: ledger.cells("m", "production", cell(250)),
        "loads": lambda: ledger.loads(*of, cell(150)),
    }
    read = {name: rows_read(ask) for name, ask in questions.items()}
    assert {name: rows for name, rows in read.items() if rows > 4 * len(hours)} == {}
    assert max(read["cells"], read["loads"]) < 10


def _rows_read(ledger: Ledger) -> int:
    """All rows that were read so far, also by the session of the ledger."""
    with ledger.transaction() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
    with ledger.transaction() as connection:
        return int(connection.execute(text(ROWS_READ)).scalar_one())


def test_two_ledgers_may_be_opened_at_once(ledger: Ledger, database: str) -> None:
    other = Ledger(database)
    other.record([state()])
    assert ledger.cells("m", "production", DAY) == {cell(0): state()}
    other.close()


def test_session_that_was_ended_is_replaced(ledger: Ledger, database: str) -> None:
    ledger.record([state()])
    end_sessions(database, "%")
    assert len(ledger.cells("m", "production", DAY)) == 1


def test_database_that_is_gone_is_unavailable(database: str) -> None:
    absent = make_url(database).set(database="absent").render_as_string(hide_password=False)
    with pytest.raises(LedgerUnavailable, match="absent"):
        Ledger(absent)


@pytest.mark.promise(
    "Two runs: one works; the other names the lock's holder, is pending and ends with exit code 3"
)
def test_second_holder_is_refused_at_once_and_reported_who_holds_it(locks: DatabaseLocks) -> None:
    with locks.hold("m", "production", "run-1") as lock:
        lock.check()
        started = time.perf_counter()
        with (
            pytest.raises(LockHeld, match=r"locked by fedvitals run-1 \(session \d+\)"),
            locks.hold("m", "production", "run-2"),
        ):
            pytest.fail("held twice")
        assert time.perf_counter() - started < 1
        with locks.hold("m", "staging", "run-2") as other:
            other.check()
    with locks.hold("m", "production", "run-2") as lock:
        lock.check()


def test_workers_of_the_run_see_its_lock_and_those_of_another_do_not(
    locks: DatabaseLocks, database: str
) -> None:
    with locks.hold("m", "production", "run-1"):
        locks.watch("m", "production", "run-1").check()
        for name, run_id in (("m", "run-2"), ("other", "run-1")):
            with pytest.raises(LockLost, match=f"{name} in production: the lock was lost"):
                locks.watch(name, "production", run_id).check()
        end_sessions(database)
        with pytest.raises(LockLost):
            locks.watch("m", "production", "run-1").check()


def test_lock_is_given_back_at_once_again_and_again(locks: DatabaseLocks) -> None:
    for number in range(20):
        with locks.hold("m", "production", f"run-{number}") as lock:
            lock.check()


def test_locks_of_another_database_are_others(
    locks: DatabaseLocks, postgresql: object, tmp_path: Path
) -> None:
    make = postgresql.make_database  # type: ignore[attr-defined]
    other = Ledger(make())
    with (
        locks.hold("m", "production", "run-1") as mine,
        other.locks(tmp_path).hold("m", "production", "run-2") as theirs,
    ):
        theirs.check()
        mine.check()
    other.close()


@pytest.mark.promise("Two runs: a lock ends with its process")
def test_lock_falls_with_a_process_that_is_killed(locks: DatabaseLocks, database: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, database],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with (
            pytest.raises(LockHeld, match="run-of-the-child"),
            locks.hold("m", "production", "run-2"),
        ):
            pytest.fail("held twice")
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        deadline = time.monotonic() + 10
        while True:
            try:
                with locks.hold("m", "production", "run-2") as lock:
                    lock.check()
                break
            except LockHeld:
                # the server has to notice first
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        child.kill()
        child.communicate()


def test_lock_is_lost_with_its_session_and_stays_lost(locks: DatabaseLocks, database: str) -> None:
    with locks.hold("m", "production", "run-1") as lock:
        lock.check()
        end_sessions(database)
        for _ in range(3):
            with pytest.raises(LockLost):
                lock.check()
    with locks.hold("m", "production", "run-2") as lock:
        lock.check()


def test_lock_that_was_given_back_by_hand_is_lost(locks: DatabaseLocks, database: str) -> None:
    with locks.hold("m", "production", "run-1"):
        pass
    with locks.hold("m", "production", "run-1") as lock:
        session = lock._is_held.args[0]  # type: ignore[attr-defined]
        session.execute(text("SELECT pg_advisory_unlock_all()"))
        with pytest.raises(LockLost):
            lock.check()


def test_lock_is_checked_from_other_threads(locks: DatabaseLocks) -> None:
    def check() -> None:
        for _ in range(50):
            lock.check()

    with locks.hold("m", "production", "run-1") as lock, ThreadPoolExecutor(4) as threads:
        done = [threads.submit(check) for _ in range(4)]
        # the lock is held until all have ended
        assert [each.exception() for each in done] == [None] * 4


def test_server_that_is_down_gives_no_lock(tmp_path: Path) -> None:
    engine = create_engine("postgresql+psycopg://user:s3cr3t@127.0.0.1:1/name")
    with (
        pytest.raises(LedgerUnavailable, match="no run lock") as caught,
        DatabaseLocks(engine).hold("m", "production", "run-1"),
    ):
        pytest.fail("held without a server")
    assert "s3cr3t" not in str(caught.value)
