"""Reads back what a bucket of InfluxDB 2 holds: counts and sums by series, or every value."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from operator import itemgetter
from typing import Any

import numpy as np

from tasks.core.errors import SinkRefused
from tasks.core.measurement import FieldType, Measurement
from tasks.core.outside import shortened
from tasks.core.retry import retrying
from tasks.core.series import Points, SeriesKey, SeriesSum, Sums
from tasks.core.services import InfluxService, InfluxTuning
from tasks.core.window import Cell, Window, iso
from tasks.sinks.influxdb_http import (
    NAME,
    UNKNOWN_PATH,
    Answer,
    InfluxHttp,
    found,
    quoted,
    retention_of,
)

KINDS: dict[str, FieldType] = {"double": "float", "long": "int", "boolean": "bool"}
# every table begins with its annotation, the name of its result and its number, by position: the
# names behind them may be tags of any name
_LEAD = ["", "result", "table"]
# columns behind these that are not tags, and that no tag of the catalogue can be called
_PLAIN = {"_time", "_value", "_field"}
_ERROR = ["error", "reference"]


class InfluxReader:
    """One bucket as a Reader, which says what is raised. Answers are annotated CSV, read whole."""

    name = NAME

    def __init__(
        self, service: InfluxService, tuning: InfluxTuning, deadline_seconds: float = 30.0
    ) -> None:
        """`deadline_seconds` is how long one question is asked again while it fails."""
        self.target = service.target
        self._service = service
        self._http = InfluxHttp(service, tuning.timeout)
        self._deadline = deadline_seconds

    def close(self) -> None:
        """Gives connections back."""
        self._http.close()

    def retention(self) -> timedelta | None:
        """Return how long the bucket keeps points; None for ever, or when the token may not see it."""
        place = {"org": self._service.org, "name": self._service.bucket}
        answer = self._ask("GET", "/api/v2/buckets", place)
        try:
            return retention_of(found(answer))
        except ValueError as error:
            raise self._improper(answer.short) from error

    def counts(
        self, measurement: Measurement, environment: str, window: Window, cell: timedelta
    ) -> dict[Cell, int]:
        """Count the values of the measurement and environment in each cell of the grid."""
        flux = (
            f"{self._range(measurement, environment, window)}"
            f'{_each(cell, "count")} |> group(columns: ["_time"]) |> sum()'
        )
        with self._parsing():
            found = {row.cell(cell): int(row.cells["_value"]) for row in self._query(flux)}
        return dict(sorted(found.items()))

    def sums(
        self, measurement: Measurement, environment: str, window: Window, cell: timedelta
    ) -> Sums:
        """Count of each series in each cell of the window, and the sum of the catalogue's numbers.

        A sum is None where a field is stored as another type, so that the server cannot make it.
        """
        whole = self._range(measurement, environment, window)
        counted = self._by_cell(f"{whole}{_each(cell, 'count')}{_SHORT}", cell)
        summed: dict[Cell, dict[SeriesKey, Any]] = {}
        numbers = [n for n, spec in measurement.fields.items() if spec.type in ("float", "int")]
        if numbers:
            terms = " or ".join(f"r._field == {_text(name)}" for name in numbers)
            wanted = f"{whole} |> filter(fn: (r) => {terms})"
            # the counts were answered, so it is the sums that cannot be made
            with suppress(SinkRefused):
                summed = self._by_cell(f"{wanted}{_each(cell, 'sum')}{_SHORT}", cell)
        return {
            at: {key: SeriesSum(n, summed.get(at, {}).get(key)) for key, n in series.items()}
            for at, series in counted.items()
        }

    def points(
        self, measurement: Measurement, environment: str, window: Window
    ) -> dict[SeriesKey, Points]:
        """Return every value of the window, by series."""
        flux = f"{self._range(measurement, environment, window)}{_SHORT}"
        times: defaultdict[SeriesKey, list[str]] = defaultdict(list)
        values: defaultdict[SeriesKey, list[Any]] = defaultdict(list)
        kinds: defaultdict[SeriesKey, set[str]] = defaultdict(set)
        with self._parsing():
            for row in self._query(flux):
                times[row.key].append(row.cells["_time"].removesuffix("Z"))
                values[row.key].append(row.value)
                kinds[row.key].add(row.kind)
            return {key: _points(times[key], values[key], kinds[key]) for key in times}

    def last(
        self, measurement: Measurement, environment: str, field: str, window: Window
    ) -> tuple[datetime, Any] | None:
        """Return time and value of the field's newest point in the window; None when it has none."""
        flux = (
            f"{self._range(measurement, environment, window)}"
            f" |> filter(fn: (r) => r._field == {_text(field)}) |> last(){_SHORT}"
        )
        with self._parsing():
            newest = ((row.time, row.value) for row in self._query(flux))
            return max(newest, default=None, key=itemgetter(0))

    def _range(self, measurement: Measurement, environment: str, window: Window) -> str:
        return (
            f"from(bucket: {_text(self._service.bucket)}) "
            f"|> range(start: {iso(window.start)}, stop: {iso(window.stop)}) "
            f"|> filter(fn: (r) => r._measurement == {_text(measurement.name)} "
            f"and r.environment == {_text(environment)})"
        )

    def _by_cell(self, flux: str, cell: timedelta) -> dict[Cell, dict[SeriesKey, Any]]:
        found: defaultdict[Cell, dict[SeriesKey, Any]] = defaultdict(dict)
        with self._parsing():
            for row in self._query(flux):
                series = found[row.cell(cell)]
                # a field that is of two types in two shards of one cell comes as two tables
                series[row.key] = row.value + series.get(row.key, 0)
        return dict(found)

    def _query(self, flux: str) -> Iterator["_Row"]:
        body = {"query": flux, "type": "flux", "dialect": {"annotations": ["datatype"]}}
        place = {"org": self._service.org}
        headers = {"Accept": "application/csv"}
        answer = self._ask("POST", "/api/v2/query", place, body, headers)
        yield from self._rows(answer.body)

    @contextmanager
    def _parsing(self) -> Iterator[None]:
        """Refuse bad CSV, numbers of 5,000 digits, times beyond those that can be counted."""
        try:
            yield
        except (csv.Error, ValueError, TypeError, LookupError, OverflowError) as error:
            raise self._improper(shortened(str(error))) from error

    def _rows(self, body: bytes) -> Iterator["_Row"]:
        """The rows of an annotated CSV; an error may come behind good rows, under status 200."""
        schema = _Schema()
        text = io.TextIOWrapper(io.BytesIO(body), "utf-8", "replace", newline="")
        for line in csv.reader(text):
            if not line or line == [""]:
                schema = _Schema()
            elif line[0] == "#datatype":
                schema.datatypes = line
            elif not schema.names:
                schema.names = line
                # a page of something before the server is neither
                if not schema.is_error and line[: len(_LEAD)] != _LEAD:
                    raise self._improper(shortened(" ".join(line)))
            elif schema.is_error:
                problem = line[schema.names.index("error")]
                raise self._refused(HTTPStatus.OK, shortened(problem))
            else:
                yield schema.row(line)

    def _ask(self, *request: Any) -> Answer:
        """The answer to a question, asked again while the server is not up to it."""

        def once() -> Answer:
            answer = self._http.ask(*request)
            if answer.asks_again or answer.message.startswith(UNKNOWN_PATH):
                raise self._http.error_of(answer)
            return answer

        answer = retrying(self._deadline)(once)
        if answer.status != HTTPStatus.OK:
            raise self._refused(answer.status, answer.short)
        return answer

    def _refused(self, status: int, problem: str) -> SinkRefused:
        fix = (
            f"It was asked for what it holds: let the token read the bucket {self._service.bucket}, "
            "and check the URL and any proxy in front of it"
        )
        return self._http.refused(status, problem, fix)

    def _improper(self, problem: str) -> SinkRefused:
        return self._refused(HTTPStatus.OK, f"not the answer of an InfluxDB 2: {problem}")


