"""Generic JSON: a list of rounds, or columns as lists."""

from collections.abc import Mapping
from typing import Any

from tasks.sources.run_files.flower import PLACES, round_of, wide
from tasks.sources.run_files.table import NO_ROUND, About, Table, check_cells, invalid
from tasks.sources.run_files.words import ROUNDS, normal

LISTS = ("rounds", "history", "results", "metrics", "log", "records", "data", "log_history")


def is_records(content: Any) -> bool:
    """Return whether this is a list of objects, maybe under a key, or equal lists."""
    return _rows(content) is not None or _columns(content) is not None


def table_of(content: Any, file: str, run_id: str) -> Table:
    """Return the rows; a nested object's columns are named by its key and theirs."""
    columns = _columns(content)
    if columns is not None:
        if len(set(map(len, columns.values()))) > 1:
            return Table(About(run_id, file), *wide(_by_round(columns, file), file))
        length = len(next(iter(columns.values())))
        return Table(About(run_id, file), columns, [f"entry {place}" for place in range(length)])
    rows = [_flat(row) for row in _rows(content) or []]
    if not rows:
        raise invalid(file, *NO_ROUND)
    names = dict.fromkeys(name for row in rows for name in row)
    check_cells(file, len(rows), len(names))
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
    return found or None


def _is_column(cells: Any) -> bool:
    is_list = isinstance(cells, list) and bool(cells)
    return is_list and all(c is None or isinstance(c, int | float) for c in cells)


def _by_round(columns: Mapping[str, list[Any]], file: str) -> list[tuple[int, str, Any]]:
    """Return the values of lists of several lengths by the list of rounds of each length."""
    counters = {len(c): n for n, c in columns.items() if set(normal(n).split("_")) & set(ROUNDS)}
    if counters.keys() < {len(cells) for cells in columns.values()}:
        lengths = ", ".join(f"{name} {len(cells)}" for name, cells in columns.items())
        fix = "Add a list of rounds for each length, such as round and eval_round, or write null where a round has no value"
        raise invalid(file, f"its lists have several lengths ({lengths})", fix)
    return [
        (round_of(columns[counters[len(cells)]][place], file, name), name, value)
        for name, cells in columns.items()
        if name not in counters.values()
        for place, value in enumerate(cells)
    ]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{PLACES.get(name, name)}_{each}": one for each, one in value.items()}
        elif not isinstance(value, list):
            flat[name] = value
    return flat
