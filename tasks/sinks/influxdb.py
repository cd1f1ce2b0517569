"""Loads landed cells into a bucket of InfluxDB 2."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial

import numpy as np
import pandas as pd

from tasks.core.batch import count_values, time_micros
from tasks.core.errors import FedvitalsError, SinkUnavailable
from tasks.core.measurement import Measurement
from tasks.core.ports import CellAnswer, CellToLoad
from tasks.core.quarantine import Reason, no_records, records
from tasks.core.receipt import SinkValues
from tasks.core.retry import retrying
from tasks.core.services import InfluxService, InfluxTuning
from tasks.core.severity import Severity
from tasks.core.window import Cell, groups_of, micros
from tasks.sinks.frames import joined_rows
from tasks.sinks.influxdb_http import (
    NAME,
    Answer,
    InfluxHttp,
    found,
    quoted,
    retention_of,
)
from tasks.sinks.line_protocol import Integers, Lines, to_lines, unwritable, values_of_rows
from tasks.sinks.victoriametrics import VictoriaMetrics

CHECK_ID = "influxdb_refused"


class InfluxSink:
    """One bucket as a Sink. Two threads may load at once.

    Of a post with bad lines everything else is loaded. What the server refuses for good counts as
    refused and comes back as quarantine records with the server's answer. Values older than the
    bucket's retention are skipped by rule; they are sent only when the token may not read it.
    """

    name = NAME
    in_order = False

    def __init__(
        self, service: InfluxService, tuning: InfluxTuning, deadline_seconds: float = 30.0
    ) -> None:
        """`deadline_seconds` is the time that one load may lose on tries that fail, waits included."""
        self.target = service.target
        self._http = InfluxHttp(service, tuning.timeout, tuning.gzip)
        self._lines_per_post = tuning.lines_per_post
        self._deadline = deadline_seconds
        self._is_answered = True

    def load(
        self, measurement: Measurement, environment: str, cells: list[CellToLoad]
    ) -> list[CellAnswer]:
        """Load the cells; one answer a cell, in order. Nothing that the service does is raised.

        After a request that was given up nothing more is sent: every cell with an unsettled line is
        pending as a whole, with the error. Until a load is answered again, later ones try only once,
        so that a server that is down costs one wait and not one a load.
        """
        try:
            if cells and self._victoria:
                return self._victoria.load(self._load, measurement, environment, cells)
        except FedvitalsError as error:
            _forget_traces(error)
            self._is_answered = not isinstance(error, SinkUnavailable)
            return [_pending(entry, measurement, error) for entry in cells]
        return self._load(measurement, environment, cells)

    @cached_property
    def _victoria(self) -> VictoriaMetrics | None:
        return VictoriaMetrics.find(self._http, self._bucket)

    @cached_property
    def _bucket(self) -> Answer:
        return retrying(self._deadline if self._is_answered else 0.0)(self._http.find_bucket)

    def _load(
        self, measurement: Measurement, environment: str, cells: list[CellToLoad]
    ) -> list[CellAnswer]:
        retry_timeout = _Deadline(self._deadline if self._is_answered else 0.0)
        answers: list[CellAnswer] = []
        error: FedvitalsError | None = None
        # whole cells: one cell's answer is never in two posts
        for group in groups_of(cells, self._lines_per_post, lambda entry: len(entry.frame)):
            if error is None:
                load = _Load(
                    self._http,
                    retry_timeout,
                    joined_rows([entry.frame for entry in group], measurement),
                    measurement,
                )
                error = self._send(load, group, environment)
                answers += load.answers(group, error)
            else:
                answers += [_pending(entry, measurement, error) for entry in group]
        if cells:
            self._is_answered = not isinstance(error, SinkUnavailable)
        return answers

    def _send(
        self, load: "_Load", group: list[CellToLoad], environment: str
    ) -> FedvitalsError | None:
        try:
            load.skip_before(self._kept_since())
            load.erase([entry.cell for entry in group if entry.erase_first], environment)
            load.write(self._lines_per_post)
        except FedvitalsError as error:
            _forget_traces(error)
            return error
        return None

    def _kept_since(self) -> datetime | None:
        """Return when the bucket's retention begins; None for ever, or when it is not shown."""
        with suppress(ValueError):
            if retention := retention_of(found(self._bucket)):
                return datetime.now(UTC) - retention
        return None

    def close(self) -> None:
        """Gives connections back."""
        self._http.close()


class _Deadline:
    """The time that one load may still lose on failed tries; tries that go well cost nothing."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def ask(self, request: Callable[[], Answer]) -> Answer:
        """The request's answer, asked again while it is Transient and time is left."""
        began = last_try = time.monotonic()

        def once() -> Answer:
            nonlocal last_try
            last_try = time.monotonic()
            return request()

        try:
            return retrying(max(0.0, self._left))(once)
        finally:
            self._left -= last_try - began


