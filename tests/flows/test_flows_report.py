"""`fedvitals report`, as its user runs it."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.installation import Installation, entry

DAY = ("--start", "2026-03-01", "--stop", "2026-03-02")


@pytest.fixture
def empty(bare: Installation) -> Installation:
    return bare.configure({"load": entry("busy_ratio"), "other": entry("value")})


def test_a_window_without_data_is_reported_and_good(empty: Installation) -> None:
    ran = empty.here("report", *DAY)

    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "no data: 2 measurements without values"
    assert lines[2] == "window   2026-03-01T00:00:00Z to 2026-03-02T00:00:00Z"
    assert lines[-1].startswith(f"report   {empty.home / 'reports'}")
    assert Path(lines[-1].removeprefix("report   ")).is_file()


def test_a_window_that_reaches_into_the_future_ends_now(empty: Installation) -> None:
    before = datetime.now(UTC)
    ran = empty.here("report", "--start", "-1h", "--stop", "2090-01-01", "--json")

    assert ran.code == 0
    stop = datetime.fromisoformat(ran.document["window"]["stop"])
    assert before <= stop <= datetime.now(UTC)


def test_one_document_names_the_files(empty: Installation) -> None:
    ran = empty.here(
        "report", *DAY, "--json", "--measurement", "load", "-o", str(empty.folder / "r")
    )

    assert ran.code == 0
    document = ran.document
    assert (document["flow"], document["status"]) == ("report", "no_data")
    assert [line["name"] for line in document["measurements"]] == ["load"]
    assert document["report"] == str(empty.folder / "r" / "metrics-report.html")
    assert document["export"] == str(empty.folder / "r" / "metrics-report.json")
    reported = json.loads(Path(document["export"]).read_text("utf-8"))
    assert reported["receipt"]["run_id"] == document["run_id"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--start", "soon"), "'soon' is not a time"),
        (
            ("--start", "0226-01-31"),
            "which no store can hold. Fix: give one from 1970 to 2262",
        ),
        (("--start", "2026-03-02", "--stop", "2026-03-01"), "is empty or runs backwards"),
        (("--stop", "2026-03-01"), "is missing while --stop is given"),
        (("--measurement", "nothing"), "nothing"),
        (("-e", "nowhere"), "there is no environment 'nowhere'"),
        (("--type", "security"), "no measurement of type security"),
    ],
)
def test_a_mistake_is_reported_before_anything_is_written(
    empty: Installation, arguments: tuple[str, ...], complaint: str
) -> None:
    ran = empty.here("report", *arguments)

    assert ran.code == 2
    assert complaint in ran.complaint
    assert not (empty.home / "reports").exists()


def test_an_output_that_is_a_file_is_refused(empty: Installation) -> None:
    (empty.folder / "taken").write_text("a file")
    ran = empty.here("report", *DAY, "-o", str(empty.folder / "taken"))
    assert ran.code == 2
    assert "--output" in ran.complaint


def test_times_are_shown_in_the_configured_zone_and_stored_in_utc(empty: Installation) -> None:
    with empty.changed("environments.yaml") as content:
        content["timezone"] = "Europe/Berlin"
    ran = empty.here("report", *DAY)

    start = re.search(r"window   (\S+) to ", ran.out)
    assert start is not None
    assert start[1].endswith(("+01:00", "+02:00"))
    page = Path(ran.out.splitlines()[-1].removeprefix("report   "))
    assert re.search(r"\d\d:\d\d CES?T \(", page.read_text("utf-8"))
    stored = json.loads(page.with_suffix(".json").read_text("utf-8"))
    assert stored["receipt"]["window"]["start"].endswith("Z")
    assert stored["generated_at"].endswith("Z")


def test_a_zone_that_does_not_exist_is_refused(empty: Installation) -> None:
    with empty.changed("environments.yaml") as content:
        content["timezone"] = "Mars/Olympus"
    ran = empty.here("report", *DAY)

    assert ran.code == 2
    assert "timezone: 'Mars/Olympus' is not an IANA time zone" in ran.complaint
