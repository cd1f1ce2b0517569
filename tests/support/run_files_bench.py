"""Files of runs, short and literal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import RunFileInvalid
from tasks.core.training import TrainingRun
from tasks.sources.files import read_file
from tasks.sources.run_files.words import MetricOptions

Reported = list[tuple[int, float | None, float | None]]


def csv_file(folder: Path, text: str, name: str = "run.csv") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def json_file(folder: Path, content: Any, name: str = "run.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(content), "utf-8")
    return path


def reported(run: TrainingRun) -> Reported:
    """Round, loss and accuracy of each round."""
    return [(each.round, each.loss, each.accuracy) for each in run.rounds]


def only(path: Path, metric: str | None = None) -> TrainingRun:
    (run,) = read_file(path, MetricOptions(metric)).runs
    return run


def kinds(path: Path) -> list[str]:
    return [finding.kind for finding in read_file(path).findings]


def complaint(path: Path, metric: str | None = None) -> str:
    """What a file that cannot be read is answered with, without its folder."""
    with pytest.raises(RunFileInvalid) as refused:
        read_file(path, MetricOptions(metric))
    return str(refused.value).replace(f"{path.parent}/", "")


def clients_of(run: TrainingRun, place: int = -1) -> Mapping[str, float | None]:
    return {client.id: client.accuracy for client in run.rounds[place].clients or ()}
