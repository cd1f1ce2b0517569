"""Generic JSON: a list of rounds, or columns as lists."""

from collections.abc import Mapping
from typing import Any

from tasks.sources.run_files.flower import PLACES
from tasks.sources.run_files.table import NO_ROUND, About, Table, invalid

LISTS = ("rounds", "history", "results", "metrics", "log", "records", "data")


def is_records(content: Any) -> bool:
    """Return whether this is a list of objects, maybe under a key, or equal lists."""
    return _rows(content) is not None or _columns(content) is not None


def table_of(content: Any, file: str, run_id: str) -> Table:
    """Return the rows; a nested object's columns are named by its key and theirs."""
    columns = _columns(content)
    if columns is not None:
        length = len(next(iter(columns.values())))
        return Table(About(run_id, file), columns, [f"entry {place}" for place in range(length)])
    rows = [_flat(row) for row in _rows(content) or []]
    if not rows:
        raise invalid(file, *NO_ROUND)
    names = dict.fromkeys(name for row in rows for name in row)
    reported = {name: [row.get(name) for row in rows] for name in names}
    return Table(About(run_id, file), reported, [f"entry {place}" for place in range(len(rows))])


def _rows(content: Any) -> list[Mapping[str, Any]] | None:
    if isinstance(content, list) and all(isinstance(row, Mapping) for row in content):
        return content
    if isinstance(content, Mapping):
        lists = (_rows(content[key]) for key in LISTS if isinstance(content.get(key), list))
        return next((found for found in lists if found is not None), None)
    return None


def _columns(content: Any) -> dict[str, list[Any]] | None:
    if not isinstance(content, Mapping):
        return None
    found = {name: cells for name, cells in content.items() if _is_column(cells)}
    if not found and isinstance(content.get("history"), Mapping):
        return _columns(content["history"])
    lengths = {len(cells) for cells in found.values()}
    return found if len(lengths) == 1 and lengths != {0} else None


def _is_column(cells: Any) -> bool:
    return isinstance(cells, list) and all(c is None or isinstance(c, int | float) for c in cells)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{PLACES.get(name, name)}_{each}": one for each, one in value.items()}
        elif not isinstance(value, list):
            flat[name] = value
    return flat
