"""Files that multiply in memory: refused before anything is built, and skipped in a history."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.sources.files import read_file
from tasks.sources.run_files.table import MOST_CELLS
from tasks.training.companion_files import terms_beside
from tests.support.fakes.hostile import MOST_MEGABYTES, in_child
from tests.support.fakes.hostile_calls import read_history, read_run
from tests.support.run_files_bench import complaint, only

MEGABYTES = 20


def write_keys(path: Path) -> Path:
    """Each record has a key of its own."""
    path = path / "run.json"
    path.write_text(json.dumps([{"round": n, f"k{n}": 1} for n in range(40_000)]))
    return path


def write_objects(path: Path) -> Path:
    path = path / "run.json"
    path.write_text("[" + "[],{}," * (MEGABYTES << 17) + "[]]")
    return path


def write_cells(path: Path) -> Path:
    path = path / "run.csv"
    path.write_text("round,loss" + "\n" + "1," * (MEGABYTES << 19) + "1\n")
    return path


def write_headers(path: Path) -> Path:
    """Every other line names one more column."""
    path = path / "run.csv"
    lines = ["round,loss", *(f"round,loss,c{n}\n{n},1,1" for n in range(100_000))]
    path.write_text("\n".join(lines))
    return path


def write_history(path: Path) -> Path:
    """Values of as many names as there are rounds."""
    path = path / "run.json"
    names = {f"m{n}": [[n, 1.0]] for n in range(40_000)}
    path.write_text(json.dumps({"metrics_distributed": names}))
    return path


def write_runs(path: Path) -> Path:
    """A chart of as many metrics as runs."""
    path = path / "run.csv"
    names = [f"run{n} - metric{n}" for n in range(2000)]
    lines = [",".join(["step", *names]), *(",".join(["1"] * 2001) for _ in range(500))]
    path.write_text("\n".join(lines))
    return path


def record(data: bytes, length: int | None = None) -> bytes:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    head = struct.pack("<Q", len(data) if length is None else length)
    sums = [struct.pack("<I", masked_crc32c(part)) for part in (head, data)]
    return head + sums[0] + data + sums[1]


def event(*shape: int, dtype: int = 1, tag: str = "loss", step: int = 1) -> bytes:
    """One event with a tensor of this shape, which has one number only."""
    from tensorboard.compat.proto.event_pb2 import Event

    made = Event(wall_time=1.7e9, step=step)
    value = made.summary.value.add(tag=tag)
    value.metadata.plugin_data.plugin_name = "scalars"
    value.tensor.dtype = dtype
    value.tensor.float_val.append(0.5)
    value.tensor.string_val.append(b"text")
    for size in shape:
        value.tensor.tensor_shape.dim.add(size=size)
    return record(made.SerializeToString())


def write_shape(path: Path) -> Path:
    path = path / "x.tfevents.1"
    path.write_bytes(event(2_000_000_000, 2))
    return path


def write_length(path: Path) -> Path:
    path = path / "x.tfevents.1"
    path.write_bytes(record(b"", 1 << 34))
    return path


def write_tags(path: Path) -> Path:
    path = path / "x.tfevents.1"
    path.write_bytes(b"".join(event(tag=f"t{n}", step=n) for n in range(3000)))
    return path


FILES = [
    write_keys,
    write_objects,
    write_cells,
    write_headers,
    write_history,
    write_runs,
    write_shape,
    write_length,
    write_tags,
]


@pytest.mark.slow
@pytest.mark.promise("Security: no file of a training run takes more than a gigabyte of memory")
@pytest.mark.parametrize("write", FILES)
def test_a_file_does_not_multiply(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'fedvitals[tensorboard]'")
    path = write(tmp_path)
    said, megabytes = in_child(read_run, str(path))
    print(f"{write.__name__}: {path.stat().st_size:,} bytes, {megabytes} MB, {said}")
    assert said.startswith("RunFileInvalid: ")
    assert megabytes <= MOST_MEGABYTES


def test_it_is_skipped_in_a_history(tmp_path: Path) -> None:
    write_keys(tmp_path)
    good = "round,loss\n" + "".join(f"{n},{1 / n}\n" for n in range(1, 9))
    (tmp_path / "good.csv").write_text(good)
    runs, notes = read_history(tmp_path)
    assert [run.run_id for run in runs] == ["good.csv: good"]
    assert len(notes) == 1
    assert notes[0].startswith("skipped in the history: ")
    assert f"at most {MOST_CELLS:,} cells are read" in notes[0]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_scalar_is_read_in_any_shape_of_one(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'fedvitals[tensorboard]'")
    path = tmp_path / "x.tfevents.1"
    path.write_bytes(event(*shape))
    assert [round.loss for round in only(path).rounds] == [0.5]


@pytest.mark.parametrize("made", [
    {"shape": (2,)}, {"shape": (0,)}, {"shape": (-1,)}, {"dtype": 7}, {"dtype": 0}, {"dtype": 20},
    {"dtype": 99},
])  # fmt: skip
def test_what_is_no_scalar_is_left_out(tmp_path: Path, made: dict[str, object]) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'fedvitals[tensorboard]'")
    path = tmp_path / "x.tfevents.1"
    shape = made.get("shape", ())
    odd = event(*shape, dtype=made.get("dtype", 1))  # type: ignore[misc, arg-type]
    path.write_bytes(odd)
    assert ": it has no scalar. " in complaint(path)
    path.write_bytes(odd + event(step=2) + record(b"\xff\xff\xff") + event(step=3))
    assert [round.round for round in only(path).rounds] == [2]


@pytest.mark.parametrize("text", ["[" * 10_000, '{"rounds":[' + "0," * 600_000 + "0]}"])
def test_a_companion_file_is_skipped(tmp_path: Path, text: str) -> None:
    progress = tmp_path / "fl-progress.json"
    progress.write_text('{"run_id": "r", "rounds": [{"round": 1, "loss": 1.0}]}')
    (tmp_path / "fl-privacy.json").write_text(text)
    run = read_file(progress).runs[0]
    terms, (finding,) = terms_beside(progress, run)
    assert (terms, finding.kind) == (run.privacy, "companion_skipped")
