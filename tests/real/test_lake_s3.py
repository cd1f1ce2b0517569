"""The lake on an object store: whole runs, questions, writers at once, and stores that do not work."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests

from tasks.core.errors import LakeBusy, LakeDamaged, LakeUnavailable
from tasks.core.retry import retrying
from tasks.lake.delta import append_rows, existing_table, replace_rows
from tasks.lake.history import means
from tasks.lake.tables import Lake, frame_to_arrow
from tasks.lake.windows import WINDOWS
from tests.support.fakes.prometheus import FakeSeries
from tests.support.faulty import FaultyPrometheus, constant, faulty_prometheus
from tests.support.installation import Installation, Ran, entry
from tests.support.lake_samples import DAY, M, put, ratios, refused, rows
from tests.support.process import free_port
from tests.support.s3 import SECRET, S3Server
from tests.support.servers import PrefectServer
from tests.tasks.lake.test_lake_delta import ROOT, WRITER

pytestmark = pytest.mark.promise(
    "Sources: a failing object store is reported in one line without a secret, and the next run catches up"
)

HOUR = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T01:00:00Z")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def installed(tmp_path: Path, prefect_server: PrefectServer) -> Installation:
    return Installation(tmp_path, {"PREFECT_API_URL": prefect_server.api_url})


@pytest.fixture
def bucket(s3: S3Server, request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own."""
    name = f"b{abs(hash(request.node.nodeid))}"
    s3.make_bucket(name)
    return name


@pytest.fixture
def lake(s3: S3Server, bucket: str) -> Iterator[Lake]:
    """A lake below a prefix, whose store this process knows from its variables."""
    with mock.patch.dict(os.environ, s3.variables(f"{bucket}/some/lake")):
        yield Lake(f"s3://{bucket}/some/lake")


@pytest.fixture
def prometheus() -> Iterator[FaultyPrometheus]:
    with faulty_prometheus() as server:
        server.queries |= {
            "load": [constant("0.5")],
            "share": [FakeSeries({}, lambda at: "1.5" if at % 600_000 == 0 else "0.5")],
        }
        yield server


def on_s3(
    installed: Installation, prometheus: FaultyPrometheus, variables: dict[str, str]
) -> Installation:
    share = entry("share")
    share["fields"]["share"]["unit"] = "ratio"
    installed.configure({"loads": entry("load"), "shares": share})
    installed.variables |= {"PROMETHEUS_URL": prometheus.url, **variables}
    return installed


@pytest.mark.promise(
    "Two runs: on an object store the later of two writers retries, and a second run writes no table again"
)
def test_whole_runs(
    s3: S3Server, bucket: str, installed: Installation, prometheus: FaultyPrometheus
) -> None:
    installation = on_s3(installed, prometheus, s3.variables(f"{bucket}/lake"))

    first = installation.run("collect", *HOUR, "--json")
    before = [key for key in s3.keys(bucket) if not key.startswith("lake/fedvitals_")]
    second = installation.run("collect", *HOUR, "--json")
    after = [key for key in s3.keys(bucket) if not key.startswith("lake/fedvitals_")]

    assert first.code == 1
    assert (first.document["values"]["landed"], first.document["values"]["quarantined"]) == (114, 6)
    assert Path(first.document["report"]).is_file()
    assert [line["state"] for line in second.document["measurements"]] == ["unchanged"] * 2
    assert second.document["values"]["unchanged"] == 120
    # nothing of the measurements was written again; the state of the run's own one was
    assert [key for key in after if WINDOWS not in key] == [
        key for key in before if WINDOWS not in key
    ]
    assert not (installation.home / "lake").exists()


