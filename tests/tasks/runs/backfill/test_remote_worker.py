"""A chunk worked on in another process: its own tools, the run's lock and the run's suite."""

import os
import pickle
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tasks.core.catalogue import Catalogue
from tasks.core.errors import ConfigurationInvalid, LockLost
from tasks.core.receipt import Values
from tasks.core.settings import Settings, load_settings
from tasks.core.window import Cell, Window
from tasks.lake.tables import Lake
from tasks.ledger.locks import FileLocks
from tasks.pipeline.chunk import Chunk
from tasks.runs.backfill.remote_worker import Order, process_apart
from tasks.validation.suites import read_suite
from tests.support.fakes.prometheus import FakePrometheus, FakeSeries
from tests.support.installation import Installation, entry

START = datetime(2026, 1, 5, tzinfo=UTC)
CELL = Cell(START, START + timedelta(hours=1))
TOKEN = "planted-token"


@pytest.fixture
def prometheus(httpserver: HTTPServer) -> FakePrometheus:
    return FakePrometheus(httpserver, queries={"a": [FakeSeries({})]}, token=TOKEN)


@pytest.fixture
def settings(tmp_path: Path, prometheus: FakePrometheus) -> Settings:
    here = Installation(
        tmp_path, {"PROMETHEUS_URL": prometheus.url, "PROMETHEUS_API_TOKEN": TOKEN}
    ).configure({"a": entry("a")})
    return load_settings(here.environment)


def order_of(settings: Settings) -> Order:
    measurement = Catalogue.read(settings.config / "metrics.yaml")["a"]
    chunk = Chunk(measurement, "production", (CELL,), Window(CELL.start, CELL.stop))
    suite = read_suite(settings.expectations, measurement)
    return Order("run-1", CELL.stop, chunk, suite.digest)


def asked(most: int) -> "nullcontext[None]":
    """The worker is reported how many queries the whole run may ask at once."""
    assert most == 4
    return nullcontext()


def test_it_is_landed_under_the_lock_of_the_run(settings: Settings) -> None:
    order = pickle.loads(pickle.dumps(order_of(settings)))
    before = os.umask(0o022)
    try:
        with FileLocks(settings.home / "locks").hold("a", "production", "run-1"):
            done = pickle.loads(pickle.dumps(process_apart(order, settings, asked)))
    finally:
        os.umask(before)
    assert done.outcome.values == Values(extracted=60, landed=60)
    assert {path.stat().st_mode & 0o77 for path in (settings.home / "lake").rglob("*")} == {0}
    assert [(state.cell, state.run_id) for state in done.states] == [(CELL, "run-1")]
    frame = Lake(settings.lake_url).read(order.chunk.measurement, "production", CELL)
    assert frame["a"].tolist() == [1.0] * 60


def test_an_order_holds_no_secret_and_no_address(
    settings: Settings, prometheus: FakePrometheus
) -> None:
    wire = pickle.dumps(order_of(settings))
    assert TOKEN.encode() not in wire
    assert prometheus.url.encode() not in wire


@pytest.mark.promise(
    "Backfill: Dask lands what threads land, and commits only under the run's lock"
)
def test_without_the_lock_nothing_is_landed(settings: Settings) -> None:
    order = order_of(settings)
    Lake(settings.lake_url).prepare(order.chunk.measurement)
    with FileLocks(settings.home / "locks").hold("a", "production", "another"), pytest.raises(LockLost):  # fmt: skip
        process_apart(order, settings, asked)
    assert Lake(settings.lake_url).read(order.chunk.measurement, "production", CELL).empty


def test_another_suite_than_the_run_has_is_refused(
    settings: Settings, prometheus: FakePrometheus
) -> None:
    order = replace(order_of(settings), suite_digest="other")
    with pytest.raises(ConfigurationInvalid, match="this worker has another suite than the run"):
        process_apart(order, settings, asked)
    assert prometheus.asked == []
