"""What another package brings: a source, a sink and a channel that keep JSON in files.

Tests copy this file out of the tree and register it by entry points, as a user of fedvitals would.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import Batch, build_frame, count_values, time_micros
from tasks.core.checks import ServiceCheck
from tasks.core.errors import SinkUnavailable
from tasks.core.measurement import Measurement
from tasks.core.message import Message, at_least
from tasks.core.ports import (
    CellAnswer,
    CellToLoad,
    ChannelKind,
    History,
    Opening,
    SinkKind,
    SourceKind,
    SourceOpening,
)
from tasks.core.receipt import SinkValues
from tasks.core.series import Points, SeriesKey, SeriesSum, Sums
from tasks.core.services import Service, Tuning
from tasks.core.severity import Severity
from tasks.core.window import Cell, Window, micros


class File(Service):
    """A file, and a currency that must be set with it."""

    is_http = False
    currency: str


class Plain(Service):
    is_http = False


class Layout(Tuning):
    indent: int | None = None


def checked(service: Service) -> Iterator[ServiceCheck]:
    path = Path(service.url)
    yield ServiceCheck(path.stem, "is a file", path.is_file(), str(path), "Make it")


class Orders:
    """Answers with the rows of a file, which are pairs of a time and a number."""

    name = "orders"
    history: History = "range"

    def __init__(self, opening: SourceOpening) -> None:
        self._service = opening.service

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        read = [
            (datetime.fromisoformat(t), v)
            for t, v in json.loads(Path(self._service.url).read_text())
        ]
        rows = [(time, value) for time, value in read if window.start <= time < window.stop]
        columns: dict[str, Any] = {
            name: [value for _, value in rows] for name in measurement.fields
        }
        columns["time"] = [time for time, _ in rows]
        for tag in measurement.all_tags:
            columns[tag] = [environment if tag == "environment" else self._service.currency] * len(
                rows
            )
        return Batch(measurement, environment, window, build_frame(measurement, columns))

    def close(self) -> None:
        pass


class Book:
    """One file as sink and reader: values by measurement, environment, field, tags and time."""

    name = "book"

    in_order = False

    def __init__(self, opening: Opening) -> None:
        self._path = Path(opening.service.url)
        self._indent = opening.tuning.indent
        self.target = opening.service.target

    def close(self) -> None:
        pass

    def retention(self) -> timedelta | None:
        return None

    def load(
        self, measurement: Measurement, environment: str, cells: list[CellToLoad]
    ) -> list[CellAnswer]:
        try:
            held = self._held()
        except SinkUnavailable as error:
            owed = [count_values(each.frame, measurement) for each in cells]
            return [
                CellAnswer(each.cell, SinkValues(owed=n, pending=n), error=error)
                for each, n in zip(cells, owed, strict=True)
            ]
        answers = []
        for each in cells:
            if each.erase_first:
                for key in [
                    k for k in held if self._is_inside(k, measurement, environment, each.cell)
                ]:
                    del held[key]
            for field in measurement.fields:
                tags = [each.frame[tag].astype("object") for tag in sorted(measurement.all_tags)]
                for row, time in enumerate(time_micros(each.frame).tolist()):
                    pairs = [(t.name, t.iloc[row]) for t in tags]
                    key = json.dumps([measurement.name, environment, field, pairs, time])
                    value = each.frame[field].iloc[row]
                    if not pd.isna(value):
                        # numpy's own are not JSON
                        held[key] = value.item() if hasattr(value, "item") else value
            owed = count_values(each.frame, measurement)
            answers.append(CellAnswer(each.cell, SinkValues(owed=owed, loaded=owed)))
        self._path.write_text(json.dumps(held, indent=self._indent))
        return answers

    def points(
        self, measurement: Measurement, environment: str, window: Window
    ) -> dict[SeriesKey, Points]:
        found: dict[SeriesKey, list[tuple[int, Any]]] = {}
        for key, value in self._held().items():
            if self._is_inside(key, measurement, environment, window):
                _, _, field, pairs, time = json.loads(key)
                series = SeriesKey(tuple((tag, text) for tag, text in pairs), field)
                found.setdefault(series, []).append((time * 1000, value))
        return {
            series: Points(
                measurement.fields[series.field].type,
                *(np.array(each) for each in zip(*sorted(rows), strict=True)),
            )
            for series, rows in found.items()
        }

    def sums(
        self, measurement: Measurement, environment: str, window: Window, cell: timedelta
    ) -> Sums:
        found: Sums = {}
        for each in window.cells(cell):
            for series, points in self.points(measurement, environment, each).items():
                total = float(np.cumsum(points.values)[-1]) if points.kind == "float" else None
                found.setdefault(each, {})[series] = SeriesSum(len(points.times), total)
        return found

    def counts(
        self, measurement: Measurement, environment: str, window: Window, cell: timedelta
    ) -> dict[Cell, int]:
        # the window may be all time
        times = {
            json.loads(key)[4] for key in self._held() if self._is_inside(key, measurement, environment, window)
        }  # fmt: skip
        length = cell // timedelta(microseconds=1)
        starts = sorted({time - time % length for time in times})
        epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
        cells = [Cell(epoch + timedelta(microseconds=s), epoch + timedelta(microseconds=s) + cell) for s in starts]  # fmt: skip
        return {
            each: sum(len(p.times) for p in self.points(measurement, environment, each).values())
            for each in cells
        }

    def _held(self) -> dict[str, Any]:
        try:
            held: dict[str, Any] = json.loads(self._path.read_text())
        except OSError as error:
            facts = {"sink": "book", "url": str(self._path), "retry_after": None}
            raise SinkUnavailable(problem=str(error.strerror), **facts) from error
        return held

    @staticmethod
    def _is_inside(key: str, measurement: Measurement, environment: str, window: Window) -> bool:
        name, of, _, _, time = json.loads(key)
        is_within = micros(window.start) <= time < micros(window.stop)
        return (name, of) == (measurement.name, environment) and is_within


class Pager:
    """Appends messages to a file, a line each."""

    name = "pager"

    def __init__(self, opening: Opening) -> None:
        self._service = opening.service

    def send(self, message: Message) -> None:
        found = [[each.severity, each.sentence] for each in message.findings]
        line = {"run": message.run_id, "text": message.text, "findings": found}
        with Path(self._service.url).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def check(self) -> ServiceCheck:
        return next(checked(self._service))

    def close(self) -> None:
        pass


orders = SourceKind(name="orders", settings=File, history="range", open=Orders, check=checked)
invoices = replace(orders, name="invoices")
book = SinkKind(name="book", settings=Plain, tuning=Layout, open=Book, reader=Book, check=checked)
pager = ChannelKind(name="pager", settings=Plain, open=Pager, wants=at_least(Severity.HIGH))