@pytest.mark.promise("Accounts: an empty variable is the same as none")
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"])
def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The Delta library panics on an empty address; without one it asks Amazon's."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    for each in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(each, proxy)
    for each in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(each, SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv(name, "")
    with pytest.raises(LakeUnavailable, match="Connection refused"):
        Lake("s3://bucket/lake").names()


def test_looking_into_it(
    s3: S3Server, bucket: str, installed: Installation, prometheus: FaultyPrometheus
) -> None:
    installation = on_s3(installed, prometheus, s3.variables(f"{bucket}/lake"))
    installation.here("collect", *HOUR)
    sql = (
        "SELECT count(share) AS n, max(time) AS last FROM shares WHERE time >= '2026-03-01T00:30Z'"
    )

    tables = installation.here("lake", "ls", "--json").document["tables"]
    asked = installation.here("lake", "query", sql, "--json")
    held = installation.here(
        "lake", "query", "SELECT count(*) AS n FROM shares_quarantine", "--json"
    )
    outside = installation.here("lake", "query", "SELECT * FROM read_csv('/etc/passwd')")
    local = installation.here(
        "lake", "query", "SELECT * FROM '" + str(ROOT / "pyproject.toml") + "'"
    )
    quarantine = installation.here("quarantine", "ls", "--json").document["quarantine"]
    report = installation.here("report", *HOUR, "--json")
    doctor = installation.here("doctor")

    found = {table["name"]: table["rows"] for table in tables}
    assert (found["loads"], found["shares"]) == (60, 54)
    assert asked.document == {"rows": [{"n": 27, "last": "2026-03-01T00:59:00Z"}]}
    assert held.document == {"rows": [{"n": 6}]}
    assert (outside.code, local.code) == (2, 2)
    assert "Permission Error" in outside.complaint
    assert [(each["check_id"], each["values"]) for each in quarantine] == [("share_possible", 6)]
    assert report.document["values"]["landed"] == 114
    assert f"in s3://{bucket}/lake" in doctor.out
    assert "_probe" not in "".join(s3.keys(bucket))


THREE_HOURS = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T03:00:00Z")


def rows_of(installation: Installation, table: str) -> list[tuple[Any, ...]]:
    asked = installation.here("lake", "query", f"SELECT * FROM {table} ORDER BY ALL", "--json")
    return [tuple(row.values()) for row in asked.document["rows"]]


@pytest.mark.promise(
    "Maintenance: an object store and a PostgreSQL ledger are maintained in the same way"
)
def test_upkeep(
    s3: S3Server, bucket: str, installed: Installation, prometheus: FaultyPrometheus
) -> None:
    installation = on_s3(installed, prometheus, s3.variables(f"{bucket}/lake"))
    assert installation.here("collect", *THREE_HOURS).code == 1
    before = rows_of(installation, "shares")

    kept = installation.here("maintain", "--json")

    lines = {line["name"]: line for line in kept.document["details"]["tables"]}
    assert (kept.code, {line["state"] for line in lines.values()}) == (0, {"done"})
    # of the newest cell, and of the two before it
    assert (lines["loads"]["files_before"], lines["loads"]["files_after"]) == (2, 1)
    # what was quarantined in March is older than 30 days
    assert lines["shares"]["quarantine_expired"] == 18
    assert (len(before), rows_of(installation, "shares")) == (162, before)
    again = installation.here("collect", *THREE_HOURS, "--json")
    assert (again.code, again.document["values"]["landed"]) == (0, 0)


@pytest.mark.promise(
    "Repair: on an object store missing objects are reported, and `lake repair` has their data read again"
)
def test_objects_that_are_gone_are_reported_and_read_again_after_a_repair(
    s3: S3Server, bucket: str, installed: Installation, prometheus: FaultyPrometheus
) -> None:
    installation = on_s3(installed, prometheus, s3.variables(f"{bucket}/lake"))
    assert installation.here("collect", *THREE_HOURS).code == 1
    before = rows_of(installation, "loads")
    table = [key for key in s3.keys(bucket) if key.startswith("lake/loads/")]
    s3.delete(bucket, [key for key in table if key.endswith(".parquet")])

    reported = installation.here("report", *THREE_HOURS, "--measurement", "loads")
    asked = installation.here("lake", "query", "SELECT sum(load) FROM loads")
    found, repaired = (
        installation.here("lake", "repair", *options, "--json") for options in (("--dry-run",), ())
    )

    for ran in (reported, asked):
        assert (ran.code, "lake table loads: " in ran.complaint) == (1, True)
    for ran in (found, repaired):
        assert ran.code == 1
        (torn,) = ran.document["tables"]
        assert (torn["table"], torn["damage"][0]["problem"]) == ("loads", "a missing object")
    (cells,) = repaired.document["cells"]
    assert (cells["cells"], cells["values"]) == (3, 180)
    assert [key for key in s3.keys(bucket) if key.startswith("lake/_torn")] == []
    anew = installation.here("collect", *THREE_HOURS, "--measurement", "loads", "--json")
    (line,) = anew.document["measurements"]
    assert (anew.code, line["state"], line["values"]["landed"]) == (0, "landed", 180)
    assert rows_of(installation, "loads") == before


def test_a_table_whose_log_is_gone_is_moved_by_hand(
    s3: S3Server, bucket: str, installed: Installation, prometheus: FaultyPrometheus
) -> None:
    installation = on_s3(installed, prometheus, s3.variables(f"{bucket}/lake"))
    assert installation.here("collect", *HOUR).code == 1
    table = [key for key in s3.keys(bucket) if key.startswith("lake/loads/")]
    s3.delete(bucket, [key for key in table if "_delta_log" in key])

    ran = installation.here("lake", "repair")

    assert ran.code == 1
    assert "Move all its objects to another bucket" in ran.complaint.replace("move", "Move")
    s3.delete(bucket, [key for key in table if "_delta_log" not in key])
    assert installation.here("lake", "repair").code == 1
    assert installation.here("collect", *HOUR, "--measurement", "loads").code == 0


def test_every_kind_of_value_comes_back(lake: Lake) -> None:
    put(lake, [0.5, 1.5], 0, 1)
    lake.quarantine_more(M, refused([0.25]))

    assert lake.names() == [M.name]
    assert lake.has(M.name)
    assert not lake.has("another")
    assert ratios(lake) == [0.5, 1.5]
    assert means(lake, M, "production", {DAY.length: DAY})["share_ratio"] == {DAY.length: 1.0}
    assert lake.quarantined(M.name)["number"].tolist() == [0.25]


def test_a_lake_without_anything(lake: Lake) -> None:
    assert lake.names() == []
    assert not lake.has(M.name)
    assert lake.read(M, "production", DAY).empty


def test_files_without_a_log_are_no_table(lake: Lake, s3: S3Server) -> None:
    bucket = lake.url.split("/")[2]
    requests.put(f"{s3.url}/{bucket}/some/lake/{M.name}/part-0.parquet", b"x", timeout=10)

    with pytest.raises(LakeDamaged, match="it holds files but no readable log"):
        lake.prepare(M)


@pytest.mark.promise(
    "Two runs: on an object store the later of two writers retries, and a second run writes no table again"
)
def test_the_second_of_two_writers_is_reported_and_tries_again(lake: Lake) -> None:
    put(lake, [0.5], 0)
    early, late = (existing_table(lake.table_url(M.name), M.name) for _ in range(2))
    assert early is not None
    assert late is not None

    replace_rows(early, M.name, frame_to_arrow(rows([1.5]), M), "production", [DAY], None)
    with pytest.raises(LakeBusy):
        replace_rows(late, M.name, frame_to_arrow(rows([2.5]), M), "production", [DAY], None)
    assert ratios(lake) == [1.5]
    retrying(10.0)(lambda: put(lake, [2.5], 2))
    assert ratios(lake) == [1.5, 2.5]


@pytest.mark.promise(
    "Two runs: on an object store the later of two writers retries, and a second run writes no table again"
)
def test_processes_that_make_and_write_one_table_lose_nothing(lake: Lake) -> None:
    start = str(time.time() + 4)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, lake.url, name, start], cwd=ROOT)
        for name in ("staging", "production")
    ]

    assert [writer.wait(timeout=90) for writer in writers] == [0, 0]
    for name in ("staging", "production"):
        assert ratios(lake, name) == [hour + 0.5 for hour in range(6)]


