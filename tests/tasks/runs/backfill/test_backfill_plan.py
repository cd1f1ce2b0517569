"""A backfill's plan: what is refused, what is left out, and what it is estimated to take."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from tasks.core.errors import (
    ConfigurationInvalid,
    FedvitalsError,
    NothingConfigured,
    UsageInvalid,
)
from tasks.core.receipt import Outcome, SinkValues, Values, write_receipt
from tasks.core.settings import Settings, load_settings
from tasks.core.window import Window, format_duration
from tasks.ledger.ledger import Ledger
from tasks.ledger.opening import opened_ledger
from tasks.runs.backfill.plan import Backfill, BackfillRequest, make_backfill, window_cells
from tasks.runs.backfill.progress import ChunkDone, Course
from tasks.runs.backfill.survey import ASSUMED_PACE, Pace, Share, Survey, survey
from tasks.runs.base.run import Run
from tests.support.fakes.prometheus import FakePrometheus, FakeSeries
from tests.support.installation import Installation, entry

START, STOP = "2026-01-05T00:00:00Z", "2026-01-05T12:00:00Z"
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
WINDOW = Window(NOON - timedelta(hours=12), NOON)
REST = {
    "type": "business",
    "source": "rest",
    "rest": {"endpoint": "/api/x"},
    "fields": {"x": {"path": "$.x", "required": True}},
}
POSTGRESQL = "postgresql://me@host/ledger"


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    here = Installation(
        tmp_path, {"PROMETHEUS_URL": "http://localhost:1", "FED_VIT_API_URL": "http://localhost:2"}
    )
    return here.configure({"a": entry("a"), "b": entry("b", retention="7d"), "r": REST})


def settings_of(here: Installation, **variables: str) -> Settings:
    return load_settings({**here.environment, **variables})


def made(settings: Settings, **more: Any) -> Backfill:
    asked = {"measurements": ["a"], "start": START, "stop": STOP, **more}
    with Run("backfill", settings) as run:
        return make_backfill(run, BackfillRequest(**asked))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "variables", "error", "words"),
    [
        ({"measurements": ["r"]}, {}, UsageInvalid, "--measurement: the source of r has no history"),
        ({"measurements": None, "type": "business"}, {}, NothingConfigured, "metrics.yaml: the source of r has no history"),
        ({"measurements": ["nope"]}, {}, UsageInvalid, "--measurement: nope is not in the catalogue"),
        ({}, {"PROMETHEUS_URL": ""}, ConfigurationInvalid, "has no source with history"),
        ({"chunk": "90m"}, {}, UsageInvalid, "--chunk: 90m is not a whole number of cells of 1h, 1 to 168"),
        ({"chunk": "8d"}, {}, UsageInvalid, "--chunk: 8d is not a whole number of cells of 1h, 1 to 168"),
        ({"chunk": "soon"}, {}, UsageInvalid, "--chunk: 'soon' is not a duration"),
        ({"workers": 0}, {}, UsageInvalid, "--workers: 0 is not a number of workers"),
        ({"start": STOP, "stop": START}, {}, UsageInvalid, "is empty or runs backwards"),
        ({"start": "sometime"}, {}, UsageInvalid, "--start: 'sometime' is not a time"),
        ({"start": "+1h", "stop": "+2h"}, {}, UsageInvalid, "there is nothing to read yet"),
        ({"address": "tcp://127.0.0.1:1"}, {}, UsageInvalid, "--address: goes with --runner dask"),
        *[
            ({"runner": "dask", "address": address}, {}, UsageInvalid, "--address: is not the address of a Dask scheduler")
            for address in ("127.0.0.1:8786", "http://127.0.0.1:1", "tcp://host", "tcp://me:secret@host:1", "tcp://host:x")
        ],
        (
            {"runner": "dask", "address": "tcp://10.0.0.7:8786"}, {}, ConfigurationInvalid,
            "--address: the workers may be on other hosts, but the ledger is a SQLite file (FEDVITALS_LEDGER_URL) "
            "and the lake is a folder (FEDVITALS_LAKE_URL)",
        ),
        (
            {"runner": "dask", "address": "tcp://dask.example:8786"}, {"FEDVITALS_LEDGER_URL": POSTGRESQL},
            ConfigurationInvalid, "but the lake is a folder",
        ),
        (
            {"runner": "dask", "address": "tls://dask.example:8786"}, {"FEDVITALS_LAKE_URL": "s3://bucket/lake"},
            ConfigurationInvalid, "but the ledger is a SQLite file",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(
    installed: Installation,
    more: dict[str, Any],
    variables: dict[str, str],
    error: type[FedvitalsError],
    words: str,
) -> None:
    with pytest.raises(error) as caught:
        made(settings_of(installed, **variables), **more)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tls://localhost:1", "tcp://[::1]:9"])
def test_a_scheduler_of_this_machine_may_share_its_files(
    installed: Installation, address: str
) -> None:
    wanted = made(settings_of(installed), runner="dask", address=address, workers=5)
    assert (wanted.options.address, wanted.options.workers) == (address, 5)


def test_what_has_no_past_is_left_out_with_a_word(installed: Installation) -> None:
    wanted = made(settings_of(installed), measurements=None, chunk="6h")
    assert [e.name for e in wanted.plan.measurements] == ["a", "b"]
    assert "skipped, since their source has no history: r" in wanted.plan.warnings
    assert (wanted.options.chunk, wanted.options.workers, wanted.options.replace) == (6, 2, False)


def test_nothing_is_read_that_retention_would_take_away(installed: Installation) -> None:
    wanted = made(settings_of(installed), measurements=["b"], start="-10d", stop="now")
    [warning] = wanted.plan.warnings
    assert "b: not read before " in warning
    [first, *_] = window_cells(wanted.job(wanted.plan.measurements[0]))
    age = wanted.plan.now - first.start
    assert timedelta(days=7) <= age < timedelta(days=7, hours=1)


@pytest.fixture
def counted(installed: Installation, httpserver: HTTPServer) -> FakePrometheus:
    fake = FakePrometheus(httpserver)
    half = (NOON - timedelta(hours=6)).timestamp() * 1000
    grows = FakeSeries({}, lambda time: "10" if time < half else "30")
    fake.queries = {"count(\na\n)": [grows], "count(\nb\n)": [FakeSeries({}, lambda _: "1")]}
    installed.variables["PROMETHEUS_URL"] = fake.url
    return fake


def surveyed(here: Installation, **more: Any) -> Survey:
    wanted = made(settings_of(here), **more)
    with opened_ledger(wanted.plan.settings) as ledger:
        return survey(wanted, ledger)


def test_values_are_series_times_slots(installed: Installation, counted: FakePrometheus) -> None:
    found = surveyed(installed, chunk="5h")
    # 12 hours of 60 slots, of 10 series in one half and 30 in the other
    assert found.shares == (Share("a", 12, 12, 5, 3, series=30, values=14_400),)
    assert found.pace.values_per_second == ASSUMED_PACE
    assert found.problems == ()
    assert len(counted.asked) == 1
    assert found.line() == (
        "12 of 12 cells to read, in 3 chunks: about 14,400 values in 0:00:00 "
        "(100,000 values a second: assumed, since no earlier run was large enough to measure)"
    )


def test_chunks_hold_about_chunk_rows(installed: Installation, counted: FakePrometheus) -> None:
    with installed.changed("environments.yaml") as content:
        content["pipeline"]["chunk_rows"] = 5_500
    # 30 series of 60 slots are 1,800 rows a cell at most
    assert surveyed(installed).shares[0].cells_a_chunk == 3


def test_pace_is_that_of_earlier_runs(installed: Installation, counted: FakePrometheus) -> None:
    settings = settings_of(installed)
    with opened_ledger(settings) as ledger:
        keep(ledger, "collect", values=400_000, seconds=1.0)
        assert surveyed(installed).pace == Pace(400_000.0, "the last 1 runs of collect")
        keep(ledger, "backfill", values=50_000, seconds=1.0)
        assert surveyed(installed).pace.origin == "the last 1 runs of collect"
        keep(ledger, "backfill", values=150_000, seconds=3.0)
        found = surveyed(installed)
    assert found.pace == Pace(50_000.0, "the last 2 runs of backfill")
    assert found.seconds == pytest.approx(14_400 / 50_000)


@pytest.mark.parametrize(
    ("values", "sink"),
    [
        (Values(extracted=900_000, unchanged=900_000), SinkValues()),
        (Values(extracted=900_000, landed=900_000), SinkValues(owed=900_000, pending=900_000)),
    ],
)
def test_pace_is_not_that_of_runs_that_loaded_nothing(
    installed: Installation, counted: FakePrometheus, values: Values, sink: SinkValues
) -> None:
    """Nothing is faster than to find that nothing changed, or that InfluxDB is down."""
    with opened_ledger(settings_of(installed)) as ledger:
        loaded = SinkValues(owed=400_000, loaded=400_000)
        keep(ledger, "collect", values=400_000, seconds=1.0, sinks={"influxdb": loaded})
        idle = Outcome("a", "unchanged", values=values, sinks={"influxdb": sink})
        took = {"work": 1.0}
        ledger.keep_receipt(write_receipt("collect", "2025-9", "production", WINDOW, [idle], took))
        assert surveyed(installed).pace == Pace(400_000.0, "the last 1 runs of collect")


def keep(ledger: Ledger, flow: str, values: int, seconds: float, **more: Any) -> None:
    outcome = Outcome("a", "landed", values=Values(extracted=values, landed=values), **more)
    run_id = f"2025-{values}"
    receipt = write_receipt(flow, run_id, "production", WINDOW, [outcome], {"work": seconds})
    ledger.keep_receipt(receipt)


def test_what_cannot_be_counted_is_reported(
    installed: Installation, counted: FakePrometheus
) -> None:
    del counted.queries["count(\na\n)"]
    with installed.changed("metrics.yaml") as content:
        del content["measurements"]["b"]["retention"]
    found = surveyed(installed, measurements=["a", "b"])
    assert [(s.measurement, s.series, s.values) for s in found.shares] == [
        ("a", None, None),
        ("b", 1, 720),
    ]
    [problem] = found.problems
    assert "refused count of a.a" in problem


def test_who_does_not_answer_is_asked_once(installed: Installation) -> None:
    found = surveyed(installed, measurements=["a", "b"])
    assert len(found.problems) == 1
    assert "could not answer count of a.a" in found.problems[0]
    assert [s.values for s in found.shares] == [None, None]


def a_chunk(name: str, cells: int, values: int) -> ChunkDone:
    return ChunkDone(name, cells, Outcome(name, "landed", values=Values(values, values)))


def test_time_left_is_measured_in_values() -> None:
    now = 0.0
    shares = (
        Share("small", 10, 10, 1, 10, series=1, values=1_000),
        Share("large", 10, 10, 1, 10, series=9, values=9_000),
    )
    course = Course(Survey(shares, Pace(500.0, "x"), ()), clock=lambda: now)
    assert course.seconds_left == 20.0
    now = 2.0
    course.take(a_chunk("small", 10, 1_000))
    assert (course.values_per_second, course.seconds_left) == (500.0, 18.0)
    now = 4.0
    course.take(a_chunk("large", 5, 4_500))
    assert course.seconds_left == pytest.approx(4 * 4_500 / 5_500)
    assert course.line("large") == "large: 15 of 20 cells, 1,375 values a second, 0:00:03 left"


def test_nothing_to_do_is_no_division() -> None:
    share = Share("done", 5, 0, 1, 0, series=None, values=None)
    course = Course(Survey((share,), Pace(1.0, "x"), ()), clock=lambda: 1.0)
    assert (course.all_cells, course.seconds_left) == (0, 0.0)
    course.take(a_chunk("done", 0, 0))
    assert course.seconds_left == 0.0


def test_cells_of_the_window_are_whole(installed: Installation) -> None:
    wanted = made(settings_of(installed), start="2026-01-05T00:20", stop="2026-01-05T02:40")
    cells = list(window_cells(wanted.job(wanted.plan.measurements[0])))
    assert [format_duration(cell.length) for cell in cells] == ["1h"] * 3
    later = replace(wanted.job(wanted.plan.measurements[0]), now=cells[1].start)
    assert list(window_cells(later)) == cells[:1]
