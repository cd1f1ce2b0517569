"""`fedvitals backfill` on the command line: the plan alone, mistakes, and a short run."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pytest_httpserver import HTTPServer

from flows.commands.definitions import read_deployments, to_prefect
from tasks.core.settings import load_settings
from tasks.core.window import Window
from tasks.ledger.ledger import Ledger
from tests.support.fakes.prometheus import FakePrometheus, FakeSeries
from tests.support.installation import Installation, entry

SPAN = ("--start", "2026-01-05T00:00:00Z", "--stop", "2026-01-05T06:00:00Z")


@pytest.fixture
def prometheus() -> Iterator[FakePrometheus]:
    with HTTPServer(threaded=True) as server:
        counted = FakeSeries({}, lambda _: "1")
        series = FakeSeries({}, lambda time: str(time // 1000))
        yield FakePrometheus(server, queries={"a": [series], "count(\na\n)": [counted]})


def connected(here: Installation, prometheus: FakePrometheus) -> Installation:
    here.variables["PROMETHEUS_URL"] = prometheus.url
    return here.configure({"a": entry("a")})


def test_dry_run_says_what_there_is_to_do_and_touches_nothing(
    bare: Installation, prometheus: FakePrometheus
) -> None:
    ran = connected(bare, prometheus).here(
        "backfill", *SPAN, "--chunk", "2h", "--dry-run", "--json"
    )
    assert (ran.code, ran.err) == (0, "")
    assert ran.document == {
        "environment": "production",
        "window": {"start": "2026-01-05T00:00:00Z", "stop": "2026-01-05T06:00:00Z"},
        "replace": False,
        "runner": "threads",
        "workers": 2,
        "cells": 6,
        "to_read": 6,
        "chunks": 3,
        "values": 360,
        "seconds": 0.0,
        "values_per_second": 100_000,
        "origin": "assumed, since no earlier run was large enough to measure",
        "measurements": [
            {
                "measurement": "a",
                "cells": 6,
                "to_read": 6,
                "chunks": 3,
                "series": 1,
                "values": 360,
                "seconds": 0.0,
            }
        ],
        "problems": [],
    }
    # series were counted, and no value was asked for
    assert [form["query"] for form in prometheus.asked] == ["count(\na\n)"]
    assert [name for name in bare.files() if not name.startswith("ledger.db")] == []
    ledger = Ledger(f"sqlite:///{bare.home / 'ledger.db'}")
    assert ledger.newest("a", "production") is None
    assert ledger.last_runs("backfill", "production", "9", 9) == []
    ledger.close()


def test_dry_run_for_people_is_a_table(bare: Installation, prometheus: FakePrometheus) -> None:
    ran = connected(bare, prometheus).here("backfill", *SPAN, "--dry-run")
    lines = ran.out.splitlines()
    assert lines[0].split() == ["measurement", "cells", "to_read", "chunks", "series", "values", "seconds"]  # fmt: skip
    assert lines[1].split()[:6] == ["a", "6", "6", "1", "1", "360"]
    assert lines[2].startswith("6 of 6 cells to read, in 1 chunks: about 360 values in 0:00:00")


def test_dry_run_without_the_source_is_a_bad_end(bare: Installation) -> None:
    bare.variables["PROMETHEUS_URL"] = "http://127.0.0.1:9"
    ran = bare.configure({"a": entry("a")}).here("backfill", *SPAN, "--dry-run", "--json")
    assert ran.code == 1
    assert "could not answer count of a.a" in ran.err
    assert ran.document["measurements"][0]["values"] is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--chunk", "7m"), "--chunk: 7m is not a whole number of cells of 1h, 1 to 168. Fix: give such a duration"),
        (("--workers", "0"), "--workers: 0 is not a number of workers. Fix: give 1 to 1000"),
        (("--workers", "1001"), "--workers: 1001 is not a number of workers. Fix: give 1 to 1000"),
        (("--measurement", "x"), "--measurement: x is not in the catalogue. Fix: list them: fedvitals catalogue"),
        (("--address", "tcp://127.0.0.1:1"), "--address: goes with --runner dask. Fix: add it, or leave this out"),
        (("--environment", "x"), "--environment: there is no environment 'x'. Fix: use one of: production (config/environments.yaml)"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    bare: Installation, prometheus: FakePrometheus, arguments: tuple[str, ...], complaint: str
) -> None:
    ran = connected(bare, prometheus).here("backfill", *SPAN, *arguments)
    assert (ran.code, ran.complaint) == (2, complaint)
    assert prometheus.asked == []


@pytest.mark.slow
def test_it_is_read_once_and_the_receipt_is_kept(
    installed: Installation, prometheus: FakePrometheus
) -> None:
    here = connected(installed, prometheus)
    first = here.here("backfill", *SPAN, "--json")
    assert (first.code, first.err) == (0, "")
    receipt = first.document
    assert (receipt["flow"], receipt["values"]["landed"]) == ("backfill", 360)
    assert receipt["report"] is None
    assert receipt["notes"][0].startswith("a backfill writes no report")
    ledger = Ledger(f"sqlite:///{here.home / 'ledger.db'}")
    [kept] = ledger.last_runs("backfill", "production", "9", 9)
    assert json.loads(kept)["run_id"] == receipt["run_id"]
    start = datetime(2026, 1, 5, tzinfo=UTC)
    assert len(ledger.cells("a", "production", Window(start, start.replace(hour=6)))) == 6
    ledger.close()
    asked = len(prometheus.asked)
    again = here.here("backfill", *SPAN)
    assert again.code == 0
    assert again.out.startswith("all well: nothing new\n")
    # but for the counts
    assert [form["query"] for form in prometheus.asked[asked:]] == ["count(\na\n)"]


def test_it_is_served_to_be_started_by_hand(bare: Installation) -> None:
    deployments = read_deployments(load_settings(bare.environment))
    [made] = [to_prefect(each) for each in deployments if each.name == "backfill/backfill"]
    assert (made.name, made.schedules, made.parameters) == ("backfill", [], {"start": "-7d"})
    assert made.concurrency_limit == 1
