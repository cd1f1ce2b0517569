"""Reading of training runs from files, whatever their origin."""

import gc
import json
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.sources.run_files import csv_text, flower, nvflare, progress, records, tensorboard
from tasks.sources.run_files.runs import runs_of
from tasks.sources.run_files.table import RunFile, Table, invalid
from tasks.sources.run_files.words import MetricOptions

MOST_BYTES = 100 * 1024**2
"""A run of 1,000 rounds and 200 clients has about 20 MB; a file is held in memory as a whole."""
KNOWN = "CSV, fl-progress.json, Flower's history as JSON, NVFlare's cross_val_results.json and TensorBoard's event files can be read"
NO_OPTIONS = MetricOptions()
A_FILE = "Name a file of a training run"
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_file(path: Path, options: MetricOptions = NO_OPTIONS) -> RunFile:
    """Read the runs of one file, or of a folder of event files, and findings on it."""
    if path.is_dir():
        return _read_folder(path, options)
    _check(path)
    with _uncollected():
        return _read(path, options)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the cycle collector, which would double the time of a large file."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_folder(folder: Path, options: MetricOptions) -> RunFile:
    """Read the event files below a folder: those of one folder are one run."""
    found = tensorboard.event_files(folder)
    if not found:
        fix = "Name the files in it; --history takes a folder of earlier runs"
        raise invalid(str(folder), "it is a folder without event files of TensorBoard", fix)
    read = []
    for parent, paths in found.items():
        for path in paths:
            _check(path)
        run_id = str(parent.relative_to(folder.parent)) if parent != folder else folder.name
        read.append(runs_of(tensorboard.table_of(paths, str(parent), run_id), options))
    return RunFile(
        tuple(run for one in read for run in one.runs),
        tuple(finding for one in read for finding in one.findings),
        any(one.in_percent for one in read),
        read[0].kind,
    )


def _read(path: Path, options: MetricOptions) -> RunFile:
    file, run_id = str(path), path.stem
    if tensorboard.is_events(path):
        return runs_of(tensorboard.table_of([path], file, run_id), options)
    text = _text(path)
    if not text.strip():
        raise invalid(file, "it is empty", KNOWN)
    if path.suffix.lower() == ".json" or text.lstrip()[0] in "{[":
        content = _json(text, file)
        if nvflare.is_cross_validation(content) and not flower.is_flower(content):
            return nvflare.runs_of(content, file, run_id, options)
        return runs_of(_table(content, file, run_id), options)
    return runs_of(csv_text.table_of(text, file, run_id), options)


def _table(content: Any, file: str, run_id: str) -> Table:
    shapes: tuple[tuple[Callable[[Any], bool], Callable[[Any, str, str], Table]], ...] = (
        (progress.is_progress, progress.table_of),
        (flower.is_flower, flower.table_of),
        (records.is_records, records.table_of),
    )
    for is_it, table_of in shapes:
        if is_it(content):
            return table_of(content, file, run_id)
    keys = ", ".join(map(str, list(content)[:8])) if isinstance(content, dict) else ""
    problem = f"the JSON has an unknown form{f' (keys: {keys})' if keys else ''}"
    raise invalid(file, problem, KNOWN)


def _check(path: Path) -> None:
    """Check before it is opened that the file exists and has a readable size."""
    file = str(path)
    try:
        about = path.stat()
    except OSError as error:
        raise invalid(file, error.strerror or str(error), A_FILE) from error
    if not stat.S_ISREG(about.st_mode):
        raise invalid(file, "it is not a file", A_FILE)
    if about.st_size > MOST_BYTES:
        size = f"{about.st_size / 1e6:,.0f} MB, at most {MOST_BYTES / 1e6:,.0f} MB"
        fix = "Keep one line a round, and the columns of round, loss and accuracy"
        raise invalid(file, f"it has {size} are read into memory", fix)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise invalid(str(path), error.strerror or str(error), "Make the file readable") from error
    try:
        text = data.decode("utf-16" if data.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise invalid(str(path), f"byte {error.start} is not UTF-8 text", KNOWN) from error
    if "\0" in text:
        raise invalid(str(path), "it is binary", KNOWN)
    return text


def _json(text: str, file: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise invalid(file, problem, "Correct the JSON") from error
    except RecursionError as error:
        raise invalid(file, "the JSON is nested too deep", KNOWN) from error
