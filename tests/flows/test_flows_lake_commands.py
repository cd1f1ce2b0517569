"""`fedvitals lake export | migrate | repair`: what they print, and how they end."""

import json
from pathlib import Path

import pytest

from tasks.core.batch import build_frame
from tasks.core.catalogue import Catalogue
from tasks.lake.tables import Lake
from tests.support.installation import Installation, entry
from tests.support.lake_samples import HOUR, START, cell


@pytest.fixture
def filled(bare: Installation) -> Installation:
    """Two rows in two hours, which no ledger knows."""
    bare.configure({"shares": entry("share", tags=("room",))})
    measurement = Catalogue.read(bare.config / "metrics.yaml")["shares"]
    frame = build_frame(
        measurement,
        {
            "time": [START, START + HOUR],
            "environment": ["production"] * 2,
            "room": ["a", "b"],
            "share": [0.25, 0.5],
        },
    )
    lake = Lake(str(bare.home / "lake"))
    lake.land(measurement, frame, [cell(0), cell(1)], "production", None)
    return bare


def newest_entry(installation: Installation) -> Path:
    return max((installation.home / "lake" / "shares" / "_delta_log").glob("*.json"))


def test_export(filled: Installation) -> None:
    file = filled.folder / "out.csv"
    ran = filled.here("lake", "export", "shares", "--output", str(file))
    assert (ran.code, ran.out) == (0, f"2 rows in {file}\n")
    assert file.read_text().splitlines()[1] == '"2026-01-01T00:00:00.000000Z","production","a",0.25'
    lines = filled.folder / "out.jsonl"
    window = ("--start", "2026-01-01T01:00:00Z", "--format", "jsonl", "--json")
    ran = filled.here("lake", "export", "shares", "-o", str(lines), *window)
    reported = {"file": str(lines), "format": "jsonl", "rows": 1, "bytes": lines.stat().st_size}
    assert ran.document == reported
    assert json.loads(lines.read_text())["share"] == 0.5


def test_export_of_what_is_not_there(filled: Installation) -> None:
    ran = filled.here("lake", "export", "other", "--output", "x.csv")
    assert ran.code == 2
    assert ran.complaint.startswith("MEASUREMENT: the lake has no table 'other'")


def test_an_environment_that_there_is_not(filled: Installation) -> None:
    file = filled.folder / "out.csv"
    for command in (
        ("lake", "export", "shares", "--output", str(file)),
        ("quarantine", "ls"),
        ("quarantine", "show", "shares"),
        ("catalogue",),
    ):
        ran = filled.here(*command, "-e", "prodution")
        assert ran.code == 2
        assert ran.complaint.startswith("--environment: there is no environment 'prodution'")
    assert not file.exists()


def test_an_environment_that_the_lake_alone_knows(filled: Installation) -> None:
    with filled.changed("environments.yaml") as content:
        content["default_environment"] = "staging"
    file = filled.folder / "out.csv"
    ran = filled.here("lake", "export", "shares", "--output", str(file), "-e", "production")
    assert (ran.code, ran.out) == (0, f"2 rows in {file}\n")


def test_migrate(filled: Installation) -> None:
    filled.configure({"shares": entry("part", tags=("room",))})
    arguments = ("lake", "migrate", "shares", "--rename", "share:part")
    dry = filled.here(*arguments, "--dry-run")
    assert dry.code == 0
    assert dry.out.splitlines()[1:] == [
        "renamed      part: share",
        "nothing was changed: --dry-run",
    ]
    done = filled.here(*arguments, "--json").document
    assert (done["is_dry_run"], done["renamed"], done["cells"]) == (False, {"part": "share"}, 2)
    again = filled.here("lake", "migrate", "shares").out.splitlines()
    assert again[1:] == ["nothing to change: the table fits the catalogue"]
    rows = filled.here("lake", "query", "SELECT part FROM shares ORDER BY part", "--json").document
    assert rows == {"rows": [{"part": 0.25}, {"part": 0.5}]}


def test_migrate_refuses(filled: Installation) -> None:
    ran = filled.here("lake", "migrate", "shares", "--rename", "share")
    assert (ran.code, ran.complaint.partition(". ")[0]) == (
        2,
        "--rename share: is not a pair of names",
    )
    filled.configure(
        {"shares": {**entry("share"), "fields": {"share": {"query": "x", "type": "string"}}}}
    )
    ran = filled.here("lake", "migrate", "shares")
    assert ran.code == 2
    assert ran.complaint.startswith("lake table shares cannot be migrated: column share is double")


def test_repair(filled: Installation) -> None:
    filled.here("ledger", "rebuild")
    assert filled.here("lake", "repair").out == "nothing is damaged\n"
    entry_ = newest_entry(filled)
    entry_.write_bytes(b"")
    name = f"_delta_log/{entry_.name}"
    dry = filled.here("lake", "repair", "--dry-run", "--json")
    damage = [{"path": name, "problem": "an empty log entry", "is_there": True}]
    assert dry.code == 1
    assert dry.document["tables"] == [{"table": "shares", "damage": damage, "moved_to": None}]
    done = filled.here("lake", "repair")
    assert done.code == 1
    # older than source_retention
    assert "lost, since the source has no history, or none that goes back so far" in done.out
    assert len(list((filled.home / "lake" / "_torn").rglob(entry_.name))) == 1
    assert filled.here("lake", "repair", "--json").document["tables"] == []
    assert filled.here("lake", "ls", "--json").document["tables"][0]["rows"] == 0


@pytest.mark.parametrize("extra", [(), ("--dry-run",)])
def test_repair_of_what_there_is_not(filled: Installation, extra: tuple[str, ...]) -> None:
    newest_entry(filled).write_bytes(b"")
    ran = filled.here("lake", "repair", "--measurement", "shraes", *extra)
    assert (ran.code, ran.out) == (2, "")
    assert ran.complaint.startswith(
        "--measurement: neither the catalogue nor the lake has 'shraes'"
    )


def test_a_newer_lake_ends_every_command(filled: Installation) -> None:
    (filled.home / "lake" / "_fedvitals.json").write_text('{"lake": 9}')
    for command in (
        ("lake", "query", "SELECT 1 FROM shares"),
        ("lake", "repair"),
        ("ledger", "rebuild"),
    ):
        ran = filled.here(*command)
        assert ran.code == 2
        assert "was made by a newer fedvitals: it has version 9" in ran.complaint
