"""The job `maintain`: locks, retention in lake and ledger, what ends one table and not the others."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from tasks.core.batch import Batch
from tasks.core.catalogue import Catalogue
from tasks.core.maintenance import Maintenance, TableUpkeep
from tasks.core.quarantine import no_records
from tasks.core.receipt import Receipt
from tasks.core.self_metrics import SELF_METRICS, self_measurement
from tasks.core.settings import Maintenance as Rules
from tasks.core.settings import Settings, load_settings
from tasks.core.verdict import Verdict
from tasks.core.window import Window
from tasks.lake.delta import existing_table
from tasks.lake.windows import append_states, states_in_force
from tasks.ledger.ledger import Ledger
from tasks.ledger.maintenance import back_up, clean, shrink
from tasks.pipeline import process
from tasks.runs import maintain as maintaining
from tasks.runs.base.run import Run
from tasks.runs.maintain import (
    MaintainRequest,
    maintain,
    maintain_tables,
    make_upkeep_plan,
)
from tests.support.lake_samples import refused
from tests.support.ledger_behaviours import owed, receipt
from tests.support.workbench import Bench, at, cell, rows

NOW = 50.0  # hours: the newest cell is 49, the one before it is read again


@pytest.fixture
def settings(bench: Bench) -> Settings:
    (bench.folder / "config").mkdir()
    for name in ("environments", "sinks"):
        (bench.folder / "config" / f"{name}.yaml").write_text("{}")
    variables = {
        "FEDVITALS_HOME": str(bench.folder),
        "FEDVITALS_CONFIG": str(bench.folder / "config"),
    }
    return load_settings(variables)


def unchecked(batch: Batch, suite: object) -> SimpleNamespace:
    """In place of a suite, whose import and runs would take most of the time here."""
    return SimpleNamespace(good=batch.frame, bad=no_records(), verdict=Verdict("none"))


@pytest.fixture
def filled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Two days of an hour a cell, by ten runs, each reported to _windows."""
    monkeypatch.setattr(process, "validate", unchecked)
    bench.put(*(rows(bench.measurement, [at(h), at(h + 0.5)], share_ratio=[0.1, 0.2], size_bytes=[h, 1]) for h in range(50)))  # fmt: skip
    for hour in range(0, 50, 5):
        bench.run(at(hour + 5.1), Window(at(hour), at(hour + 5)))
        append_states(bench.lake, bench.recorded)
        bench.recorded.clear()
    return bench


def maintained(
    bench: Bench, settings: Settings, hours: float = NOW, retention: str = ""
) -> Receipt:
    """The receipt of a run of this moment, over the one measurement."""
    with a_run(bench, settings, hours, retention) as run:
        return maintain(run, MaintainRequest())


@contextmanager
def a_run(bench: Bench, settings: Settings, hours: float, retention: str = "") -> Iterator[Run]:
    """A run of this moment whose catalogue is the bench's measurement."""
    changed = {"retention": timedelta(hours=int(retention))} if retention else {}
    entry = bench.measurement.model_copy(update=changed)
    catalogue = Catalogue({entry.name: entry})
    with (
        mock.patch.object(Catalogue, "read", return_value=catalogue),
        Run("maintain", settings, run_id=f"run-{hours}", now=at(hours)) as run,
    ):
        yield run


def details_of(receipt: Receipt) -> Maintenance:
    assert isinstance(receipt.details, Maintenance)
    return receipt.details


def line_of(receipt: Receipt, name: str = "example") -> TableUpkeep:
    (found,) = [line for line in details_of(receipt).tables if line.name == name]
    return found


def state_of(receipt: Receipt, name: str = "example") -> str:
    """What the receipt's line of the table says."""
    (found,) = [line for line in receipt.measurements if line.name == name]
    return found.state


def test_nothing_is_there_yet(bench: Bench, settings: Settings) -> None:
    done = maintained(bench, settings)

    assert (details_of(done).tables, done.status, done.exit_code) == ((), "no_data", 0)
    assert details_of(done).environments == ("production",)
    # what the run says of itself
    assert bench.lake.names() == [SELF_METRICS]


@pytest.mark.slow
@pytest.mark.promise(
    "Maintenance: compaction changes no row and no digest, and the next run finds everything unchanged"
)
def test_rows_and_digests_stay_and_the_next_run_finds_all_unchanged(
    filled: Bench, settings: Settings
) -> None:
    before, states = filled.landed(0, 50), states_in_force(filled.lake)

    done = maintained(filled, settings)

    line = line_of(done)
    assert (line.state, line.files_before, line.rows_expired) == ("done", 20, 0)
    assert line.files_after < 5
    assert filled.landed(0, 50).equals(before)
    assert [s for s in states_in_force(filled.lake) if s.measurement != SELF_METRICS] == states
    version, calls = filled.version(), len(filled.sink.calls)
    again = filled.run(at(50.1), Window(at(0), at(50)))
    assert (again.state, again.values.unchanged) == ("unchanged", again.values.extracted)
    assert (filled.version(), len(filled.sink.calls)) == (version, calls)


