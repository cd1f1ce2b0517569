"""Cheap estimates of a measurement's size: numbers of series at a few moments."""

from dataclasses import dataclass

from tasks.core.errors import SourceRefused
from tasks.core.measurement import Measurement
from tasks.core.services import Service
from tasks.core.window import Window
from tasks.http import Limits
from tasks.sources.answers import read_points
from tasks.sources.http import PROMETHEUS, Client, Request
from tasks.sources.prometheus import ask_range
from tasks.sources.wide_frame import Grid

# moments at which the series are counted
MOST_MOMENTS = 24
# a query of a constant number has no series to count
_IS_A_NUMBER = "got scalar"


@dataclass(frozen=True)
class SeriesCount:
    """Series of one query in a window: at the fullest moment, and on average."""

    most: int
    mean: float


def count_series(
    service: Service, measurement: Measurement, window: Window, limits: Limits | None = None
) -> dict[str, SeriesCount]:
    """Count the series of queried fields at 24 moments at most; raise as ask_range."""
    moments = _moments(window, measurement)
    with Client(service, PROMETHEUS, limits) as client:
        return {
            name: _count(client, spec.query, moments, client.request(f"count of {measurement.name}.{name}"))
            for name, spec in measurement.fields.items()
            if spec.query is not None and spec.type != "string"
        }  # fmt: skip


def _moments(window: Window, measurement: Measurement) -> Grid:
    """Return multiples of the step, evenly over the window."""
    all_slots = Grid.of(window, measurement.step)
    stride = max(1, -(-all_slots.slots // MOST_MOMENTS))
    return Grid(all_slots.first, stride * measurement.step, -(-all_slots.slots // stride))


def _count(client: Client, query: str, moments: Grid, request: Request) -> SeriesCount:
    if not moments.slots:
        return SeriesCount(0, 0.0)
    try:
        # a comment at the query's end must not hide the bracket
        matrix = ask_range(client, f"count(\n{query}\n)", moments, request)
    except SourceRefused as error:
        if not error.problem.endswith(_IS_A_NUMBER):
            raise
        return SeriesCount(1, 1.0)
    # without series there is no count either
    counts = read_points(matrix.series, request).values
    most = int(counts.max()) if len(counts) else 0
    return SeriesCount(most, float(counts.sum()) / moments.slots)
