"""For any values and any two suites: a retry accounts for each value, and ends as the model says."""

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.receipt import Values
from tasks.core.window import Window
from tasks.ledger.locks import FileLocks
from tasks.pipeline.chunk import Tools
from tasks.runs.retry.measurement import Retry, retry
from tests.support.workbench import Bench, a_bench, at, rows, suite_of

NOW = at(3)
ALL = Window(at(0), at(2))
CELLS = 2
LIMITS = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
SHARES = st.one_of(st.none(), st.sampled_from([-0.5, 0.0, 0.1, 0.3, 0.6, 0.9, 1.5]))
SIZES = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
# minute in two cells, method, share_ratio, size_bytes
POINTS = st.lists(
    st.tuples(st.integers(0, 60 * CELLS - 1), st.sampled_from(["GET", "PUT", None]), SHARES, SIZES),
    unique_by=lambda point: point[:2],
    max_size=12,
)
Points = list[tuple[int, str | None, float | None, int | None]]


def put(bench: Bench, points: Points) -> None:
    minutes, methods, shares, sizes = zip(*points, strict=True) if points else ((), (), (), ())
    times = [at(0) + timedelta(minutes=minute) for minute in minutes]
    columns: dict[str, Any] = {"share_ratio": list(shares), "size_bytes": list(sizes)}
    bench.put(rows(bench.measurement, times, method=list(methods), **columns))


def tried_again(bench: Bench) -> Values:
    with FileLocks(bench.folder / "locks").hold("example", "production", "retry") as lock:
        tools = Tools(bench.source, bench.suite, bench.lake, bench.ledger, (bench.sink,), lock, "retry", bench.recorded.extend)  # fmt: skip
        wanted = Retry(bench.measurement, "production", ALL, 1000)
        outcome = retry(wanted, tools)
    assert outcome.problems == ()
    outcome.values.check()
    for counts in outcome.sinks.values():
        counts.check("memory")
        assert counts.pending == counts.refused == 0
    return outcome.values


def stands(bench: Bench) -> tuple[list[float], list[int], list[float]]:
    """The landed shares and sizes, and the shares quarantined, in order."""
    frame = bench.landed(0, CELLS)
    held = [number for _, number in bench.quarantined() if number is not None]
    shares, sizes = frame["share_ratio"].dropna(), frame["size_bytes"].dropna()
    return sorted(shares), sorted(int(size) for size in sizes), sorted(held)


def expected(
    points: Points, first: float, second: float
) -> tuple[list[float], list[float], Values]:
    """The shares landed and quarantined, and what is reported of the retry: a cell in which the first
    limit held one back is judged by the second, and the other cells are left alone."""
    landed: list[float] = []
    held: list[float] = []
    values = Values()
    for number in range(CELLS):
        inside = [point for point in points if point[0] // 60 == number]
        shares = [point[2] for point in inside if point[2] is not None]
        sizes = sum(point[3] is not None for point in inside)
        before = [share for share in shares if 0 <= share <= first]
        is_tried = len(before) < len(shares)
        limit = second if is_tried else first
        after = [share for share in shares if 0 <= share <= limit]
        landed += after
        held += [share for share in shares if not 0 <= share <= limit]
        stay = min(len(before), len(after))
        if is_tried:
            values += Values(
                extracted=len(shares) + sizes,
                landed=len(after) - stay,
                quarantined=len(shares) - len(after),
                unchanged=stay + sizes,
            )
    return sorted(landed), sorted(held), values


@pytest.mark.slow
@pytest.mark.promise(
    "Accounts: a retry of the quarantine accounts for every value, whatever the two suites are"
)
@settings(max_examples=30, deadline=None)
@given(points=POINTS, first=LIMITS, second=LIMITS)
def test_every_value_is_accounted_for(points: Points, first: float, second: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = a_bench(Path(folder))
        try:
            _check(bench, points, first, second)
        finally:
            bench.ledger.close()


def _check(bench: Bench, points: Points, first: float, second: float) -> None:
    put(bench, points)
    bench.suite = suite_of(bench.folder / "first", bench.measurement, first)
    bench.run(NOW, ALL)
    bench.suite = suite_of(bench.folder / "second", bench.measurement, second)
    values = tried_again(bench)
    shares, held, reported = expected(points, first, second)
    sizes = sorted(point[3] for point in points if point[3] is not None)
    assert values == reported
    assert stands(bench) == (shares, sizes, held)
    assert sorted(bench.sink.values("share_ratio")) == shares
    # a collect that is answered the same, under the same suite, comes to the same end
    if first <= second:
        bench.run(NOW, ALL)
        assert stands(bench) == (shares, sizes, held)
