"""How a VictoriaMetrics at the address of an InfluxDB is found out; its ways: tests/real."""

from datetime import timedelta

import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer

from tasks.core.errors import SinkUnavailable
from tasks.core.receipt import SinkValues
from tasks.core.services import InfluxService
from tasks.sinks.influxdb_http import InfluxHttp
from tasks.sinks.victoriametrics import VictoriaMetrics
from tests.support.fakes.influxdb import fake_influxdb
from tests.support.sink_samples import LATENCY, make_cell, rows, service_of, sink_to, to_load

SAYS_NO = 'unsupported path requested: "/api/v2/buckets"'


def service_at(server: HTTPServer) -> InfluxService:
    url = server.url_for("").rstrip("/")
    return InfluxService(url=url, token=SecretStr("any"), origin="X", token_from="X")


def find(service: InfluxService) -> VictoriaMetrics | None:
    with InfluxHttp(service, timedelta(seconds=5)) as http:
        return VictoriaMetrics.find(http, http.find_bucket())


@pytest.mark.parametrize(
    ("value", "days"),
    [("1", 31), ("10y", 3650), ("2w", 14), ("1.5d", 1.5), ("36h", 1.5), ("3M", 93), ("ever", None)],
)
def test_its_retention_is_read_from_its_flags(
    httpserver: HTTPServer, value: str, days: float | None
) -> None:
    httpserver.expect_request("/api/v2/buckets").respond_with_data(SAYS_NO, 400)
    flag = f'flag{{name="retentionPeriod", value="{value}", is_set="true"}} 1\n'
    httpserver.expect_request("/metrics").respond_with_data("a 1\n" + flag)
    found = find(service_at(httpserver))
    assert found is not None
    assert found.keeps == (None if days is None else timedelta(days=days))


def test_an_influxdb_is_none() -> None:
    with fake_influxdb() as fake:
        assert find(service_of(fake)) is None


def test_while_it_is_not_known_nothing_is_sent(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/api/v2/buckets").respond_with_data("", 503)
    with sink_to(service_at(httpserver)) as sink:
        (answer,) = sink.load(LATENCY, "production", [to_load(LATENCY, make_cell(0), rows(2))])
    assert isinstance(answer.error, SinkUnavailable)
    assert answer.values == SinkValues(owed=2, pending=2)
    assert {request.path for request, _ in httpserver.log} == {"/api/v2/buckets"}
