"""Robust estimates: exact on short series, unmoved by outliers, honest about too little."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.analysis import robust


def test_the_slope_of_a_line_is_exact() -> None:
    x = np.arange(10.0)
    found = robust.theil_sen(x, 3.0 + 2.0 * x, 0.95)
    assert found is not None
    assert (found.estimate, found.low, found.high) == (2.0, 2.0, 2.0)


def test_outliers_do_not_bend_a_slope() -> None:
    x = np.arange(10.0)
    y = 2.0 * x
    y[[2, 7]] = [500.0, -500.0]
    found = robust.theil_sen(x, y, 0.95)
    assert found is not None
    assert found.estimate == 2.0
    # least squares would
    assert abs(np.polyfit(x, y, 1)[0] - 2.0) > 10.0


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]),
        ([1.0] * 8, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, np.nan, 3.0, 4.0, 5.0, 6.0]),
    ],
    ids=["five points", "one x", "a hole makes five"],
)
def test_no_slope_of_too_little(x: list[float], y: list[float]) -> None:
    assert robust.theil_sen(np.array(x), np.array(y), 0.95) is None


def test_slopes_of_pure_noise_hold_zero_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    x = np.arange(40.0)
    found = [robust.theil_sen(x, rng.normal(size=40), 0.8) for _ in range(300)]
    held = np.mean([one is not None and one.low <= 0.0 <= one.high for one in found])
    assert 0.74 <= held <= 0.9


def test_noise_with_a_memory_widens_the_interval() -> None:
    rng = np.random.default_rng(2)
    x = np.arange(60.0)
    held = 0
    for _ in range(200):
        walk = np.zeros(60)
        for i in range(1, 60):
            walk[i] = 0.7 * walk[i - 1] + rng.normal()
        found = robust.theil_sen(x, walk, 0.95)
        held += found is not None and found.low <= 0.0 <= found.high
    assert held >= 175


def test_a_share_and_its_interval() -> None:
    found = robust.share(5, 50, 0.95)
    assert found is not None
    # Wilson's interval as tables have it
    assert (found.estimate, round(found.low, 4), round(found.high, 4)) == (0.1, 0.0435, 0.2136)
    assert robust.share(0, 0, 0.95) is None


@given(st.integers(0, 200), st.integers(1, 200))
def test_a_share_lies_in_its_interval(hits: int, trials: int) -> None:
    hits = min(hits, trials)
    found = robust.share(hits, trials, 0.8)
    assert found is not None
    assert 0.0 <= found.low <= found.estimate <= found.high <= 1.0


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-100, 100)), max_size=40))
def test_medians_by_group_are_those_of_each(pairs: list[tuple[int, float]]) -> None:
    groups = np.array([group for group, _ in pairs], dtype=np.int64)
    values = np.array([value for _, value in pairs], dtype=np.float64)
    found = robust.group_medians(groups, values, 4)
    for group in range(4):
        mine = values[groups == group]
        if len(mine):
            assert found[group] == pytest.approx(float(np.median(mine)))
        else:
            assert np.isnan(found[group])


def test_an_association_that_both_owe_to_a_third_is_none() -> None:
    rng = np.random.default_rng(3)
    given_ = np.arange(100.0)
    x, y = given_ + 5.0 * rng.normal(size=100), given_ + 5.0 * rng.normal(size=100)
    found = robust.partial_spearman(x, y, given_, 0.95)
    assert found is not None
    assert found.low < 0.0 < found.high
    true = robust.partial_spearman(x, y, rng.permutation(given_), 0.95)
    assert true is not None
    assert true.low > 0.9


@pytest.mark.parametrize(
    ("x", "y"),
    [(np.arange(9.0), np.arange(9.0)), (np.ones(20), np.arange(20.0))],
    ids=["nine points", "no spread"],
)
def test_no_association_of_too_little(x: robust.Floats, y: robust.Floats) -> None:
    assert robust.partial_spearman(x, y, np.arange(float(len(x))), 0.95) is None
