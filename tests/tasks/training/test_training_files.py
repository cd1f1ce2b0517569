"""The training as JSON files: the service's own keys, and null for what it does not offer."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.core.errors import ReportNotWritten
from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.core.snapshots import Snapshot, Watched
from tasks.core.training import ClientRound, Round, TrainingRun
from tasks.training.files import documents, write_documents

START = datetime(2026, 1, 1, tzinfo=UTC)
CLIENTS = tuple(ClientRound(f"c{n}", 7, 0.5, 1.0, state, 0.5) for n, state in enumerate(("late", "reported", "late")))  # fmt: skip
RUN = TrainingRun(
    "run-a", (Round(1, START, 2.0, float("nan"), 0.5, 0.25, CLIENTS),), 9, None, "lake: history"
)
SNAPSHOT = Snapshot(
    time=START, run_id="run-a", current_round=1, total_rounds=9, active_clients=3.0, accuracy=0.5,
    convergence_rate=0.1, total_clients=4.0, participating_clients=3.0, participation_ratio=0.75,
    data_quality=0.9, epsilon_remaining=7.0, delta=1e-5, budget_utilization=0.125,
)  # fmt: skip
ODD = Finding("epsilon_grew", Severity.HIGH, "It grew.", {"rounds": [1, 2]})


def test_the_keys_are_those_of_the_service() -> None:
    found = documents(Watched((RUN,), (SNAPSHOT,)), [ODD], "production")
    assert found["fl-progress.json"] == {
        "current_round": 1, "total_rounds": 9, "active_clients": 3, "global_accuracy": 0.5,
        "convergence_rate": 0.1, "time": "2026-01-01T00:00:00Z", "not_offered": [],
        "environment": "production", "run_id": "run-a",
        "rounds": [{"round": 1, "started": "2026-01-01T00:00:00Z", "seconds": 2.0, "loss": None,
                    "accuracy": 0.5, "epsilon": 0.25, "not_finite": ["loss"]}],
        "findings": [{"kind": "epsilon_grew", "severity": "high", "sentence": "It grew.",
                      "evidence": {"rounds": [1, 2]}}],
    }  # fmt: skip
    assert found["fl-participation.json"] == {
        "total_clients": 4, "active_clients": 3, "participation_rate": 0.75,
        "avg_data_quality": 0.9, "time": "2026-01-01T00:00:00Z", "not_offered": [],
        "environment": "production", "run_id": "run-a",
        "rounds": [{"round": 1, "drawn": 3, "states": {"late": 2, "reported": 1}}],
    }  # fmt: skip
    assert found["fl-privacy.json"] == {
        "epsilon_remaining": 7.0, "delta_used": 1e-5, "privacy_budget_utilization": 0.125,
        "epsilon_budget": None, "noise_multiplier": None, "sampling_rate": None,
        "time": "2026-01-01T00:00:00Z",
        "not_offered": ["epsilon_budget", "noise_multiplier", "sampling_rate"],
        "environment": "production", "run_id": "run-a", "rounds": [{"round": 1, "epsilon": 0.25}],
    }  # fmt: skip


def test_no_file_names_a_client(tmp_path: Path) -> None:
    found = documents(Watched((RUN,), (SNAPSHOT,)), [], "production")
    assert '"c0"' not in json.dumps(found)


def test_without_anything_all_is_null(tmp_path: Path) -> None:
    found = documents(Watched(), [], "production")
    assert found["fl-progress.json"]["current_round"] is None
    assert found["fl-progress.json"]["rounds"] == []
    assert len(found["fl-privacy.json"]["not_offered"]) == 6
    without_run = documents(Watched((), (replace(SNAPSHOT, accuracy=None),)), [], "production")
    assert without_run["fl-progress.json"]["not_offered"] == ["global_accuracy"]
    assert without_run["fl-progress.json"]["run_id"] == "run-a"


def test_files_are_written_whole(tmp_path: Path) -> None:
    found = documents(Watched((RUN,), (SNAPSHOT,)), [], "production")
    paths = write_documents(tmp_path / "new", found)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(found)
    for path in paths:
        assert json.loads(path.read_text("utf-8")) == found[path.name]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportNotWritten, match="file"):
        write_documents(tmp_path / "file" / "folder", {"a.json": {}})
