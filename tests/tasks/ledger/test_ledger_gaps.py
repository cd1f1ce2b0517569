"""Gaps of the ledger: whatever is covered, exactly the rest is a gap, and asking is cheap."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.window import Window
from tasks.ledger.gaps import SEPARATOR, Gaps
from tasks.ledger.ledger import Ledger
from tests.support.gap_behaviours import GAP_CHECKS, cover, gaps
from tests.support.ledger_behaviours import HOUR, START, cell


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield ledger
    ledger.close()


@pytest.mark.parametrize("check", GAP_CHECKS)
def test_gaps_are_what_every_ledger_answers(
    ledger: Ledger, check: Callable[[Ledger], None]
) -> None:
    check(ledger)


@pytest.mark.slow
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(covered=st.sets(st.integers(0, 400)), first=st.integers(0, 200), more=st.integers(1, 200))
def test_covered_and_gaps_are_all_there_is(
    tmp_path_factory: pytest.TempPathFactory, covered: set[int], first: int, more: int
) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path_factory.mktemp('gaps') / 'ledger.db'}")
    cover(ledger, covered)
    stretches = gaps(ledger, first, first + more)
    ledger.close()
    assert {hour for start, stop in stretches for hour in range(start, stop)} == (
        set(range(first, first + more)) - covered
    )
    assert all(stop < start for (_, stop), (start, _) in pairwise(stretches))


@pytest.mark.slow
def test_a_gap_in_years_is_found_from_indexes_and_few_rows(tmp_path: Path) -> None:
    """100,000 windows: one gap costs the counts of two indexes and the cells of one slice."""
    path = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    cover(ledger, (hour for hour in range(20_000) if hour != 7_777))
    asked: list[list[int]] = []
    ask = ledger.ask
    ledger.ask = lambda query: _counted(ask(query), asked)  # type: ignore[method-assign]
    assert gaps(ledger, 0, 20_000) == [(7_777, 7_778)]
    ledger.close()
    assert asked == [[312]]


def _counted(rows: list[dict[str, Any]], asked: list[list[int]]) -> list[dict[str, Any]]:
    """Notes the covered cells of each row."""
    asked.append([len(row["covered"].split(SEPARATOR)) for row in rows])
    return rows


def some() -> Gaps:
    return Gaps((Window(cell(0).start, cell(2).stop), Window(cell(5).start, cell(5).stop)), HOUR)


def hours(gaps: Gaps) -> list[int]:
    return [(each.start - START) // HOUR for each in gaps.cells()]


def test_gaps_are_cut_at_a_moment() -> None:
    assert (some().count, hours(some())) == (4, [0, 1, 2, 5])
    assert hours(some().before(cell(1).start)) == [0]
    assert hours(some().since(cell(1).start)) == [1, 2, 5]
    assert hours(some().since(cell(6).start)) == []
    assert hours(some().before(cell(0).start)) == []


def test_cells_are_taken_out_of_gaps() -> None:
    assert hours(some().without([])) == [0, 1, 2, 5]
    assert hours(some().without([cell(1), cell(3), cell(5)])) == [0, 2]
    assert hours(some().without([cell(0)])) == [1, 2, 5]
