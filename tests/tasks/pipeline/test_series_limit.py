"""The limit on series counts by cell, however a window is cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tasks.core.batch import Batch, check_series
from tasks.core.errors import SeriesExceeded
from tasks.core.measurement import Measurement
from tasks.core.settings import Pipeline
from tasks.core.window import Cell, Window
from tasks.ledger.deferred import deferred_cells
from tasks.pipeline.chunk import Chunk, halves_of
from tests.support.fakes.memory import MemorySource
from tests.support.workbench import Bench, at, cell, rows, suite_of

LIMIT = 3
WHOLE = Window(at(0), at(8))


@dataclass
class LimitedSource(MemorySource):
    """Counts the series of a whole answer, as a source has to that holds it in memory."""

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        batch = super().extract(measurement, environment, window)
        check_series(batch.frame, measurement, window)
        return batch


def churning(bench: Bench, pods_an_hour: Sequence[int], is_limited: bool = True) -> Bench:
    """Each hour has so many pods, twice each, that no other hour has."""
    bench.measurement = bench.measurement.model_copy(update={"max_series": LIMIT})
    bench.suite = suite_of(bench.folder / "limited", bench.measurement)
    parts = [
        rows(bench.measurement, [at(hour + 0.2), at(hour + 0.4)], method=[f"web-{hour}-{pod}"] * 2,
             share_ratio=[0.5] * 2)
        for hour, pods in enumerate(pods_an_hour)
        for pod in range(pods)
    ]  # fmt: skip
    bench.put(*parts)
    if is_limited:
        bench.source = LimitedSource(bench.source.frame)
    bench.pipeline = Pipeline(first_run_cells=0)
    return bench


def landed(bench: Bench) -> list[int]:
    """Rows of each hour."""
    return [len(bench.landed(hour)) for hour in range(8)]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 3, 8], ids="{}h at a time".format)
@pytest.mark.parametrize("is_limited", [True, False])
def test_the_same_hours_land_the_same_however_they_are_cut(
    bench: Bench, width: int, is_limited: bool
) -> None:
    churning(bench, [3] * 8, is_limited)
    for hour in range(0, 8, width):
        outcome = bench.run(at(8.5), Window(at(hour), at(min(hour + width, 8))))
        assert (outcome.state, outcome.problems) == ("landed", ())
    assert landed(bench) == [6] * 8


@pytest.mark.slow
@pytest.mark.parametrize("is_limited", [True, False])
def test_only_the_hour_with_too_many_is_refused(bench: Bench, is_limited: bool) -> None:
    churning(bench, [3, 3, 4, 3, 1, 0, 3, 3], is_limited)
    if not is_limited:
        # the chunk as a whole is refused by its cell, and split for the others
        bench.pipeline = Pipeline(first_run_cells=0, chunk_rows=6)
    outcome = bench.run(at(8.5), WHOLE)

    assert outcome.state == "failed"
    (problem,) = outcome.problems
    assert "4 series from 2026-01-01T02:00:00Z to 2026-01-01T03:00:00Z, max_series is 3" in problem
    assert landed(bench) == [6, 6, 0, 6, 2, 0, 6, 6]
    assert set(deferred_cells(bench.ledger, "example", "production")) == {cell(2)}


@pytest.mark.slow
def test_a_label_that_explodes_is_still_refused(bench: Bench) -> None:
    churning(bench, [40] * 8)
    outcome = bench.run(at(8.5), WHOLE)

    assert (outcome.state, landed(bench)) == ("failed", [0] * 8)
    assert "the label with the most values is method (40)" in outcome.problems[0]
    # the newest hour alone shows it: the others are not asked for
    assert len(bench.source.asked) == 1


EXCEEDED = SeriesExceeded(
    measurement="m", series=4, start="", stop="", limit=3, label="a", distinct=4
)


def test_halves_of_a_chunk(bench: Bench) -> None:
    cells = tuple(Cell(at(hour), at(hour + 1)) for hour in range(3))
    chunk = Chunk(bench.measurement, "production", cells, Window(at(0), at(2.5)), True)
    first, second = halves_of(chunk, EXCEEDED)

    assert (first.cells, first.window) == (cells[:1], Window(at(0), at(1)))
    assert (second.cells, second.window) == (cells[1:], Window(at(1), at(2.5)))
    assert first.allow_deletes
    others: list[Any] = [(first, EXCEEDED), (chunk, None), (chunk, ValueError())]
    assert [halves_of(each, error) for each, error in others] == [()] * 3
