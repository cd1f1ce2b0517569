"""A PostgreSQL that goes away in the midst of a backfill, for a while or for good."""

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fakes.prometheus import FakeSeries
from tests.support.faulty import FaultyPrometheus, faulty_prometheus
from tests.support.installation import Installation, Ran, entry
from tests.support.servers import PostgresServer

WINDOW = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T06:00:00Z")
# the third hour, in milliseconds
THIRD = 1_772_330_400_000


@pytest.fixture
def prometheus() -> Iterator[FaultyPrometheus]:
    with faulty_prometheus() as server:
        yield server


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One of the test's own, to be killed."""
    with (
        tempfile.TemporaryDirectory(prefix="fedvitals-postgresql-") as home,
        PostgresServer(Path(home)) as server,
    ):
        yield server


def backfilled(
    here: Installation, prometheus: FaultyPrometheus, server: PostgresServer, back_after: float
) -> Ran:
    """A backfill during which the server is killed; it is back after so many seconds, if any."""
    timers: list[threading.Timer] = []

    def value(at: int) -> str:
        if at >= THIRD and not timers:
            timers.append(threading.Timer(back_after, server.start))
            server.kill()
            if back_after:
                timers[0].start()
        return "0.5"

    prometheus.queries["load"] = [FakeSeries({}, value)]
    here.configure(
        {"loads": entry("load"), "more": entry("load")}, retry_timeout="10s" if back_after else "1s"
    )
    here.variables["PROMETHEUS_URL"] = prometheus.url
    here.variables["FEDVITALS_LEDGER_URL"] = server.make_database()
    ran = here.here("backfill", *WINDOW, "--chunk", "1h", "--workers", "1", "--json")
    for timer in timers:
        if back_after:
            timer.join()
    return ran


@pytest.mark.promise(
    "Ledger: a PostgreSQL that goes away is waited for; then the rest is pending, with a receipt"
)
def test_gone_for_good(
    tmp_path: Path,
    prometheus: FaultyPrometheus,
    server: PostgresServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = Installation(tmp_path)

    ran = backfilled(here, prometheus, server, back_after=0)

    assert (ran.code, ran.document["status"]) == (3, "degraded")
    lines = {line["name"]: line for line in ran.document["measurements"]}
    assert {line["state"] for line in lines.values()} == {"pending"}
    assert lines["loads"]["values"]["landed"] >= 60
    for line in lines.values():
        assert "Connection refused" in line["problems"][-1]
        assert "pg8000.exceptions" not in "".join(line["problems"])
    assert "Traceback" not in caplog.text
    lost = {each["what"]: each["message"] for each in ran.document["deliveries"] if not each["ok"]}
    assert "Connection refused" in lost["receipt"]
    server.start()
    whole(here)


@pytest.mark.promise(
    "Ledger: a PostgreSQL that goes away is waited for; then the rest is pending, with a receipt"
)
def test_back_in_time(tmp_path: Path, prometheus: FaultyPrometheus, server: PostgresServer) -> None:
    here = Installation(tmp_path)

    ran = backfilled(here, prometheus, server, back_after=1)

    assert (ran.code, ran.document["status"]) == (0, "ok"), ran.out
    assert "the lock was lost" in ran.document["measurements"][0]["warnings"][0]
    whole(here)


def whole(here: Installation) -> None:
    """The next run reads the rest, and the one after it has nothing to do."""
    assert here.here("backfill", *WINDOW, "--json").code == 0
    again = here.here("backfill", *WINDOW, "--json")
    assert (again.code, again.document["values"]["extracted"]) == (0, 0)
    tables = here.here("lake", "ls", "--json").document["tables"]
    assert {t["name"]: t["rows"] for t in tables if t["name"] in ("loads", "more")} == {
        "loads": 360,
        "more": 360,
    }
