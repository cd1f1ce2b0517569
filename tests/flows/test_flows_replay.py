"""`fedvitals replay` and `fedvitals reconcile` as commands, with a fake InfluxDB."""

from collections.abc import Iterator
from typing import Any

import pytest
from prefect import Flow

from flows.reconcile import reconcile
from flows.replay import replay
from tasks.core.catalogue import Catalogue
from tasks.core.window import Window
from tasks.lake.windows import append_states
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import FileLocks
from tasks.validation.suites import read_suite
from tests.support.fakes.influxdb import FakeInfluxDB, Fault, fake_influxdb
from tests.support.fakes.memory import MemorySink, MemorySource
from tests.support.installation import Installation, Ran, entry
from tests.support.workbench import Bench, at, rows

TOKEN = "planted-influx-5d1c"
BOTH = [("replay", "--sink", "influxdb"), ("reconcile",)]


def fill(installation: Installation, name: str, **columns: list[float]) -> None:
    """Lands three hours of a measurement; nothing is loaded, and no source is configured."""
    measurement = Catalogue.read(installation.config / "metrics.yaml")[name]
    ledger = Ledger(f"sqlite:///{installation.home / 'ledger.db'}")
    bench = Bench(
        folder=installation.home,
        measurement=measurement,
        suite=read_suite(installation.expectations, measurement),
        source=MemorySource(rows(measurement, [])),
        sink=MemorySink(),
        ledger=ledger,
    )
    bench.put(rows(measurement, [at(0.5), at(1.5), at(2.5)], **columns))
    bench.run(at(4), Window(at(0), at(3)), sinks=())
    append_states(bench.lake, bench.recorded)
    ledger.close()


def differences(ran: Ran) -> list[dict[str, Any]]:
    """The cells that a reconcile found to differ."""
    found: list[dict[str, Any]] = ran.document["details"]["differences"]
    return found


@pytest.fixture
def influxdb() -> Iterator[FakeInfluxDB]:
    with fake_influxdb(token=TOKEN) as running:
        yield running


@pytest.fixture
def landed(bare: Installation, influxdb: FakeInfluxDB) -> Installation:
    """Two measurements in the lake, three values each."""
    bare.configure({"a": entry("a"), "b": entry("b")}, chunk_rows=2)
    bare.home.mkdir()
    fill(bare, "a", a=[1.0, 2.0, 3.0])
    fill(bare, "b", b=[4.0, 5.0, 6.0])
    bare.variables |= {"INFLUXDB_URL": influxdb.url, "INFLUXDB_TOKEN": TOKEN}
    return bare


def test_replay_fills_the_sink_and_says_a_receipt(
    landed: Installation, influxdb: FakeInfluxDB
) -> None:
    ran = landed.here("replay", "--sink", "influxdb", "--json")

    assert (ran.code, ran.warnings) == (0, "")
    receipt = ran.document
    assert (receipt["flow"], receipt["status"]) == ("replay", "ok")
    assert receipt["sinks"]["influxdb"] == {
        "owed": 6, "loaded": 6, "pending": 0, "refused": 0, "skipped_by_rule": 0,
    }  # fmt: skip
    states = {line["name"]: line["state"] for line in receipt["measurements"]}
    assert states["a"] == states["b"] == "unchanged"
    assert receipt["window"]["start"] == "2026-01-01T00:00:00Z"
    assert (influxdb.count_values("a"), influxdb.count_values("b")) == (3, 3)
    assert landed.holding(TOKEN) == []


def test_replay_of_one_measurement_and_window(landed: Installation, influxdb: FakeInfluxDB) -> None:
    ran = landed.here(
        "replay", "--sink", "influxdb", "--measurement", "b",
        "--start", "2026-01-01T01:10:00Z", "--stop", "2026-01-01T01:20:00Z",
    )  # fmt: skip

    assert ran.code == 0
    assert ran.out.splitlines()[3:] == [
        "influxdb 1 owed: 1 loaded, 0 pending, 0 refused, 0 skipped by rule",
        "  1 measurement good",
    ]
    assert (influxdb.count_values("a"), influxdb.count_values("b")) == (0, 1)


