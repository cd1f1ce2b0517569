import numpy as np
import pytest

from tasks.core.batch import empty_frame
from tasks.reports.series import COLOURS, NAMED, labels, statistics, table_of
from tests.support.report_samples import field, frame_of, measurement, times


def test_rows_in_any_order_become_series_in_order_of_time() -> None:
    entry = measurement("m", {"v": field()}, ("job",))
    frame = frame_of(entry, {"time": times(2) * 2, "job": ["b", "b", "a", "a"], "v": [1, 2, 3, 4]})
    table = table_of(frame.iloc[::-1].reset_index(drop=True), entry)
    assert list(table.fields["v"]) == [3.0, 4.0, 1.0, 2.0]
    assert [(one.tags, one.start, one.stop) for one in table.series] == [
        ({"job": "a"}, 0, 2),
        ({"job": "b"}, 2, 4),
    ]
    assert table.shown == table.series


def test_a_missing_tag_is_none_and_a_dash() -> None:
    entry = measurement("m", {"v": field()}, ("job", "gpu"))
    frame = frame_of(
        entry, {"time": times(1) * 2, "job": ["a", "a"], "gpu": ["0", None], "v": [1.0, 2.0]}
    )
    table = table_of(frame, entry)
    assert [one.tags for one in table.series] == [
        {"job": "a", "gpu": None},
        {"job": "a", "gpu": "0"},
    ]
    assert labels(table) == ("gpu", ["–", "0"])


def test_only_tags_that_differ_name_a_series() -> None:
    entry = measurement("m", {"v": field()}, ("job", "method", "status"))
    frame = frame_of(
        entry,
        {
            "time": times(1) * 2, "job": ["api"] * 2, "method": ["GET", "POST"],
            "status": ["200", "500"], "v": [1.0, 2.0],
        },
    )  # fmt: skip
    assert labels(table_of(frame, entry)) == ("method · status", ["GET · 200", "POST · 500"])


def test_no_rows_have_no_series() -> None:
    entry = measurement("m", {"v": field(), "word": field(type_="string")}, ("job",))
    table = table_of(empty_frame(entry), entry)
    assert table.series == table.shown == ()
    assert list(table.fields) == ["v"]
    assert labels(table) == ("", [])


@pytest.mark.parametrize(
    ("better", "worst"), [("lower", [14, 15, 16, 17, 18, 19]), ("higher", [0, 1, 2, 3, 4, 5])]
)
def test_the_worst_of_many_series_are_named(better: str, worst: list[int]) -> None:
    entry = measurement("m", {"v": field(better=better)}, ("client",))
    names = [f"c{index:02}" for index in range(20)]
    frame = frame_of(
        entry, {"time": times(1) * 20, "client": names, "v": [float(index) for index in range(20)]}
    )
    table = table_of(frame, entry)
    assert len(table.series) == 20
    assert len(table.shown) == NAMED
    assert labels(table)[1] == [names[index] for index in worst]


def test_those_farthest_out_are_named_when_no_side_is_better() -> None:
    entry = measurement("m", {"v": field()}, ("client",))
    values = [-50.0, *[float(index) for index in range(8)], 90.0]
    names = [f"c{index}" for index in range(10)]
    table = table_of(frame_of(entry, {"time": times(1) * 10, "client": names, "v": values}), entry)
    assert {"c0", "c9"} <= set(labels(table)[1])


def test_as_many_as_there_are_colours_are_all_named() -> None:
    entry = measurement("m", {"v": field()}, ("client",))
    names = [f"c{index}" for index in range(COLOURS)]
    frame = frame_of(entry, {"time": times(1) * COLOURS, "client": names, "v": [1.0] * COLOURS})
    assert labels(table_of(frame, entry))[1] == names


def test_statistics_leave_out_what_is_missing() -> None:
    at = np.array([0, 10, 20, 0, 10, 20])
    values = np.array([1.0, np.nan, 3.0, 8.0, 2.0, 5.0])
    assert statistics(at, values) == {"n": 5, "min": 1.0, "mean": 3.8, "max": 8.0, "last": 4.0}


def test_statistics_of_nothing_are_none() -> None:
    assert statistics(np.array([0]), np.array([np.nan])) == {
        "n": 0, "min": None, "mean": None, "max": None, "last": None,
    }  # fmt: skip
