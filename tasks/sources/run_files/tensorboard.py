"""TensorBoard event files, read by TensorBoard itself."""

from pathlib import Path
from typing import Any

from tasks.core.finding import Finding
from tasks.sources.run_files.table import About, Table, invalid, odd

MARK = "tfevents"
INSTALL = "Install it: pip install 'fedvitals[tensorboard]'"


def is_events(path: Path) -> bool:
    """Return whether this is an event file, by its name."""
    return MARK in path.name


def table_of(path: Path, file: str, run_id: str) -> Table:
    """Return an event file's scalars by tag; of a repeated step the last counts."""
    cells, times, findings = _scalars(path, file)
    if not cells:
        raise invalid(file, "it has no scalar", "Name an event file that add_scalar was written to")
    steps = sorted(cells)
    names = dict.fromkeys(tag for step in steps for tag in cells[step])
    columns: dict[str, list[Any]] = {"step": list(steps)}
    columns["wall_time"] = [times[step] for step in steps]
    # a tag may have the name of our own column
    columns |= {
        name if name not in columns else f"{name} (scalar)": [cells[s].get(name) for s in steps]
        for name in names
    }
    return Table(About(run_id, file), columns, [f"step {step}" for step in steps], findings)


def _scalars(
    path: Path, file: str
) -> tuple[dict[int, dict[str, float]], dict[int, float], tuple[Finding, ...]]:
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util import tensor_util
    except ImportError as error:
        problem = "event files are read by TensorBoard, which is missing"
        raise invalid(file, problem, INSTALL) from error
    cells: dict[int, dict[str, float]] = {}
    times: dict[int, float] = {}
    events = 0
    # TensorBoard silently stops at the first corrupt event
    for event in EventFileLoader(str(path)).Load():
        events += 1
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "scalars":
                number = float(tensor_util.make_ndarray(value.tensor).item())
                cells.setdefault(int(event.step), {})[value.tag] = number
                times[int(event.step)] = float(event.wall_time)
    if not cells or events >= _events_in(path):
        return cells, times, ()
    sentence = f"The file is corrupt after step {max(cells)}; the rest is skipped."
    return cells, times, (odd("file_torn", sentence, step=max(cells)),)


def _events_in(path: Path) -> int:
    """Count the events that the file begins, by their length prefixes.

    TFRecord: length of 8 bytes, its checksum of 4, the event, its checksum of 4.
    """
    count, place, size = 0, 0, path.stat().st_size
    with path.open("rb") as handle:
        while place < size:
            handle.seek(place)
            place += int.from_bytes(handle.read(8), "little") + 16
            count += 1
    return count
