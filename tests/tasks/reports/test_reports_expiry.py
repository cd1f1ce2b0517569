"""Old reports: which folders go, which never do, and what is said of one that cannot be removed."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.reports.expiry import clean_reports

pytestmark = pytest.mark.promise(
    "Maintenance: only reports that runs wrote into FEDVITALS_HOME expire, never the newest one"
)

BEFORE = datetime(2026, 3, 1, tzinfo=UTC)
OLD = ("20260101T000000-0a1b2c", "20260228T235959-ffffff")
NEW = ("20260301T000000-000000", "20260302T120000-abcdef")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*OLD, *NEW):
        (tmp_path / name / "training").mkdir(parents=True)
        (tmp_path / name / "training" / "report.html").write_bytes(b"x" * 100)
    return tmp_path


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_reports_of_old_runs_go(folder: Path) -> None:
    done = clean_reports(folder, BEFORE)

    assert left(folder) == sorted(NEW)
    assert (done.state, done.retained, done.removed, done.bytes_removed) == ("done", 2, 2, 200)
    assert clean_reports(folder, BEFORE).removed == 0


def test_the_newest_report_stays_however_old(folder: Path) -> None:
    done = clean_reports(folder, datetime(2030, 1, 1, tzinfo=UTC))
    assert (left(folder), done.retained, done.removed) == ([NEW[-1]], 1, 3)


def test_what_is_no_report_of_a_run_is_left_alone(folder: Path, tmp_path: Path) -> None:
    others = ["2020", "20200101T000000-0a1b2c.zip", "20200101T000000-0A1B2C", "mine"]
    for name in others:
        (folder / name).mkdir()
    (folder / "20200101T000000-000000").write_text("a file")
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "20200101T000000-111111").symlink_to(outside)

    assert clean_reports(folder, BEFORE).removed == 2
    assert set(left(folder)) >= {*others, "20200101T000000-000000", "20200101T000000-111111"}
    assert outside.is_dir()


def test_without_a_folder_there_is_nothing_to_do(tmp_path: Path) -> None:
    done = clean_reports(tmp_path / "none", BEFORE)
    assert (done.state, done.retained, done.removed) == ("done", 0, 0)


def test_a_folder_that_cannot_be_removed_is_reported_and_the_others_go(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = shutil.rmtree

    def held(path: Path, *arguments: Any) -> None:
        if path.name == OLD[0]:
            raise PermissionError(13, "Permission denied")
        remove(path, *arguments)

    monkeypatch.setattr(shutil, "rmtree", held)
    done = clean_reports(folder, BEFORE)

    assert (done.state, done.retained, done.removed) == ("pending", 3, 1)
    assert done.problems == (f"{folder / OLD[0]} cannot be removed: Permission denied",)
    assert left(folder) == sorted([OLD[0], *NEW])
