"""Cell states recorded in the lake: in `_windows`, and in the commits of tables."""

import json
import logging
from collections.abc import Iterator
from typing import Any

from tasks.core.state import CellState
from tasks.core.window import Cell
from tasks.lake.delta import METADATA_KEY, lake_errors, of_files
from tasks.lake.tables import Lake
from tasks.lake.windows import WINDOWS

logger = logging.getLogger(__name__)


def newest_run(lake: Lake) -> str:
    """Return the newest run's id in `_windows` by log statistics, empty for none."""
    table = lake.table(WINDOWS)
    return "" if table is None else max(filter(None, of_files(table, "max.run_id")), default="")


def with_commits(
    lake: Lake, name: str, recorded: dict[tuple[str, Cell], CellState]
) -> dict[tuple[str, Cell], CellState]:
    """Return the states by environment and cell, updated from later commits.

    A run killed between a landing and the append to `_windows` leaves only the commit. Log entries
    are retained for an hour and until the next checkpoint; older changes are found by counting rows.
    """
    table = lake.table(name)
    if table is None:
        return recorded
    with lake_errors(name):
        commits = table.history()
    found = dict(recorded)
    for state in _states(name, commits):
        key = (state.environment, state.cell)
        if key not in found or _is_later(state, found[key]):
            found[key] = state
    return found


def _is_later(state: CellState, other: CellState) -> bool:
    return (state.made_at, state.run_id) > (other.made_at, other.run_id)


def _states(name: str, commits: list[dict[str, Any]]) -> Iterator[CellState]:
    for commit in commits:
        content = json.loads(commit.get(METADATA_KEY) or "null")
        if not isinstance(content, dict) or "cells" not in content:
            continue
        try:
            yield from [
                CellState.from_brief(name, content["run_id"], cell) for cell in content["cells"]
            ]
        except (KeyError, ValueError, TypeError):
            # an older fedvitals recorded less there; the rows are counted anyway
            logger.debug("table=%s version=%s has no states", name, commit.get("version"))
