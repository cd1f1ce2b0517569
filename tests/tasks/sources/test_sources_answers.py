"""What Prometheus printed comes back bit for bit, whatever the labels hold."""

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.core.errors import AnswerInvalid
from tasks.sources.answers import (
    Matrix,
    Refusal,
    count_histograms,
    read_build,
    read_matrix,
    read_points,
    read_refusal,
)
from tasks.sources.http import Request

REQUEST = Request(service="Prometheus", url="http://localhost:9090", what="query of m.x")
T0 = 1_772_359_200
floats = st.one_of(st.floats(), st.floats(width=32), st.integers(-(10**18), 10**18).map(float))
labels = st.dictionaries(
    st.from_regex(r"[a-z_]{1,4}", fullmatch=True),
    st.one_of(
        st.text(max_size=8), st.sampled_from(['"],["', "[[1,2]]", "a,b", "\n", "😀", "\\", '"'])
    ),
    max_size=3,
)


def printed(value: float, plain: bool) -> str:
    """As Prometheus prints it, with an exponent or without (strconv.FormatFloat)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return np.format_float_positional(value, trim="-") if plain else repr(value)


def bits(values: Any) -> list[bytes]:
    return [b"nan" if math.isnan(value) else struct.pack("<d", value) for value in values]


def body(result: list[Any], **more: Any) -> bytes:
    data = {"resultType": "matrix", "result": result}
    whole = {"status": "success", "data": data, **more}
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.promise("Sources: a value that Prometheus prints arrives bit for bit")
@given(
    st.lists(st.tuples(labels, st.lists(st.tuples(floats, st.booleans()), max_size=5)), max_size=4)
)
@example([({}, [(5e-324, True), (1.7976931348623157e308, True), (-0.0, True), (0.1 + 0.2, False)])])
def test_floats_and_labels_come_back_exactly(
    series: list[tuple[dict[str, str], list[tuple[float, bool]]]],
) -> None:
    result = [
        {
            "metric": names,
            "values": [[T0 + n, printed(*pair)] for n, pair in enumerate(pairs)],
        }
        for names, pairs in series
    ]
    matrix = read_matrix(body(result), REQUEST)
    assert isinstance(matrix, Matrix)
    assert [one.metric for one in matrix.series] == [names for names, _ in series]
    points = read_points(matrix.series, REQUEST)
    assert points.counts.tolist() == [len(pairs) for _, pairs in series]
    assert bits(points.values) == bits([value for _, pairs in series for value, _ in pairs])
    times = [(T0 + n) * 1_000_000 for _, pairs in series for n in range(len(pairs))]
    assert points.times.tolist() == times


@given(st.lists(st.integers(0, 5_000_000_000_000), min_size=1, max_size=20))
def test_times_come_back_to_the_millisecond(times: list[int]) -> None:
    values = [[json.loads(f"{time // 1000}.{time % 1000:03d}"), "1"] for time in times]
    matrix = read_matrix(body([{"metric": {}, "values": values}]), REQUEST)
    assert isinstance(matrix, Matrix)
    assert read_points(matrix.series, REQUEST).times.tolist() == [time * 1000 for time in times]


def test_histograms_are_counted_beside_values() -> None:
    result = [
        {"metric": {}, "histograms": [[T0, {"count": "1"}], [T0 + 1, {"count": "2"}]]},
        {"metric": {"a": "1"}, "values": [[T0, "1"]], "histograms": [[T0 + 1, {}]]},
        {"metric": {"a": "2"}, "values": [[T0, "1"]]},
    ]
    matrix = read_matrix(body(result), REQUEST)
    assert isinstance(matrix, Matrix)
    assert count_histograms(matrix.series, REQUEST) == 3
    assert read_points(matrix.series, REQUEST).counts.tolist() == [0, 1, 1]


def test_remarks_are_warnings_then_infos() -> None:
    matrix = read_matrix(body([], warnings=["w"], infos=["i"]), REQUEST)
    assert matrix == Matrix([], ("w", "i"))


@pytest.mark.parametrize(
    ("kind", "status"),
    [("bad_data", 400), ("execution", 422), ("internal", 500), ("timeout", 503), ("new", 503)],
)
def test_an_error_in_a_good_answer(kind: str, status: int) -> None:
    text = json.dumps({"status": "error", "errorType": kind, "error": "no"}).encode()
    refusal = read_matrix(text, REQUEST)
    assert refusal == Refusal(kind, "no") == read_refusal(text)
    assert refusal.status == status


@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b'{"status":"success"}', b"\xff"])
def test_what_is_no_refusal(text: bytes) -> None:
    assert read_refusal(text) is None


def test_the_version() -> None:
    assert read_build(b'{"status":"success","data":{"version":"2.42.0"}}', REQUEST) == "2.42.0"


@pytest.mark.parametrize("text", [b"<html>", b"{}", b'{"data":{}}', b"\xff"])
def test_no_version(text: bytes) -> None:
    with pytest.raises(AnswerInvalid, match=r"gave an invalid answer to query of m\.x"):
        read_build(text, REQUEST)
