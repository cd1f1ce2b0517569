"""CSV of a chart: one column of values, or a column for each run."""

import re
from dataclasses import replace
from typing import Any

from tasks.sources.run_files.table import Table, check_cells
from tasks.sources.run_files.words import normal

TENSORBOARD = ["wall_time", "step", "value"]
# TensorBoard names its download run-RUN-tag-TAG.csv
_NAME = re.compile(r"(?:run-(?P<run>.+?)-)?tag-(?P<tag>.+)")
BOUNDS = ("__MIN", "__MAX")
BETWEEN = " - "


def table_of(table: Table) -> Table:
    """Return the table with the names of a chart's metric and runs; others as they are."""
    names = list(table.columns)
    if [normal(name) for name in names] == TENSORBOARD:
        return _of_tensorboard(table, names[-1])
    series = [name for name in names[1:] if not name.endswith(BOUNDS)]
    if series and all(BETWEEN in name for name in series):
        return _of_runs(table, names[0], series)
    return table


def _of_tensorboard(table: Table, value: str) -> Table:
    found = _NAME.fullmatch(table.about.run_id)
    if found is None:
        return table
    columns = {found["tag"] if name == value else name: c for name, c in table.columns.items()}
    run_id = found["run"] or table.about.run_id
    return replace(table, about=replace(table.about, run_id=run_id), columns=columns)


def _of_runs(table: Table, counter: str, series: list[str]) -> Table:
    """Make a row for each run and step of a chart by Weights & Biases."""
    by_run: dict[str, dict[str, str]] = {}
    for name in series:
        run, metric = name.rsplit(BETWEEN, 1)
        by_run.setdefault(run, {})[metric] = name
    metrics = dict.fromkeys(metric for named in by_run.values() for metric in named)
    # an empty cell means that another run went on
    rows = [
        (run, row)
        for run, named in by_run.items()
        for row in range(len(table.places))
        if any(str(table.columns[name][row]).strip() for name in named.values())
    ]
    check_cells(table.about.source, len(rows), len(metrics))
    columns: dict[str, list[Any]] = {
        "run": [run for run, _ in rows],
        counter: [table.columns[counter][row] for _, row in rows],
    }
    for metric in metrics:
        names = {run: named.get(metric) for run, named in by_run.items()}
        columns[metric] = [_cell(table, names[run], row) for run, row in rows]
    return replace(table, columns=columns, places=[table.places[row] for _, row in rows])


def _cell(table: Table, name: str | None, row: int) -> Any:
    return None if name is None else table.columns[name][row]
