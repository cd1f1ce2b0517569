"""TensorBoard event files, read by TensorBoard itself."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.core.finding import Finding
from tasks.sources.run_files.table import About, Table, invalid, odd

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
        from tensorboard.util import tensor_util
    except ImportError as error:
        problem = "event files are read by TensorBoard, which is missing"
        raise invalid(file, problem, INSTALL) from error
    events, before = 0, len(rows)
    # TensorBoard silently stops at the first corrupt event
    for event in EventFileLoader(str(path)).Load():
        events += 1
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "scalars":
                number = float(tensor_util.make_ndarray(value.tensor).item())
                step, time = int(event.step), float(event.wall_time)
                if not rows or rows[-1][0] != step or value.tag in rows[-1][2]:
                    rows.append((step, time, {}))
                rows[-1][2][value.tag] = number
    if len(rows) > before and events < _events_in(path):
        step = rows[-1][0]
        sentence = f"The file {path.name} is corrupt after step {step}; the rest is skipped."
        yield odd("file_torn", sentence, step=step)


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
