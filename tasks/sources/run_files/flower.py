"""Flower's JSON results: History, Result, and lists of rounds."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tasks.sources.run_files.table import About, Table, check_cells, invalid

LOSSES = ("losses_distributed", "losses_centralized")
# words for where a column was measured
PLACES = {
    "losses_distributed": "eval",
    "losses_centralized": "centralized",
    "metrics_distributed_fit": "fit",
    "metrics_distributed": "eval",
    "metrics_centralized": "centralized",
    "train_metrics_clientapp": "train",
    "train_metrics": "train",
    "evaluate_metrics_clientapp": "eval",
    "evaluate_metrics_serverapp": "centralized",
    "federated_evaluate": "eval",
    "centralized_evaluate": "centralized",
    # metrics without a word on where they were measured
    "": "",
}
ROUND_KEYS = ("round", "server_round", "epoch", "step")
FIX = "A History has lists of [round, value], such as losses_centralized: [[1, 0.7], [2, 0.5]]"


def is_flower(content: Any) -> bool:
    """Return whether this is a History or a Result, maybe under the key history."""
    return _inside(content) is not None


def table_of(content: Any, file: str, run_id: str) -> Table:
    """Return the rounds of a History or a Result."""
    raw = _inside(content) or {}
    rows = [
        (number, f"{PLACES[key]}_{name}".lstrip("_"), value)
        for key in PLACES
        if key in raw
        for number, name, value in _series(raw[key], file, key)
    ]
    if not rows:
        raise invalid(file, "the history has no round", "Name the file of a run that has begun")
    return Table(About(run_id, file, _plan(content)), *wide(rows, file))


def wide(rows: Sequence[tuple[int, str, Any]], file: str) -> tuple[dict[str, list[Any]], list[str]]:
    """Return columns and places; a value that is reported again has a row of its own."""
    series: dict[str, list[tuple[int, Any]]] = {}
    for number, name, value in rows:
        series.setdefault(name, []).append((number, value))
    if any(later <= n for each in series.values() for (n, _), (later, _) in pairwise(each)):
        check_cells(file, len(rows), len(series))
        columns = {name: [v if each == name else None for _, each, v in rows] for name in series}
        numbers = [number for number, _, _ in rows]
    else:
        numbers = sorted({number for number, _, _ in rows})
        check_cells(file, len(numbers), len(series))
        cells = {name: dict(each) for name, each in series.items()}
        columns = {name: [cells[name].get(number) for number in numbers] for name in series}
    return {"round": numbers, **columns}, [f"round {number}" for number in numbers]


def _inside(content: Any) -> Mapping[str, Any] | None:
    if not isinstance(content, Mapping):
        return None
    if any(key in content for key in PLACES):
        return content
    pairs = {name: entries for name, entries in content.items() if _is_pairs(entries)}
    return {"": pairs} if pairs else _inside(content.get("history"))


def _is_pairs(entries: Any) -> bool:
    is_list = isinstance(entries, list) and bool(entries)
    return is_list and all(isinstance(each, list) and len(each) == 2 for each in entries)


def _plan(content: Mapping[str, Any]) -> int | None:
    raw = content.get("num_rounds")
    return raw if isinstance(raw, int) and raw > 0 else None


def _series(raw: Any, file: str, key: str) -> Iterator[tuple[int, str, Any]]:
    """Yield round, name and value of each entry, in any of the shapes in use."""
    if isinstance(raw, Mapping):
        for name, entries in raw.items():
            if isinstance(entries, Mapping):
                number = round_of(name, file, f"{key}.{name}")
                yield from ((number, each, value) for each, value in entries.items())
            else:
                yield from _list(entries, file, f"{key}.{name}", str(name))
    elif raw is not None:
        yield from _list(raw, file, key, "loss" if key in LOSSES else "value")


def _list(entries: Any, file: str, where: str, name: str) -> Iterator[tuple[int, str, Any]]:
    if not isinstance(entries, list):
        raise invalid(file, f"{where} is not a list", FIX)
    for place, entry in enumerate(entries):
        spot = f"{where}[{place}]"
        if isinstance(entry, Mapping):
            key = next((each for each in ROUND_KEYS if each in entry), None)
            number = place + 1 if key is None else round_of(entry[key], file, spot)
            others = ((each, value) for each, value in entry.items() if each != key)
            yield from ((number, name if e == "value" else str(e), v) for e, v in others)
        elif isinstance(entry, list) and len(entry) == 2:
            number, value = round_of(entry[0], file, spot), entry[1]
            inner = value.items() if isinstance(value, Mapping) else [(name, value)]
            yield from ((number, str(each), one) for each, one in inner)
        elif entry is None or isinstance(entry, int | float):
            yield place + 1, name, entry
        else:
            raise invalid(file, f"{spot} is not [round, value]", FIX)


def round_of(raw: Any, file: str, where: str) -> int:
    """Return the round; raise RunFileInvalid for another value."""
    try:
        number = float(raw)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if number < 0 or not number.is_integer():
        raise invalid(file, f"{where}: {str(raw)[:40]!r} is not a round", FIX)
    return int(number)
