"""A run tells of itself: its own figures in lake and report, and a heartbeat when it did its work."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tasks.ledger.locks import FileLocks
from tests.support.fakes.prometheus import FakeSeries
from tests.support.faulty import FaultyPrometheus, constant, faulty_prometheus, page
from tests.support.installation import Installation, Ran, entry

pytestmark = [
    pytest.mark.slow,
    pytest.mark.promise(
        "Accounts: every run writes its own figures to `fedvitals_pipeline`, outside of its sums; a failure there leaves the run good"
    ),
]

HOUR = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T01:00:00Z")
KEY = "planted-heartbeat-key"


@pytest.fixture
def prometheus() -> Iterator[FaultyPrometheus]:
    with faulty_prometheus() as server:
        server.queries["load"] = [constant("0.5")]
        yield server


@pytest.fixture
def collecting(bare: Installation, prometheus: FaultyPrometheus) -> Installation:
    ratio = entry("load")
    ratio["fields"]["load"]["unit"] = "ratio"
    bare.variables["PROMETHEUS_URL"] = prometheus.url
    return bare.configure({"loads": ratio})


def test_each_run_is_a_row_and_a_part_of_its_report(collecting: Installation) -> None:
    first = collecting.here("collect", "--json")
    second = collecting.here("collect", *HOUR, "--json")
    sql = (
        "SELECT flow, landed_values, unchanged_values, status, worst FROM fedvitals_pipeline "
        "ORDER BY time"
    )
    rows = collecting.here("lake", "query", sql, "--json").document["rows"]
    shown = collecting.here(
        "report", "--measurement", "fedvitals_pipeline", "--start", "-1h", "--json"
    )

    landed = first.document["values"]["landed"]
    assert rows == [
        {"flow": "collect", "landed_values": landed, "unchanged_values": 0, "status": "ok", "worst": None},
        {"flow": "collect", "landed_values": 60, "unchanged_values": 0, "status": "ok", "worst": None},
    ]  # fmt: skip
    # outside of the sums
    assert [line["name"] for line in first.document["measurements"]] == ["loads"]
    assert second.document["values"]["extracted"] == 60
    assert 0 <= first.document["lag_seconds"] < 7200
    twin = json.loads(Path(first.document["report"]).with_suffix(".json").read_text("utf-8"))
    assert [each["name"] for each in twin["measurements"]] == ["loads", "fedvitals_pipeline"]
    assert twin["measurements"][1]["rows"] == 1
    assert twin["receipt"]["retries"] == 0
    assert shown.document["measurements"][0]["rows"] == 2


def test_it_cannot_be_collected_by_name(collecting: Installation) -> None:
    ran = collecting.here("collect", "--measurement", "fedvitals_pipeline")

    assert ran.code == 2
    assert ran.complaint == (
        "--measurement: fedvitals_pipeline is not collected: it is built in, and runs write it by themselves. "
        "Fix: see it: fedvitals report --measurement fedvitals_pipeline"
    )


def test_a_catalogue_cannot_take_its_name(collecting: Installation) -> None:
    with collecting.changed("metrics.yaml") as content:
        content["measurements"]["fedvitals_pipeline"] = entry("load")

    ran = collecting.here("collect")

    assert ran.code == 2
    assert "fedvitals_pipeline: the name is reserved for a built-in measurement" in ran.complaint


@pytest.mark.promise(
    "Accounts: a heartbeat follows each run that did its work, and shows only the host of its URL"
)
def test_a_heartbeat_after_each_good_run_alone(
    collecting: Installation, prometheus: FaultyPrometheus, httpserver: HTTPServer
) -> None:
    httpserver.expect_request(f"/{KEY}").respond_with_data("OK")
    collecting.variables["FEDVITALS_HEARTBEAT_URL"] = httpserver.url_for(f"/{KEY}")

    good = collecting.here("collect", *HOUR, "--json")
    idle = collecting.here("collect", *HOUR, "--json")
    prometheus.queries["load"] = [FakeSeries({}, lambda _: "1.5")]
    found_bad = collecting.here("collect", *HOUR, "--json")
    with FileLocks(collecting.home / "locks").hold("loads", "production", "other"):
        pending = collecting.here("collect", *HOUR, "--json")
    beats = len(httpserver.log)
    prometheus.faults["load"] = page(200)
    failed = collecting.here("collect", *HOUR, "--json")
    doctor = collecting.here("doctor")

    # whatever the data say; of work that failed somebody must hear
    assert [each.code for each in (good, idle, found_bad, pending)] == [0, 0, 1, 3]
    assert found_bad.document["worst"] == "critical"
    assert beats == 4
    assert (failed.code, failed.document["status"]) == (1, "failed")
    assert len(httpserver.log) == beats
    assert re.search(r"ok   heartbeat    is set: http://localhost:\d+, after each run", doctor.out)
    reported = [one.out + one.err for one in (good, idle, found_bad, pending, failed, doctor)]
    assert KEY not in "".join(reported)
    assert collecting.holding(KEY) == []


def lost(installation: Installation, ran: Ran) -> list[str]:
    """Of what the run handed on, what did not arrive; it is on the kept receipt too."""
    document = ran.document
    assert document["notes"] == []
    assert installation.kept("collect")["deliveries"] == document["deliveries"]
    return [each["message"] for each in document["deliveries"] if not each["ok"]]


@pytest.mark.promise(
    "Accounts: a heartbeat follows each run that did its work, and shows only the host of its URL"
)
@pytest.mark.promise(
    "Accounts: a delivery that fails (report, annotation, heartbeat, artifacts) is on the receipt and changes no exit code"
)
def test_a_heartbeat_that_fails_is_a_note(
    collecting: Installation, httpserver: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    collecting.variables["FEDVITALS_HEARTBEAT_URL"] = httpserver.url_for(f"/{KEY}")
    refused = collecting.here("collect", *HOUR, "--json")
    assert lost(collecting, refused) == [
        f"heartbeat at {httpserver.url_for('').rstrip('/')}: HTTP 500. The message was not sent; the run itself is not affected"
    ]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/{KEY}"
        collecting.variables["FEDVITALS_HEARTBEAT_URL"] = url
        hung = collecting.here("collect", *HOUR, "--json")

    assert (refused.code, hung.code) == (0, 0)
    assert lost(collecting, hung) == [
        f"heartbeat at {url.removesuffix('/' + KEY)}: no answer (ReadTimeout). The message was not sent; the run itself is not affected"
    ]
    texts = [refused.out, refused.err, hung.out, hung.err]
    texts += [record.getMessage() for record in caplog.records if record.name != "werkzeug"]
    assert KEY not in "".join(texts)
    assert collecting.holding(KEY) == []


def test_a_wrong_heartbeat_is_reported_before_any_work(collecting: Installation) -> None:
    collecting.variables["FEDVITALS_HEARTBEAT_URL"] = f"hc.example/{KEY}"

    ran = collecting.here("collect", *HOUR)

    assert ran.code == 2
    assert ran.complaint.startswith("FEDVITALS_HEARTBEAT_URL: is not an http or https URL")
    assert KEY not in ran.complaint
    assert not (collecting.home / "lake").exists()
