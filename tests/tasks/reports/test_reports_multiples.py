"""Small multiples: all on one scale, oddest first, small."""

import re

import numpy as np

from tasks.reports.multiples import BUCKETS, HEIGHT, WIDTH, multiples_of, names_of, ranked
from tasks.reports.series import Table, table_of
from tests.support.report_samples import HOUR, field, frame_of, measurement, times


def table(values: list[list[float]], count: int = 240) -> Table:
    entry = measurement("m", {"v": field()}, ("client",))
    size = len(values)
    columns = {
        "time": times(count) * size,
        "client": np.repeat([f"c{index:02}" for index in range(size)], count),
        "v": np.array([np.resize(one, count) for one in values]).ravel(),
    }
    return table_of(frame_of(entry, columns), entry)


def heights(svg: str) -> list[float]:
    points = re.search(r'points="([^"]*)"', svg)
    return [float(pair.split(",")[1]) for pair in points[1].split()] if points else []


def test_all_series_share_one_scale_and_the_middle_is_drawn_once() -> None:
    one = table([[float(index)] for index in range(9)])
    found = multiples_of(one, "v", HOUR, list(range(9)), "m_v")
    assert found is not None
    assert [set(heights(svg)) for svg in found.pictures] == [
        {round(2 + (HEIGHT - 4) * (8 - index) / 8, 1)} for index in range(9)
    ]
    assert found.middle_id == "m_v_middle"
    assert set(heights(found.middle)) == {HEIGHT / 2}
    assert all(svg.count('href="#m_v_middle"') == 1 for svg in found.pictures)


def test_the_oddest_come_first_and_no_more_than_asked_for() -> None:
    one = table([*[[float(index)] for index in range(9)], [500.0]])
    assert ranked(one, "v", 3)[0] == 9
    assert len(ranked(one, "v", 3)) == 3
    assert names_of(one, ranked(one, "v", 1)) == ["c09"]


def test_few_series_have_no_multiples() -> None:
    one = table([[1.0], [2.0]])
    assert (ranked(one, "v", 9), names_of(one, [])) == ([], [])


def test_one_far_out_does_not_flatten_the_others() -> None:
    one = table([*[[float(index)] for index in range(20)], [1e6]])
    found = multiples_of(one, "v", HOUR, list(range(21)), "m_v")
    assert found is not None
    tops = [heights(svg)[0] for svg in found.pictures]
    assert max(tops[:20]) - min(tops[:20]) > 6
    assert tops[20] == 2.0


def test_a_series_without_a_value_shows_the_middle_alone() -> None:
    one = table([*[[float(index)] for index in range(9)], [float("nan")]])
    found = multiples_of(one, "v", HOUR, [9], "m_v")
    assert found is not None
    assert "polyline" not in found.pictures[0]
    assert "<use" in found.pictures[0]


def test_a_field_without_a_value_has_none() -> None:
    assert multiples_of(table([[float("nan")]] * 9), "v", HOUR, [0], "m_v") is None


def test_a_picture_is_small_and_stays_in_its_box() -> None:
    rng = np.random.default_rng(2)
    one = table([list(rng.normal(0, 1, 240)) for _ in range(30)])
    found = multiples_of(one, "v", HOUR, list(range(30)), "m_v")
    assert found is not None
    for svg in found.pictures:
        assert len(svg) < 600
        assert len(heights(svg)) == BUCKETS
        assert 2 <= min(heights(svg)) <= max(heights(svg)) <= HEIGHT - 2
    assert f'viewBox="0 0 {WIDTH} {HEIGHT}"' in found.pictures[0]
