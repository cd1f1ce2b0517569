"""The measure that says which series is unlike the others."""

import numpy as np
import pytest

from tasks.reports.oddness import ODD, Oddness, oddness_of

NAN = float("nan")


def scores(values: list[list[float]]) -> list[float]:
    flat = np.array([value for series in values for value in series])
    return [one.score for one in oddness_of({"v": flat}, [len(series) for series in values])]


def test_a_score_is_the_modified_z() -> None:
    # medians 1 2 3 4 100: middle 3, distances 2 1 0 1 97, their median 1
    assert scores([[1.0], [2.0], [3.0], [4.0], [100.0]]) == pytest.approx(
        [2 * 0.6745, 0.6745, 0.0, 0.6745, 97 * 0.6745]
    )


def test_where_most_are_equal_the_mean_deviation_counts() -> None:
    # distances 0 0 0 0 5: their mean is 1
    assert scores([[0.0], [0.0], [0.0], [0.0], [5.0]]) == pytest.approx([0, 0, 0, 0, 5 / 1.253314])


def test_where_all_are_equal_none_is_odd() -> None:
    assert scores([[2.0, 2.0]] * 9) == [0.0] * 9


def test_a_spike_a_drop_a_level_and_a_last_value_all_count() -> None:
    rng = np.random.default_rng(3)
    calm = [list(10 + rng.normal(0, 0.1, 50)) for _ in range(20)]
    spike, drop, last = list(calm[0]), list(calm[1]), list(calm[2])
    spike[20], drop[20], last[-1] = 15.0, 5.0, 12.0
    level = [value + 2 for value in calm[3]]
    found = scores([spike, drop, last, level, *calm[4:]])
    assert all(score > ODD for score in found[:4])
    assert max(found[4:]) < min(found[:4])


def test_one_odd_series_does_not_hide_another() -> None:
    ordinary = [[float(value)] for value in range(1, 20)]
    found = scores([*ordinary, [1000.0], [1e9]])
    assert min(found[-2:]) > ODD > max(found[:-2])


def test_missing_values_are_left_out_and_a_series_without_any_is_not_odd() -> None:
    found = scores([[1.0, NAN], [NAN, 2.0], [3.0, 3.0], [NAN, NAN], [4.0, 90.0]])
    assert found[3] == 0.0
    assert found[4] == max(found)


def test_the_field_that_is_farthest_out_is_named() -> None:
    calm = np.array([float(value) for value in range(9)])
    wild = np.array([*calm[:8], 500.0])
    found = oddness_of({"calm": calm, "wild": wild}, [1] * 9)
    assert found[8].field == "wild"
    assert found[8].stands_out
    assert not any(one.stands_out for one in found[:8])


def test_fields_without_a_number_make_nothing_odd() -> None:
    assert oddness_of({"v": np.array([NAN, NAN])}, [1, 1]) == (Oddness({"v": 0.0}),) * 2
    assert oddness_of({}, [1, 1]) == ()