@dataclass(frozen=True)
class _Row:
    """One row of an answer: its columns as text, its series, its value and the value's type."""

    cells: dict[str, str]
    key: SeriesKey
    value: Any
    kind: str

    @property
    def time(self) -> datetime:
        moment = datetime.fromisoformat(self.cells["_time"])
        if moment.tzinfo is None:
            raise ValueError(f"the time {moment} has no zone")
        return moment

    def cell(self, length: timedelta) -> Cell:
        return Cell(self.time, self.time + length)


@dataclass
class _Schema:
    """The columns of the tables that follow, until the next empty line."""

    datatypes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    keys: dict[tuple[str, ...], SeriesKey] = field(default_factory=dict)

    @property
    def is_error(self) -> bool:
        """Whether it is that of an error; a table of data has more columns."""
        return [name for name in self.names if name] == _ERROR

    def row(self, line: list[str]) -> _Row:
        cells = self._named(line)
        kind = self._named(self.datatypes).get("_value", "")
        return _Row(cells, self._key(cells), _value(cells["_value"], kind), KINDS.get(kind, kind))

    def _named(self, line: list[str]) -> dict[str, str]:
        return dict(zip(self.names[len(_LEAD) :], line[len(_LEAD) :], strict=True))

    def _key(self, cells: dict[str, str]) -> SeriesKey:
        named = tuple(cells[name] for name in cells if name not in _TIMED)
        if named not in self.keys:
            tags = sorted((k, v) for k, v in cells.items() if k not in _PLAIN and v != "")
            self.keys[named] = SeriesKey(tuple(tags), cells.get("_field", ""))
        return self.keys[named]


_TIMED = {"_time", "_value"}
# what every row would repeat
_SHORT = ' |> drop(columns: ["_start", "_stop", "_measurement"])'


def _each(cell: timedelta, function: str) -> str:
    """Cell by cell; the server's own grid begins at the epoch too. It answers from its index."""
    micros = cell // timedelta(microseconds=1)
    every = f"every: {micros}us, fn: {function}, createEmpty: false"
    return f' |> aggregateWindow({every}, timeSrc: "_start")'


def _text(text: str) -> str:
    """A string literal of Flux, in which `${` has a meaning besides."""
    return quoted(text).replace("${", r"\${")


def _value(text: str, kind: str) -> Any:
    if kind == "double":
        return float(text)
    if kind in ("long", "unsignedLong"):
        return int(text)
    return text == "true" if kind == "boolean" else text


def _points(times: list[str], values: list[Any], kinds: set[str]) -> Points:
    moments = np.array(times, dtype="datetime64[ns]").astype("int64")
    order = np.argsort(moments, kind="stable")
    kind = "/".join(sorted(kinds))
    types: dict[str, str] = {"float": "float64", "int": "int64", "bool": "bool"}
    return Points(kind, moments[order], np.array(values, dtype=types.get(kind, "object"))[order])
