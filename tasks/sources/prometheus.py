"""Prometheus's history, by /api/v1/query_range."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from typing import Any

import numpy as np

from tasks.core.batch import Batch
from tasks.core.errors import (
    AnswerTooLarge,
    KeyRepeated,
    LabelsDiffer,
    SourceOverloaded,
    SourceTimedOut,
)
from tasks.core.measurement import Measurement
from tasks.core.ports import History
from tasks.core.services import Service
from tasks.core.window import Window, format_duration, micros
from tasks.http import Answer, Limits
from tasks.sources.answers import (
    Matrix,
    Points,
    Refusal,
    Series,
    count_histograms,
    failure,
    read_matrix,
    read_points,
    read_refusal,
)
from tasks.sources.http import PROMETHEUS, Client, Request
from tasks.sources.wide_frame import Grid, Integers, Key, Wide, key_of

RANGE = "/api/v1/query_range"
# the largest hour of 10,000 series is half of it; more is halved in time
LIMITS = Limits(largest=128 * 2**20)
# Prometheus refuses when (end - start) / step, rounded down, is more than this
MAX_POINTS = 11_000
# an overloading query is halved down to so many slots, then given up
FEWEST_POINTS = 10
# a silent server may be slow or dead: each half costs the whole wait again
MOST_SILENCES = 2


class PrometheusSource:
    """Reads the queries of a measurement over any window.

    A value that is NaN, +Inf or -Inf is dropped and counted, as is a native histogram sample.
    Staleness markers need no rule: PromQL drops them, so no range answer holds one. A query that
    Prometheus calls too much, or that is not answered in time, or with too many bytes, is halved in time, and the source
    remembers the length that worked. At most as many queries run at once as `gate` admits.
    """

    name = "prometheus"
    history: History = "range"

    def __init__(
        self,
        service: Service,
        limits: Limits | None = None,
        gate: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._client = Client(service, PROMETHEUS, limits or LIMITS)
        self._gate = gate or nullcontext()
        self._slots: dict[str, int] = {}

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Return the values at the multiples of the step in [start, stop).

        Fields without a query, and fields of text, are null and listed in `not_served`. Raises
        SourceUnavailable, SourceRefused as Client.ask, also for a wrong query; SourceTimedOut when
        even a quarter of the query gets no answer in time; SourceOverloaded when ten slots still
        take too long or need too many samples; AnswerInvalid when the answer violates Prometheus's
        protocol, or does not fit the field's type; LabelsDiffer, KeyRepeated, SeriesExceeded when
        the series do not fit the catalogue.
        """
        grid = Grid.of(window, measurement.step)
        reading = _Reading(measurement, window)
        not_served = []
        for name, spec in measurement.fields.items():
            if spec.query is None or spec.type == "string":
                not_served.append(name)
                continue
            request = self._client.request(f"query of {measurement.name}.{name}")
            for page, matrix in self.pages(spec.query, grid, request):
                reading.take(name, matrix, grid, page, request)
        return Batch(
            measurement=measurement,
            environment=environment,
            window=window,
            frame=reading.wide.frame(environment, grid.micros),
            dropped=dict(reading.wide.dropped),
            warnings=tuple(reading.warnings),
            not_served=tuple(not_served),
        )

    def pages(self, query: str, grid: Grid, request: Request) -> Iterator[tuple[Grid, Matrix]]:
        """Yield the answers over the grid, in order, each with its part of the grid."""
        for page in grid.pages(self._slots.get(query, MAX_POINTS)):
            yield from self._halves(query, page, request, MOST_SILENCES)

    def _halves(
        self, query: str, page: Grid, request: Request, silences: int
    ) -> Iterator[tuple[Grid, Matrix]]:
        try:
            with self._gate:
                matrix = ask_range(self._client, query, page, request)
        except (AnswerTooLarge, SourceOverloaded, SourceTimedOut) as error:
            silences -= isinstance(error, SourceTimedOut)
            if page.slots < 2 * FEWEST_POINTS or silences < 0:
                raise
        else:
            yield page, matrix
            return
        half = (page.slots + 1) // 2
        self._slots[query] = min(half, self._slots.get(query, half))
        for part in page.pages(half):
            yield from self._halves(query, part, request, silences)


class _Reading:
    """The answers of one measurement so far."""

    def __init__(self, measurement: Measurement, window: Window) -> None:
        self.wide = Wide(measurement, window)
        # a dict keeps each warning once and in order
        self.warnings: dict[str, None] = {}
        self._measurement = measurement

    def take(self, field: str, matrix: Matrix, grid: Grid, page: Grid, request: Request) -> None:
        """Add an answer for one page of the grid."""
        for remark in matrix.remarks:
            self.warnings[f"{field}: {remark}"] = None
        index = self.wide.index(self._keys(field, matrix.series))
        self._drop_histograms(field, matrix.series, request)
        points = read_points(matrix.series, request)
        slots = _slots(points, page, request) + (page.first - grid.first) // grid.step
        self.wide.put(field, np.repeat(index, points.counts), slots, points.values, request)

    def _keys(self, field: str, series: list[Series]) -> list[Key]:
        """Return the key of each series, after a check of its labels."""
        keys: dict[Key, None] = {}
        tags = self._measurement.tags
        for one in series:
            labels = one.labels
            if not set(tags).issuperset(labels):
                of = {"measurement": self._measurement.name, "field": field}
                raise LabelsDiffer(**of, tags=list(tags), labels=sorted(labels))
            key = key_of(labels, self._measurement)
            if key in keys:
                raise KeyRepeated(measurement=self._measurement.name, field=field, key=one.metric)
            keys[key] = None
        for tag, of_series in zip(tags, zip(*keys, strict=True), strict=False):
            if not any(of_series):
                self.warnings[f"{field}: no series has the label {tag}, which is a tag"] = None
        return list(keys)

    def _drop_histograms(self, field: str, series: list[Series], request: Request) -> None:
        samples = count_histograms(series, request)
        if samples:
            self.wide.dropped["native_histogram"] += samples
            self.warnings[
                f"{field}: native histograms are dropped. Fix: convert them in the query, "
                "with histogram_quantile for example"
            ] = None


def _slots(points: Points, page: Grid, request: Request) -> Integers:
    """Return each sample's slot; raise AnswerInvalid for a time out of order."""
    slots = page.slots_of(points.times)
    if slots is None:
        raise request.invalid("it has a time outside of the query")
    series = np.repeat(np.arange(len(points.counts)), points.counts)
    if (np.diff(series * page.slots + slots) <= 0).any():
        raise request.invalid("the times of a series are not in order")
    return slots


def ask_range(client: Client, query: str, grid: Grid, request: Request) -> Matrix:
    """Query the grid's moments; the grid has slots. Raises as extract."""
    form = {
        "query": query,
        "start": _seconds(micros(grid.first)),
        "end": _seconds(micros(grid.last)),
        "step": format_duration(grid.step),
        # lets Prometheus give up with an error before we hang up
        "timeout": f"{int(client.limits.silence * 900)}ms",
    }
    answer = client.ask(RANGE, request.what, form)
    if answer.status >= 300:
        raise failure(client, answer, read_refusal(answer.body), query, request)
    matrix = read_matrix(answer.body, request)
    if isinstance(matrix, Refusal):
        answer = Answer(matrix.status, answer.body, answer.headers)
        raise failure(client, answer, matrix, query, request)
    return matrix


def _seconds(moment: int) -> str:
    return format(Decimal(moment).scaleb(-6), "f")
