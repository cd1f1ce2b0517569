"""What is no file of a run at all."""

import os
from pathlib import Path

import pytest

from tasks.sources import files
from tests.support.run_files_bench import complaint, only

pytestmark = pytest.mark.promise(
    "Training: an unreadable file of a training run is refused in one line with its place"
)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert complaint(tmp_path / "none.csv").startswith("none.csv: No such file or directory. ")
    folder = tmp_path / "runs"
    folder.mkdir()
    assert complaint(folder) == (
        "runs: it is a folder without event files of TensorBoard. Fix: name the files in it; "
        "--history takes a folder of earlier runs"
    )


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    os.mkfifo(path)

    assert complaint(path).startswith("run.csv: it is not a file. ")


@pytest.mark.parametrize("data", [b"PNG\x00v\x00", b"round,acc\n1,\x00\n", bytes(range(256))])
def test_a_binary_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "run.csv"
    path.write_bytes(data)

    assert "run.csv: it is binary" in complaint(path) or "is not UTF-8 text" in complaint(path)


def test_a_file_of_200_mb_is_refused_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.csv"
    with path.open("wb") as handle:
        handle.truncate(200_000_000)
    monkeypatch.setattr(files, "_text", lambda path: pytest.fail("it was opened"))

    assert complaint(path) == (
        "run.csv: it has 200 MB, at most 67 MB are read into memory. Fix: keep one line a round, "
        "and the columns of round, loss and accuracy"
    )


@pytest.mark.slow
@pytest.mark.promise(
    "Training: too many rounds or lines are refused before they are read into memory"
)
def test_rounds_beyond_measure_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    lines = [f"{n},0.5" for n in range(1, 200_002)]
    path.write_text("\n".join(["round,accuracy", *lines]), "utf-8")

    assert complaint(path) == (
        "run.csv: it has 200,001 rounds, at most 200,000 are analysed. Fix: keep one round in 2"
    )
    path.write_text("\n".join(["round,accuracy", *lines[:-1]]), "utf-8")
    assert len(only(path).rounds) == 200_000
    # of many clients in few rounds the rounds count
    clients = [f"{n // 300_000},c{n},0.5" for n in range(300_000)]
    path.write_text("\n".join(["round,client,accuracy", *clients]), "utf-8")
    assert len(only(path).rounds) == 1


@pytest.mark.promise(
    "Training: too many rounds or lines are refused before they are read into memory"
)
def test_lines_beyond_measure_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("round,accuracy\n" + "1,x\n" * 1_000_001, "utf-8")

    assert complaint(path) == (
        "run.csv: it has 1,000,002 lines, at most 1,000,000 are read. Fix: keep one line a round, "
        "or one a client and round: leave out some of the rounds"
    )
