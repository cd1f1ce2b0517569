"""What the lake says of its own cells: in `_windows`, and in the commits of a measurement's table."""

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
    """The id of the newest run that `_windows` tells of, from the log's statistics; empty for none."""
    table = lake.table(WINDOWS)
    return "" if table is None else max(filter(None, of_files(table, "max.run_id")), default="")


def with_commits(
    lake: Lake, name: str, reported: dict[tuple[str, Cell], CellState]
) -> dict[tuple[str, Cell], CellState]:
    """The states by environment and cell, where a commit of the table tells a later one, that one.

    A run that is killed between a landing and the append to `_windows` leaves only the commit. Log
    entries are kept for an hour and until the next checkpoint; what an older one reported is found by
    counting rows.
    """
    table = lake.table(name)
    if table is None:
        return reported
    with lake_errors(name):
        commits = table.history()
    found = dict(reported)
    for state in _states(name, commits):
        key = (state.environment, state.cell)
        if key not in found or _is_later(state, found[key]):
            found[key] = state
    return found


def _is_later(state: CellState, other: CellState) -> bool:
    return (state.made_at, state.run_id) > (other.made_at, other.run_id)


def _states(name: str, commits: list[dict[str, Any]]) -> Iterator[CellState]:
    for commit in commits:
        reported = json.loads(commit.get(METADATA_KEY) or "null")
        if not isinstance(reported, dict) or "cells" not in reported:
            continue
        try:
            yield from [
                CellState.from_brief(name, reported["run_id"], cell) for cell in reported["cells"]
            ]
        except (KeyError, ValueError, TypeError):
            # of a fedvitals that said less there; the rows are counted all the same
            logger.debug("table=%s version=%s tells no states", name, commit.get("version"))
