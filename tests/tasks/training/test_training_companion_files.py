"""The files beside an fl-progress.json: read with it, or left out with the reason."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tasks.analysis.participation import Counts
from tasks.core.snapshots import Snapshot, Watched
from tasks.core.training import ClientRound, PrivacyTerms, Round, TrainingRun
from tasks.core.window import EPOCH
from tasks.runs.convergence import (
    ConvergenceOptions,
    FileRun,
    analyse_all,
    history_of_folder,
    read_runs_of,
)
from tasks.training.files import documents, write_documents

pytestmark = pytest.mark.promise(
    "Training: companion files beside fl-progress.json are read, or left out with the reason"
)

STATES = ("reported", "late", "dropped")


def rounds(count: int) -> tuple[Round, ...]:
    clients = tuple(ClientRound(f"c{n}", 7, 0.5, 1.0, state, 0.5) for n, state in enumerate(STATES))
    return tuple(
        Round(n, EPOCH, 2.0, None, 0.9 * (1 - math.exp(-n / 9)), 0.1 * n, clients)
        for n in range(1, count + 1)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a run as the flow `federated` writes them."""
    run = TrainingRun("run-a", rounds(20), 40, None, "lake: history")
    seen = Snapshot(
        EPOCH, "run-a", 20, 40, total_clients=9.0, participating_clients=3.0, data_quality=0.8,
        epsilon_budget=8.0, epsilon_remaining=6.0, delta=1e-5,
    )  # fmt: skip
    write_documents(tmp_path, documents(Watched((run,), (seen,)), [], "production"))
    return tmp_path


def change(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **keys}), "utf-8")


def read(folder: Path) -> FileRun:
    (found,) = read_runs_of([folder / "fl-progress.json"])
    return found


def said(found: FileRun) -> list[str]:
    return [finding.sentence for finding in found.findings]


def test_privacy_and_participation_are_read_with_the_progress(folder: Path) -> None:
    found = read(folder)

    assert found.run.privacy == PrivacyTerms(1e-5, None, None, 8.0, 6.0)
    # who is late has not dropped out
    assert found.counts == tuple(Counts(n, 3, 2) for n in range(1, 21))
    assert said(found) == [
        "fl-privacy.json beside it was read as well.",
        "fl-participation.json beside it was read as well.",
    ]
    (done,), _ = analyse_all([found], (), ConvergenceOptions(target="80%"))
    assert done.analysis.race is not None
    assert isinstance(done.analysis.race.probability, float)
    assert done.analysis.participation is not None
    assert done.analysis.participation.drop_outs is not None
    assert done.analysis.participation.drop_outs.estimate == pytest.approx(1 / 3, abs=0.02)


def test_files_with_a_byte_order_mark_are_read(folder: Path) -> None:
    before = said(read(folder))
    for path in folder.glob("*.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert said(read(folder)) == before


def test_alone_the_progress_tells_of_neither(folder: Path) -> None:
    for name in ("fl-privacy.json", "fl-participation.json"):
        (folder / name).unlink()
    found = read(folder)

    assert (found.run.privacy, found.counts, said(found)) == (None, (), [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "Input should be an object"),
        ('{"run_id": "run-b"}', "it belongs to the run run-b"),
        ('{"run_id": "run-a", "epsilon_budget": "much"}', "epsilon_budget: Input should be a valid number, unable to parse string as a number"),
        ('{"run_id": "run-a", "epsilon_budget": NaN}', "epsilon_budget: Input should be a finite number"),
    ],
)  # fmt: skip
def test_a_damaged_twin_is_left_out_with_the_reason(folder: Path, text: str, why: str) -> None:
    (folder / "fl-privacy.json").write_text(text, "utf-8")
    found = read(folder)

    assert said(found)[0] == f"fl-privacy.json beside it was skipped: {why}."
    assert (found.run.privacy, len(found.counts)) == (None, 20)


def test_an_unreadable_twin_and_states_that_nobody_knows(folder: Path) -> None:
    (folder / "fl-privacy.json").unlink()
    (folder / "fl-privacy.json").mkdir()
    change(
        folder / "fl-participation.json",
        rounds=[
            {"round": 1, "drawn": 3, "states": {"reported": 2, "resting": 1}},
            {"round": 2, "drawn": 3, "states": {"OK": 1, "finished": 1, "failed": 1}},
        ],
    )
    found = read(folder)

    assert said(found)[0] == "fl-privacy.json beside it was skipped: Is a directory."
    assert found.counts == (Counts(1, 3, None), Counts(2, 3, 2))


def test_a_service_without_names_has_its_totals(folder: Path) -> None:
    change(folder / "fl-participation.json", rounds=[])
    assert read(folder).counts == (Counts(20, 9.0, 3.0, 0.8),)


def test_a_file_of_another_name_has_no_twins(folder: Path) -> None:
    other = folder / "progress.json"
    (folder / "fl-progress.json").rename(other)
    (found,) = read_runs_of([other])
    assert (found.run.privacy, found.findings) == (None, ())


def test_twins_are_no_runs_of_a_history(folder: Path) -> None:
    runs, notes = history_of_folder(folder, ())
    assert ([run.run_id for run in runs], notes) == (["fl-progress.json: run-a"], [])
