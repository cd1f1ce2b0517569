"""Reports put together from a lake and a ledger: of a run, and again for any window."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.core.batch import build_frame
from tasks.core.catalogue import Catalogue
from tasks.core.errors import ReportNotWritten, UsageInvalid
from tasks.core.measurement import Measurement
from tasks.core.quarantine import Reason, records
from tasks.core.receipt import Outcome, Receipt, Values, write_receipt
from tasks.core.settings import load_settings
from tasks.core.severity import Severity
from tasks.core.verdict import Verdict
from tasks.core.window import Cell, Window, iso
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.reports import page
from tasks.reports.charts import Panel, panels_of
from tasks.reports.series import Table
from tasks.runs.base.plan import Request, make_report_plan
from tasks.runs.base.report import report, report_run
from tasks.runs.base.run import Run
from tests.support.installation import Installation, entry
from tests.support.ledger_behaviours import state
from tests.support.report_samples import check

HOUR = timedelta(hours=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE_HOUR = Cell(NOON, NOON + HOUR)


@pytest.fixture
def installation(bare: Installation) -> Installation:
    share = entry("busy_ratio", "seen_total", tags=("host",))
    share["fields"]["busy_ratio"] = {
        **share["fields"]["busy_ratio"],
        "unit": "ratio",
        "better": "lower",
    }
    return bare.configure({"load": share, "other": entry("value")})


@pytest.fixture
def bare(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


@pytest.fixture
def lake(installation: Installation) -> Lake:
    return Lake(str(installation.home / "lake"))


@pytest.fixture
def ledger(installation: Installation) -> Iterator[Ledger]:
    installation.home.mkdir()
    ledger = Ledger(f"sqlite:///{installation.home / 'ledger.db'}")
    yield ledger
    ledger.close()


def load(installation: Installation) -> Measurement:
    return Catalogue.read(installation.config / "metrics.yaml")["load"]


def land(
    installation: Installation, lake: Lake, cell: Cell, mean: float, environment: str = "production"
) -> None:
    """Two rows of one host around the mean."""
    columns = {
        "time": [cell.start, cell.start + HOUR / 2],
        "environment": [environment] * 2,
        "host": ["a"] * 2,
        "busy_ratio": [mean - 0.1, mean + 0.1],
        "seen_total": [1.0, 2.0],
    }
    frame = build_frame(load(installation), columns)
    lake.land(load(installation), frame, [cell], environment, {"run_id": "r"})


def hold_back(installation: Installation, lake: Lake, cell: Cell) -> None:
    """One value of the cell in quarantine."""
    columns = {
        "time": [cell.start + HOUR / 4], "environment": ["production"], "host": ["a"],
        "busy_ratio": [7.0],
    }  # fmt: skip
    frame = build_frame(load(installation), columns)
    reason = Reason("suite", "value", "busy", "between", Severity.CRITICAL, "0 to 1", "too much")
    held = records(frame, load(installation), np.array([0]), ["busy_ratio"], reason)
    lake.quarantine(load(installation), held, [cell], "production")


def a_run(installation: Installation, run_id: str | None = None, flow: str = "report") -> Run:
    variables = {
        "FEDVITALS_CONFIG": str(installation.config),
        "FEDVITALS_HOME": str(installation.home),
    }
    return Run(flow, load_settings(variables), run_id=run_id)


def asked(window: Window = ONE_HOUR, **more: Any) -> Request:
    return Request(start=iso(window.start), stop=iso(window.stop), **more)


def remake(installation: Installation) -> Receipt:
    with a_run(installation) as run:
        return report(run, asked())


def twin_of(receipt: Receipt) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(str(receipt.report)).with_suffix(".json").read_text())
    return found


def test_a_window_is_reported_as_the_lake_holds_it(installation: Installation, lake: Lake) -> None:
    land(installation, lake, ONE_HOUR, 0.5)
    hold_back(installation, lake, ONE_HOUR)

    receipt = remake(installation)

    assert (receipt.flow, receipt.environment) == ("report", "production")
    assert (receipt.status, receipt.worst) == ("ok", Severity.CRITICAL)
    assert receipt.values == Values(extracted=5, landed=4, quarantined=1)
    assert receipt.sinks == {}
    assert [(line.name, line.state) for line in receipt.measurements] == [
        ("load", "landed"), ("other", "no_data"),
    ]  # fmt: skip
    first, second = twin_of(receipt)["measurements"]
    assert (first["fields"]["busy_ratio"]["n"], first["quarantine"]["records"]) == (2, 1)
    assert (first["verdict"]["declared"], first["verdict"]["failed"]) == (
        first["verdict"]["ran"],
        0,
    )
    assert second["warnings"] == ["the lake has no values in this window"]
    assert "the checks ran over landed values" in Path(str(receipt.report)).read_text("utf-8")


def test_nothing_is_moved_by_a_report(
    installation: Installation, lake: Lake, ledger: Ledger
) -> None:
    # 1.1 and 0.9: the suite does not let the first one through
    land(installation, lake, ONE_HOUR, 1.0)
    before = installation.files("lake")

    receipt = remake(installation)

    assert receipt.measurements[0].failing == ("busy_ratio_possible",)
    assert receipt.values == Values(extracted=4, landed=4)
    assert installation.files("lake") == before
    assert ledger.last_runs("report", "production", "z", 9) == []


def test_a_window_without_data_is_a_report_that_says_so(installation: Installation) -> None:
    receipt = remake(installation)

    assert (receipt.status, receipt.exit_code, receipt.values) == ("no_data", 0, Values())
    page = Path(str(receipt.report)).read_text("utf-8")
    assert "<h1>no data: 2 measurements without values</h1>" in page
    assert page.count("the lake has no values in this window") == 2


def test_other_environments_and_other_hours_are_not_reported(
    installation: Installation, lake: Lake
) -> None:
    land(installation, lake, Cell(NOON + HOUR, NOON + 2 * HOUR), 0.5)
    land(installation, lake, ONE_HOUR, 0.5, environment="staging")
    assert remake(installation).status == "no_data"


def test_a_quarantine_without_a_landed_value_is_reported(
    installation: Installation, lake: Lake
) -> None:
    hold_back(installation, lake, ONE_HOUR)
    receipt = remake(installation)
    assert receipt.values == Values(extracted=1, quarantined=1)
    assert receipt.measurements[0].verdict is None


def test_earlier_windows_are_compared(installation: Installation, lake: Lake) -> None:
    land(installation, lake, ONE_HOUR, 0.8)
    for back in range(1, 9):
        land(installation, lake, Cell(NOON - back * HOUR, NOON - (back - 1) * HOUR), 0.3)
    day = timedelta(days=1)
    land(installation, lake, Cell(NOON - day, NOON - day + HOUR), 0.6)

    reported = twin_of(remake(installation))["measurements"][0]["fields"]

    first, second = reported["busy_ratio"]["comparisons"]
    assert (first["against"], first["judgement"], first["past"]) == ("previous", "worse", 7)
    assert (first["before"], first["change"]) == (0.3, pytest.approx(0.5))
    assert (second["against"], second["before"], second["judgement"]) == ("day", 0.6, "unknown")
    assert reported["seen_total"]["comparisons"][0]["judgement"] == "usual"


def receipt_of(run_id: str, *failing: str) -> tuple[Receipt, tuple[Outcome, ...]]:
    checks = tuple(check(each, Severity.WARNING, success=False) for each in failing)
    outcomes = (
        Outcome("load", "landed", 2, Values(4, 4), verdicts=(Verdict("load", checks),)),
        Outcome("other", "no_data"),
    )
    return write_receipt("collect", run_id, "production", ONE_HOUR, outcomes, {}), outcomes


def test_a_run_is_compared_with_the_one_before_and_its_hours_have_events(
    installation: Installation, lake: Lake, ledger: Ledger
) -> None:
    land(installation, lake, ONE_HOUR, 0.5)
    old, _ = receipt_of("20260301T120000-a", "one")
    ledger.keep_receipt(old)
    kept = state(0, measurement="load", quarantined=3, state="landed")
    ledger.record([replace(kept, cell=ONE_HOUR)])
    receipt, outcomes = receipt_of("20260301T130000-b", "two")
    receipt = receipt.model_copy(update={"notes": ("a note",)})

    with a_run(installation, receipt.run_id, "collect") as run:
        run.outcomes += outcomes
        plan = make_report_plan(run, asked())
        with run.delivery("self metrics") as problems:
            problems.append("the sink was away")
        report_run(run, plan, receipt)

    reported = twin_of(receipt.model_copy(update={"report": run.report}))
    assert reported["notes"] == ["a note", "the sink was away"]
    assert reported["changes"]["run_id"] == old.run_id
    (change,) = reported["changes"]["measurements"]
    assert (change["name"], change["started"], change["ended"]) == ("load", ["two"], ["one"])
    assert reported["measurements"][0]["events"] == [
        {
            "kind": "quarantined", "start": "2026-03-01T12:00:00Z", "stop": "2026-03-01T13:00:00Z",
            "text": "3 values quarantined",
        }
    ]  # fmt: skip
    summary = run.artifacts[0].content
    assert isinstance(summary, str)
    assert "fails now: two; no longer fails: one" in summary


def test_a_report_that_cannot_be_written_is_reported(installation: Installation) -> None:
    installation.home.mkdir()
    (installation.home / "reports").write_text("a file")
    with pytest.raises(ReportNotWritten, match="reports"):
        remake(installation)


@pytest.mark.promise(
    "Accounts: a delivery that fails (report, annotation, heartbeat, artifacts) is on the receipt and changes no exit code"
)
def test_a_run_whose_report_cannot_be_written_did_its_work_all_the_same(
    installation: Installation, lake: Lake
) -> None:
    land(installation, lake, ONE_HOUR, 0.5)
    receipt, outcomes = receipt_of("20260301T130000-b")
    (installation.home / "reports").write_text("a file")

    with a_run(installation, receipt.run_id, "collect") as run:
        run.outcomes += outcomes
        report_run(run, make_report_plan(run, asked()), receipt)
        reported = run.complete(receipt)

    (delivery,) = reported.deliveries
    assert (delivery.what, delivery.ok, reported.report) == ("report", False, None)
    assert "reports" in delivery.message
    assert (reported.status, reported.exit_code) == ("ok", 0)
    assert run.artifacts == []


@pytest.fixture
def defective(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data of one measurement cannot be drawn."""

    def broken(measurement: Measurement, table: Table, *facts: Any) -> tuple[Panel, ...]:
        if measurement.name == "load" and table.series:
            raise ValueError("a defect")
        return panels_of(measurement, table, *facts)

    monkeypatch.setattr(page, "panels_of", broken)


