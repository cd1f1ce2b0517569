"""Answers the few shapes of Flux that fedvitals asks, as influxd 2.9.1 does; anything else is refused."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from tests.support.fakes.lines import Value

Key = tuple[str, tuple[tuple[str, str], ...], int]
_TEXT = r'"((?:\\.|[^"\\])*)"'
_SHAPE = re.compile(
    rf"from\(bucket: {_TEXT}\) "
    r"\|> range\(start: (?P<start>\S+), stop: (?P<stop>\S+)\) "
    rf"\|> filter\(fn: \(r\) => r\._measurement == (?P<measurement>{_TEXT}) "
    rf"and r\.environment == (?P<environment>{_TEXT})\)"
    r"(?: \|> filter\(fn: \(r\) => (?P<fields>r\._field == .+?)\))?"
    r"(?P<last> \|> last\(\))?"
    r"(?: \|> aggregateWindow\(every: (?P<every>\d+)us, fn: (?P<fn>count|sum), createEmpty: false, "
    r'timeSrc: "_start"\))?'
    r'(?P<tail> \|> group\(columns: \["_time"\]\) \|> sum\(\)'
    r'| \|> drop\(columns: \["_start", "_stop", "_measurement"\]\))'
)
_PROBE = re.compile(rf"from\(bucket: {_TEXT}\) \|> range\(start: -1s\) \|> limit\(n: 1\)")
_DATATYPES = {float: "double", int: "long", str: "string", bool: "boolean"}
_Series = tuple[tuple[tuple[str, str], ...], str, type]
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class _Row:
    tags: tuple[tuple[str, str], ...]
    field: str
    time: int
    value: Value


def answered(flux: str, points: Mapping[Key, dict[str, Value]]) -> str:
    """Annotated CSV; raises ValueError for a query of another shape."""
    if _PROBE.fullmatch(flux):
        return "\r\n"
    asked = _SHAPE.fullmatch(flux)
    if asked is None:
        raise ValueError(f"not a query that the fake knows: {flux}")
    rows = list(_rows(asked, points))
    if asked["last"]:
        newest = {(row.tags, row.field): row for row in sorted(rows, key=lambda row: row.time)}
        rows = list(newest.values())
    if asked["fn"]:
        every = int(asked["every"]) * 1000
        if asked["fn"] == "sum" and any(type(row.value) not in (float, int) for row in rows):
            return "error,reference\r\nunsupported input type for sum aggregate: string,\r\n"
        rows = list(_windowed(rows, every, asked["fn"]))
    if "group" in asked["tail"]:
        totals: defaultdict[int, int] = defaultdict(int)
        for row in rows:
            totals[row.time] += int(row.value)
        rows = [_Row((), "", moment, total) for moment, total in sorted(totals.items())]
    return _as_csv(rows, with_field="group" not in asked["tail"])


def _rows(asked: re.Match[str], points: Mapping[Key, dict[str, Value]]) -> Iterator[_Row]:
    start, stop = _nanoseconds(asked["start"]), _nanoseconds(asked["stop"])
    name, environment = _plain(asked["measurement"]), _plain(asked["environment"])
    fields = re.findall(rf"r\._field == {_TEXT}", asked["fields"] or "")
    for (measurement, tags, moment), values in sorted(points.items()):
        is_wanted = measurement == name and dict(tags).get("environment") == environment
        if is_wanted and start <= moment < stop:
            for field, value in values.items():
                if not fields or field in fields:
                    yield _Row(tags, field, moment, value)


def _windowed(rows: list[_Row], every: int, function: str) -> Iterator[_Row]:
    def place(row: _Row) -> tuple[object, ...]:
        return (row.tags, row.field, row.time // every)

    for (tags, field, number), group in groupby(sorted(rows, key=place), key=place):
        values = [row.value for row in sorted(group, key=lambda row: row.time)]
        total: float | int = 0
        for value in values:
            total += value if function == "sum" else 1  # type: ignore[operator]
        yield _Row(tags, field, number * every, total)  # type: ignore[arg-type, operator]


def _as_csv(rows: list[_Row], *, with_field: bool) -> str:
    """A block a type and set of tag names, a table a series; an empty line between blocks."""
    tables: defaultdict[_Series, list[_Row]] = defaultdict(list)
    for row in rows:
        tables[row.tags, row.field, type(row.value)].append(row)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    last: object = None
    for number, ((tags, field, kind), group) in enumerate(
        sorted(tables.items(), key=lambda item: (item[0][2].__name__, item[0][0], item[0][1]))
    ):
        names = [*(["_field"] if with_field else []), *(key for key, _ in tags)]
        if (kind, names) != last:
            out.write("\r\n" if last else "")
            types = ["string", "long", "dateTime:RFC3339", _DATATYPES[kind]]
            writer.writerow(["#datatype", *types, *["string"] * len(names)])
            writer.writerow(["", "result", "table", "_time", "_value", *names])
            last = (kind, names)
        more = [*([field] if with_field else []), *(value for _, value in tags)]
        for row in group:
            writer.writerow(["", "_result", number, _clock(row.time), _text(row.value), *more])
    return out.getvalue() + "\r\n"


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(literal: str) -> str:
    return re.sub(r"\\(.)", r"\1", literal[1:-1])


def _nanoseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    seconds = int(moment.replace(microsecond=0).timestamp())
    return seconds * _SECOND + moment.microsecond * 1000


def _clock(moment: int) -> str:
    """RFC 3339 with as many decimals as are needed, as Go writes it."""
    seconds, rest = divmod(moment, _SECOND)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