@pytest.mark.slow
def test_replay_with_the_sink_down_is_pending(landed: Installation, influxdb: FakeInfluxDB) -> None:
    influxdb.always = Fault()
    ran = landed.here("replay", "--sink", "influxdb", "--json")

    assert (ran.code, ran.document["status"]) == (3, "degraded")
    counts = ran.document["sinks"]["influxdb"]
    assert (counts["owed"], counts["pending"]) == (6, 6)


def test_replay_names_tables_that_left_the_catalogue(landed: Installation) -> None:
    with landed.changed("metrics.yaml") as content:
        del content["measurements"]["b"]
    ran = landed.here("replay", "--sink", "influxdb", "--json")

    assert ran.code == 0
    assert ran.document["notes"] == ["left out, since no longer in the catalogue: b"]


@pytest.mark.slow
def test_reconcile_tells_and_fixes(landed: Installation, influxdb: FakeInfluxDB) -> None:
    pending = landed.here("reconcile", "--json")
    assert (pending.code, pending.warnings) == (3, "")
    assert (pending.document["flow"], pending.document["status"]) == ("reconcile", "degraded")
    assert [each["reasons"] for each in differences(pending)] == [{"pending": 1}] * 6

    landed.here("replay", "--sink", "influxdb")
    equal = landed.here("reconcile", "--json")
    assert (equal.code, differences(equal)) == (0, [])
    assert (equal.document["status"], equal.document["worst"]) == ("ok", None)

    gone = min((key for key in influxdb.points if key[0] == "a"), key=str)
    del influxdb.points[gone]
    differs = landed.here("reconcile", "--measurement", "a")
    assert differs.code == 1
    sentence, *lines = differs.out.splitlines()
    assert sentence == "3 cells compared, 1 differ, 0 fixed"
    assert lines[0].endswith(" in production: work ok, data high")
    assert lines[1] == "compared with influxdb"
    assert lines[3:] == [
        "  a            differs        3          3          2       1       0",
        "    2026-01-01T00:00:00Z  lake 1, sink 0: 1 missing",
        "note     a: 1 of 3 cells differ from the lake",
    ]
    fixed = landed.here("reconcile", "--fix", "--json")
    assert fixed.code == 0
    (difference,) = differences(fixed)
    assert difference["fixed"] is True
    assert difference["lake"] == {
        "count": 1,
        "sum": 1.0,
        "key_hash": difference["lake"]["key_hash"],
    }
    assert influxdb.count_values("a") == 3
    assert landed.holding(TOKEN) == []


@pytest.mark.slow
@pytest.mark.promise(
    "Accounts: every run writes its own figures to `fedvitals_pipeline`, outside of its sums; a failure there leaves the run good"
)
def test_a_reconcile_is_a_row_of_the_pipeline(landed: Installation, influxdb: FakeInfluxDB) -> None:
    landed.here("replay", "--sink", "influxdb")
    for key in [key for key in influxdb.points if key[0] in "ab"]:
        del influxdb.points[key]

    differs = landed.here("reconcile", "--json")
    tolerated = landed.here("reconcile", "--fail-on", "critical", "--json")

    assert (differs.code, tolerated.code) == (1, 0)
    assert [(each["kind"], each["severity"]) for each in differs.document["findings"]] == [
        ("sink_differs", "high"),
        ("sink_differs", "high"),
    ]
    sql = "SELECT flow, status, worst, exit_code FROM fedvitals_pipeline ORDER BY time"
    rows = landed.here("lake", "query", sql, "--json").document["rows"]
    found = {"flow": "reconcile", "status": "ok", "worst": "high"}
    assert rows == [
        {"flow": "replay", "status": "ok", "worst": None, "exit_code": 0},
        {**found, "exit_code": 1},
        {**found, "exit_code": 0},
    ]
    assert landed.kept("reconcile") == tolerated.document


