"""What sources without queries give now, field by field, before anything is collected."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.core.catalogue import Catalogue
from tasks.core.errors import SourceUnavailable
from tasks.core.measurement import FieldSpec, Measurement
from tasks.core.services import Environment, Service
from tasks.core.settings import shipped
from tasks.runs.base import live
from tasks.runs.base.live import WHOLE, Live
from tasks.sources.discovery import FieldFinding
from tests.support.fakes.api import Api
from tests.support.fakes.training import HISTORY, FakeTraining, a_round
from tests.support.rest_samples import rest_measurement, tls_measurement

SHIPPED = Catalogue.read(shipped("config") / "metrics.yaml")
NOBODY = Service(url="http://127.0.0.1:9", origin="FED_VIT_API_URL")


def looked(
    measurement: Measurement, api: Service | None, prometheus: Service | None = None
) -> tuple[FieldFinding, ...]:
    services = {"api": api, "prometheus": prometheus}
    known = {name: service for name, service in services.items() if service is not None}
    environment = Environment(name="production", services=known)
    with closing(Live(environment, datetime.now(UTC))) as looking:
        return looking.findings(measurement)


def scraped(**fields: dict[str, str]) -> Measurement:
    specs = {name: FieldSpec.model_validate(spec) for name, spec in fields.items()}
    minute = timedelta(minutes=1)
    return Measurement(
        name="m", type="performance", fields=specs, step=minute, every=minute, max_series=5
    )


def test_what_is_there_missing_or_of_another_type(httpserver: HTTPServer) -> None:
    api = Api(httpserver)
    api.body = json.dumps({"items": [{"id": "a", "x": 1.5, "z": "many"}, {"id": "b", "x": 2}]})
    measurement = rest_measurement(
        {"x": "$.x", "y": "$.y", "z": "$.z"}, tags={"id": "$.id"}, rows="$.items"
    )

    x, y, z = looked(measurement, api.service())

    assert x == FieldFinding("m", "x", "ok", 2, "2 rows")
    assert (y.state, y.detail) == ("no_data", "not offered by this service")
    assert (z.state, z.detail) == ("refused", "a string where a number belongs")
    assert y.fix
    assert z.fix


def test_an_endpoint_that_is_not_there_is_no_fault(httpserver: HTTPServer) -> None:
    api = Api(httpserver)
    measurement = rest_measurement({"x": "$.x", "y": "$.y"}, endpoint="/api/other")
    httpserver.expect_request("/api/other").respond_with_data("", 404)

    found = looked(measurement, api.service())

    assert {(one.state, one.detail) for one in found} == {
        ("no_data", "/api/other is not offered by this service")
    }


def test_an_endpoint_is_asked_once_for_all_its_measurements(httpserver: HTTPServer) -> None:
    api = Api(httpserver)
    api.body = '{"x": 1, "y": 2}'
    environment = Environment(name="production", services={"api": api.service()})

    with closing(Live(environment, datetime.now(UTC))) as looking:
        for name in ("x", "y"):
            assert looking.findings(rest_measurement({name: f"$.{name}"}))[0].state == "ok"

    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("body", "state", "words"),
    [
        ("<html>", "refused", "it is not JSON"),
        ("[]", "refused", "the body is a list, not an object"),
        ('{"items": [{"id": "a", "x": 1}, {"id": "b", "x": 1}]}', "too_many_series", "id"),
    ],
)
def test_an_answer_that_cannot_be_used_is_one_finding(
    httpserver: HTTPServer, body: str, state: str, words: str
) -> None:
    api = Api(httpserver)
    api.body = body
    is_list = state == "too_many_series"
    measurement = rest_measurement(
        {"x": "$.x", "y": "$.y"},
        tags={"id": "$.id"} if is_list else None,
        rows="$.items" if is_list else None,
        max_series=1,
    )

    [found] = looked(measurement, api.service())

    assert (found.measurement, found.field, found.state) == ("m", WHOLE, state)
    assert words in found.detail


def test_an_endpoint_that_does_not_answer_is_one_finding() -> None:
    [found] = looked(rest_measurement({"x": "$.x", "y": "$.y"}), NOBODY)

    assert (found.field, found.state) == (WHOLE, "refused")
    assert "http://127.0.0.1:9 could not answer /api/it" in found.detail


def test_a_service_without_tls_has_no_certificate_to_look_at(httpserver: HTTPServer) -> None:
    found = looked(tls_measurement(), Api(httpserver).service())

    assert {one.state for one in found} == {"no_data"}
    assert found[0].detail == ("the service is not reached by TLS: FED_VIT_API_URL is an http URL")


def test_the_rounds_of_the_last_day(httpserver: HTTPServer) -> None:
    now = datetime.now(UTC)
    training = FakeTraining(
        httpserver, [a_round(n, now - timedelta(hours=30 - 10 * n)) for n in range(1, 4)]
    )

    found = {one.field: one for one in looked(SHIPPED["fl_rounds"], training.service())}

    assert (found["loss"].state, found["loss"].series) == ("ok", 3)
    assert HISTORY in training.asked[0]


def test_growth_is_seen_between_two_pages(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "APART_SECONDS", 0.01)
    pages = iter(("hits_total 1\nload 3\n", "hits_total 2\nload 3\n"))
    httpserver.expect_request("/metrics").respond_with_handler(
        lambda _: Response(next(pages), content_type="text/plain")
    )
    measurement = scraped(
        hits={"scrape": {"metric": "hits_total", "as": "rate"}},
        load={"scrape": {"metric": "load", "as": "value"}},
        gone={"scrape": {"metric": "gone", "as": "value"}},
        asked={"query": "load"},
    )

    found = {one.field: one for one in looked(measurement, Api(httpserver).service())}

    assert {name: one.state for name, one in found.items()} == {
        "hits": "ok", "load": "ok", "gone": "no_data", "asked": "no_data",
    }  # fmt: skip
    assert found["gone"].detail == "the page has no gone"
    assert found["asked"].fix == "Give it a `scrape`, or set PROMETHEUS_URL"


def test_without_a_metrics_page_there_is_nothing_to_say() -> None:
    with pytest.raises(SourceUnavailable, match="could not answer its metrics page"):
        looked(scraped(load={"scrape": {"metric": "load", "as": "value"}}), NOBODY)


def test_what_has_no_source_is_left_out(httpserver: HTTPServer) -> None:
    prometheus = Api(httpserver).service()

    assert looked(rest_measurement({"x": "$.x"}), None, prometheus) == ()
    assert looked(SHIPPED["fedvitals_pipeline"], prometheus) == ()
