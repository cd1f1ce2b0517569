"""A run's own figures: one row a run in the lake and in the sinks, whatever else happens."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest

from tasks.core.errors import LakeDamaged
from tasks.core.own import OWN, own_measurement
from tasks.core.receipt import Outcome, Receipt, SinkValues, Values, write_receipt
from tasks.core.settings import load_settings
from tasks.core.window import Cell, Window
from tasks.lake.tables import Lake
from tasks.lake.windows import read_states
from tasks.run import self_watch
from tasks.run.plan import Plan, make_plan, opened_ledger
from tasks.run.self_watch import measured, watch
from tests.fakes.memory import MemorySink
from tests.flows.installation import Installation, entry
from tests.tasks.ledger.behaviours import owed, state

HOUR = timedelta(hours=1)
WINDOW = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, 1, tzinfo=UTC))
EVER = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@pytest.fixture
def sink() -> Iterator[MemorySink]:
    """A sink that every run fills."""
    one = MemorySink()
    with mock.patch("tasks.run.toolbox._open_sinks", return_value=[one]):
        yield one


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    installation = Installation(tmp_path).configure({"loads": entry("load")})
    installation.variables["PROMETHEUS_URL"] = "http://127.0.0.1:9"
    made = make_plan(load_settings(installation.environment), None, "all")
    # so that a run some minutes later has not begun after its end
    return replace(made, now=made.now - timedelta(minutes=10))


def receipt_of(plan: Plan, *outcomes: Outcome, retries: int = 0) -> Receipt:
    seconds = {"collect": 2.5}
    return write_receipt(
        "collect", plan.run_id, plan.environment.name, WINDOW, outcomes, seconds, retries
    )


def a_receipt(plan: Plan, **sinks: SinkValues) -> Receipt:
    values = Values(extracted=10, landed=6, quarantined=1, dropped_by_rule=1, unchanged=2, kept=3)
    seconds = {"extract": 0.5, "land": 0.25}
    good = Outcome("loads", "landed", values=values, sinks=dict(sinks), seconds=seconds)
    return receipt_of(plan, good, Outcome("other", "failed"), retries=4)


def own_rows(plan: Plan) -> pd.DataFrame:
    return Lake(plan.settings.lake_url).read(own_measurement(), "production", EVER)


def again(plan: Plan, minutes: int) -> Plan:
    """The plan of a run so much later."""
    now = plan.now + timedelta(minutes=minutes)
    return replace(plan, now=now, run_id=f"{plan.run_id}-{minutes}")


def test_every_figure_of_a_receipt(plan: Plan) -> None:
    sinks = {"influxdb": SinkValues(9, 4, 2, 2, 1), "other": SinkValues(1, 0, 1, 0, 0)}
    receipt = a_receipt(plan, **sinks).model_copy(update={"lag_seconds": 60.0})

    batch = measured(receipt, plan.now, 3.5, "a-ledger")

    (row,) = batch.frame.to_dict("records")
    assert {name: row[name] for name in own_measurement().fields} == {
        "duration_seconds": 3.5, "extract_seconds": 0.5, "validate_seconds": 0.0,
        "land_seconds": 0.25, "load_seconds": 0.0, "lag_seconds": 60.0,
        "extracted_values": 10, "landed_values": 6, "quarantined_values": 1, "dropped_values": 1,
        "unchanged_values": 2, "kept_values": 3, "owed_values": 10, "loaded_values": 4,
        "pending_values": 3, "refused_values": 2, "skipped_values": 1,
        "measurements": 2, "failed_measurements": 1, "retries": 4,
        "exit_code": 1, "status": "degraded", "ledger_id": "a-ledger",
    }  # fmt: skip
    assert (row["time"], row["environment"], row["flow"]) == (plan.now, "production", "collect")


def test_nothing_loaded_yet_is_no_lag(plan: Plan) -> None:
    batch = measured(receipt_of(plan), plan.now, 1.0, "a-ledger")

    assert batch.frame["lag_seconds"].isna().all()
    assert batch.frame["status"].tolist() == ["no_data"]


def test_a_run_is_one_row_in_lake_sink_and_windows(plan: Plan, sink: MemorySink) -> None:
    watched = watch(plan, a_receipt(plan))

    rows = own_rows(plan)
    assert watched.notes == ()
    assert rows["time"].tolist() == [plan.now]
    assert rows["landed_values"].tolist() == [6.0]
    assert sink.values("landed_values") == [6.0]
    assert sink.values("status") == ["degraded"]
    told = read_states(Lake(plan.settings.lake_url)).to_pylist()
    assert [(each["measurement"], each["rows"]) for each in told] == [(OWN, 1)]


def test_it_stands_outside_of_its_sums(plan: Plan, sink: MemorySink) -> None:
    receipt = a_receipt(plan)

    watched = watch(plan, receipt)

    assert watched.values == receipt.values
    assert watched.sinks == receipt.sinks
    assert watched.measurements == receipt.measurements
    assert watched.exit_code == receipt.exit_code


def test_rows_of_one_hour_add_up(plan: Plan, sink: MemorySink) -> None:
    minutes = [0, 2, 1]
    for minute in minutes:
        watch(again(plan, minute), a_receipt(plan))

    assert own_rows(plan)["time"].tolist() == [plan.now + timedelta(minutes=m) for m in (0, 1, 2)]


def test_lag_is_of_the_measurement_that_is_furthest_behind(plan: Plan, sink: MemorySink) -> None:
    with opened_ledger(plan.settings) as ledger:
        for name, hours in (("loads", 3), ("other", 5)):
            start = plan.now.replace(minute=0, second=0, microsecond=0) - hours * HOUR
            cell = Cell(start, start + HOUR)
            one = replace(state(), measurement=name, cell=cell, covered_until=cell.stop, rows=7)
            ledger.record([one])
    with mock.patch("tasks.run.toolbox._open_sinks", return_value=[]):
        without_sinks = watch(plan, a_receipt(plan)).lag_seconds
    with_one = watch(again(plan, 1), a_receipt(plan)).lag_seconds

    assert without_sinks is not None
    until = plan.now.replace(minute=0, second=0, microsecond=0) - 4 * HOUR
    assert without_sinks == pytest.approx((datetime.now(UTC) - until).total_seconds(), abs=60)
    # nothing of them is in the sink
    assert with_one is None


def test_a_sample_whose_slot_has_not_ended_is_not_behind(plan: Plan) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    cell = Cell(start, start + 2 * HOUR)
    with opened_ledger(plan.settings) as ledger:
        ledger.record(
            [replace(state(), measurement="loads", cell=cell, covered_until=cell.stop, rows=1)]
        )

    watched = watch(plan, a_receipt(plan))

    assert watched.lag_seconds == 0
    assert watched.notes == ()


def test_a_sink_that_the_run_waited_for_is_not_asked_again(plan: Plan, sink: MemorySink) -> None:
    away = a_receipt(plan, memory=SinkValues(owed=6, pending=6))

    watched = watch(plan, away)
    with opened_ledger(plan.settings) as ledger:
        left = [each.rows for each in owed(ledger, sink.target, OWN, "production")]
    watch(again(plan, 120), a_receipt(plan))
    with opened_ledger(plan.settings) as ledger:
        after = owed(ledger, sink.target, OWN, "production")

    assert watched.notes == ()
    assert left == [1]
    # the next run brought both
    assert after == []


def test_a_damaged_table_is_a_note_and_the_run_stays_good(plan: Plan) -> None:
    good = receipt_of(plan, Outcome("loads", "landed", values=Values(1, 1)))
    table = Path(plan.settings.lake_url) / OWN
    table.mkdir(parents=True)
    (table / "part-0.parquet").write_bytes(b"")

    watched = watch(plan, good)

    assert watched.exit_code == 0
    (note,) = watched.notes
    assert note.startswith(f"{OWN} is not whole: lake table {OWN}: it holds files but no")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LakeDamaged(table=OWN, problem="gone"), rf"lake table {OWN}: gone\."),
        (
            KeyError("planted-secret"),
            r"unexpected KeyError at test_self_watch\.py:\d+\. This is a defect of fedvitals$",
        ),
    ],
)
def test_whatever_goes_wrong_is_a_note(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(self_watch, "process", fail)
    before = a_receipt(plan).model_copy(update={"notes": ("earlier",)})

    watched = watch(plan, before)

    assert watched.notes[0] == "earlier"
    assert re.match(f"{OWN} is not whole: {words}", watched.notes[1])
    assert "planted-secret" not in str(watched.notes)


def test_a_table_that_was_moved_away_begins_anew(plan: Plan, tmp_path: Path) -> None:
    watch(plan, a_receipt(plan))
    (Path(plan.settings.lake_url) / OWN).rename(tmp_path / "away")

    watched = watch(again(plan, 1), a_receipt(plan))

    assert watched.notes == ()
    assert len(own_rows(plan)) == 1


def test_the_row_has_the_id_of_the_home(plan: Plan, sink: MemorySink) -> None:
    watch(plan, a_receipt(plan))

    with opened_ledger(plan.settings) as ledger:
        known = ledger.own_id()
    assert own_rows(plan)["ledger_id"].tolist() == [known]
    assert sink.values("ledger_id") == [known]
    assert Lake(plan.settings.lake_url).ledger_id() == known


def test_a_table_from_before_gets_the_new_field(plan: Plan, sink: MemorySink) -> None:
    older = own_measurement()
    fields = {name: spec for name, spec in older.fields.items() if name != "ledger_id"}
    older = older.model_copy(update={"fields": fields})
    with mock.patch.object(self_watch, "own_measurement", return_value=older):
        watch(plan, a_receipt(plan))
    assert own_rows(plan)["ledger_id"].isna().tolist() == [True]

    watched = watch(again(plan, 1), a_receipt(plan))

    rows = own_rows(plan)
    assert watched.notes == ()
    assert rows["ledger_id"].notna().tolist() == [False, True]
    assert rows["landed_values"].tolist() == [6.0, 6.0]
    assert sink.values("ledger_id") == rows["ledger_id"].tolist()[1:]


def test_runs_that_end_at_once_all_have_their_row(plan: Plan) -> None:
    watch(plan, a_receipt(plan))
    found: list[tuple[str, ...]] = []
    plans = [again(plan, minute) for minute in (1, 2, 3)]
    threads = [
        threading.Thread(target=lambda one=each: found.append(watch(one, a_receipt(plan)).notes))
        for each in plans
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [(), (), ()]
    assert len(own_rows(plan)) == 4


def test_who_holds_the_lock_for_long_is_told(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_watch, "LOCK_PATIENCE_SECONDS", 0.1)
    with opened_ledger(plan.settings) as ledger:
        locks = ledger.locks(plan.settings.home / "locks")
        with locks.hold(OWN, "production", "another-run"):
            watched = watch(plan, a_receipt(plan))

    (note,) = watched.notes
    assert f"{OWN} in production is locked by" in note
    assert "another-run" in note


def test_a_run_with_nothing_to_do_imports_no_great_expectations(plan: Plan) -> None:
    code = """
import sys
from tests.tasks.run.test_self_watch import a_receipt, again, own_rows
from tasks.core.settings import load_settings
from tasks.run.plan import make_plan
from tasks.run.self_watch import watch
plan = make_plan(load_settings(), None, "all")
assert watch(plan, a_receipt(plan)).notes == ()
assert len(own_rows(plan)) == 1
print("great_expectations" in sys.modules)
"""
    folder = plan.settings.home.parent
    variables = Installation(folder, {"PROMETHEUS_URL": "http://127.0.0.1:9"}).environment
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=variables,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "False\n", done.stderr
