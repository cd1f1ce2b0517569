"""`fedvitals maintain`: one run over everything, what it says, and how it ends."""

import shutil
from collections.abc import Iterator

import pytest

from flows.commands.definitions import read_deployments
from flows.commands.summary import summary
from tasks.core.maintenance import LedgerUpkeep, Maintenance, ReportsUpkeep, TableUpkeep
from tasks.core.receipt import Outcome, write_receipt
from tasks.core.settings import load_settings
from tasks.ledger.locks import FileLocks
from tests.support.faulty import FaultyPrometheus, constant, faulty_prometheus
from tests.support.installation import Installation, Ran, entry

# every run measures itself, also one with nothing to do
PIPELINE = "fedvitals_pipeline"


@pytest.fixture
def prometheus() -> Iterator[FaultyPrometheus]:
    with faulty_prometheus() as running:
        running.queries |= {"a": [constant()], "b": [constant()]}
        yield running


@pytest.fixture
def two(bare: Installation, prometheus: FaultyPrometheus) -> Installation:
    bare.variables |= {"PROMETHEUS_URL": prometheus.url}
    return bare.configure({"a": entry("a"), "b": entry("b")})


def states(ran: Ran) -> dict[str, str]:
    tables = ran.document["details"]["tables"]
    return {table["name"]: table["state"] for table in tables if table["name"] != PIPELINE}


def versions(bare: Installation) -> dict[str, int]:
    tables = bare.here("lake", "ls", "--json").document["tables"]
    return {table["name"]: table["version"] for table in tables if table["name"] != PIPELINE}


@pytest.mark.slow
def test_after_upkeep_a_run_finds_everything_unchanged(two: Installation) -> None:
    for start in ("-5h", "-4h", "-3h"):
        assert two.here("collect", "--start", start, "--stop", "-2h").code == 0
    before = two.here("lake", "query", "SELECT * FROM a ORDER BY time", "--json").document
    assert len(before["rows"]) > 100

    ran = two.here("maintain", "--json")

    assert ran.code == 0, ran.err
    document = ran.document
    assert (document["flow"], document["status"]) == ("maintain", "ok")
    assert document["details"]["environments"] == ["production"]
    assert states(ran) == {"a": "done", "b": "done", "_windows": "done"}
    assert two.files("backups") == [f"backups/ledger-{document['run_id']}.db"]
    assert document["details"]["ledger"]["backup"] == str(two.home / "backups" / f"ledger-{document['run_id']}.db")  # fmt: skip
    assert two.here("lake", "query", "SELECT * FROM a ORDER BY time", "--json").document == before
    left = versions(two)
    again = two.here("collect", "--start", "-5h", "--stop", "-2h", "--json").document
    found = {line["name"]: line["state"] for line in again["measurements"]}
    assert (found["a"], found["b"]) == ("unchanged", "unchanged")
    assert versions(two) == left


@pytest.mark.slow
@pytest.mark.promise(
    "Maintenance: only reports that runs wrote into FEDVITALS_HOME expire, never the newest one"
)
def test_old_reports_go_and_the_others_stay(two: Installation) -> None:
    assert two.here("collect").code == 0
    (fresh,) = (two.home / "reports").iterdir()
    shutil.copytree(fresh, fresh.with_name("20200101T000000-0a1b2c"))
    (fresh.with_name("mine") / "notes").mkdir(parents=True)

    ran = two.here("maintain", "--json")

    assert ran.code == 0
    reports = ran.document["details"]["reports"]
    assert (reports["state"], reports["retained"], reports["removed"]) == ("done", 1, 1)
    assert reports["bytes_removed"] > 1000
    assert sorted(p.name for p in fresh.parent.iterdir()) == [fresh.name, "mine"]

    with two.changed("environments.yaml") as content:
        content["maintenance"] = {"reports": "9000d"}
    shutil.copytree(fresh, fresh.with_name("20200101T000000-0a1b2c"))
    assert two.here("maintain", "--json").document["details"]["reports"]["removed"] == 0