@pytest.mark.slow
def test_a_second_run_finds_nothing_to_do(filled: Bench, settings: Settings) -> None:
    maintained(filled, settings)
    version = filled.version()

    done = maintained(filled, settings, NOW + 0.01)

    assert {line.name: line.files_compacted for line in details_of(done).tables} == {
        "example": 0,
        SELF_METRICS: 0,
        "_windows": 0,
    }
    assert filled.version() == version


@pytest.mark.slow
@pytest.mark.promise(
    "Maintenance: expired rows are counted, and a crash between ledger and rows leaves them to the next run"
)
def test_old_rows_records_and_cells_go_everywhere(filled: Bench, settings: Settings) -> None:
    frame = rows(filled.measurement, [at(1), at(30)])
    records = refused([1.0, 30.0]).assign(environment=frame["environment"].astype(object))
    filled.lake.quarantine_more(filled.measurement, records)

    done = maintained(filled, settings, retention="26")

    line = line_of(done)
    assert (line.rows_expired, line.quarantine_expired, line.cells_expired) == (48, 1, 24)
    assert len(filled.landed(0, 24)) == 0
    assert len(filled.landed(24, 26)) == 52
    assert filled.state(23) is None
    assert filled.state(24) is not None
    assert (
        filled.ledger.loads(filled.sink.target, "example", "production", Window(at(0), at(24)))
        == {}
    )
    assert (
        len(filled.ledger.loads(filled.sink.target, "example", "production", Window(at(0), at(50))))
        == 26
    )
    assert next(s.cell.start for s in states_in_force(filled.lake)) == at(24)
    assert line_of(done, "_windows").rows_expired == 24


