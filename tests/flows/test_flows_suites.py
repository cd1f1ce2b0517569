"""`fedvitals suites`: check, learn, diff, in this process."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.batch import build_frame
from tasks.core.catalogue import Catalogue
from tasks.core.measurement import Measurement
from tasks.core.settings import shipped
from tasks.core.window import Cell, floor
from tasks.lake.tables import Lake
from tasks.validation.boilerplate import TEAM
from tasks.validation.suites import canonical_json
from tests.support.installation import Installation, entry
from tests.support.suite_examples import BETWEEN, an_expectation

BUILT_IN = [
    "fedvitals_pipeline",
    "fedvitals_slo",
    "fedvitals_slo_hours",
    "health_checks",
    "health_host",
    "health_hours",
    "incidents",
]
NOTE = "fedvitals: no range for delay: 0 values, 100 are needed\n"


@dataclass(frozen=True)
class Shares:
    """An installation with a measurement of one ratio and one delay, and 240 ratios of the last hours."""

    installation: Installation
    measurement: Measurement

    @property
    def path(self) -> Path:
        return self.installation.expectations / "shares.json"


@pytest.fixture
def shares(bare: Installation) -> Shares:
    ratio = entry("share", "delay", tags=("room",))
    ratio["fields"]["share"]["unit"] = "ratio"
    bare.configure({"shares": ratio})
    measurement = Catalogue.read(bare.config / "metrics.yaml")["shares"]
    _land(bare, measurement, environment="production", most=0.5)
    return Shares(bare, measurement)


def _land(
    installation: Installation, measurement: Measurement, environment: str, most: float
) -> None:
    """Shares between 0.25 and most, a minute apart, up to the last full hour."""
    stop = floor(datetime.now(UTC), timedelta(hours=1))
    start = stop - timedelta(hours=4)
    count = 240
    values = [0.25 + (most - 0.25) * n / (count - 1) for n in range(count)]
    columns = {
        "time": [start + timedelta(minutes=n) for n in range(count)],
        "environment": [environment] * count,
        "room": ["a"] * count,
        "share": values,
    }
    frame = build_frame(measurement, columns)
    lake = Lake(str(installation.home / "lake"))
    lake.land(measurement, frame, [Cell(start, stop)], environment, None)


@pytest.fixture
def canonical(shares: Shares) -> Shares:
    """With its suite in canonical form."""
    content = json.loads(shares.path.read_text("utf-8"))
    shares.path.write_text(canonical_json(content), "utf-8")
    return shares


def test_check_of_sound_suites(canonical: Shares) -> None:
    ran = canonical.installation.here("suites", "check")
    assert (ran.code, ran.out) == (0, "suites checked: 8, all valid\n")
    ran = canonical.installation.here("suites", "check", "--json")
    assert (ran.code, ran.document) == (
        0,
        {"suites": [*BUILT_IN, "shares"], "flaws": []},
    )


def test_check_tells_every_flaw(shares: Shares) -> None:
    with shares.installation.changed_suite("shares") as content:
        content["expectations"].append(an_expectation("odd", "expect_wonders", column="share"))
    (shares.installation.expectations / "unused.json").write_text("{}", "utf-8")
    ran = shares.installation.here("suites", "check", "--json")
    assert ran.code == 1
    flaws = [(flaw["suite"], flaw["check_id"], flaw["problem"]) for flaw in ran.document["flaws"]]
    assert flaws == [
        ("shares.json", "odd", "check odd: Great Expectations knows no expect_wonders"),
        ("unused.json", None, "no measurement uses it"),
    ]
    assert shares.installation.here("suites", "check").code == 1


def test_check_rewrites_sound_suites(shares: Shares) -> None:
    ran = shares.installation.here("suites", "check", "--json")
    assert [flaw["fix"] for flaw in ran.document["flaws"]] == [
        "Rewrite it: fedvitals suites check --fix"
    ]
    content = json.loads(shares.path.read_text("utf-8"))
    ran = shares.installation.here("suites", "check", "--fix")
    assert (ran.code, ran.out) == (0, "suites checked: 8, all valid\n")
    assert shares.path.read_text("utf-8") == canonical_json(content)


def test_new_writes_what_the_catalogue_gives_and_is_valid(shares: Shares) -> None:
    shares.path.unlink()
    ran = shares.installation.here("suites", "new", "shares", "--json")
    assert ran.code == 0
    assert ran.document["suite"] == str(shares.path)
    present = ("share_present", "delay_present")
    assert [(one["check_id"], one["change"]) for one in ran.document["changes"]] == [
        (check_id, "added")
        for check_id in ("rows_present", "key_unique", "time_present", *present, "share_possible")
    ]
    assert shares.installation.here("suites", "check").code == 0
    before = shares.path.read_text("utf-8")
    again = shares.installation.here("suites", "new", "shares")
    assert again.code == 2
    assert "exists already. Fix: add a limit with --min or --max, or edit it" in again.err
    assert shares.path.read_text("utf-8") == before


def test_new_adds_a_limit_in_place_of_the_one_before(canonical: Shares) -> None:
    def limits() -> list[dict[str, Any]]:
        content = json.loads(canonical.path.read_text("utf-8"))
        return [one for one in content["expectations"] if one["meta"]["origin"] == TEAM]

    arguments = ("suites", "new", "shares", "--field", "share", "--max", "0.4")
    ran = canonical.installation.here(*arguments)
    assert ran.code == 0
    assert re.split("  +", ran.out.splitlines()[1]) == [
        "share_within_limit", "added", "-", "share; at most 0.4; severity high",
    ]  # fmt: skip
    canonical.installation.here(*arguments, "--min", "0.1", "--severity", "warning")
    [limit] = limits()
    assert limit["kwargs"] == {"column": "share", "max_value": 0.4, "min_value": 0.1}
    assert limit["meta"]["severity"] == "warning"
    assert "severity" not in limit


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--field: no field is named. Fix: name one of: share, delay"),
        (
            ("--field", "shar"),
            "--field: shares has no numeric field 'shar'. Fix: name one of: share",
        ),
        # of several that match none is guessed
        (
            ("--field", "a"),
            "--field: shares has no numeric field 'a'. Fix: name one of: share, delay",
        ),
    ],
)
def test_new_needs_a_field_for_the_limit(
    canonical: Shares, arguments: tuple[str, ...], words: str
) -> None:
    before = canonical.path.read_text("utf-8")
    ran = canonical.installation.here("suites", "new", "shares", "--max", "1", *arguments)
    assert (ran.code, ran.complaint) == (2, words)
    assert canonical.path.read_text("utf-8") == before


def test_the_shipped_suites_are_not_rewritten(bare: Installation) -> None:
    for command in (("check", "--fix"), ("new", "gpu")):
        ran = bare.here("suites", *command)
        assert ran.code == 2
        assert "the suites in force are the shipped ones" in ran.err


def test_learn_shows_what_it_would_change(canonical: Shares) -> None:
    before = canonical.path.read_text("utf-8")
    ran = canonical.installation.here("suites", "learn", "shares")
    assert ran.code == 0
    # quartiles 0.3125, 0.375 and 0.4375; a negative share is impossible anyway
    assert re.split("  +", ran.out.splitlines()[1]) == [
        "share_usual",
        "added",
        "-",
        "share; at most 0.813; severity warning",
    ]
    assert ran.err == NOTE + "not written. Fix: to write it, add --write\n"
    assert canonical.path.read_text("utf-8") == before


def test_learn_writes_when_reported_to(canonical: Shares) -> None:
    ran = canonical.installation.here("suites", "learn", "shares", "--write", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.document["written"] is True
    assert ran.document["left_out"] == {"delay": "0 values, 100 are needed"}
    text = canonical.path.read_text("utf-8")
    content = json.loads(text)
    assert text == canonical_json(content)
    learned = content["expectations"][-1]
    assert (learned["meta"]["severity"], learned["meta"]["origin"]) == ("warning", "learned")
    assert learned["meta"]["reason"].startswith("Usual range of 240 values, ")
    assert canonical.installation.here("suites", "check").code == 0
    again = canonical.installation.here("suites", "learn", "shares", "--json")
    assert [change["change"] for change in again.document["changes"]] in ([], ["changed"])


def test_learn_takes_the_window_and_the_environment(canonical: Shares) -> None:
    installation = canonical.installation
    installation.write_yaml("environments.yaml", {"environments": {"staging": {}}})
    _land(installation, canonical.measurement, environment="staging", most=0.3)
    ran = installation.here("suites", "learn", "shares", "-e", "staging", "--json")
    (change,) = ran.document["changes"]
    # quartiles 0.2625, 0.275 and 0.2875
    assert change["new"] == "share; 0.187 to 0.363; severity warning"
    ran = installation.here("suites", "learn", "shares", "--start", "-30d", "--stop", "-2d")
    assert ran.code == 2
    assert ran.complaint == (
        "MEASUREMENT: there is nothing to learn from for shares: share: 0 values, 100 are needed; "
        "delay: 0 values, 100 are needed. Fix: name a longer window (--start), or collect more first"
    )


@pytest.mark.parametrize("command", ["learn", "diff"])
def test_an_unknown_measurement_is_refused(shares: Shares, command: str) -> None:
    ran = shares.installation.here("suites", command, "sharez")
    assert ran.code == 2
    assert ran.complaint == (
        "MEASUREMENT: sharez is not in the catalogue. Fix: did you mean shares? List them: fedvitals catalogue"
    )


def test_a_shared_suite_is_not_learned(shares: Shares) -> None:
    with shares.installation.changed("metrics.yaml") as content:
        content["measurements"]["others"] = {**content["measurements"]["shares"], "suite": "shares"}
    ran = shares.installation.here("suites", "learn", "shares")
    assert ran.code == 2
    assert ran.complaint.startswith("MEASUREMENT: its suite shares is shared with others. ")


def test_what_is_shipped_is_not_written_over(bare: Installation) -> None:
    ran = bare.here("suites", "learn", "http_latency", "--write")
    assert ran.code == 2
    assert ran.complaint.startswith("--write: the suites in force are the shipped ones")


def test_diff_against_what_is_shipped(bare: Installation) -> None:
    bare.config.mkdir()
    bare.expectations.mkdir()
    for folder in ("config", "expectations"):
        for path in shipped(folder).iterdir():
            if path.is_file():
                (bare.folder / folder / path.name).write_bytes(path.read_bytes())
    ran = bare.here("suites", "diff", "http_latency")
    assert (ran.code, ran.out) == (0, "it equals the shipped suite\n")
    with bare.changed_suite("http_latency") as content:
        changed = content["expectations"][3]
        changed["kwargs"]["max_value"] = 60
        content["expectations"].append(
            an_expectation("more", BETWEEN, "high", column="latency_p95_seconds", max_value=2)
        )
    ran = bare.here("suites", "diff", "http_latency", "--json")
    assert ran.document["shipped"] == str(shipped("expectations") / "http_latency.json")
    assert ran.document["changes"] == [
        {"check_id": changed["meta"]["check_id"], "change": "changed", "old": "0 to 1000000000", "new": "0 to 60"},
        {"check_id": "more", "change": "added", "old": None, "new": "latency_p95_seconds; at most 2; severity high"},
    ]  # fmt: skip


def test_diff_of_a_suite_that_is_not_shipped(shares: Shares) -> None:
    ran = shares.installation.here("suites", "diff", "shares")
    assert ran.code == 0
    assert ran.err == "fedvitals: no suite shares is shipped with fedvitals\n"
    assert {line.split()[1] for line in ran.out.splitlines()[1:]} == {"added"}
    assert (
        shares.installation.here("suites", "diff", "shares", "--json").document["shipped"] is None
    )
