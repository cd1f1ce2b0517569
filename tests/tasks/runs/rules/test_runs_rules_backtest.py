"""Back-tests and learned limits of fields in the lake, and the command, without a server."""

import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.batch import build_frame
from tasks.core.catalogue import Catalogue
from tasks.core.settings import load_settings, shipped
from tasks.core.window import Window, floor
from tasks.lake.tables import Lake
from tasks.runs.rules.backtest import Past
from tests.support.installation import Installation

NODE = Catalogue.read(shipped("config") / "metrics.yaml")["node"]
HOUR = timedelta(hours=1)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
# a lake is up to date for two hours, and the tests may run long after this line
STOP = floor(datetime.now(UTC), HOUR)
START = STOP - 15 * DAY
BUSY: dict[str, Any] = {
    "field": "node.cpu_usage_ratio",
    "comparison": ">",
    "value": 0.8,
    "for": "10m",
    "severity": "warning",
    "tags": ["instance"],
    "summary": "it is busy",
}


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    place = Installation(tmp_path)
    shutil.copytree(shipped("config"), place.config)
    shutil.copytree(shipped("expectations"), place.expectations)
    (place.config / "alert-tests.yaml").unlink()
    return place


def write(place: Installation, **changes: Any) -> None:
    place.write_yaml("alert-thresholds.yaml", {"thresholds": {"busy": BUSY | changes}})


