"""PrometheusSource and discovery against a real Prometheus, with history made by promtool."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tasks.core.errors import LabelsDiffer, SourceOverloaded, SourceRefused
from tasks.core.measurement import FieldSpec, Measurement
from tasks.core.services import Service
from tasks.core.window import Window
from tasks.sources.counting import SeriesCount, count_series
from tasks.sources.discovery import check, probe
from tasks.sources.histogram import quantile_of
from tasks.sources.prometheus import RANGE, PrometheusSource
from tests.support.history import history, selector
from tests.support.servers import VERSIONS, PrometheusServer, PrometheusVersion
from tests.support.service_history import requests_to

START = datetime(2026, 3, 1, tzinfo=UTC)
T0 = int(START.timestamp())
STEP = 15
SAMPLES = 23_000
ODD = ['a"b\\c\nd', "],[", "é 😀,"]
BUCKETS = {0.1: 3, 0.5: 10, 1.0: 11, 2.5: 40, float("inf"): 42}


def samples() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(7)
    series = {
        selector("latency", {"client": client, "method": method}): rng.standard_normal(SAMPLES)
        * 10.0 ** rng.integers(-12, 12, SAMPLES)
        for client in ODD
        for method in ("GET", "PUT")
    }
    # gaps of more than the five minutes that PromQL looks back
    for number, values in enumerate(series.values()):
        values[100 * number + 30 : 100 * number + 90] = np.nan
    series[selector("latency", {"client": "bare"})] = rng.random(SAMPLES)
    series[selector("odd", {"client": "a"})] = np.array([1.0, np.inf, -np.inf, 2.0])
    for bound, count in BUCKETS.items():
        le = "+Inf" if bound == float("inf") else str(bound)
        series[selector("lat_bucket", {"le": le})] = np.full(4, count)
    return series


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> PrometheusVersion:
    found: PrometheusVersion = request.param
    return found


@pytest.fixture(scope="module")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory, version: PrometheusVersion
) -> Iterator[PrometheusServer]:
    text = history(samples(), T0, STEP)
    with PrometheusServer(tmp_path_factory.mktemp("prometheus"), text, version=version) as server:
        yield server


def service(server: PrometheusServer) -> Service:
    return Service(url=server.url, origin="PROMETHEUS_URL")


def measurement(**queries: str) -> Measurement:
    return Measurement(
        name="m",
        type="performance",
        tags=("client", "method"),
        fields={name: FieldSpec(query=query) for name, query in queries.items()},
        step=timedelta(seconds=STEP),
        every=timedelta(seconds=60),
        max_series=10,
    )


def window(begin: float, end: float) -> Window:
    """Seconds since the history's start."""
    return Window(START + timedelta(seconds=begin), START + timedelta(seconds=end))


def reference(server: PrometheusServer, query: str, asked: Window) -> dict[Any, str]:
    """The text of every value by (client, method, second), asked for in pieces of an hour."""
    from prometheus_api_client import PrometheusConnect

    found: dict[Any, str] = {}
    with PrometheusConnect(server.url) as connect:
        start = asked.start
        while start < asked.stop:
            stop = min(start + timedelta(hours=6), asked.stop)
            end = stop - timedelta(seconds=STEP)
            for series in connect.custom_query_range(query, start, end, f"{STEP}s"):
                key = (series["metric"].get("client"), series["metric"].get("method"))
                found |= {(*key, int(time)): value for time, value in series["values"]}
            start = stop
    return found


@pytest.mark.promise("Sources: a value that Prometheus prints arrives bit for bit")
def test_every_value_of_a_long_window(prometheus: PrometheusServer) -> None:
    query = "sum by (client, method) (latency)"
    asked = window(0, SAMPLES * STEP)
    source = PrometheusSource(service(prometheus))
    batch = source.extract(measurement(x=query), "production", asked)
    source.close()
    expected = reference(prometheus, query, asked)
    frame = batch.frame
    tags = frame[["client", "method"]].astype("object")
    tags = tags.where(tags.notna(), None)
    times = frame["time"].astype("int64") // 1_000_000
    keys = list(zip(tags["client"], tags["method"], times, strict=True))
    assert len(keys) == len(expected) > 100_000
    assert len(set(keys)) == len(keys)
    assert {key: float(expected[key]) for key in keys} == dict(
        zip(keys, frame["x"].tolist(), strict=True)
    )
    assert sorted(frame["client"].cat.categories) == sorted([*ODD, "bare"])


def test_two_fields_meet_in_one_row(prometheus: PrometheusServer) -> None:
    entry = measurement(
        x='sum by (client, method) (latency{client="bare"})',
        y='sum by (client, method) (latency{client="bare"} * 2)',
    )
    source = PrometheusSource(service(prometheus))
    frame = source.extract(entry, "production", window(1, 61)).frame
    source.close()
    assert frame["time"].astype("int64").tolist() == [
        (T0 + s) * 1_000_000 for s in (15, 30, 45, 60)
    ]
    assert (frame["y"] == frame["x"] * 2).all()
    assert frame["method"].isna().all()


def test_infinity_and_nan_are_dropped(prometheus: PrometheusServer) -> None:
    entry = measurement(x="sum by (client, method) (odd * 0)", y="sum by (client, method) (odd)")
    source = PrometheusSource(service(prometheus))
    batch = source.extract(entry, "production", window(0, 60))
    source.close()
    assert batch.dropped == {"nan": 2, "inf": 2}
    assert batch.frame["x"].tolist() == [0.0, 0.0]
    assert batch.frame["y"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("sum(", 400, "parse error: unclosed left parenthesis"),
        ("latency[5m]", 400, "must be Scalar or instant Vector"),
        ("latency + on() latency", 422, "many-to-many matching not allowed"),
    ],
)
def test_a_wrong_query_is_refused(
    prometheus: PrometheusServer, query: str, status: int, words: str
) -> None:
    source = PrometheusSource(service(prometheus))
    with pytest.raises(SourceRefused) as caught:
        source.extract(measurement(x=query), "production", window(0, 60))
    source.close()
    assert caught.value.status == status
    assert words in caught.value.problem
    assert caught.value.fix == f"Correct this query: {query}"


