"""A run's own figures: one row a run in the lake and in the sinks, whatever else happens."""

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest

from tasks.core.errors import LakeDamaged
from tasks.core.receipt import Delivery, Outcome, Receipt, SinkValues, Values, write_receipt
from tasks.core.self_metrics import SELF_METRICS, self_measurement
from tasks.core.settings import load_settings
from tasks.core.window import Cell, Window
from tasks.lake.query import query
from tasks.runs.base import self_metrics
from tasks.runs.base.home import ledger_id
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics, measured
from tests.support.fakes.memory import MemorySink
from tests.support.installation import Installation, entry
from tests.support.ledger_behaviours import owed, state

pytestmark = pytest.mark.promise(
    "Accounts: every run writes its own figures to `fedvitals_pipeline`, outside of its sums; a failure there leaves the run good"
)

HOUR = timedelta(hours=1)
WINDOW = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, 1, tzinfo=UTC))
EVER = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@pytest.fixture
def sink() -> Iterator[MemorySink]:
    """A sink that every run fills."""
    one = MemorySink()
    with mock.patch.object(self_metrics, "opened_sinks", return_value=nullcontext((one,))):
        yield one


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    installation = Installation(tmp_path).configure({"loads": entry("load")})
    # so that a run some minutes later has not begun after its end
    began = datetime.now(UTC) - timedelta(minutes=10)
    with Run("collect", load_settings(installation.environment), now=began) as one:
        yield one


def watch(run: Run, receipt: Receipt) -> Delivery:
    """What became of the run's own figures."""
    land_self_metrics(run, receipt)
    (delivery,) = run.deliveries
    assert delivery.what == "self metrics"
    return delivery


def watch_later(run: Run, minutes: int, receipt: Receipt | None = None) -> Delivery:
    """The same of a run so much later."""
    with again(run, minutes) as later:
        return watch(later, receipt or a_receipt(run))


ARRIVED = Delivery("self metrics", True)


def receipt_of(run: Run, *outcomes: Outcome, retries: int = 0) -> Receipt:
    seconds = {"collect": 2.5}
    return write_receipt(
        "collect", run.id, run.environment.name, WINDOW, outcomes, seconds, retries
    )


def a_receipt(run: Run, **sinks: SinkValues) -> Receipt:
    values = Values(
        extracted=10, landed=6, quarantined=1, dropped_by_rule=1, unchanged=2, retained=3
    )
    seconds = {"extract": 0.5, "land": 0.25}
    good = Outcome("loads", "landed", values=values, sinks=dict(sinks), seconds=seconds)
    return receipt_of(run, good, Outcome("other", "failed"), retries=4)


def own_rows(run: Run) -> pd.DataFrame:
    return run.lake.read(self_measurement(), "production", EVER)


def again(run: Run, minutes: int) -> Run:
    """A run so much later."""
    now = run.now + timedelta(minutes=minutes)
    return Run("collect", run.settings, run_id=f"{run.id}-{minutes}", now=now)


def test_every_figure_of_a_receipt(run: Run) -> None:
    sinks = {"influxdb": SinkValues(9, 4, 2, 2, 1), "other": SinkValues(1, 0, 1, 0, 0)}
    receipt = a_receipt(run, **sinks).model_copy(update={"lag_seconds": 60.0})

    batch = measured(receipt, run.now, 3.5, "a-ledger")

    (row,) = batch.frame.to_dict("records")
    assert {name: row[name] for name in self_measurement().fields} == {
        "duration_seconds": 3.5, "extract_seconds": 0.5, "validate_seconds": 0.0,
        "land_seconds": 0.25, "load_seconds": 0.0, "lag_seconds": 60.0,
        "extracted_values": 10, "landed_values": 6, "quarantined_values": 1, "dropped_values": 1,
        "unchanged_values": 2, "retained_values": 3, "owed_values": 10, "loaded_values": 4,
        "pending_values": 3, "refused_values": 2, "skipped_values": 1,
        "measurements": 2, "failed_measurements": 1, "retries": 4,
        "exit_code": 1, "status": "degraded", "worst": "critical", "ledger_id": "a-ledger",
    }  # fmt: skip
    assert (row["time"], row["environment"], row["flow"]) == (run.now, "production", "collect")