@pytest.mark.usefixtures("defective")
@pytest.mark.promise(
    "Accounts: a measurement whose data cannot be drawn takes no other from the report, and the run ends as degraded"
)
def test_a_run_is_degraded_when_a_measurement_cannot_be_drawn(
    installation: Installation, lake: Lake
) -> None:
    land(installation, lake, ONE_HOUR, 0.5)
    receipt, outcomes = receipt_of("20260301T130000-b")

    with a_run(installation, receipt.run_id, "collect") as run:
        run.outcomes += outcomes
        report_run(run, make_report_plan(run, asked()), receipt)
        reported = run.complete(receipt)

    (delivery,) = reported.deliveries
    assert (delivery.ok, reported.status, reported.exit_code) == (False, "degraded", 3)
    assert delivery.message.startswith("load: its data cannot be shown: unexpected ValueError")
    assert Path(str(reported.report)).is_file()


@pytest.mark.usefixtures("defective")
def test_the_command_ends_in_part_when_a_measurement_cannot_be_drawn(
    installation: Installation, lake: Lake
) -> None:
    land(installation, lake, ONE_HOUR, 0.5)

    ran = installation.here("report", "--start", iso(NOON), "--stop", iso(NOON + HOUR), "--json")

    assert (ran.code, ran.document["status"]) == (3, "degraded")
    assert ran.document["notes"][-1].startswith("load: its data cannot be shown: unexpected")


def test_no_source_needs_to_be_configured_and_only_what_is_asked_for_is_reported(
    installation: Installation,
) -> None:
    with a_run(installation) as run:
        plan = make_report_plan(run, asked(measurements=["other"]))
    assert "prometheus" not in plan.environment.services
    assert [each.name for each in plan.measurements] == ["other"]
    with a_run(installation) as run, pytest.raises(UsageInvalid, match="nothing"):
        make_report_plan(run, asked(measurements=["nothing"]))


def test_without_a_start_it_is_about_the_newest_hour_and_the_hour_before(
    installation: Installation,
) -> None:
    with a_run(installation) as run:
        receipt = report(run, Request(output=str(installation.folder / "out")))
    assert receipt.window is not None
    start, stop = (datetime.fromisoformat(receipt.window[key]) for key in ("start", "stop"))
    assert stop == run.now
    assert HOUR <= stop - start <= 2 * HOUR + run.settings.pipeline.settle_delay
    assert receipt.report == str(installation.folder / "out" / "metrics-report.html")
