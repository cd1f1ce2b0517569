"""Reading of training runs from files, whatever their origin."""

import gc
import json
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.core.finding import Finding
from tasks.core.outside import read_json
from tasks.sources.run_files import (
    csv_text,
    flower,
    nvflare,
    pickled,
    printed,
    progress,
    records,
    tensorboard,
)
from tasks.sources.run_files.runs import runs_of
from tasks.sources.run_files.table import RunFile, Table, invalid
from tasks.sources.run_files.words import MetricOptions

MOST_BYTES = 64 * 1024**2
"""A run of 1,000 rounds and 200 clients has about 20 MB; a file is held in memory as a whole."""
KNOWN = "CSV, JSON, JSON lines, fl-progress.json, Flower's history, NVFlare's cross_val_results.json and TensorBoard's event files can be read"
NO_OPTIONS = MetricOptions()
A_FILE = "Name a file of a training run"
LINES = (".jsonl", ".ndjson")
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
    content: Any = printed.history_of(text)
    findings: tuple[Finding, ...] = ()
    if content is None and (path.suffix.lower() == ".json" or text.lstrip()[0] in "{["):
        content, findings = _json(text, file)
    if content is None:
        return runs_of(csv_text.table_of(text, file, run_id), options)
    if path.suffix.lower() in LINES and isinstance(content, dict):
        content = [content]
    if nvflare.is_cross_validation(content) and not flower.is_flower(content):
        return nvflare.runs_of(content, file, run_id, options)
    table = _table(content, file, run_id)
    return runs_of(replace(table, findings=(*table.findings, *findings)), options)


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
    pickled.check(path, data)
    try:
        text = data.decode("utf-16" if data.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise invalid(str(path), f"byte {error.start} is not UTF-8 text", KNOWN) from error
    if "\0" in text:
        raise invalid(str(path), "it is binary", KNOWN)
    return text


def _json(text: str, file: str) -> tuple[Any, tuple[Finding, ...]]:
    """Parse JSON, JSON lines, or a Python literal."""
    try:
        return read_json(text), ()
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            return _lines(text, file)
        literal = printed.literal(text) if "'" in text else None
        if literal is not None:
            return literal, ()
        problem = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise invalid(file, problem, "Correct the JSON") from error
    except ValueError as error:
        raise invalid(file, f"the JSON cannot be read: {error}", KNOWN) from error


def _lines(text: str, file: str) -> tuple[list[Any], tuple[Finding, ...]]:
    """Parse an object a line, without a last one that is still being written."""
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    found: list[Any] = []
    for number, line in lines:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < lines[-1][0]:
                raise invalid(file, f"line {number}: {error.msg}", "Correct the JSON") from error
            return found, (csv_text.cut_off(number),)
        except (ValueError, RecursionError) as error:
            raise invalid(file, f"line {number}: {error}", "Correct the JSON") from error
    return found, ()
