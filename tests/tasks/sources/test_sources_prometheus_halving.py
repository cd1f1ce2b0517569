"""A query that is too much is halved in time; and no more are asked at once than may be."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from threading import BoundedSemaphore, Lock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.core.errors import SourceOverloaded, SourceTimedOut
from tasks.core.services import Service
from tasks.core.window import Window
from tasks.http import Limits
from tasks.sources.counting import SeriesCount, count_series
from tasks.sources.prometheus import PrometheusSource
from tests.support.fakes.prometheus import FakePrometheus, FakeSeries, Refused
from tests.support.fakes.raw_http import RawServer
from tests.support.prometheus_samples import START, T0, measurement

STEP = 15
TOO_MANY = "query processing would load too many samples into memory in query execution"


@dataclass
class SmallPrometheus(FakePrometheus):
    """Refuses ranges of more than `most` slots; keeps the slots of every range that was asked."""

    most: int = 100
    slots: list[int] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    _guard: Lock = field(default_factory=Lock)

    def _routed(self, path: str, method: str, form: Mapping[str, str]) -> Response:
        with self._guard:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            slots = round((float(form["end"]) - float(form["start"])) / STEP) + 1
            self.slots.append(slots)
            if slots > self.most:
                raise Refused(422, "execution", TOO_MANY)
            return super()._routed(path, method, form)
        finally:
            with self._guard:
                self.at_once -= 1


@pytest.fixture
def prometheus(httpserver: HTTPServer) -> SmallPrometheus:
    values = FakeSeries({}, lambda time: str(time // 1000 - T0))
    return SmallPrometheus(httpserver, queries={"q_x": [values], "q_y": [values]})


def window(slots: int) -> Window:
    return Window(START, START + timedelta(seconds=STEP * slots))


def source_of(prometheus: FakePrometheus) -> PrometheusSource:
    return PrometheusSource(Service(url=prometheus.url, origin="PROMETHEUS_URL"))


def test_halves_are_joined_and_their_length_is_remembered(prometheus: SmallPrometheus) -> None:
    source = source_of(prometheus)
    frame = source.extract(measurement(x="float"), "production", window(300)).frame
    assert frame["x"].tolist() == [float(STEP * n) for n in range(300)]
    assert prometheus.slots == [300, 150, 75, 75, 150, 75, 75]
    prometheus.slots.clear()
    source.extract(measurement(x="float"), "production", window(300))
    assert prometheus.slots == [75, 75, 75, 75]
    prometheus.slots.clear()
    # another query may be cheaper
    source.extract(measurement(y="float"), "production", window(80))
    assert prometheus.slots == [80]
    source.close()


def test_ten_slots_that_are_too_much_are_the_end(prometheus: SmallPrometheus) -> None:
    prometheus.most = 9
    source = source_of(prometheus)
    with pytest.raises(SourceOverloaded, match="would load too many samples"):
        source.extract(measurement(x="float"), "production", window(300))
    assert prometheus.slots == [300, 150, 75, 38, 19]
    source.close()


@pytest.mark.slow
@pytest.mark.promise(
    "Sources: a query that is too large for Prometheus is halved, and every slot arrives once"
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(slots=st.integers(1, 400), most=st.integers(19, 400))
def test_every_slot_is_there_once_whatever_the_limit(
    prometheus: SmallPrometheus, slots: int, most: int
) -> None:
    prometheus.most = most
    source = source_of(prometheus)
    frame = source.extract(measurement(x="float"), "production", window(slots)).frame
    source.close()
    assert frame["x"].tolist() == [float(STEP * n) for n in range(slots)]


def test_a_silent_server_is_asked_for_a_quarter_and_no_less() -> None:
    with RawServer([b"", b"x"], pause=5) as server:
        source = PrometheusSource(
            Service(url=server.url, origin="PROMETHEUS_URL"), Limits(silence=0.2)
        )
        with pytest.raises(SourceTimedOut, match="timed out"):
            source.extract(measurement(x="float"), "production", window(1000))
        assert source._slots == {"q_x": 250}
        source.close()


def test_no_more_queries_at_once_than_the_gate_lets_in(prometheus: SmallPrometheus) -> None:
    service = Service(url=prometheus.url, origin="PROMETHEUS_URL")
    source = PrometheusSource(service, gate=BoundedSemaphore(2))
    entry = measurement(x="float", y="float")
    with ThreadPoolExecutor(8) as pool:
        wanted = [pool.submit(source.extract, entry, "production", window(90)) for _ in range(16)]
        assert all(future.result().values == 180 for future in wanted)
    source.close()
    assert prometheus.most_at_once <= 2
    assert len(prometheus.slots) == 32


def test_counts_are_taken_at_few_moments(httpserver: HTTPServer) -> None:
    half = T0 + 40 * STEP
    grows = FakeSeries({}, lambda time: "2" if time // 1000 < half else "4")
    prometheus = FakePrometheus(httpserver, queries={"count(\nq_x\n)": [grows]})
    service = Service(url=prometheus.url, origin="PROMETHEUS_URL")
    assert count_series(service, measurement(x="float"), window(80)) == {"x": SeriesCount(4, 3.0)}
    [form] = prometheus.asked
    assert (form["step"], float(form["start"]), float(form["end"])) == ("1m", T0, T0 + 76 * STEP)


def test_where_no_series_is_nothing_is_counted(httpserver: HTTPServer) -> None:
    prometheus = FakePrometheus(httpserver, queries={"count(\nq_x\n)": []})
    service = Service(url=prometheus.url, origin="PROMETHEUS_URL")
    assert count_series(service, measurement(x="float"), window(9)) == {"x": SeriesCount(0, 0.0)}