def test_a_query_with_another_label_differs(prometheus: PrometheusServer) -> None:
    source = PrometheusSource(service(prometheus))
    query = "sum by (client, method, __name__) (label_replace(latency, 'pod', 'p', '', ''))"
    assert len(source.extract(measurement(x=query), "production", window(0, 60)).frame)
    other = "label_replace(latency, 'pod', 'p', '', '')"
    with pytest.raises(LabelsDiffer, match="'pod'"):
        source.extract(measurement(x=other), "production", window(0, 60))
    source.close()


@pytest.mark.promise(
    "Sources: a query that is too large for Prometheus is halved, and every slot arrives once"
)
def test_too_many_samples_is_too_much(
    make_prometheus: Callable[..., PrometheusServer], version: PrometheusVersion
) -> None:
    values = {selector("latency", {"client": str(n)}): np.arange(200.0) for n in range(5)}
    server = make_prometheus(history(values, T0, STEP), version=version)
    server.stop()
    server.command.append("--query.max-samples=500")
    server.start()
    source = PrometheusSource(service(server))
    entry = measurement(x="sum by (client) (latency)")
    # 5 series of 200 samples, in pieces of 500 samples at most
    frame = source.extract(entry, "production", window(0, 3000)).frame
    assert frame["x"].tolist() == [float(n) for n in range(200)] * 5
    source.close()


def test_query_of_which_ten_steps_are_too_much_is_given_up(
    make_prometheus: Callable[..., PrometheusServer], version: PrometheusVersion
) -> None:
    values = {selector("latency", {"client": str(n)}): np.arange(200.0) for n in range(5)}
    server = make_prometheus(history(values, T0, STEP), version=version)
    server.stop()
    server.command.append("--query.max-samples=30")
    server.start()
    source = PrometheusSource(service(server))
    entry = measurement(x="sum by (client) (latency)")
    with pytest.raises(SourceOverloaded, match="would load too many samples"):
        source.extract(entry, "production", window(0, 3000))
    assert source.extract(entry, "production", window(0, 30)).values == 10
    source.close()


@pytest.mark.promise(
    "Sources: a query that is too large for Prometheus is halved, and every slot arrives once"
)
def test_query_that_takes_too_long_is_halved(
    make_prometheus: Callable[..., PrometheusServer],
) -> None:
    values = {selector("latency", {"client": str(n)}): np.arange(1500.0) for n in range(200)}
    server = make_prometheus(history(values, T0, STEP))
    server.stop()
    server.command.append("--query.timeout=600ms")
    server.start()
    source = PrometheusSource(service(server))
    slow = "sum by (client) (quantile_over_time(0.5, latency[1h]))"
    entry = measurement(x=slow).model_copy(update={"max_series": 200})
    before = requests_to(server, RANGE)
    assert source.extract(entry, "production", window(3600, 22500)).values == 1260 * 200
    source.close()
    assert requests_to(server, RANGE) - before > 1


def test_counts_are_those_of_the_series(prometheus: PrometheusServer) -> None:
    entry = measurement(
        x="sum by (client, method) (latency) # all",
        none="sum by (client, method) (no_such_metric)",
        one="scalar(sum(latency))",
    )
    counts = count_series(service(prometheus), entry, window(0, 450))
    assert counts == {
        "x": SeriesCount(7, 7.0),
        "none": SeriesCount(0, 0.0),
        "one": SeriesCount(1, 1.0),
    }


@pytest.mark.parametrize("quantile", [0.01, 0.07, 0.25, 0.5, 0.9, 0.95, 0.99])
def test_quantiles_are_those_of_promql(prometheus: PrometheusServer, quantile: float) -> None:
    query = f"histogram_quantile({quantile}, lat_bucket)"
    [found] = prometheus.query(query, at=T0 + 45)
    buckets = {bound: float(count) for bound, count in BUCKETS.items()}
    assert quantile_of(quantile, buckets) == pytest.approx(float(found["value"][1]), rel=1e-15)


def test_probe_and_check(prometheus: PrometheusServer, version: PrometheusVersion) -> None:
    entry = measurement(
        good="sum by (client, method) (latency)",
        gone="sum by (client, method) (no_such_metric)",
        bare="latency",
        other="label_replace(latency, 'pod', 'p', '', '')",
        wrong="sum(",
        ranged="latency[5m]",
        scalar="1",
    )
    findings = probe(service(prometheus), entry, START + timedelta(minutes=1))
    assert [(one.field, one.state, one.series) for one in findings] == [
        ("good", "ok", 7),
        ("gone", "no_data", 0),
        ("bare", "ok", 7),
        ("other", "labels_differ", 7),
        ("wrong", "refused", 0),
        ("ranged", "refused", 7),
        ("scalar", "ok", 1),
    ]
    checks = check(service(prometheus))
    assert [(one.what, one.ok) for one in checks] == [
        ("reachable", True),
        ("authorised", True),
        ("is a Prometheus", True),
        ("has data", True),
    ]
    assert checks[2].detail.startswith(f"version {version}.")
    assert checks[3].detail == "3 metric names"
