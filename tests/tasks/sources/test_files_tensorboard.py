"""TensorBoard's event files, written by TensorBoard; and the answer where it is missing."""

import sys
from pathlib import Path
from unittest import mock

import pytest

from tests.support.run_files_bench import complaint, kinds, only, reported

pytest.importorskip("tensorboard", reason="pip install 'fedvitals[tensorboard]'")


def events(folder: Path, scalars: list[tuple[int, str, float]]) -> Path:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for step, tag, value in scalars:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(Event(wall_time=1.7e9 + step, step=step, summary=summary))
    writer.close()
    (path,) = folder.glob("*tfevents*")
    return path


SCALARS = [
    (1, "train/loss", 2.0), (1, "eval/loss", 0.75), (1, "eval/accuracy", 0.5),
    (2, "train/loss", 1.0), (2, "eval/loss", 0.5), (2, "eval/accuracy", 0.625),
]  # fmt: skip


def test_the_scalars_are_a_run(tmp_path: Path) -> None:
    path = events(tmp_path, SCALARS)
    run = only(path)

    assert kinds(path) == []
    assert reported(run) == [(1, 0.75, 0.5), (2, 0.5, 0.625)]
    assert [r.started.timestamp() for r in run.rounds if r.started] == [1.7e9 + 1, 1.7e9 + 2]


def test_a_torn_file_is_read_up_to_the_tear(tmp_path: Path) -> None:
    path = events(tmp_path, SCALARS)
    path.write_bytes(path.read_bytes()[:-40])

    assert len(only(path).rounds) == 2
    assert kinds(path) == ["file_torn"]
    path.write_bytes(path.read_bytes()[:-150])
    assert len(only(path).rounds) == 1


def test_bytes_that_were_overwritten_are_said(tmp_path: Path) -> None:
    path = events(tmp_path, SCALARS)
    data = bytearray(path.read_bytes())
    data[-60:-30] = b"\xff" * 30
    path.write_bytes(data)

    assert len(only(path).rounds) >= 1
    assert kinds(path) == ["file_torn"]


def test_a_file_without_scalars_and_one_that_is_none_are_refused(tmp_path: Path) -> None:
    assert ": it has no scalar. " in complaint(events(tmp_path, []))
    nonsense = tmp_path / "x.tfevents.1"
    nonsense.write_bytes(b"nonsense" * 9)
    assert complaint(nonsense).startswith("x.tfevents.1: ")


def test_without_tensorboard_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    path = events(tmp_path, SCALARS)
    with mock.patch.dict(
        sys.modules, {"tensorboard.backend.event_processing.event_file_loader": None}
    ):
        reported = complaint(path)

    assert reported.endswith(
        "event files are read by TensorBoard, which is missing. Fix: install it: pip install "
        "'fedvitals[tensorboard]'"
    )


def test_a_folder_of_two_files_with_a_return_is_one_run(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    events(first, [(n, "acc", 0.1 * n) for n in range(1, 8)])
    again = events(second, [(n, "acc", 0.05 * n) for n in (4, 5)])
    again.rename(first / f"{again.name.replace('tfevents.', 'tfevents.9')}")
    run = only(first)

    assert [n for n, _, _ in reported(run)] == [1, 2, 3, 4, 5]
    assert reported(run)[-1][2] == pytest.approx(0.25)
    assert kinds(first) == ["counter_went_back"]


def test_an_evaluation_at_a_lower_step_is_no_return(tmp_path: Path) -> None:
    scalars = [(1, "loss", 0.9), (2, "loss", 0.8), (1, "acc", 0.5), (3, "loss", 0.7)]
    path = events(tmp_path, scalars)

    assert reported(only(path)) == [
        (n, pytest.approx(loss), acc)
        for n, loss, acc in [(1, 0.9, 0.5), (2, 0.8, None), (3, 0.7, None)]
    ]
    assert kinds(path) == []