def land(place: Installation, values: dict[int, float], usual: float = 0.5) -> None:
    """A row a minute from START to STOP; `values` are those of some minutes, NaN is no row."""
    settings = load_settings(place.environment)
    minutes = range((STOP - START) // MINUTE)
    rows = [(m, value) for m in minutes if (value := values.get(m, usual)) == value]
    frame = build_frame(
        NODE,
        {
            "time": [START + m * MINUTE for m, _ in rows],
            "environment": ["production"] * len(rows),
            "instance": ["a"] * len(rows),
            "cpu_usage_ratio": [value for _, value in rows],
            "memory_usage_ratio": [0.5 if m % 1440 < 720 else 0.9 for m, _ in rows],
        },
    )
    cells = list(Window(START, STOP).cells(DAY))
    Lake(settings.lake_url).land(NODE, frame, cells, "production", {"run_id": "r"})


def firings(place: Installation, rule: str = "busy") -> list[tuple[int, int, int | None]]:
    """Minutes of the first breach, of firing and of the end, of each time that the rule fired."""
    settings = load_settings(place.environment)
    with closing(Past(settings, settings.environment("production"))) as past:
        tests = past.tests(past.chosen(["busy"])[0], Window(START, STOP))
        (found,) = (one for one in tests if one.alert == rule)
    assert found.problem == ""
    return [
        (
            (one.since - START) // MINUTE,
            (one.fired - START) // MINUTE,
            (one.resolved - START) // MINUTE if one.resolved else None,
        )
        for one in found.firings
    ]


def busy(*spans: tuple[int, int], level: float = 0.9) -> dict[int, float]:
    return {minute: level for first, stop in spans for minute in range(first, stop)}


MIDNIGHT = -(-(START - floor(START, DAY)) // DAY) * 1440 - (START - floor(START, DAY)) // MINUTE


@pytest.mark.parametrize(
    ("changes", "spans", "expected"),
    [
        ({}, [(100, 130), (200, 205)], [(100, 110, 130)]),
        # the lake is read by day: neither `for` nor what fires begins anew at midnight
        ({}, [(MIDNIGHT - 5, MIDNIGHT + 10)], [(MIDNIGHT - 5, MIDNIGHT + 5, MIDNIGHT + 10)]),
        (
            {"keep_firing_for": "20m"},
            [(MIDNIGHT - 15, MIDNIGHT), (MIDNIGHT + 15, MIDNIGHT + 16)],
            [(MIDNIGHT - 15, MIDNIGHT - 5, MIDNIGHT + 36)],
        ),
        ({}, [(21_580, 21_600)], [(21_580, 21_590, None)]),
    ],
)
def test_a_field_is_tested_day_by_day(
    changes: dict[str, Any],
    spans: list[tuple[int, int]],
    expected: list[tuple[int, int, int | None]],
    installed: Installation,
) -> None:
    write(installed, **changes)
    land(installed, busy(*spans))

    # the measurement's step is 15 s, and a value is the present one for 5 minutes, until the next
    assert firings(installed) == expected


def test_a_condition_and_missing_data(installed: Installation) -> None:
    write(installed, when="memory_usage_ratio > 0.8", no_data_after="3h")
    land(installed, busy((700, 760)) | dict.fromkeys(range(2000, 2300), float("nan")))

    assert firings(installed) == [(720, 730, 760)]
    ((since, fired, resolved),) = firings(installed, "busy_no_data")
    assert (since, fired, resolved) == (1999, 2179, 2300)


def test_the_command_lists_each_firing_and_learns_a_limit(installed: Installation) -> None:
    write(installed, **{"for": "2m"})
    # each day has its own worst level, kept up for 3 minutes; the worst two are incidents
    levels = {day: 0.55 + day / 1000 for day in range(13)} | {13: 0.95, 14: 0.97}
    spans = [
        busy((day * 1440 + 300, day * 1440 + 303), level=level) for day, level in levels.items()
    ]
    # a level of one minute does not count
    land(installed, {m: v for span in spans for m, v in span.items()} | {700: 0.99})
    path = installed.config / "alert-thresholds.yaml"
    before = path.read_text()
    start = START.isoformat()

    ran = installed.here(
        "rules", "backtest", "busy", "--start", start, "-e", "production", "--json"
    )
    assert ran.code == 0, ran.err
    (one,) = ran.document["backtests"]
    assert (one["fired"], one["seconds"], one["days"]) == (2, 120.0, 15)
    assert {each["labels"]["instance"] for each in one["firings"]} == {"a"}
    ran = installed.here("rules", "learn", "--start", start, "-e", "production", "--json")
    (limit,) = ran.document["limits"]
    # of 15 days and the next one, one in 15 is 1.1: the worst day's level
    assert (limit["days"], limit["reached"], limit["limit"]) == (15, 1, 0.97)
    assert [each["fired"] for each in limit["backtests"]] == [2, 0]
    assert (path.read_text(), ran.document["written"]) == (before, None)

    text = installed.here("rules", "learn", "--start", start, "-e", "production", "--write").out
    assert "busy: 1 of 15 days reached 0.97" in text
    assert path.read_text() == before.replace("value: 0.8", "value: 0.97")


def test_too_few_days_teach_nothing(installed: Installation) -> None:
    write(installed)
    land(installed, {})
    start = (STOP - 13 * DAY).isoformat()

    ran = installed.here("rules", "learn", "--start", start, "-e", "production", "--json")

    assert ran.document["limits"][0]["reason"].endswith("days with values, 14 are needed")
    start = START.isoformat()
    ran = installed.here("rules", "learn", "--start", start, "-e", "production", "--json")
    assert ran.document["limits"][0]["reason"] == "the worst of each day is 0.5"


def test_what_cannot_be_tested_is_said_beside_the_others(installed: Installation) -> None:
    write(installed)
    with installed.changed("alert-thresholds.yaml") as content:
        queried = {key: value for key, value in BUSY.items() if key != "field"}
        content["thresholds"]["up"] = queried | {"expr": "up"}
        content["thresholds"]["other"] = queried | {"expr": "up", "environment": "staging"}
    with installed.changed("environments.yaml") as content:
        content["environments"] = {"staging": {"api_url": "http://127.0.0.1:9"}}
    land(installed, busy((100, 130)))
    run = ("rules", "backtest", "-e", "production", "--start", START.isoformat())

    ran = installed.here(*run, "--json")
    assert ran.code == 1
    rows = {one["rule"]: one for one in ran.document["backtests"]}
    assert (rows["busy"]["fired"], rows["up"]["fired"]) == (1, None)
    assert "no Prometheus is configured" in rows["up"]["problem"]
    assert "other" not in rows
    assert "busy" in installed.here(*run, "busy").out
    for name, words in (("bussy", "Did you mean busy?"), ("other", "Add -e staging")):
        ran = installed.here(*run, name)
        assert ran.code == 2
        assert words.lower() in ran.complaint.lower()