def test_nothing_loaded_yet_is_no_lag(run: Run) -> None:
    batch = measured(receipt_of(run), run.now, 1.0, "a-ledger")

    assert batch.frame["lag_seconds"].isna().all()
    assert batch.frame["status"].tolist() == ["no_data"]
    assert batch.frame["worst"].isna().all()


def test_a_run_is_one_row_in_lake_sink_and_windows(run: Run, sink: MemorySink) -> None:
    assert watch(run, a_receipt(run)) == ARRIVED

    rows = own_rows(run)
    assert rows["time"].tolist() == [run.now]
    assert rows["landed_values"].tolist() == [6.0]
    assert sink.values("landed_values") == [6.0]
    assert sink.values("status") == ["degraded"]
    assert sink.values("worst") == ["critical"]
    reported = query(run.lake, "SELECT * FROM _windows").to_pylist()
    assert [(each["measurement"], each["rows"]) for each in reported] == [(SELF_METRICS, 1)]


def test_it_stands_outside_of_its_sums(run: Run, sink: MemorySink) -> None:
    receipt = a_receipt(run)

    watch(run, receipt)
    completed = run.complete(receipt)

    assert run.outcomes == []
    assert completed == receipt.model_copy(update={"deliveries": (ARRIVED,)})


def test_rows_of_one_hour_add_up(run: Run, sink: MemorySink) -> None:
    minutes = [0, 2, 1]
    for minute in minutes:
        watch_later(run, minute)

    assert own_rows(run)["time"].tolist() == [run.now + timedelta(minutes=m) for m in (0, 1, 2)]


def known(run: Run, name: str, cell: Cell) -> None:
    """The ledger knows that the cell is landed, to its end."""
    one = replace(state(), measurement=name, cell=cell, covered_until=cell.stop, rows=7)
    run.ledger.record([one])


def test_lag_is_of_the_measurement_that_is_furthest_behind(run: Run, sink: MemorySink) -> None:
    for name, hours in (("loads", 3), ("other", 5)):
        start = run.now.replace(minute=0, second=0, microsecond=0) - hours * HOUR
        known(run, name, Cell(start, start + HOUR))
    run.outcomes += [Outcome("loads", "landed"), Outcome("other", "failed")]
    without_sinks = run.account(WINDOW).lag_seconds
    run.targets = {sink.name: sink.target}
    with_one = run.account(WINDOW).lag_seconds

    assert without_sinks is not None
    until = run.now.replace(minute=0, second=0, microsecond=0) - 4 * HOUR
    assert without_sinks == pytest.approx((datetime.now(UTC) - until).total_seconds(), abs=60)
    # nothing of them is in the sink
    assert with_one is None


def test_a_sample_whose_slot_has_not_ended_is_not_behind(run: Run) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    ledger_id(run.lake, run.ledger)
    known(run, "loads", Cell(start, start + 2 * HOUR))
    run.outcomes.append(Outcome("loads", "landed"))

    receipt = run.account(WINDOW)

    assert receipt.lag_seconds == 0
    assert watch(run, receipt) == ARRIVED
    assert own_rows(run)["lag_seconds"].tolist() == [0.0]


def test_a_sink_that_the_run_waited_for_is_not_asked_again(run: Run, sink: MemorySink) -> None:
    away = a_receipt(run, memory=SinkValues(owed=6, pending=6))

    assert watch(run, away) == ARRIVED
    left = [each.rows for each in owed(run.ledger, sink.target, SELF_METRICS, "production")]
    watch_later(run, 120)
    after = owed(run.ledger, sink.target, SELF_METRICS, "production")

    assert left == [1]
    # the next run brought both
    assert after == []