@pytest.mark.slow
@pytest.mark.promise(
    "Reconcile: `--fix` erases nothing that was never landed, has expired, or could not be written again"
)
def test_what_the_lake_was_reported_to_expire_stays_in_the_sink(
    landed: Installation, influxdb: FakeInfluxDB
) -> None:
    landed.here("replay", "--sink", "influxdb")
    with landed.changed("metrics.yaml") as content:
        content["measurements"]["a"]["retention"] = "24h"
    ran = landed.here("reconcile", "--fix", "--measurement", "a", "--json")

    assert (ran.code, differences(ran)) == (0, [])
    assert influxdb.count_values("a") == 3


@pytest.mark.slow
def test_reconcile_while_the_measurement_is_locked(
    landed: Installation, influxdb: FakeInfluxDB
) -> None:
    with FileLocks(landed.home / "locks").hold("a", "production", "other"):
        ran = landed.here("reconcile", "--measurement", "a")
        sent = landed.here("replay", "--sink", "influxdb", "--measurement", "a")

    # what could not be compared is not known; what could not be sent is the next one's
    assert (ran.code, sent.code) == (1, 3)
    assert "a in production is locked by run other" in ran.out
    assert "a in production is locked by run other" in sent.out
    assert influxdb.count_values("a") == 0


BAD_INPUT = {
    "backwards": (("--start", "-1h", "--stop", "-2h"), "is empty or runs backwards"),
    "no time": (("--start", "yesterday"), "'yesterday' is not a time"),
    "stop alone": (("--stop", "now"), "is missing while --stop is given"),
    "measurement": (("--measurement", "nobodys"), "nobodys is not in the catalogue"),
    "environment": (("--environment", "nobodys"), "there is no environment 'nobodys'"),
}


@pytest.fixture
def configured(bare: Installation) -> Installation:
    bare.variables |= {"INFLUXDB_URL": "http://127.0.0.1:9", "INFLUXDB_TOKEN": TOKEN}
    return bare.configure({"a": entry("a")})


@pytest.mark.parametrize("command", BOTH, ids=["replay", "reconcile"])
@pytest.mark.parametrize(("more", "said"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_is_one_line(
    configured: Installation, command: tuple[str, ...], more: tuple[str, ...], said: str
) -> None:
    ran = configured.here(*command, *more)

    assert ran.code == 2
    assert said in ran.complaint


def test_an_unknown_sink(configured: Installation) -> None:
    ran = configured.here("replay", "--sink", "influx")

    assert ran.code == 2
    assert (
        ran.complaint
        == "--sink: there is no sink 'influx'. Fix: use one of: influxdb, datadog, cloudwatch, gcp, otlp"
    )


@pytest.mark.parametrize("command", BOTH, ids=["replay", "reconcile"])
def test_no_influxdb(configured: Installation, command: tuple[str, ...]) -> None:
    del configured.variables["INFLUXDB_TOKEN"]
    without_token = configured.here(*command)
    del configured.variables["INFLUXDB_URL"]
    without = configured.here(*command)

    assert (without.code, without_token.code) == (2, 2)
    assert without.complaint.startswith(
        "environment production: no InfluxDB is configured. Fix: set "
    )
    assert without_token.complaint.startswith(
        "INFLUXDB_URL: InfluxDB is off, since its token is not set"
    )


@pytest.mark.parametrize("command", BOTH, ids=["replay", "reconcile"])
def test_influxdb_is_off(configured: Installation, command: tuple[str, ...]) -> None:
    configured.write_yaml("sinks.yaml", {"influxdb": {"enabled": False}})
    ran = configured.here(*command)

    assert (ran.code, ran.complaint.startswith("sinks.yaml: influxdb.enabled")) == (2, True)


@pytest.mark.parametrize("flow", [replay, reconcile])
def test_flows_describe_their_parameters(flow: Flow) -> None:  # type: ignore[type-arg]
    properties = flow.parameters.properties
    assert properties
    assert all(each.get("description") for each in properties.values())
