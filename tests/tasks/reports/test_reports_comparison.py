"""Changes against earlier windows: which ones, what is usual, and what it means for the field."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.measurement import Better
from tasks.reports.comparison import (
    DAY,
    FEWEST,
    HORIZON,
    PAST,
    WEEK,
    Comparison,
    bases_of,
    comparisons_of,
    shifts_of,
)

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("length", "against"),
    [
        (HOUR, {"previous": HOUR, "day": DAY, "week": WEEK}),
        (DAY, {"previous": DAY, "week": WEEK}),
        (2 * DAY, {"previous": 2 * DAY, "week": WEEK}),
        (WEEK, {"previous": WEEK}),
        (30 * DAY, {"previous": 30 * DAY}),
    ],
)
def test_a_window_is_compared_with_what_does_not_overlap_it(
    length: timedelta, against: dict[str, timedelta]
) -> None:
    assert bases_of(length) == against


def test_each_comparison_is_made_as_often_again_as_the_horizon_allows() -> None:
    shifts = shifts_of(HOUR)
    assert len(shifts) == len(set(shifts)) == (PAST + 1) * 3 - 1  # 7 days are a week too
    assert {HOUR, 8 * HOUR, DAY, 8 * DAY, WEEK, 8 * WEEK} <= set(shifts)
    assert max(shifts) == HORIZON
    assert shifts_of(100 * DAY) == (100 * DAY,)


def history(base: timedelta, values: list[float]) -> dict[timedelta, float]:
    return {base * (index + 1): value for index, value in enumerate(values)}


def one(now: float, values: list[float], better: Better = "none") -> Comparison:
    (found,) = comparisons_of(now, history(HOUR, values), HOUR, better)
    return found


def test_a_change_is_beside_the_changes_before_it() -> None:
    # changes before: +1 -1 +1 -1 +1; their median is 1, the median distance from it 0
    found = one(12.0, [10.0, 9.0, 10.0, 9.0, 10.0, 9.0])
    assert found.usual == pytest.approx((1.0, 1.0))
    assert found == Comparison("previous", 10.0, 2.0, found.usual, 5, "unusual")


def test_what_is_usual_lies_three_robust_deviations_around_the_median() -> None:
    # changes before: 0 1 2 3 4; median 2, median distance 1
    found = one(20.0, [10.0, 10.0, 9.0, 7.0, 4.0, 0.0])
    assert found.usual == pytest.approx((2 - 3 * 1.4826, 2 + 3 * 1.4826))
    assert (found.change, found.judgement) == (10.0, "unusual")


@pytest.mark.parametrize(
    ("better", "now", "judgement"),
    [
        ("lower", 20.0, "worse"), ("lower", 1.0, "better"), ("lower", 11.0, "usual"),
        ("higher", 20.0, "better"), ("higher", 1.0, "worse"), ("higher", 11.0, "usual"),
        ("none", 20.0, "unusual"), ("none", 1.0, "unusual"),
    ],
)  # fmt: skip
def test_the_catalogue_says_what_is_worse(better: Better, now: float, judgement: str) -> None:
    assert one(now, [10.0, 11.0, 10.5, 9.5, 10.0, 11.0, 10.0, 9.0], better).judgement == judgement


def test_one_earlier_outlier_does_not_make_everything_usual() -> None:
    values = [10.0, 10.1, 10.0, 900.0, 10.0, 10.2, 10.0, 10.1]
    assert one(15.0, values, "lower").judgement == "worse"


def test_with_little_history_nothing_is_said() -> None:
    found = one(99.0, [10.0] * FEWEST)
    assert (found.usual, found.past, found.judgement) == (None, FEWEST - 1, "unknown")


def test_a_hole_in_the_history_is_left_out() -> None:
    earlier = history(HOUR, [10.0] * 8)
    del earlier[4 * HOUR]
    (found,) = comparisons_of(10.0, earlier, HOUR, "none")
    assert (found.past, found.judgement) == (5, "usual")


def test_without_the_earlier_window_there_is_no_comparison() -> None:
    assert comparisons_of(1.0, {}, HOUR, "none") == ()
    assert comparisons_of(1.0, {2 * HOUR: 1.0, 3 * HOUR: 1.0}, HOUR, "none") == ()


def test_the_last_digit_of_a_constant_is_no_change() -> None:
    assert one(0.1 + 0.2, [0.3] * 8, "lower").judgement == "usual"
    assert one(0.300001, [0.3] * 8, "lower").judgement == "worse"


def test_day_and_week_are_compared_as_well() -> None:
    earlier = {HOUR: 1.0, **history(DAY, [2.0] * 8), **history(WEEK, [4.0] * 8), WEEK: 2.0}
    found = comparisons_of(3.0, earlier, HOUR, "higher")
    assert [(each.against, each.before, each.change, each.past) for each in found] == [
        ("previous", 1.0, 2.0, 0), ("day", 2.0, 1.0, 7), ("week", 2.0, 1.0, 7),
    ]  # fmt: skip


@given(st.floats(-1e6, 1e6), st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=8))
def test_the_usual_changes_hold_their_median(now: float, values: list[float]) -> None:
    found = one(now, values)
    assert found.usual is not None
    changes = sorted(new - old for new, old in pairwise(values))
    middle = (changes[(len(changes) - 1) // 2] + changes[len(changes) // 2]) / 2
    assert found.usual[0] - 1e-6 <= middle <= found.usual[1] + 1e-6
