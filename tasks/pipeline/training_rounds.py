"""New rounds of a training, cut into chunks by their start."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import Batch, slice_cell
from tasks.core.quarantine import no_records
from tasks.core.receipt import Outcome, Values
from tasks.core.window import EPOCH, Cell, Window, floor, follows, groups_of
from tasks.pipeline.chunk import MOST_CELLS, Chunk, OneBatch, Tools
from tasks.pipeline.due import Job
from tasks.pipeline.process import process
from tasks.pipeline.superseded import marked

MOMENT = timedelta(microseconds=1)
EVER = Window(EPOCH, EPOCH + timedelta(days=292 * 365))
# time, tags as a record has them, field
Place = tuple[Any, str, str]


def new_rounds(job: Job, tools: Tools) -> Iterator[Outcome]:
    """Process new or changed rounds, each in the cell of its start.

    Like a sample, they are merged into the rows of their cell; rounds equal to the recorded ones
    are unchanged. At the end the time up to now counts as covered, to show that it was polled.
    Raises FedvitalsError of the source, the suite or the lake; data landed before it stays.
    """
    batch = marked(tools.source.extract(job.measurement, job.environment, EVER), tools)
    fresh = _fresh(batch, tools)
    yield _unchanged(batch, fresh)
    for chunk, part in _parts(job, fresh):
        yield process(chunk, replace(tools, source=OneBatch(part, tools.source.name, "rounds")))
    for chunk in _uncovered(job, tools):
        empty = replace(batch, window=chunk.window, frame=batch.frame.iloc[:0], dropped={}, warnings=(), rejected=no_records())  # fmt: skip
        yield process(chunk, replace(tools, source=OneBatch(empty, tools.source.name, "rounds")))


def _unchanged(batch: Batch, fresh: Batch) -> Outcome:
    """Account for rounds read again without a change, and values without a round."""
    same = batch.values + batch.rejected_values - fresh.values - fresh.rejected_values
    values = Values(
        extracted=same + batch.dropped_values, unchanged=same, dropped_by_rule=batch.dropped_values
    )
    return Outcome(
        measurement=batch.measurement.name,
        state="unchanged" if same else "no_data",
        values=values,
        warnings=batch.warnings,
    )


def _fresh(batch: Batch, tools: Tools) -> Batch:
    """Return rows and records from the first change to the last, a chunk's window."""
    held = _Held.read(batch, tools)
    rows = np.array([not held.has_row(row) for row in _rows(batch)], dtype=bool)
    found = np.array([not held.has_record(row) for row in _records(batch.rejected)], dtype=bool)
    times = [*batch.frame["time"][rows], *batch.rejected["time"][found]]
    if not times:
        return replace(batch, frame=batch.frame.iloc[:0], rejected=no_records())
    span = _span(times)
    frame, records = (slice_cell(part, span) for part in (batch.frame, batch.rejected))
    return replace(batch, frame=frame, rejected=records)


def _span(times: list[pd.Timestamp]) -> Window:
    return Window(min(times).to_pydatetime(), max(times).to_pydatetime() + MOMENT)


@dataclass(frozen=True)
class _Held:
    """Values of a batch's time in lake and quarantine, by place."""

    fields: tuple[str, ...]
    landed: dict[tuple[Any, str], dict[str, Any]]
    recorded: dict[Place, str]

    @classmethod
    def read(cls, batch: Batch, tools: Tools) -> "_Held":
        measurement, fields = batch.measurement, tuple(batch.measurement.fields)
        times = [*batch.frame["time"], *batch.rejected["time"]]
        if not times:
            return cls(fields, {}, {})
        span = _span(times)
        landed = tools.lake.read(measurement, batch.environment, span)
        records = tools.lake.quarantined(measurement.name, batch.environment, span)
        return cls(
            fields,
            {(time, tags): values for time, tags, values in _rows(replace(batch, frame=landed))},
            {place: text for place, text in _records(records)},
        )

    def has_row(self, row: tuple[Any, str, dict[str, Any]]) -> bool:
        """Return whether every value of the row is landed or recorded as it is."""
        time, tags, values = row
        landed = self.landed.get((time, tags), {})
        return all(self._has((time, tags, n), values.get(n), landed.get(n)) for n in self.fields)

    def has_record(self, record: tuple[Place, str]) -> bool:
        """Return whether the same record is in quarantine."""
        place, text = record
        return self.recorded.get(place) == text

    def _has(self, place: Place, value: Any, landed: Any) -> bool:
        if value is None:
            return landed is None
        return bool(value == landed) or self.recorded.get(place) == str(value)


def _rows(batch: Batch) -> Iterator[tuple[Any, str, dict[str, Any]]]:
    frame, tags, fields = batch.frame, batch.measurement.tags, list(batch.measurement.fields)
    columns = [frame[name].astype("object").tolist() for name in (*tags, *fields)]
    for time, *cells in zip(frame["time"], *columns, strict=True):
        names = dict(zip(tags, cells, strict=False))
        values = dict(zip(fields, cells[len(tags) :], strict=True))
        present = {name: value for name, value in values.items() if not pd.isna(value)}
        yield time, json.dumps(names, sort_keys=True, ensure_ascii=False), present


def _records(records: pd.DataFrame) -> Iterator[tuple[Place, str]]:
    columns = [records[name].tolist() for name in ("tags", "field", "text")]
    for time, tags, field, text in zip(records["time"], *columns, strict=True):
        yield (time, tags, field), text


def _parts(job: Job, fresh: Batch) -> Iterator[tuple[Chunk, Batch]]:
    """Yield the batch in chunks of adjacent cells, some `chunk_rows` at most."""
    length, parts = job.pipeline.cell, (fresh.frame, fresh.rejected)
    times = [time.to_pydatetime() for part in parts for time in part["time"]]
    counts = Counter(floor(time, length) for time in times)
    cells = [Cell(start, start + length) for start in sorted(counts)]
    most = job.pipeline.chunk_rows
    for group in groups_of(cells, most, lambda cell: counts[cell.start], follows, MOST_CELLS):
        inside = [time for time in times if group[0].start <= time < group[-1].stop]
        window = Window(min(inside), max(inside) + MOMENT)
        chunk = Chunk(job.measurement, job.environment, tuple(group), window)
        yield chunk, _within(fresh, window)


def _within(batch: Batch, window: Window) -> Batch:
    """Return the rows and records of the window; dropped counts stay with the whole."""
    frame, records = (slice_cell(part, window) for part in (batch.frame, batch.rejected))
    return replace(batch, window=window, frame=frame, rejected=records, dropped={}, warnings=())


def _uncovered(job: Job, tools: Tools) -> Iterator[Chunk]:
    """Yield the time from what is covered up to now."""
    last = tools.ledger.newest(job.measurement.name, job.environment)
    start = floor(job.now, job.measurement.every) if last is None else last.covered_until
    if start >= job.now:
        return
    window = Window(start, job.now)
    for group in groups_of(window.cells(job.pipeline.cell), MOST_CELLS):
        span = Window(max(start, group[0].start), min(job.now, group[-1].stop))
        yield Chunk(job.measurement, job.environment, tuple(group), span)
