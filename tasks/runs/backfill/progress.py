"""Progress of a backfill: rate and time left, drawn on a terminal or logged."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from tasks.core.receipt import Outcome
from tasks.runs.backfill.survey import Survey

SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True)
class ChunkDone:
    """A finished chunk: its measurement, number of cells, and outcome."""

    measurement: str
    cells: int
    outcome: Outcome


Notify = Callable[[ChunkDone], None]


@dataclass
class Course:
    """Progress through a survey. A cell counts as its estimated number of values."""

    survey: Survey
    clock: Callable[[], float] = time.monotonic
    cells: int = 0
    values: int = 0
    _weight: float = 0.0
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()
        shares = self.survey.shares
        self._weights = {s.measurement: max(s.values or 0, 1) / max(s.due, 1) for s in shares}
        self._whole = sum(self._weights[share.measurement] * share.due for share in shares)

    @property
    def all_cells(self) -> int:
        """Return the number of cells to do."""
        return sum(share.due for share in self.survey.shares)

    @property
    def values_per_second(self) -> float:
        """Return extracted values a second so far."""
        return self.values / max(self.clock() - self._began, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Estimate the time left by the pace so far, or by the survey's at the start."""
        if not self._weight:
            return self.survey.seconds
        took = self.clock() - self._began
        return took * max(0.0, self._whole - self._weight) / self._weight

    def take(self, step: ChunkDone) -> None:
        """Count one finished chunk."""
        self.cells += step.cells
        self.values += step.outcome.values.extracted
        self._weight += self._weights[step.measurement] * step.cells

    def line(self, measurement: str) -> str:
        """Describe the progress in one line."""
        left = timedelta(seconds=round(self.seconds_left))
        return (
            f"{measurement}: {self.cells} of {self.all_cells} cells, "
            f"{self.values_per_second:,.0f} values a second, {left} left"
        )


@contextmanager
def shown_course(survey: Survey, log: Callable[[str], None]) -> Iterator[Notify]:
    """Yield a callback for finished chunks, which draws on a terminal, else logs."""
    course = Course(survey)
    if sys.stderr.isatty():
        with _bar(course) as draw:
            yield draw
        return
    said = time.monotonic()

    def notify(step: ChunkDone) -> None:
        nonlocal said
        course.take(step)
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            log(course.line(step.measurement))

    yield notify


@contextmanager
def _bar(course: Course) -> Iterator[Notify]:
    # rich is slow to import, and most runs have no terminal
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    name, speed = TextColumn("{task.description:<28}"), TextColumn("{task.fields[pace]}")
    columns = (name, BarColumn(), MofNCompleteColumn(), speed)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("", total=course.all_cells, pace="")

        def draw(step: ChunkDone) -> None:
            course.take(step)
            left = timedelta(seconds=round(course.seconds_left))
            pace = f"{course.values_per_second:,.0f}/s, {left} left"
            bars.update(bar, description=step.measurement, completed=course.cells, pace=pace)

        yield draw