@pytest.mark.slow
@pytest.mark.promise(
    "Maintenance: tables locked by another run are skipped, damaged tables are reported, and the others go on"
)
def test_people_are_reported_the_same(two: Installation) -> None:
    assert two.here("collect").code == 0
    with two.changed("metrics.yaml") as content:
        content["measurements"]["a"]["retention"] = "1d"
    (two.home / "lake" / "b" / "_delta_log" / f"{1:020d}.json").write_text("")

    with FileLocks(two.home / "locks").hold("a", "production", "run-x"):
        ran = two.here("maintain")

    assert ran.code == 1
    _, *lines = (line for line in ran.out.splitlines() if PIPELINE not in line)
    assert lines[0].endswith(" in production: work degraded")
    assert lines[1].split()[:2] == ["a", "locked"]
    assert "a in production is locked by run run-x" in lines[2]
    assert lines[3].split()[:2] == ["b", "damaged"]
    assert "lake table b" in lines[4]
    assert lines[5].split()[:2] == ["_windows", "done"]
    assert lines[6].startswith("ledger   done, backup ")
    assert lines[7] == "reports  done, 1 retained"


@pytest.mark.slow
def test_what_another_run_holds_is_left_and_reported(two: Installation) -> None:
    assert two.here("collect").code == 0

    with FileLocks(two.home / "locks").hold("a", "production", "run-x"):
        ran = two.here("maintain", "--json")

    assert ran.code == 3
    assert states(ran) == {"a": "locked", "b": "done", "_windows": "done"}
    assert ran.document["status"] == "degraded"
    assert {line["name"]: line["state"] for line in ran.document["measurements"]} == {
        "a": "pending",
        "b": "unchanged",
        PIPELINE: "unchanged",
        "_windows": "unchanged",
    }


@pytest.mark.slow
def test_a_ledger_that_could_not_be_kept_up_is_work_left(two: Installation) -> None:
    assert two.here("collect").code == 0
    (two.home / "backups").write_text("a file is in the way")

    ran = two.here("maintain", "--json")

    assert (ran.code, ran.document["status"]) == (3, "degraded")
    assert ran.document["details"]["ledger"]["state"] == "pending"
    (line,) = [each for each in ran.document["measurements"] if each["state"] != "unchanged"]
    assert (line["name"], line["state"]) == ("ledger", "pending")
    assert "no backup in" in line["problems"][0]


def test_a_wrong_setting_ends_it_before_anything_is_done(bare: Installation) -> None:
    bare.configure({"a": entry("a")})
    with bare.changed("environments.yaml") as content:
        content["maintenance"] = {"files": "30m", "quarantin": "1d"}

    ran = bare.here("maintain")

    assert ran.code == 2
    assert "maintenance.files: must be a whole number of hours" in ran.complaint
    assert "unknown key maintenance.quarantin (did you mean quarantine?)" in ran.complaint
    assert not (bare.home / "lake").exists()


def test_a_retention_of_less_than_a_day_is_refused(bare: Installation) -> None:
    bare.configure({"a": entry("a")})
    with bare.changed("metrics.yaml") as content:
        content["measurements"]["a"]["retention"] = "1h"

    ran = bare.here("maintain")

    assert ran.code == 2
    assert "measurements.a: `retention` must be 1d or more" in ran.complaint


def test_it_is_deployed_daily(bare: Installation) -> None:
    deployments = read_deployments(load_settings(bare.environment))
    (found,) = [each for each in deployments if each.name == "maintain/maintain"]

    assert found.definition.entrypoint == "flows/maintain.py:maintain"
    assert [each["cron"] for each in found.definition.schedules] == ["35 2 * * *"]


def test_the_summary_counts_what_went() -> None:
    table = TableUpkeep(
        name="a", files_before=9, files_after=2, bytes_before=900, bytes_after=300,
        rows_expired=5, quarantine_expired=1, cells_expired=2,
    )  # fmt: skip
    details = Maintenance(
        environments=("production",), tables=(table,), ledger=LedgerUpkeep(runs_removed=3),
        reports=ReportsUpkeep(retained=4, removed=2, bytes_removed=99, problems=("one is left",)),
    )  # fmt: skip
    outcomes = [Outcome("a", "unchanged")]
    done = write_receipt(
        "maintain", "r", "production", None, outcomes, {}, notes=("a note",), details=details
    )

    assert summary(done).splitlines() == [
        done.sentence,
        "run      maintain r in production: work ok",
        "  a  done     9 → 2 files, 900 → 300 bytes; expired: 5 rows, 1 of quarantine, 2 cells",
        "ledger   done, no backup; removed: 3 receipts",
        "reports  done, 4 retained; removed: 2, 99 bytes",
        "    one is left",
        "note     a note",
    ]