@pytest.mark.slow
@pytest.mark.promise(
    "Maintenance: expired rows are counted, and a crash between ledger and rows leaves them to the next run"
)
def test_a_crash_between_ledger_and_rows_leaves_the_rows_to_the_next_run(
    filled: Bench, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(maintaining, "keep_up", crash)
    with pytest.raises(KeyboardInterrupt):
        maintained(filled, settings, retention="26")
    monkeypatch.undo()
    assert (filled.state(23), len(filled.landed(0, 50))) == (None, 100)
    assert owed(filled.ledger, "other", "example", "production")[-1].cell == cell(24)

    assert line_of(maintained(filled, settings, retention="26")).rows_expired == 48


@pytest.mark.slow
def test_quarantine_expires_after_its_own_time(filled: Bench, settings: Settings) -> None:
    filled.lake.quarantine_more(filled.measurement, refused([1.0, 30.0]))
    soon = replace(settings, maintenance=Rules(quarantine=timedelta(hours=24)))

    line = line_of(maintained(filled, soon))

    assert (line.quarantine_expired, line.rows_expired, line.cells_expired) == (1, 0, 0)


@pytest.mark.slow
@pytest.mark.promise(
    "Maintenance: tables locked by another run are skipped, damaged tables are reported, and the others go on"
)
@pytest.mark.parametrize("environment", ["production", "staging", "gone"])
def test_a_measurement_that_another_run_holds_is_left_alone(
    filled: Bench, settings: Settings, environment: str
) -> None:
    # of an environment that left the configuration, the ledger still knows
    filled.ledger.record([replace(filled.state(3), environment="gone")])  # type: ignore[type-var]
    two = {**settings.environments, "staging": settings.environments["production"]}
    both = replace(settings, environments=two)
    version = filled.version()

    with filled.ledger.locks(filled.folder / "locks").hold("example", environment, "run-x"):
        done = maintained(filled, both, retention="26")

    line = line_of(done)
    assert (line.state, state_of(done)) == ("locked", "pending")
    assert (done.status, done.exit_code) == ("degraded", 3)
    assert f"example in {environment} is locked by run run-x" in line.problems[0]
    assert (filled.version(), len(filled.landed(0, 50))) == (version, 100)
    # what is not gone from the table must stay known
    assert line_of(done, "_windows").rows_expired == 0
    assert maintained(filled, both, NOW + 1).exit_code == 0


@pytest.mark.slow
@pytest.mark.promise(
    "Maintenance: tables locked by another run are skipped, damaged tables are reported, and the others go on"
)
def test_a_damaged_table_is_reported_and_the_others_are_kept_up(
    filled: Bench, settings: Settings
) -> None:
    other = filled.measurement.model_copy(update={"name": "another"})
    for hour in (0, 1):
        frame = rows(other, [at(hour)], share_ratio=[0.5], size_bytes=[1])
        filled.lake.land(other, frame, [cell(hour)], "production", None)
    for path in (filled.folder / "lake" / "example").glob("*.parquet"):
        path.write_bytes(b"")

    done = maintained(filled, settings)

    assert (line_of(done).state, state_of(done)) == ("damaged", "failed")
    assert (done.status, done.exit_code) == ("degraded", 1)
    assert "lake table example" in line_of(done).problems[0]
    # it is in the lake, and no longer in the catalogue
    assert (line_of(done, "another").state, line_of(done, "another").files_after) == ("done", 1)
    assert line_of(done, "_windows").state == "done"
    assert details_of(done).ledger.backup is not None


@pytest.mark.slow
def test_a_torn_log_is_reported_and_nothing_of_it_is_touched(
    filled: Bench, settings: Settings
) -> None:
    log = filled.folder / "lake" / "example" / "_delta_log"
    last = max(log.glob("*.json"))
    last.write_text("")

    done = maintained(filled, settings, retention="26")

    assert (line_of(done).state, line_of(done).cells_expired) == ("damaged", 0)
    assert "is empty, rows are missing" in line_of(done).problems[0]
    assert max(log.glob("*.json")) == last


@pytest.mark.slow
def test_a_defect_in_one_table_is_reported_without_its_text(
    filled: Bench, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted-secret")

    monkeypatch.setattr(maintaining, "keep_up", broken)
    done = maintained(filled, settings)

    assert done.exit_code == 1
    assert line_of(done).problems[0].startswith("unexpected ZeroDivisionError at test_maintain.py")
    assert "planted" not in done.model_dump_json()


@pytest.mark.slow
def test_the_receipt_is_kept(filled: Bench, settings: Settings) -> None:
    done = maintained(filled, settings)

    (kept,) = filled.ledger.last_runs("maintain", "production", "run-9", 5)
    assert json.loads(kept) == done.model_dump(mode="json")
    assert Receipt.model_validate_json(kept) == done


@pytest.mark.slow
@pytest.mark.promise(
    "Accounts: every run writes its own figures to `fedvitals_pipeline`, outside of its sums; a failure there leaves the run good"
)
def test_the_run_has_its_row_among_the_others(filled: Bench, settings: Settings) -> None:
    with filled.ledger.locks(filled.folder / "locks").hold("example", "production", "run-x"):
        maintained(filled, settings)
    maintained(filled, settings, NOW + 0.5)

    found = filled.lake.read(self_measurement(), "production", Window(at(0), at(100)))
    assert found[["time", "flow", "status", "exit_code"]].values.tolist() == [
        [at(NOW), "maintain", "degraded", 3],
        [at(NOW + 0.5), "maintain", "ok", 0],
    ]


# the ledger


def backups(bench: Bench) -> list[str]:
    return sorted(path.name for path in (bench.folder / "backups").iterdir())


@pytest.mark.slow
@pytest.mark.promise(
    "Maintenance: a ledger backup is complete before an older one is removed; a partial one is removed"
)
def test_a_backup_is_a_whole_ledger(filled: Bench, settings: Settings) -> None:
    done = maintained(filled, settings)

    assert details_of(done).ledger.backup == str(filled.folder / "backups" / "ledger-run-50.0.db")
    copy = Ledger(f"sqlite:///{details_of(done).ledger.backup}")
    window = Window(at(0), at(50))
    assert copy.cells("example", "production", window) == filled.ledger.cells("example", "production", window)  # fmt: skip
    copy.close()


@pytest.mark.slow
def test_so_many_backups_stay(filled: Bench, settings: Settings) -> None:
    two = replace(settings, maintenance=Rules(backups=2))
    done = [maintained(filled, two, NOW + n) for n in range(4)]

    assert backups(filled) == ["ledger-run-52.0.db", "ledger-run-53.0.db"]
    assert [details_of(each).ledger.backups_removed for each in done] == [0, 0, 1, 1]
    none = replace(settings, maintenance=Rules(backups=0))
    assert details_of(maintained(filled, none)).ledger.backup is None
    assert len(backups(filled)) == 2


@pytest.mark.slow
@pytest.mark.promise(
    "Maintenance: a ledger backup is complete before an older one is removed; a partial one is removed"
)
def test_a_backup_that_cannot_be_written_leaves_the_older_ones(
    filled: Bench, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(settings, maintenance=Rules(backups=1))
    maintained(filled, one)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.ledger.maintenance._sync", fail)
    done = maintained(filled, one, NOW + 1)

    assert (details_of(done).ledger.state, done.exit_code) == ("pending", 3)
    assert "No space left on device" in details_of(done).ledger.problems[0]
    assert backups(filled) == ["ledger-run-50.0.db"]


def test_a_folder_in_the_way_of_backups_is_reported(bench: Bench) -> None:
    (bench.folder / "backups").write_text("")
    from tasks.core.errors import LedgerUnavailable

    with pytest.raises(LedgerUnavailable, match="no backup in"):
        back_up(bench.ledger, bench.folder / "backups", "x", 1)


def test_old_receipts_pages_and_proofs_go(bench: Bench) -> None:
    for month in range(1, 10):
        for day in (1, 2):
            bench.ledger.keep_receipt(receipt(f"2025{month:02d}{day:02d}T000000-a"))
    report = receipt("20250101T000000-b", flow="report")
    bench.ledger.keep_receipt(report)
    for url, hours in (("old", 0), ("new", 30)):
        bench.ledger.keep_page("production", url, at(hours), b"x")
    for proof in ("sound", "of a suite of before"):
        bench.ledger.keep_verified(proof)

    cleaned = clean(bench.ledger, at(24), frozenset({"sound"}))

    assert (cleaned.runs, cleaned.pages, cleaned.suites) == (8, 1, 1)
    left = bench.ledger.last_runs("collect", "production", "3", 99)
    assert len(left) == 10
    assert bench.ledger.last_runs("report", "production", "3", 99) == [report.model_dump_json()]
    assert bench.ledger.last_page("production", "old") is None
    assert bench.ledger.last_page("production", "new") is not None
    assert bench.ledger.verified(["sound", "of a suite of before"]) == {"sound"}
    assert clean(bench.ledger, at(24), None).suites == 0


def test_space_is_given_back_where_it_is_much(bench: Bench) -> None:
    for number in range(200):
        bench.ledger.keep_page("production", str(number), at(0), b"x" * 10_000)
    path = bench.folder / "ledger.db"
    shrink(bench.ledger)
    full = path.stat().st_size
    clean(bench.ledger, at(1), None)

    shrink(bench.ledger)

    assert path.stat().st_size < full / 4
    wal = bench.folder / "ledger.db-wal"
    assert not wal.exists() or wal.stat().st_size == 0
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
def test_suites_that_cannot_be_read_leave_the_proofs(filled: Bench, settings: Settings) -> None:
    filled.ledger.keep_verified("proof")
    broken = replace(settings, expectations=filled.folder / "nowhere")

    done = maintained(filled, broken)

    assert details_of(done).ledger.suites_removed == 0
    assert done.notes[0].startswith("the proofs of suites were not expired: suite ")
    assert filled.ledger.verified(["proof"]) == {"proof"}


# at once

COLLECTOR = """
import sys
from pathlib import Path
from tasks.core.errors import LockHeld
from types import SimpleNamespace
from tests.support.workbench import a_bench, at, rows
from tasks.pipeline import process
from tasks.core.quarantine import no_records
from tasks.core.verdict import Verdict
from tasks.core.window import Window
process.validate = lambda batch, suite: SimpleNamespace(good=batch.frame, bad=no_records(), verdict=Verdict("none"))
bench = a_bench(Path(sys.argv[1]))
print("ready", flush=True)
for hour in range(60, 90):
    frame = rows(bench.measurement, [at(hour), at(hour + 0.5)], share_ratio=[0.1, 0.2], size_bytes=[hour, 1])
    bench.source.frame = frame
    while True:
        try:
            outcome = bench.run(at(hour + 1.1), Window(at(hour), at(hour + 1)))
        except LockHeld:
            continue
        assert outcome.state == "landed", outcome
        break
"""


@pytest.mark.slow
@pytest.mark.promise(
    "Maintenance: a landing at the same time wins or is retried, and loses nothing"
)
def test_maintain_and_collect_at_once_lose_nothing(filled: Bench, settings: Settings) -> None:
    before = filled.landed(0, 50)
    root = Path(__file__).parents[2]
    collector = subprocess.Popen(
        [sys.executable, "-c", COLLECTOR, str(filled.folder)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert collector.stdout is not None
        assert collector.stdout.readline() == "ready\n"
        states, number = [], 0
        while collector.poll() is None:
            number += 1
            with a_run(filled, settings, 95 + number / 1000) as run:
                tables = maintain_tables(run, make_upkeep_plan(run)).tables
            states += [line.state for line in tables if line.name == "example"]
        assert collector.wait(60) == 0
    finally:
        collector.kill()
        collector.stdout.close()  # type: ignore[union-attr]

    assert set(states) <= {"done", "locked"}
    assert "done" in states
    assert filled.landed(0, 50).equals(before)
    assert len(filled.landed(60, 30)) == 60
    table = existing_table(filled.lake.table_url("example"), "example")
    assert table is not None
    assert len(table.file_uris()) < 40
    window = Window(at(60), at(90))
    assert len(filled.ledger.loads(filled.sink.target, "example", "production", window)) == 30
