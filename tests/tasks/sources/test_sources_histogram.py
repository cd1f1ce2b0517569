"""Quantiles of classic histograms. The expected values are PromQL's, see also tests/real."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources.histogram import quantile_of

INF = math.inf


@pytest.mark.parametrize(
    ("quantile", "buckets", "expected"),
    [
        # rank 5 of 10: the first of two buckets, which begins at 0
        (0.5, {1.0: 5, 2.0: 10, INF: 10}, 1.0),
        (0.25, {1.0: 5, 2.0: 10, INF: 10}, 0.5),
        (0.9, {1.0: 5, 2.0: 10, INF: 10}, 1.8),
        # in +Inf: the highest bound that is a number
        (0.99, {1.0: 5, 2.0: 6, INF: 10}, 2.0),
        # the lowest bucket has no beginning when its bound is not above 0
        (0.1, {-1.0: 5, 2.0: 6, INF: 10}, -1.0),
        (0.1, {0.0: 5, INF: 10}, 0.0),
        # rank 3.5 of 7, between -1 and 1
        (0.5, {-1.0: 2, 1.0: 5, INF: 7}, 0.0),
        # empty buckets in the middle
        (0.5, {1.0: 2, 2.0: 2, 3.0: 4, INF: 4}, 1.0),
        (0.75, {1.0: 2, 2.0: 2, 3.0: 4, INF: 4}, 2.5),
        # the order of the page does not matter
        (0.75, {INF: 4, 3.0: 4, 2.0: 2, 1.0: 2}, 2.5),
        # a count that falls is taken as the one below it
        (0.75, {1.0: 4, 2.0: 2, 3.0: 8, INF: 8}, 2.5),
    ],
)
def test_a_quantile(quantile: float, buckets: dict[float, float], expected: float) -> None:
    assert quantile_of(quantile, buckets) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    "buckets",
    [
        {},
        {INF: 5.0},
        {1.0: 5.0, 2.0: 6.0},
        {1.0: 0.0, INF: 0.0},
        {1.0: math.nan, INF: math.nan},
    ],
    ids=["none", "only +Inf", "no +Inf", "no observations", "nan"],
)
def test_no_quantile(buckets: dict[float, float]) -> None:
    assert quantile_of(0.5, buckets) is None


@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=8),
    st.floats(0.01, 0.99),
    st.floats(0.01, 0.99),
)
def test_a_higher_quantile_is_not_lower(counts: list[int], one: float, other: float) -> None:
    bounds = [0.1 * 2**n for n in range(len(counts) - 1)] + [INF]
    buckets = {bound: float(sum(counts[: n + 1])) for n, bound in enumerate(bounds)}
    low, high = (quantile_of(q, buckets) for q in sorted((one, other)))
    if sum(counts) == 0:
        assert low is high is None
    else:
        assert low is not None
        assert high is not None
        assert 0 <= low <= high * (1 + 1e-12) <= bounds[-2] * (1 + 1e-11)
