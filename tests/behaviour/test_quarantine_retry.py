"""`fedvitals quarantine retry`: after a suite or a bucket was fixed, in this process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from tasks.core.catalogue import Catalogue
from tasks.core.measurement import Measurement
from tasks.core.ports import Sink
from tasks.core.self_metrics import SELF_METRICS, self_measurement
from tasks.core.series import ALL_TIME
from tasks.core.services import InfluxService, InfluxTuning
from tasks.core.window import Window
from tasks.lake.query import query
from tasks.lake.tables import Lake
from tasks.lake.windows import append_states
from tasks.ledger.ledger import Ledger
from tasks.ledger.locks import FileLocks
from tasks.sinks.influxdb import InfluxSink
from tasks.validation.suites import read_suite
from tests.support.fakes.influxdb import FakeInfluxDB, fake_influxdb
from tests.support.fakes.memory import MemorySink, MemorySource
from tests.support.installation import Installation, entry
from tests.support.workbench import Bench, at, rows

NOW = at(1.5)
TOKEN = "planted-token-7c1e"


@dataclass(frozen=True)
class Held:
    """An installation with two measurements; of shares 1.5 is in quarantine, beside 0.5."""

    installation: Installation
    measurements: dict[str, Measurement]

    @contextmanager
    def bench(self, sink: Sink | None = None, runs: int = 0) -> Iterator[Bench]:
        """What collects shares into the installation, as a run does it after so many others."""
        home, measurement = self.installation.home, self.measurements["shares"]
        ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
        bench = Bench(
            folder=home,
            measurement=measurement,
            suite=read_suite(self.installation.expectations, measurement),
            source=MemorySource(rows(measurement, [])),
            sink=sink or MemorySink(),  # type: ignore[arg-type]
            ledger=ledger,
            runs=runs,
        )
        yield bench
        append_states(bench.lake, bench.recorded)
        ledger.close()


@pytest.fixture
def held(bare: Installation) -> Held:
    ratio = entry("share", tags=("method",))
    ratio["fields"]["share"]["unit"] = "ratio"
    bare.configure({"shares": ratio, "delays": entry("delay")})
    bare.home.mkdir()
    found = Held(bare, dict(Catalogue.read(bare.config / "metrics.yaml")))
    with found.bench() as bench:
        bench.put(rows(bench.measurement, [at(0.25), at(0.5)], share=[0.5, 1.5]))
        bench.run(NOW, sinks=())
    return found


def fix(held: Held) -> None:
    """A share may be 2."""
    with held.installation.changed_suite("shares") as content:
        content["expectations"][-1]["kwargs"]["max_value"] = 2


def landed(held: Held) -> list[float]:
    with held.bench() as bench:
        return [float(value) for value in bench.landed(0, 2)["share"]]


@pytest.mark.slow
def test_after_the_suite_was_fixed(held: Held) -> None:
    fix(held)
    ran = held.installation.here("quarantine", "retry", "--json")
    assert (ran.code, ran.err) == (0, "")
    document = ran.document
    assert (document["flow"], document["status"], document["report"]) == (
        "quarantine retry",
        "ok",
        None,
    )
    assert document["values"] == {"extracted": 2, "landed": 1, "quarantined": 0, "dropped_by_rule": 0, "unchanged": 1, "retained": 0, "erased": 0}  # fmt: skip
    (line,) = document["measurements"]
    assert (line["name"], line["state"], line["verdict"]) == (
        "shares",
        "landed",
        {"passed": 5, "failed": 0, "worst": None},
    )
    assert landed(held) == [0.5, 1.5]
    assert held.installation.here("quarantine", "ls").out == "nothing is in quarantine\n"


def test_the_windows_tell_of_the_retry(held: Held) -> None:
    fix(held)
    run_id = held.installation.here("quarantine", "retry", "--json").document["run_id"]
    with held.bench() as bench:
        reported = query(bench.lake, "SELECT * FROM _windows").to_pylist()
        state = bench.ledger.cells("shares", "production", Window(at(0), at(1)))
    row = next(r for r in reported if (r["run_id"], r["measurement"]) == (run_id, "shares"))
    (known,) = state.values()
    assert (row["landed_digest"], row["source_digest"]) == (
        known.landed_digest,
        known.source_digest,
    )
    assert (row["values"], row["quarantined"]) == (2, 0)


@pytest.mark.slow
@pytest.mark.promise(
    "Accounts: every run writes its own figures to `fedvitals_pipeline`, outside of its sums; a failure there leaves the run good"
)
def test_a_retry_is_a_row_of_the_pipeline_outside_of_its_own_sums(held: Held) -> None:
    fix(held)
    document = held.installation.here("quarantine", "retry", "--json").document
    lake = Lake(str(held.installation.home / "lake"))
    (row,) = lake.read(self_measurement(), "production", ALL_TIME).to_dict("records")
    assert (row["flow"], row["status"], row["exit_code"]) == ("quarantine retry", "ok", 0)
    assert (row["extracted_values"], row["landed_values"], row["unchanged_values"]) == (2, 1, 1)
    assert [line["name"] for line in document["measurements"]] == ["shares"]
    with held.bench() as bench:
        (kept,) = bench.ledger.last_runs("quarantine retry", "production", "9", 5)
    assert json.loads(kept)["lag_seconds"] == document["lag_seconds"] > 0


@pytest.mark.slow
def test_a_retry_that_cannot_tell_of_itself_says_so_and_is_good(held: Held) -> None:
    fix(held)
    with FileLocks(held.installation.home / "locks").hold(SELF_METRICS, "production", "other"):
        ran = held.installation.here("quarantine", "retry", "--json")
    assert (ran.code, ran.document["status"]) == (0, "ok")
    (lost,) = ran.document["deliveries"]
    assert (lost["what"], lost["ok"]) == ("self metrics", False)
    assert lost["message"].startswith(f"{SELF_METRICS} is incomplete: ")
    assert "is locked by run other" in lost["message"]


@pytest.mark.slow
def test_without_fixing_it_stays(held: Held) -> None:
    ran = held.installation.here("quarantine", "retry", "shares")
    assert ran.code == 1
    assert ran.out.splitlines()[3:] == [
        "values   2 extracted: 0 landed, 1 quarantined, 0 dropped by rule, 1 unchanged; 0 retained",
        "  shares  unchanged, 1 quarantined: share_possible (critical)",
    ]
    assert landed(held) == [0.5]


@pytest.mark.parametrize(
    "arguments",
    [
        ("delays",),
        ("shares", "--start", "2026-01-01T01:00:00Z"),
        ("--stop", "2025-12-31T23:00:00Z"),
        ("-e", "staging"),
    ],
)
def test_where_nothing_is_held_back_there_is_nothing_to_do(
    held: Held, arguments: tuple[str, ...]
) -> None:
    fix(held)
    held.installation.write_yaml("environments.yaml", {"environments": {"staging": {}}})
    ran = held.installation.here("quarantine", "retry", *arguments, "--json")
    assert (ran.code, ran.document["status"], ran.document["measurements"]) == (0, "no_data", [])
    assert landed(held) == [0.5]


def test_a_part_of_a_cell_stands_for_the_cell(held: Held) -> None:
    fix(held)
    window = ("--start", "2026-01-01T00:55:00Z", "--stop", "2026-01-01T00:56:00Z")
    ran = held.installation.here("quarantine", "retry", *window, "--json")
    assert ran.document["values"]["landed"] == 1
    assert ran.document["window"]["start"] == "2026-01-01T00:55:00Z"


def test_an_unknown_measurement_is_refused(held: Held) -> None:
    ran = held.installation.here("quarantine", "retry", "sharez")
    assert ran.code == 2
    assert ran.complaint == (
        "MEASUREMENT: sharez is not in the catalogue. Fix: did you mean shares? List them: fedvitals catalogue"
    )


def test_a_broken_suite_stops_it(held: Held) -> None:
    with held.installation.changed_suite("shares") as content:
        content["expectations"].pop(0)
    ran = held.installation.here("quarantine", "retry")
    assert ran.code == 2
    assert ran.complaint.startswith("suite ")
    (row,) = held.installation.here("quarantine", "ls", "--json").document["quarantine"]
    assert (row["stage"], row["values"]) == ("suite", 1)


def test_what_is_no_longer_in_the_catalogue_stays(held: Held) -> None:
    with held.installation.changed("metrics.yaml") as content:
        del content["measurements"]["shares"]
    ran = held.installation.here("quarantine", "retry")
    assert (ran.code, ran.err) == (
        0,
        "fedvitals: shares is no longer in the catalogue; its quarantine stays\n",
    )


def test_a_measurement_that_is_locked_is_pending(held: Held) -> None:
    fix(held)
    with FileLocks(held.installation.home / "locks").hold("shares", "production", "other"):
        ran = held.installation.here("quarantine", "retry", "--json")
    assert (ran.code, ran.document["status"]) == (3, "degraded")
    assert ran.document["measurements"][0]["problems"][0].startswith(
        "shares in production is locked by run other "
    )


@pytest.fixture
def influxdb() -> Iterator[FakeInfluxDB]:
    with fake_influxdb(token=TOKEN) as running:
        yield running


def refused(held: Held, influxdb: FakeInfluxDB) -> None:
    """A collect into a bucket that has the field as a text."""
    influxdb.types["shares", "share"] = str
    service = InfluxService(
        url=influxdb.url, token=SecretStr(TOKEN), origin="", org="fedvitals", bucket="fedvitals"
    )
    with held.bench(sink=InfluxSink(service, InfluxTuning(), deadline_seconds=5), runs=1) as bench:
        bench.put(rows(bench.measurement, [at(0.25), at(0.5)], share=[0.5, 1.5]))
        assert bench.run(NOW).state == "refused"
    held.installation.variables |= {"INFLUXDB_URL": influxdb.url, "INFLUXDB_TOKEN": TOKEN}


@pytest.mark.slow
def test_after_the_bucket_was_fixed(held: Held, influxdb: FakeInfluxDB) -> None:
    refused(held, influxdb)
    influxdb.types.clear()
    fix(held)
    ran = held.installation.here("quarantine", "retry", "--json")
    assert ran.code == 0
    assert ran.document["sinks"] == {"influxdb": {"owed": 2, "loaded": 2, "pending": 0, "refused": 0, "skipped_by_rule": 0}}  # fmt: skip
    assert influxdb.count_values("shares") == 2
    assert held.installation.here("quarantine", "ls").out == "nothing is in quarantine\n"


@pytest.mark.slow
def test_a_bucket_that_still_refuses_is_reported_again(held: Held, influxdb: FakeInfluxDB) -> None:
    refused(held, influxdb)
    fix(held)
    ran = held.installation.here("quarantine", "retry", "--json")
    assert (ran.code, ran.document["measurements"][0]["state"]) == (1, "refused")
    assert ran.document["sinks"]["influxdb"] == {"owed": 2, "loaded": 0, "pending": 0, "refused": 2, "skipped_by_rule": 0}  # fmt: skip
    (row,) = held.installation.here("quarantine", "ls", "--json").document["quarantine"]
    assert (row["stage"], row["values"]) == ("sink", 2)


@pytest.mark.slow
def test_a_bucket_that_is_gone_leaves_it_pending(held: Held, influxdb: FakeInfluxDB) -> None:
    refused(held, influxdb)
    influxdb.bucket = None
    fix(held)
    ran = held.installation.here("quarantine", "retry", "--json")
    assert (ran.code, ran.document["sinks"]["influxdb"]["pending"]) == (3, 2)
    assert TOKEN not in ran.out + ran.err