def test_appends_at_once_lose_nothing(lake: Lake) -> None:
    put(lake, [], 0)
    handles = [existing_table(lake.table_url(M.name), M.name) for _ in range(4)]

    for hour, handle in enumerate(handles):
        assert handle is not None
        append_rows(handle, M.name, frame_to_arrow(rows([hour + 0.5]), M))

    assert ratios(lake) == [0.5, 1.5, 2.5, 3.5]


def reported(ran: Ran) -> str:
    """All that a command said, which must not hold the secret."""
    assert SECRET not in ran.out + ran.err
    return ran.out + ran.err


def failing(
    installed: Installation, prometheus: FaultyPrometheus, variables: dict[str, str], words: str
) -> None:
    """A run, a look and the doctor each end with these words, in a line, and without the secret."""
    installation = on_s3(installed, prometheus, variables)
    collected = installation.here("collect", *HOUR, "--json")
    looked = installation.here("lake", "ls")
    doctor = installation.here("doctor")

    assert collected.code == 1
    assert words in reported(collected)
    assert looked.code == 1
    assert words in looked.complaint
    assert doctor.code == 1
    assert words in reported(doctor)
    assert installation.holding(SECRET) == []


def test_credentials_that_are_refused(
    tmp_path: Path, installed: Installation, prometheus: FaultyPrometheus
) -> None:
    with S3Server(tmp_path, strict=True) as strict:
        strict.make_bucket("guarded")
        words = "the object store refuses the credentials (HTTP 403"
        failing(installed, prometheus, strict.variables("guarded/lake"), words)


def test_a_bucket_that_is_not_there(
    s3: S3Server, installed: Installation, prometheus: FaultyPrometheus
) -> None:
    words = "there is no such bucket (HTTP 404 NoSuchBucket)"
    failing(installed, prometheus, s3.variables("nowhere/lake"), words)


def test_a_store_that_is_down(
    s3: S3Server, installed: Installation, prometheus: FaultyPrometheus
) -> None:
    down = {**s3.variables("any/lake"), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    words = "the object store did not answer: Connection refused"
    failing(installed, prometheus, down, words)


def test_a_store_that_hangs_is_given_up(s3: S3Server, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        variables = {**s3.variables("any/lake"), "AWS_ENDPOINT_URL": url}
        ran = Installation(tmp_path, variables).run("lake", "ls", timeout=100)

    assert ran.code == 1
    assert "the object store did not answer: operation timed out" in ran.complaint


def test_a_store_that_was_away_for_a_run(
    tmp_path: Path, installed: Installation, prometheus: FaultyPrometheus
) -> None:
    with S3Server(tmp_path) as server:
        server.make_bucket("away")
        installation = on_s3(installed, prometheus, server.variables("away/lake"))
        here = installation.variables.pop("AWS_ENDPOINT_URL")
        installation.variables["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{free_port()}"
        without = installation.here("collect", *HOUR, "--json")
        installation.variables["AWS_ENDPOINT_URL"] = here
        later = installation.here("collect", *HOUR, "--json")

    assert without.code == 1
    assert "the object store did not answer" in reported(without)
    assert later.document["values"]["landed"] == 114
