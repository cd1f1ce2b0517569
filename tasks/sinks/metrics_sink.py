"""What all sinks that are services for metrics share: selection, age, requests, account.

Each value of a landed cell ends as loaded (it is part of a point that the service took), refused (in
quarantine, with the service's reason), skipped by rule (not selected, not a number, too old or too
new for the service, or sent before), or pending.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import count_values, time_micros
from tasks.core.errors import FedvitalsError, SinkUnavailable, TooManySeries
from tasks.core.measurement import Measurement
from tasks.core.metric_services import MetricsTuning
from tasks.core.ports import CellAnswer, CellToLoad
from tasks.core.quarantine import Reason, no_records, records
from tasks.core.receipt import SinkValues
from tasks.core.retry import retrying
from tasks.core.services import Service
from tasks.core.severity import Severity
from tasks.core.window import EPOCH, micros
from tasks.sinks.frames import joined_rows
from tasks.sinks.points import Labels, Point, points_of

# clocks of two machines differ
MARGIN = timedelta(minutes=1)
JUST_AFTER = timedelta(microseconds=1)
LONG_AGO = int(np.iinfo("int64").min)


@dataclass(frozen=True)
class Ages:
    """Which times a service takes, before and after now."""

    back: timedelta
    ahead: timedelta


@dataclass(frozen=True)
class Prepared:
    """One request, ready to be sent, and the points that it holds."""

    points: Sequence[Point]
    body: bytes


@dataclass(frozen=True)
class Unfit:
    """A point that no request can hold."""

    point: Point
    reason: str


@dataclass(frozen=True)
class Volume:
    """What a measurement sends: series, points and requests."""

    series: int
    points: int
    requests: int

    def __add__(self, other: "Volume") -> "Volume":
        return Volume(
            self.series + other.series, self.points + other.points, self.requests + other.requests
        )


class MetricsSink(ABC):
    """A service for metrics as a Sink.

    It takes no point twice: cells are sent by time, and the ledger keeps how far, after each request.
    After a load that was given up, later loads of the run are pending at once, so that a service that
    hangs costs a run its time-out once. One load at a time, since each series has one writer.
    """

    name: str
    check_id: str
    # of a series no older point is taken, or sent, after a newer one
    in_order = True

    def __init__(self, service: Service, tuning: MetricsTuning, deadline_seconds: float) -> None:
        """`deadline_seconds` is how long one load may try again what fails."""
        self.target = service.target
        self.tuning = tuning
        self._deadline = deadline_seconds
        self._series: set[tuple[str, Labels]] = set()
        self._given_up: FedvitalsError | None = None
        self._one_at_a_time = threading.Lock()

    @property
    @abstractmethod
    def ages(self) -> Ages:
        """Which times the service takes."""

    def takes(self, point: Point) -> bool:
        """Return whether the service takes a point that is of `ages`; if not it is skipped.

        Raises what `send` does.
        """
        return True

    @abstractmethod
    def prepare(self, points: Sequence[Point]) -> Iterator["Prepared | Unfit"]:
        """Cut the points, ordered by time, into requests within the service's limits."""

    @abstractmethod
    def send(self, request: Prepared) -> Mapping[int, str]:
        """Send it once; return the reason of each point refused for good, by its position.

        Raises SinkUnavailable when it may succeed later, SinkRefused or CertificateInvalid when
        nothing will be taken until it is fixed.
        """

    @abstractmethod
    def close(self) -> None:
        """Give connections back."""

    def load(
        self, measurement: Measurement, environment: str, cells: list[CellToLoad]
    ) -> Iterator[CellAnswer]:
        """Send the cells; after each request the answers say how far its cells are sent."""
        with self._one_at_a_time:
            load = _Load(self.name, self.check_id, measurement, cells)
            load.owe(
                points_of(load.frame, load.cell_of, self._taken(load), measurement, self.tuning)
            )
            error = self._given_up
            if error is None:
                try:
                    for points, refused in self._sent(load.only(self.takes)):
                        yield from load.settle(points, refused)
                except FedvitalsError as failed:
                    error = failed
                    self._given_up = failed if isinstance(failed, SinkUnavailable) else None
            yield from load.rest(error)

    def volume(self, measurement: Measurement, frame: pd.DataFrame) -> Volume:
        """Count what the rows would be as series, points and requests, whatever their age."""
        every = np.ones(len(frame), dtype=bool)
        points = points_of(frame, np.zeros(len(frame), dtype=int), every, measurement, self.tuning)
        made = [each for each in self.prepare(points) if isinstance(each, Prepared)]
        return Volume(len({point.series for point in points}), len(points), len(made))

    def _taken(self, load: "_Load") -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Mark the rows that were not sent before, and are neither too old nor too new."""
        times, now = time_micros(load.frame), datetime.now(UTC)
        step = self.tuning.step // timedelta(microseconds=1)
        # a point is as old as its step's start
        is_old = times // step * step < micros(now - self.ages.back + MARGIN)
        is_new = times > micros(now + self.ages.ahead - MARGIN)
        taken: np.ndarray[Any, np.dtype[np.bool_]] = (times >= load.sent_before) & ~is_old & ~is_new
        return taken

    def _sent(self, points: Sequence[Point]) -> Iterator[tuple[Sequence[Point], Mapping[int, str]]]:
        """Send the points in requests; yield those of each, and why some were refused."""
        self._count_series(points)
        ends = time.monotonic() + self._deadline
        for made in self.prepare(points):
            if isinstance(made, Unfit):
                yield [made.point], {0: made.reason}
            else:
                left = max(0.0, ends - time.monotonic())
                yield made.points, retrying(left)(partial(self.send, made))

    def _count_series(self, points: Sequence[Point]) -> None:
        known = self._series | {point.series for point in points}
        if len(known) > self.tuning.max_series:
            raise TooManySeries(sink=self.name, series=len(known), limit=self.tuning.max_series)
        self._series = known


class _Load:
    """One load under way: what became of the values of each cell."""

    def __init__(
        self, sink: str, check_id: str, measurement: Measurement, cells: list[CellToLoad]
    ) -> None:
        self._sink = sink
        self._check_id = check_id
        self._measurement = measurement
        self._cells = cells
        lengths = [len(each.frame) for each in cells]
        self.frame = joined_rows([each.frame for each in cells], measurement)
        self._times = time_micros(self.frame)
        self.cell_of = np.repeat(np.arange(len(cells)), lengths)
        earlier = [micros(each.sent_until) if each.sent_until else LONG_AGO for each in cells]
        self.sent_before = np.repeat(np.array(earlier, dtype="int64"), lengths)
        self.points: Sequence[Point] = ()
        # of each cell those that are neither sent nor refused, by time
        self._open_points: defaultdict[int, dict[int, Point]] = defaultdict(dict)
        self._pending: Counter[int] = Counter()
        self._loaded: Counter[int] = Counter()
        self._refused: dict[int, list[tuple[Point, str]]] = {}
        self._ends: dict[int, datetime] = {}
        self._answered: set[int] = set()

    def owe(self, points: Sequence[Point]) -> None:
        """Note the points that are to be sent."""
        self.points = points
        for point in points:
            self._open_points[point.cell][id(point)] = point
            self._pending[point.cell] += len(point.rows)

    def only(self, takes: Callable[[Point], bool]) -> list[Point]:
        """Return the points that the service takes; the others are skipped."""
        taken = []
        for point in self.points:
            if takes(point):
                taken.append(point)
            else:
                del self._open_points[point.cell][id(point)]
                self._pending[point.cell] -= len(point.rows)
        return taken

    def settle(self, points: Sequence[Point], refused: Mapping[int, str]) -> Iterator[CellAnswer]:
        """Note what became of the points; yield how far their cells are."""
        for position, point in enumerate(points):
            del self._open_points[point.cell][id(point)]
            self._pending[point.cell] -= len(point.rows)
            if position in refused:
                self._refused.setdefault(point.cell, []).append((point, refused[position]))
            else:
                self._loaded[point.cell] += len(point.rows)
            last = EPOCH + timedelta(microseconds=int(self._times[point.rows[-1]])) + JUST_AFTER
            self._ends[point.cell] = max(last, self._ends.get(point.cell, last))
        for number in sorted({point.cell for point in points}):
            if self._open_points[number]:
                cell, until = self._cells[number].cell, self._sent_until(number)
                yield CellAnswer(cell, SinkValues(), sent_until=until, is_whole=False)
            else:
                yield self._answer(number, None)

    def rest(self, error: FedvitalsError | None) -> Iterator[CellAnswer]:
        """Yield the answers of all other cells; those with open points are pending."""
        for number in range(len(self._cells)):
            if number not in self._answered:
                yield self._answer(number, error if self._open_points[number] else None)

    def _answer(self, number: int, error: FedvitalsError | None) -> CellAnswer:
        self._answered.add(number)
        refusals = self._records(number)
        owed = count_values(self._cells[number].frame, self._measurement)
        counts = {"loaded": self._loaded[number], "refused": len(refusals)}
        counts["pending"] = self._pending[number]
        values = SinkValues(owed=owed, skipped_by_rule=owed - sum(counts.values()), **counts)
        cell, until = self._cells[number].cell, self._sent_until(number)
        return CellAnswer(cell, values, refusals, error=error, sent_until=until)

    def _sent_until(self, number: int) -> datetime | None:
        """Return before which time nothing of the cell is still to be sent."""
        before, until = self._cells[number].sent_until, self._ends.get(number)
        first = next(iter(self._open_points[number].values()), None)
        if until and first:
            # a request may end within a step, of which other series are still to be sent
            until = min(until, datetime.fromtimestamp(first.time, UTC))
        return max(until, before) if until and before else until or before

    def _records(self, number: int) -> pd.DataFrame:
        """Return a quarantine record for each value of the cell's refused points."""
        parts = [
            records(self.frame, self._measurement, point.rows, [point.field], self._reason(why))
            for point, why in self._refused.get(number, ())
        ]
        return pd.concat(parts, ignore_index=True) if parts else no_records()

    def _reason(self, why: str) -> Reason:
        expectation = f"{self._sink} takes the point"
        return Reason("sink", "value", self._check_id, expectation, Severity.HIGH, "", why)