class _Load:
    """One load under way: which rows are settled, and which of them the server refused and why."""

    def __init__(
        self,
        http: InfluxHttp,
        retry_timeout: _Deadline,
        frame: pd.DataFrame,
        measurement: Measurement,
    ) -> None:
        self._http = http
        self.ask = retry_timeout.ask
        self._frame = frame
        self._measurement = measurement
        self._values = values_of_rows(frame, measurement)
        self._settled = self._values == 0
        self._skipped = np.zeros(len(frame), dtype="bool")
        self._refused: dict[Reason, list[Integers]] = {}
        self._is_erased = False
        for check_id, why, rows in unwritable(frame, measurement):
            self._refuse(np.flatnonzero(rows & ~self._settled), _reason(check_id, why))

    def skip_before(self, kept_since: datetime | None) -> None:
        """Leave out the rows that the bucket would keep no more."""
        if kept_since is not None:
            self._skip(np.flatnonzero(time_micros(self._frame) < micros(kept_since)))

    def _skip(self, rows: Integers) -> None:
        rows = rows[~self._settled[rows]]
        self._skipped[rows] = self._settled[rows] = True

    def erase(self, cells: list[Cell], environment: str) -> None:
        """Deletes what the server holds of the measurement and environment in these cells."""
        name = quoted(self._measurement.name)
        predicate = f"_measurement={name} AND environment={quoted(environment)}"
        for cell in cells:
            # the server's stop is inclusive, the cell's is not
            stop = f"{_clock(cell.stop - timedelta(microseconds=1))}999Z"
            start = f"{_clock(cell.start)}Z"
            self.ask(partial(self._http.delete, start, stop, predicate))
        self._is_erased = True

    def write(self, lines_per_post: int) -> None:
        """Post every line, made a post at a time: those of a large cell would outgrow its rows."""
        rows = np.flatnonzero(~self._settled)
        for first in range(0, len(rows), lines_per_post):
            part = rows[first : first + lines_per_post]
            self._write(part, to_lines(self._frame.iloc[part], self._measurement))

    def _write(self, rows: Integers, lines: Lines) -> None:
        """Posts the lines of these rows, in ever smaller parts until only offenders are refused.

        k offenders of n lines cost O(k log n) posts. What is stored of a refused part already is
        sent again, which changes nothing.
        """
        parts = [rows]
        while parts:
            part = parts.pop()
            write = partial(
                self._http.write, _body(lines, np.searchsorted(rows, part)), lines.precision
            )
            answer = self.ask(write)
            if answer.written:
                self._settled[part] = True
            elif not (len(part) == 1 or answer.dropped == len(part)):
                parts.extend(reversed(self._split(part, answer)))
            elif answer.past_retention:
                self._skip(part)
            else:
                self._refuse(part, _reason(CHECK_ID, answer.short))

    def _refuse(self, rows: Integers, reason: Reason) -> None:
        if len(rows):
            self._refused.setdefault(reason, []).append(rows)
            self._settled[rows] = True

    def _split(self, part: Integers, answer: Answer) -> list[Integers]:
        """Two parts, cut so that offenders with one reason end up in one of them where possible.

        A field's type is fixed per shard, that is per range of time, and retention is a matter of
        time too: a partial write is cut by the field that it names, else by time.
        """
        if answer.dropped is None:
            return np.array_split(part, 2)
        field = answer.conflicting_field
        if field in self._measurement.fields:
            has_field = self._frame[field].notna().to_numpy()[part]
            if has_field.any() and not has_field.all():
                return [part[has_field], part[~has_field]]
        by_time = part[np.argsort(time_micros(self._frame)[part], kind="stable")]
        if answer.past_retention and 0 < answer.dropped < len(part):
            return [by_time[: answer.dropped], by_time[answer.dropped :]]
        return np.array_split(by_time, 2)

    def answers(self, group: list[CellToLoad], error: FedvitalsError | None) -> list[CellAnswer]:
        """What became of each cell; `error` is what ended the load early."""
        edges = np.cumsum([0, *(len(entry.frame) for entry in group)]).tolist()
        return [
            self._answer(entry, slice(first, last), error)
            for entry, first, last in zip(group, edges, edges[1:], strict=False)
        ]

    def _answer(self, entry: CellToLoad, rows: slice, error: FedvitalsError | None) -> CellAnswer:
        is_erased = self._is_erased or not entry.erase_first
        if error and not (is_erased and self._settled[rows].all()):
            return _pending(entry, self._measurement, error)
        owed = int(self._values[rows].sum())
        refusals = self._records(rows)
        refused, skipped = len(refusals), int(self._values[rows][self._skipped[rows]].sum())
        values = SinkValues(
            owed=owed, loaded=owed - refused - skipped, refused=refused, skipped_by_rule=skipped
        )
        rule = (
            f"skips values older than its bucket {self._http.service.bucket} keeps"
            if skipped
            else ""
        )
        return CellAnswer(entry.cell, values, refusals, skipped=rule)

    def _records(self, rows: slice) -> pd.DataFrame:
        """A record for each refused value among the rows."""
        parts = []
        for reason, refused in self._refused.items():
            positions = np.concatenate(refused)
            inside = np.sort(positions[(positions >= rows.start) & (positions < rows.stop)])
            if len(inside):
                fields = list(self._measurement.fields)
                parts.append(records(self._frame, self._measurement, inside, fields, reason))
        return pd.concat(parts, ignore_index=True) if parts else no_records()


def _forget_traces(error: BaseException) -> None:
    """Let go of the error's frames, which would keep the rows of each failed load in memory."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__


def _body(lines: Lines, part: Integers) -> bytes:
    """The lines with these numbers."""
    starts, stops = lines.offsets[part], lines.offsets[part + 1]
    if np.array_equal(starts[1:], stops[:-1]):
        return bytes(lines.buffer[starts[0] : stops[-1]])
    bounds = zip(starts.tolist(), stops.tolist(), strict=True)
    return b"".join(lines.buffer[start:stop] for start, stop in bounds)


def _reason(check_id: str, why: str) -> Reason:
    expectation = "influxdb takes the line"
    return Reason("sink", "value", check_id, expectation, Severity.HIGH, limit="", reason=why)


def _pending(entry: CellToLoad, measurement: Measurement, error: FedvitalsError) -> CellAnswer:
    owed = count_values(entry.frame, measurement)
    return CellAnswer(entry.cell, SinkValues(owed=owed, pending=owed), error=error)


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"
