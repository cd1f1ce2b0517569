"""PrometheusSource against a fake that refuses what the real one refuses."""

import math
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from pytest_httpserver import HTTPServer

from tasks.core.batch import build_frame, empty_frame
from tasks.core.errors import (
    AnswerInvalid,
    KeyRepeated,
    LabelsDiffer,
    SeriesExceeded,
)
from tasks.core.measurement import FieldSpec, FieldType
from tasks.core.window import Window, iso
from tests.support.fakes.prometheus import FakePrometheus, FakeSeries
from tests.support.prometheus_samples import (
    START,
    T0,
    WINDOW,
    at,
    extract,
    measurement,
)


@pytest.fixture
def prometheus(httpserver: HTTPServer) -> FakePrometheus:
    return FakePrometheus(httpserver)


def test_fields_become_one_wide_frame(prometheus: FakePrometheus) -> None:
    prometheus.queries = {
        "q_x": [
            FakeSeries({"method": "POST", "code": "200"}, at(s0="0.1", s15="2", s45="1e-300")),
            FakeSeries({"code": "500"}, at(s15="-0")),
        ],
        "q_y": [FakeSeries({"method": "GET", "code": "200"}, at(s30="7"))],
    }
    entry = measurement("method", "code", x="float", y="float")
    batch = extract(prometheus, entry)
    nan = math.nan
    expected = build_frame(
        entry,
        {
            "time": pd.to_datetime([T0 + 15, T0 + 30, T0, T0 + 15, T0 + 45], unit="s", utc=True),
            "environment": ["production"] * 5,
            "method": [None, "GET", "POST", "POST", "POST"],
            "code": ["500", "200", "200", "200", "200"],
            "x": [-0.0, nan, 0.1, 2.0, 1e-300],
            "y": [nan, 7.0, nan, nan, nan],
        },
    )
    pd.testing.assert_frame_equal(batch.frame, expected, check_exact=True)
    assert batch.values == 5
    assert (batch.dropped, batch.warnings, batch.not_served) == ({}, (), ())
    assert (batch.environment, batch.window, batch.measurement) == ("production", WINDOW, entry)


def test_the_question_is_a_form_on_the_step_grid(prometheus: FakePrometheus) -> None:
    prometheus.queries = {"q_x": []}
    late = Window(START + timedelta(seconds=1), START + timedelta(seconds=60.5))
    extract(prometheus, measurement(x="float"), late)
    assert prometheus.asked == [
        {
            "query": "q_x",
            "start": f"{T0 + 15}.000000",
            "end": f"{T0 + 60}.000000",
            "step": "15s",
            "timeout": "54000ms",
        }
    ]
    headers = prometheus.headers[0]
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers


def test_a_window_between_two_grid_points_asks_nothing(prometheus: FakePrometheus) -> None:
    entry = measurement("a", x="float")
    between = Window(START + timedelta(seconds=1), START + timedelta(seconds=15))
    frame = extract(prometheus, entry, between).frame
    pd.testing.assert_frame_equal(frame, empty_frame(entry))
    assert prometheus.asked == []


def test_a_long_window_is_asked_in_pages(prometheus: FakePrometheus) -> None:
    prometheus.queries = {"q_x": [FakeSeries({"a": "1"}, str)]}
    slots = 22_001
    window = Window(START, START + timedelta(seconds=15) * slots)
    batch = extract(prometheus, measurement("a", x="float"), window)
    assert len(prometheus.asked) == 3
    times = T0 + 15 * np.arange(slots)
    assert batch.frame["time"].astype("int64").tolist() == (times * 1_000_000).tolist()
    assert batch.frame["x"].tolist() == (times * 1000.0).tolist()


def test_no_answer_is_an_empty_frame(prometheus: FakePrometheus) -> None:
    prometheus.queries = {"q_x": []}
    entry = measurement("a", x="float")
    pd.testing.assert_frame_equal(extract(prometheus, entry).frame, empty_frame(entry))


def test_nan_and_infinity_are_dropped_and_counted(prometheus: FakePrometheus) -> None:
    prometheus.queries = {
        "q_x": [
            FakeSeries({"a": "1"}, at(s0="NaN", s15="+Inf", s30="-Inf", s45="1")),
            FakeSeries({"a": "2"}, at(s0="NaN")),
        ]
    }
    batch = extract(prometheus, measurement("a", x="float"))
    assert batch.dropped == {"nan": 2, "inf": 2}
    assert batch.frame["x"].tolist() == [1.0]
    assert batch.frame["a"].cat.categories.tolist() == ["1"]


def test_native_histograms_are_dropped_and_said(prometheus: FakePrometheus) -> None:
    prometheus.queries = {"q_x": [FakeSeries({"a": "1"}, at(s0="1", s15="2"), histogram=True)]}
    batch = extract(prometheus, measurement("a", x="float"))
    assert batch.dropped == {"native_histogram": 2}
    assert "x: native histograms are dropped" in batch.warnings[0]
    assert "histogram_quantile" in batch.warnings[0]
    assert len(batch.frame) == 0


def test_warnings_and_infos_are_kept_with_the_field(prometheus: FakePrometheus) -> None:
    prometheus.queries = {"q_x": [], "q_y": []}
    prometheus.warnings, prometheus.infos = ["a store is down"], ["not a counter"]
    assert extract(prometheus, measurement(x="float", y="float")).warnings == (
        "x: a store is down",
        "x: not a counter",
        "y: a store is down",
        "y: not a counter",
    )


