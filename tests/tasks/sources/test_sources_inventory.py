"""What a Prometheus has."""

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.core.errors import AnswerInvalid, SourceRefused, SourceUnavailable
from tasks.core.services import Service
from tasks.sources import inventory
from tasks.sources.inventory import Described, Inventory, Selection, look, lowest_and_highest
from tests.support.fakes.inventory import FakeInventory
from tests.support.fakes.prometheus import FakeSeries

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
TOKEN = "s3cr3t-token"


@pytest.fixture
def prometheus(httpserver: HTTPServer) -> FakeInventory:
    return FakeInventory(httpserver)


def service(prometheus: FakeInventory, token: str | None = None) -> Service:
    secret = SecretStr(token) if token else None
    return Service(url=prometheus.url, token=secret, origin="PROMETHEUS_URL")


def test_metrics_with_their_series_and_what_is_said_of_them(prometheus: FakeInventory) -> None:
    prometheus.token = TOKEN
    odd = 'a.b|"c\\d'
    prometheus.metrics = {"up": [{"job": "a"}, {"job": "b"}], odd: [{}]}
    prometheus.described = {"up": [("gauge", "", "Up")]}

    assert look(service(prometheus, TOKEN), NOW) == Inventory(
        {"up": [{"job": "a"}, {"job": "b"}], odd: [{}]}, {"up": [Described("gauge", "", "Up")]}, {}
    )
    # at one moment: series of an hour ago are none of today's
    assert {one["time"] for one in prometheus.asked if "query" in one} == {"1772359200.000"}


def test_many_metrics_are_asked_for_in_portions(prometheus: FakeInventory) -> None:
    prometheus.metrics = {f"m{number}": [{}] for number in range(201)}

    assert len(look(service(prometheus), NOW).series) == 201
    assert sum("=~" in one.get("query", "") for one in prometheus.asked) == 2


def test_portions_of_many_series() -> None:
    portions = inventory._portions({"a": 15_000, "b": 5_000, "c": 1, "d": 20_000})

    assert list(portions) == [["a", "b"], ["c"], ["d"]]


def test_a_metric_of_too_many_series_is_counted_only(prometheus: FakeInventory) -> None:
    prometheus.metrics = {"up": [{}], "huge": [{}]}
    prometheus.counts = {"huge": 20_001}

    found = look(service(prometheus), NOW)
    assert (found.series, found.too_many) == ({"up": [{}]}, {"huge": 20_001})


def test_nothing_is_there(prometheus: FakeInventory) -> None:
    assert look(service(prometheus), NOW) == Inventory({}, {}, {})


def test_a_store_without_metadata(prometheus: FakeInventory) -> None:
    prometheus.metrics, prometheus.keeps_metadata = {"up": [{}]}, False

    assert look(service(prometheus), NOW).described == {}


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Response("no", 401), SourceRefused, "no token is set"),
        (Response("down", 503), SourceUnavailable, "HTTP 503: down"),
        (Response("<html>", 200), AnswerInvalid, "gave an invalid answer"),
        (Response('{"status":"success"}', 200), AnswerInvalid, "it has no data"),
        (Response('{"data":{"result":{}}}', 200), AnswerInvalid, "Expected `array`"),
        (
            Response('{"status":"error","errorType":"execution","error":"too much"}', 200),
            SourceRefused,
            "execution: too much",
        ),
    ],
)
def test_a_bad_answer(
    prometheus: FakeInventory, answer: Response, error: type[Exception], words: str
) -> None:
    prometheus.instead = [answer]

    with pytest.raises(error, match=words):
        look(service(prometheus), NOW)


def test_extremes_of_the_last_hour(prometheus: FakeInventory) -> None:
    prometheus.queries = {
        "min(min_over_time(x[1h]))": [FakeSeries({}, lambda _: "-2.5")],
        "max(max_over_time(x[1h]))": [FakeSeries({}, lambda _: "7")],
        "min(min_over_time(idle[1h]))": [FakeSeries({}, lambda _: "NaN")],
        "max(max_over_time(idle[1h]))": [FakeSeries({}, lambda _: "NaN")],
    }

    selectors = {"x": "x", "idle": "idle", "gone": "gone"}
    assert lowest_and_highest(service(prometheus), selectors, NOW) == {"x": (-2.5, 7.0)}


@pytest.mark.parametrize(
    ("selection", "metrics", "condition"),
    [
        (Selection(("node_*", "up")), {"node_load": 2, "up": 2}, ""),
        (Selection(("rpc",)), {"rpc_bucket": 1}, ""),
        (Selection(jobs=("a.b",)), {"node_load": 1, "up": 1}, 'job="a.b"'),
        (Selection(("up",), ("a.b", "c")), {"up": 2}, r'job=~"a\\.b|c"'),
        (Selection(("x*",)), {}, ""),
        (Selection(jobs=("a",)), {}, 'job="a"'),
    ],
)
def test_only_what_is_selected(
    prometheus: FakeInventory, selection: Selection, metrics: dict[str, int], condition: str
) -> None:
    both = [{"job": "a.b"}, {"job": "c"}]
    prometheus.metrics = {"node_load": both, "up": both, "rpc_bucket": [{"job": "d"}]}

    found = look(service(prometheus), NOW, selection)
    assert {name: len(series) for name, series in found.series.items()} == metrics
    assert found.condition == condition
