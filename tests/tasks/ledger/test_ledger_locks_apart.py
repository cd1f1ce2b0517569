"""A run's lock as its workers see it from other processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.errors import LockLost
from tasks.ledger.locks import FileLocks


@pytest.fixture
def locks(tmp_path: Path) -> FileLocks:
    return FileLocks(tmp_path / "locks")


def note(tmp_path: Path) -> Path:
    [found] = (tmp_path / "locks").glob("*.json")
    return found


def test_a_lock_that_the_run_holds_is_held(locks: FileLocks) -> None:
    with locks.hold("m", "production", "run-1"):
        locks.watch("m", "production", "run-1").check()


def test_a_lock_of_another_run_measurement_or_environment_is_lost(locks: FileLocks) -> None:
    with locks.hold("m", "production", "run-2"):
        for name, environment, run_id in (
            ("m", "production", "run-1"),
            ("other", "production", "run-2"),
            ("m", "staging", "run-2"),
        ):
            with pytest.raises(LockLost, match=f"{name} in {environment}: the lock was lost"):
                locks.watch(name, environment, run_id).check()


@pytest.mark.slow
def test_a_lock_whose_process_is_gone_is_lost(locks: FileLocks, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tasks.ledger.locks import FileLocks\n"
        "FileLocks(Path(sys.argv[1])).hold('m', 'production', 'run-1').__enter__()\n"
        "import os; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "locks")], check=True)
    assert json.loads(note(tmp_path).read_text())["run_id"] == "run-1"
    with pytest.raises(LockLost):
        locks.watch("m", "production", "run-1").check()


def test_a_note_of_another_machine_or_of_none_is_no_lock(locks: FileLocks, tmp_path: Path) -> None:
    with locks.hold("m", "production", "run-1"):
        held = json.loads(note(tmp_path).read_text())
        for text in (json.dumps({**held, "host": "elsewhere"}), "{}", "not JSON"):
            note(tmp_path).write_text(text)
            with pytest.raises(LockLost):
                locks.watch("m", "production", "run-1").check()
        note(tmp_path).unlink()
        with pytest.raises(LockLost):
            locks.watch("m", "production", "run-1").check()
