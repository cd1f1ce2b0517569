"""Measurements, frames and cells for the tests of sinks."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
from pydantic import SecretStr

from tasks.core.batch import PANDAS_TYPES, build_frame, columns_of
from tasks.core.measurement import FieldSpec, FieldType, Measurement
from tasks.core.ports import CellAnswer, CellToLoad
from tasks.core.services import InfluxService, InfluxTuning
from tasks.core.window import Cell
from tasks.sinks.influxdb import InfluxSink
from tests.support.fakes.influxdb import FakeInfluxDB

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def make_measurement(tags: tuple[str, ...] = (), **fields: FieldType) -> Measurement:
    specs = {name: FieldSpec(query="q", type=kind) for name, kind in fields.items()}
    return Measurement(
        name="latency",
        type="performance",
        tags=tags,
        fields=specs,
        step="15s",
        every="60s",
        max_series=1000,
    )


def make_frame(measurement: Measurement, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A frame of rows; `time` is in seconds, environment is production unless a row says more."""
    rows = [{"environment": "production", **row} for row in rows]
    columns: dict[str, Any] = {
        name: [row.get(name) for row in rows] for name in columns_of(measurement)
    }
    micros = [round(row["time"] * 1_000_000) for row in rows]
    for name, spec in measurement.fields.items():
        columns[name] = pd.array(columns[name], dtype=PANDAS_TYPES[spec.type])
    columns["time"] = pd.to_datetime(micros, unit="us", utc=True)
    return build_frame(measurement, columns)


LATENCY = make_measurement(("room",), x="float")


def make_cell(number: int, start: datetime = START) -> Cell:
    """The cell that is so many hours after the start."""
    return Cell(start + number * HOUR, start + (number + 1) * HOUR)


def to_load(
    measurement: Measurement,
    cell: Cell,
    rows: list[dict[str, Any]],
    *,
    environment: str = "production",
    erase_first: bool = False,
) -> CellToLoad:
    """A cell with rows, whose `time` is in seconds after the cell's start."""
    start = cell.start.timestamp()
    placed = [{"environment": environment, **row, "time": start + row["time"]} for row in rows]
    return CellToLoad(cell, make_frame(measurement, placed), erase_first)


def service_of(fake: FakeInfluxDB, **changes: Any) -> InfluxService:
    """How to reach the fake, with changes."""
    values = {
        "url": fake.url,
        "token": SecretStr(fake.token),
        "origin": "INFLUXDB_URL",
        "token_from": "INFLUXDB_TOKEN",
        "org": "fedvitals",
        "bucket": "fedvitals",
    }
    return InfluxService.model_validate({**values, **changes})


@contextmanager
def sink_to(
    service: InfluxService, *, deadline: float = 0.0, **tuning: Any
) -> Iterator[InfluxSink]:
    """A sink that is closed at the end; it tries once unless there is a deadline in seconds."""
    sink = InfluxSink(service, InfluxTuning(**tuning), deadline_seconds=deadline)
    try:
        yield sink
    finally:
        sink.close()


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    """Rows of one room, 15 s apart."""
    return [{"time": 15 * i, "room": "a", "x": float(i), **more} for i in range(count)]


def load_all(fake: FakeInfluxDB, cells: list[CellToLoad], **options: Any) -> list[CellAnswer]:
    """The answers for cells of LATENCY, of which every sum holds."""
    with sink_to(service_of(fake), **options) as sink:
        answers = sink.load(LATENCY, "production", cells)
    for answer in answers:
        answer.values.check("influxdb")
    assert [answer.cell for answer in answers] == [entry.cell for entry in cells]
    return answers