def test_fields_that_it_cannot_serve_are_null_and_listed(prometheus: FakePrometheus) -> None:
    prometheus.queries = {"q_x": [FakeSeries({}, at(s0="1"))]}
    scrape = {"metric": "z", "as": "value"}
    entry = measurement(x="float", text="string").model_copy(
        update={
            "fields": {
                "x": FieldSpec(query="q_x"),
                "text": FieldSpec(query="q_text", type="string"),
                "z": FieldSpec.model_validate({"scrape": scrape, "type": "int"}),
            }
        }
    )
    batch = extract(prometheus, entry)
    assert batch.not_served == ("text", "z")
    expected = build_frame(
        entry,
        {"time": pd.to_datetime([T0], unit="s", utc=True), "environment": ["production"], "x": [1]},
    )
    pd.testing.assert_frame_equal(batch.frame, expected)


def test_integers_and_booleans(prometheus: FakePrometheus) -> None:
    prometheus.queries = {
        "q_n": [FakeSeries({}, at(s0="9007199254740993", s15="-3"))],
        "q_b": [FakeSeries({}, at(s0="1", s30="0"))],
    }
    entry = measurement(n="int", b="bool")
    frame = extract(prometheus, entry).frame
    expected = build_frame(
        entry,
        {
            "time": pd.to_datetime([T0, T0 + 15, T0 + 30], unit="s", utc=True),
            "environment": ["production"] * 3,
            "n": [9007199254740992, -3, None],
            "b": [True, None, False],
        },
    )
    pd.testing.assert_frame_equal(frame, expected)


@pytest.mark.parametrize(
    ("kind", "value"), [("int", "1.5"), ("int", "1e19"), ("bool", "2"), ("bool", "0.5")]
)
def test_a_value_that_the_type_cannot_hold(
    prometheus: FakePrometheus, kind: FieldType, value: str
) -> None:
    prometheus.queries = {"q_n": [FakeSeries({}, at(s0="1", s15=value))]}
    with pytest.raises(AnswerInvalid) as caught:
        extract(prometheus, measurement(n=kind))
    assert caught.value.problem == f"n is {kind} in the catalogue, but {float(value)!r} came"


def test_a_label_without_text_is_null(prometheus: FakePrometheus) -> None:
    prometheus.queries = {"q_x": [FakeSeries({"a": "", "b": "2"}, at(s0="1"))]}
    frame = extract(prometheus, measurement("a", "b", x="float")).frame
    assert frame["a"].isna().tolist() == [True]
    assert frame["b"].tolist() == ["2"]


@pytest.mark.parametrize("label", ["instance", "environment"])
def test_another_label_is_refused(prometheus: FakePrometheus, label: str) -> None:
    prometheus.queries = {"q_x": [FakeSeries({"a": "1", label: "2"})]}
    with pytest.raises(LabelsDiffer) as caught:
        extract(prometheus, measurement("a", x="float"))
    assert caught.value.facts == {
        "measurement": "m",
        "field": "x",
        "tags": ["a"],
        "labels": sorted(["a", label]),
    }


@pytest.mark.promise("Sources: an endpoint or tag that the service does not offer is a warning")
def test_a_tag_that_no_series_has_is_reported(prometheus: FakePrometheus) -> None:
    series = FakeSeries({"a": "1"}, at(s0="1"))
    prometheus.queries = {"q_x": [series], "q_y": [series, FakeSeries({"a": "2", "b": "3"})]}
    batch = extract(prometheus, measurement("a", "b", x="float", y="float"))
    assert batch.warnings == ("x: no series has the label b, which is a tag",)


def test_the_metrics_own_name_is_no_label(prometheus: FakePrometheus) -> None:
    prometheus.queries = {"q_x": [FakeSeries({"__name__": "latency", "a": "1"}, at(s0="1"))]}
    assert extract(prometheus, measurement("a", x="float")).frame["a"].tolist() == ["1"]


def test_two_metrics_in_one_selector_repeat_the_tags(prometheus: FakePrometheus) -> None:
    names = ("latency", "delay")
    prometheus.queries = {"q_x": [FakeSeries({"__name__": name, "a": "1"}) for name in names]}
    with pytest.raises(KeyRepeated, match="delay"):
        extract(prometheus, measurement("a", x="float"))


def test_repeated_tags_are_refused(prometheus: FakePrometheus) -> None:
    prometheus.queries = {"q_x": [FakeSeries({"a": "1"}), FakeSeries({"a": "1"})]}
    with pytest.raises(KeyRepeated) as caught:
        extract(prometheus, measurement("a", x="float"))
    assert caught.value.facts == {"measurement": "m", "field": "x", "key": {"a": "1"}}


def test_as_many_series_as_allowed(prometheus: FakePrometheus) -> None:
    prometheus.queries = {"q_x": [FakeSeries({"a": str(n)}) for n in range(3)]}
    assert len(extract(prometheus, measurement("a", max_series=3, x="float")).frame) == 12


def test_too_many_series_over_the_fields_name_the_label(prometheus: FakePrometheus) -> None:
    prometheus.queries = {
        "q_x": [FakeSeries({"a": "1", "client": str(n)}) for n in range(2)],
        "q_y": [FakeSeries({"a": "1", "client": str(n)}) for n in range(1, 4)],
    }
    with pytest.raises(SeriesExceeded) as caught:
        extract(prometheus, measurement("a", "client", max_series=3, x="float", y="float"))
    assert caught.value.facts == {
        "measurement": "m",
        "series": 4,
        "start": iso(WINDOW.start),
        "stop": iso(WINDOW.stop),
        "limit": 3,
        "label": "client",
        "distinct": 4,
    }
