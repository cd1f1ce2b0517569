"""TensorBoard event files, read by TensorBoard itself."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.core.finding import Finding
from tasks.sources.run_files.table import About, Table, check_cells, invalid, odd

MARK = "tfevents"
Row = tuple[int, float, dict[str, float]]
"""A step, its time, and values by tag."""
INSTALL = "Install it: pip install 'fedvitals[tensorboard]'"


def is_events(path: Path) -> bool:
    """Return whether this is an event file, by its name."""
    return MARK in path.name


def event_files(folder: Path) -> dict[Path, list[Path]]:
    """Return the event files in a folder by the folder of their run, in time's order."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob(f"*{MARK}*")):
        if path.is_file():
            found.setdefault(path.parent, []).append(path)
    return found


def table_of(paths: Sequence[Path], file: str, run_id: str) -> Table:
    """Return the scalars of a run's event files by tag, a row for each step written."""
    rows: list[Row] = []
    findings: list[Finding] = []
    for path in paths:
        findings += _read(path, file, rows)
    if not rows:
        raise invalid(file, "it has no scalar", "Name an event file that add_scalar was written to")
    names = dict.fromkeys(tag for _, _, cells in rows for tag in cells)
    check_cells(file, len(rows), len(names))
    columns: dict[str, list[Any]] = {"step": [step for step, _, _ in rows]}
    columns["wall_time"] = [time for _, time, _ in rows]
    # a tag may have the name of our own column
    columns |= {
        name if name not in columns else f"{name} (scalar)": [cells.get(name) for *_, cells in rows]
        for name in names
    }
    places = [f"step {step}" for step, _, _ in rows]
    return Table(About(run_id, file), columns, places, tuple(findings))


def _read(path: Path, file: str, rows: list[Row]) -> Iterator[Finding]:
    """Add the file's scalars to the rows; yield a finding where it is corrupt."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    except ImportError as error:
        problem = "event files are read by TensorBoard, which is missing"
        raise invalid(file, problem, INSTALL) from error
    events, before, begun = 0, len(rows), _events_in(path, file)
    # TensorBoard silently stops at the first corrupt event
    for event in _parsed(EventFileLoader(str(path)).Load()):
        events += 1
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name != "scalars":
                continue
            if (number := _number(value.tensor)) is not None:
                step, time = int(event.step), float(event.wall_time)
                if not rows or rows[-1][0] != step or value.tag in rows[-1][2]:
                    rows.append((step, time, {}))
                rows[-1][2][value.tag] = number
    if len(rows) > before and events < begun:
        step = rows[-1][0]
        sentence = f"The file {path.name} is corrupt after step {step}; the rest is skipped."
        yield odd("file_torn", sentence, step=step)


def _parsed(events: Iterator[Any]) -> Iterator[Any]:
    """Yield the events up to one that is none, whatever the packages raise for it."""
    from google.protobuf.message import DecodeError

    with suppress(DecodeError, ValueError, TypeError, LookupError, ArithmeticError):
        yield from events


def _number(tensor: Any) -> float | None:
    """Return the number of a tensor that holds just one; None for texts and vectors.

    Its shape is looked at first: the package would build whatever it says.
    """
    from tensorboard.util import tensor_util

    if any(dimension.size != 1 for dimension in tensor.tensor_shape.dim):
        return None
    with suppress(ValueError, TypeError, LookupError, ArithmeticError):
        return float(tensor_util.make_ndarray(tensor).item())
    return None


def _events_in(path: Path, file: str) -> int:
    """Count the events that the file begins; refuse one that says that it is longer than the file.

    TFRecord: length of 8 bytes, its checksum of 4, the event, its checksum of 4.
    """
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    count, place, size = 0, 0, path.stat().st_size
    with path.open("rb") as handle:
        while place < size:
            handle.seek(place)
            head = handle.read(12)
            length = int.from_bytes(head[:8], "little")
            # else TensorBoard does not believe the length either
            is_sound = masked_crc32c(head[:8]) == int.from_bytes(head[8:], "little")
            if length > size and is_sound:
                raise invalid(file, f"its event {count + 1} has no end", "Write the file again")
            place += length + 16
            count += 1
    return count