def test_a_damaged_table_is_a_note_and_the_run_stays_good(run: Run) -> None:
    good = receipt_of(run, Outcome("loads", "landed", values=Values(1, 1)))
    table = Path(run.settings.lake_url) / SELF_METRICS
    table.mkdir(parents=True)
    (table / "part-0.parquet").write_bytes(b"")

    watch(run, good)
    reported = run.complete(good)

    assert (reported.status, reported.exit_code) == ("ok", 0)
    (remark,) = reported.remarks
    assert remark.startswith(
        f"{SELF_METRICS} is incomplete: lake table {SELF_METRICS}: it holds files but no"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LakeDamaged(table=SELF_METRICS, problem="gone"), rf"lake table {SELF_METRICS}: gone\."),
        (
            KeyError("planted-secret"),
            r"unexpected KeyError at test_self_metrics\.py:\d+\. This is a defect of fedvitals$",
        ),
    ],
)
def test_whatever_goes_wrong_is_a_note(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(self_metrics, "process", fail)

    delivery = watch(run, a_receipt(run))

    assert not delivery.ok
    assert re.match(f"{SELF_METRICS} is incomplete: {words}", delivery.message)
    assert "planted-secret" not in delivery.message
    # an error that is foreseen changes nothing, a defect leaves the run in part undone
    good = receipt_of(run, Outcome("loads", "landed", values=Values(1, 1)))
    is_defect = isinstance(error, KeyError)
    assert run.complete(good).exit_code == (3 if is_defect else 0)


def test_a_table_that_was_moved_away_is_reported_and_not_begun_anew(
    run: Run, tmp_path: Path
) -> None:
    watch(run, a_receipt(run))
    there = Path(run.settings.lake_url) / SELF_METRICS
    there.rename(tmp_path / "away")

    assert "lake table fedvitals_pipeline: it is missing" in watch_later(run, 1).message
    assert not there.exists()
    (tmp_path / "away").rename(there)
    assert watch_later(run, 2) == ARRIVED


def test_the_row_has_the_id_of_the_home(run: Run, sink: MemorySink) -> None:
    watch(run, a_receipt(run))

    known = run.ledger.own_id()
    assert own_rows(run)["ledger_id"].tolist() == [known]
    assert sink.values("ledger_id") == [known]
    assert run.lake.ledger_id() == known


def test_a_table_from_before_gets_the_new_field(run: Run, sink: MemorySink) -> None:
    older = self_measurement()
    fields = {name: spec for name, spec in older.fields.items() if name != "ledger_id"}
    older = older.model_copy(update={"fields": fields})
    with mock.patch.object(self_metrics, "self_measurement", return_value=older):
        watch(run, a_receipt(run))
    assert own_rows(run)["ledger_id"].isna().tolist() == [True]

    assert watch_later(run, 1).ok

    rows = own_rows(run)
    assert rows["ledger_id"].notna().tolist() == [False, True]
    assert rows["landed_values"].tolist() == [6.0, 6.0]
    assert sink.values("ledger_id") == rows["ledger_id"].tolist()[1:]


def test_runs_that_end_at_once_all_have_their_row(run: Run) -> None:
    watch(run, a_receipt(run))
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda minutes: watch_later(run, minutes), (1, 2, 3)))

    assert found == [ARRIVED] * 3
    assert len(own_rows(run)) == 4


def test_who_holds_the_lock_for_long_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_metrics, "LOCK_PATIENCE_SECONDS", 0.1)
    with run.locks.hold(SELF_METRICS, "production", "another-run"):
        delivery = watch(run, a_receipt(run))

    assert not delivery.ok
    assert f"{SELF_METRICS} in production is locked by" in delivery.message
    assert "another-run" in delivery.message


@pytest.mark.slow
def test_a_run_with_nothing_to_do_imports_no_great_expectations(run: Run) -> None:
    # a suite is verified once, with Great Expectations
    watch(run, a_receipt(run))
    code = """
import sys
from tests.tasks.runs.base.test_self_metrics import ARRIVED, a_receipt, own_rows, watch
from tasks.core.settings import load_settings
from tasks.runs.base.run import Run
with Run("collect", load_settings()) as run:
    assert watch(run, a_receipt(run)) == ARRIVED
    assert len(own_rows(run)) == 2
print("great_expectations" in sys.modules)
"""
    folder = run.settings.home.parent
    variables = Installation(folder).environment
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=variables,
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "False\n", done.stderr
