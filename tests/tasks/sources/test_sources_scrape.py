"""Samples from a service's own metrics page."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.batch import Batch, build_frame, empty_frame
from tasks.core.checks import ServiceCheck
from tasks.core.errors import AnswerInvalid, SeriesExceeded, SourceRefused, SourceUnavailable
from tasks.core.measurement import FieldSpec, Measurement
from tasks.core.services import Service
from tasks.core.window import Window
from tasks.sources.scrape import Page, ScrapeSource, check_api, fetch_page
from tests.support.fakes.raw_http import RawServer

SLOT = datetime(2026, 3, 1, 10, 5, tzinfo=UTC)
NOW = SLOT + timedelta(seconds=42)
WINDOW = Window(datetime(2026, 3, 1, 10, tzinfo=UTC), datetime(2026, 3, 1, 11, tzinfo=UTC))


def measurement(*tags: str, max_series: int = 10, **fields: dict[str, Any]) -> Measurement:
    """Fields from scrapes, as metrics.yaml has them; `type` beside them is the field's."""
    specs = {
        name: FieldSpec.model_validate({"type": entry.pop("type", "float"), "scrape": entry})
        for name, entry in fields.items()
    }
    return Measurement(
        name="m",
        type="performance",
        tags=tags,
        fields=specs,
        step=timedelta(seconds=15),
        every=timedelta(seconds=60),
        max_series=max_series,
    )


def page(text: str, before: float = 0.0) -> Page:
    return Page("http://localhost:8000", NOW - timedelta(seconds=before), text)


def extract(entry: Measurement, now: str, before: str | None = None, gap: float = 20) -> Batch:
    previous = None if before is None else page(before, gap)
    source = ScrapeSource(page(now), previous)
    batch = source.extract(entry, "production", WINDOW)
    source.close()
    return batch


def rows(batch: Batch, *columns: str) -> list[tuple[Any, ...]]:
    """The rows with None for null."""
    frame = batch.frame[list(columns)].astype("object")
    return [tuple(None if pd.isna(v) else v for v in row) for row in frame.to_numpy().tolist()]


GAUGES = """\
# TYPE model_size_bytes gauge
model_size_bytes{model="vit",part="head"} 10
model_size_bytes{model="vit",part="body"} 30
model_size_bytes{model="cnn",part="body"} 5
model_size_bytes{part="stray"} 7
"""


def test_values_are_combined_by_the_tags() -> None:
    entry = measurement(
        "model",
        total={"metric": "model_size_bytes", "as": "value"},
        mean={"metric": "model_size_bytes", "as": "value", "combine": "mean"},
        highest={"metric": "model_size_bytes", "as": "value", "combine": "max"},
        lowest={"metric": "model_size_bytes", "as": "value", "combine": "min", "scale": 0.5},
        head={"metric": "model_size_bytes", "as": "value", "labels": {"part": "head"}},
    )
    batch = extract(entry, GAUGES)
    nan = math.nan
    expected = build_frame(
        entry,
        {
            "time": pd.to_datetime([SLOT] * 3),
            "environment": ["production"] * 3,
            "model": [None, "cnn", "vit"],
            "total": [7.0, 5.0, 40.0],
            "mean": [7.0, 5.0, 20.0],
            "highest": [7.0, 5.0, 30.0],
            "lowest": [3.5, 2.5, 5.0],
            "head": [nan, nan, 10.0],
        },
    )
    pd.testing.assert_frame_equal(batch.frame, expected)
    assert (batch.dropped, batch.warnings, batch.not_served) == ({}, (), ())


@pytest.mark.parametrize(
    "window",
    [
        Window(SLOT + timedelta(seconds=1), SLOT + timedelta(hours=1)),
        Window(SLOT - timedelta(hours=1), SLOT),
    ],
)
def test_outside_the_window_there_are_no_rows(window: Window) -> None:
    entry = measurement("model", size={"metric": "model_size_bytes", "as": "value"})
    batch = ScrapeSource(page(GAUGES), None).extract(entry, "production", window)
    pd.testing.assert_frame_equal(batch.frame, empty_frame(entry))


def test_the_start_of_the_window_belongs_to_it() -> None:
    entry = measurement("model", size={"metric": "model_size_bytes", "as": "value"})
    window = Window(SLOT, SLOT + timedelta(seconds=1))
    assert len(ScrapeSource(page(GAUGES), None).extract(entry, "production", window).frame) == 3


@pytest.mark.promise("Sources: a sample has the time at which its run began, so no slot is missed")
def test_a_page_of_the_next_slot_is_the_sample_of_the_run_that_asked_for_it() -> None:
    entry = measurement("model", size={"metric": "model_size_bytes", "as": "value"})
    window = Window(SLOT - entry.every, SLOT)
    source = ScrapeSource(page(GAUGES), None, SLOT - timedelta(seconds=1))
    batch = source.extract(entry, "production", window)
    assert set(batch.frame["time"]) == {window.start}


BEFORE = """\
# TYPE requests counter
requests_total{method="GET",status="200"} 100
requests_total{method="GET",status="500"} 50
requests_total{method="PUT",status="200"} 8
"""
AFTER = """\
# TYPE requests counter
requests_total{method="GET",status="200"} 140
requests_total{method="GET",status="500"} 10
requests_total{method="PUT",status="200"} 8
requests_total{method="NEW",status="200"} 3
"""


def test_a_rate_counts_a_reset_from_zero() -> None:
    entry = measurement(
        "method",
        per_second={"metric": "requests_total", "as": "rate"},
        errors={"metric": "requests_total", "as": "rate", "labels": {"status": "500"}},
    )
    batch = extract(entry, AFTER, BEFORE, gap=20)
    # GET: 40 and, after the reset, 10 in 20 s; NEW was not there before
    assert rows(batch, "method", "per_second", "errors") == [("GET", 2.5, 0.5), ("PUT", 0.0, None)]


def test_a_counter_without_total_goes_by_its_own_name() -> None:
    entry = measurement(n={"metric": "hits", "as": "rate"})
    text = "# TYPE hits counter\nhits {}\n"
    batch = extract(entry, text.format(30), text.format(20), gap=20)
    assert rows(batch, "n") == [(0.5,)]
    assert rows(
        extract(measurement(n={"metric": "hits", "as": "value"}), text.format(30)), "n"
    ) == [(30.0,)]


def histogram(*counts: int, method: str = "GET") -> str:
    bounds = ("0.5", "1.0", "2", "+Inf")
    lines = [
        f'lat_bucket{{method="{method}",code="1",le="{bound}"}} {count}\n'
        for bound, count in zip(bounds, counts, strict=True)
    ]
    return "".join(lines) + f'lat_sum{{method="{method}",code="1"}} 1\n'


def test_a_quantile_is_of_the_growth() -> None:
    entry = measurement(
        "method",
        p50={"metric": "lat", "as": "quantile", "quantile": 0.5},
        p90={"metric": "lat", "as": "quantile", "quantile": 0.9, "scale": 1000},
    )
    head = "# TYPE lat histogram\n"
    before = head + histogram(100, 100, 100, 100) + histogram(9, 9, 9, 9, method="IDLE")
    after = head + histogram(100, 104, 108, 110) + histogram(9, 9, 9, 9, method="IDLE")
    batch = extract(entry, after, before)
    # growth 0, 4, 8, 10: rank 5 is a quarter of the way from 1 to 2; rank 9 is in +Inf
    assert rows(batch, "method", "p50", "p90") == [("GET", 1.25, 2000.0)]
    assert batch.warnings == ()


def test_buckets_of_one_key_are_summed() -> None:
    entry = measurement(p50={"metric": "lat", "as": "quantile", "quantile": 0.5})
    before = histogram(0, 0, 0, 0) + histogram(0, 0, 0, 0, method="PUT")
    after = histogram(0, 2, 2, 2) + histogram(0, 0, 6, 6, method="PUT")
    # summed 0, 2, 8, 8: rank 4 is a third of the way from 1 to 2
    assert rows(extract(entry, after, before), "p50") == [(pytest.approx(4 / 3),)]


def test_a_histogram_that_was_reset_counts_from_zero() -> None:
    entry = measurement(p50={"metric": "lat", "as": "quantile", "quantile": 0.5})
    batch = extract(entry, histogram(0, 2, 4, 4), histogram(100, 100, 100, 100))
    assert rows(batch, "p50") == [(1.0,)]


def test_a_bucket_without_a_bound_is_refused() -> None:
    entry = measurement(p50={"metric": "lat", "as": "quantile", "quantile": 0.5})
    text = 'lat_bucket{le="wide"} 1\n'
    with pytest.raises(AnswerInvalid, match="lat_bucket has the bucket 'wide'"):
        extract(entry, text, text)


@pytest.mark.parametrize("before", [None, (BEFORE, 0.0)])
def test_growth_needs_two_scrapes(before: tuple[str, float] | None) -> None:
    entry = measurement(
        "method",
        now={"metric": "requests_total", "as": "value"},
        per_second={"metric": "requests_total", "as": "rate"},
    )
    text, gap = before or (None, 0.0)
    batch = extract(entry, AFTER, text, gap)
    assert rows(batch, "method", "now", "per_second") == [
        ("GET", 150.0, None),
        ("NEW", 3.0, None),
        ("PUT", 8.0, None),
    ]
    assert batch.warnings == ("per_second: needs two scrapes",)
    assert batch.unmeasured == {"per_second"}
    assert batch.not_served == ()


def test_a_metric_that_is_not_there_is_said() -> None:
    entry = measurement(p50={"metric": "lat", "as": "quantile", "quantile": 0.5})
    batch = extract(entry, GAUGES, GAUGES)
    assert batch.warnings == ("p50: the page has no lat_bucket",)
    assert len(batch.frame) == 0


def test_fields_without_a_scrape_are_not_served() -> None:
    entry = measurement("model", size={"metric": "model_size_bytes", "as": "value"})
    fields = {
        **entry.fields,
        "q": FieldSpec(query="up"),
        "text": FieldSpec.model_validate(
            {"type": "string", "scrape": {"metric": "model_size_bytes", "as": "value"}}
        ),
    }
    batch = extract(entry.model_copy(update={"fields": fields}), GAUGES)
    assert batch.not_served == ("q", "text")
    assert batch.frame["q"].isna().all()
    assert batch.values == 3


def test_nan_and_infinity_are_dropped_and_counted() -> None:
    text = 'g{a="1"} NaN\ng{a="2"} +Inf\ng{a="3"} -Inf\ng{a="4"} 4\ng{a="4",b="x"} NaN\n'
    entry = measurement(
        "a",
        total={"metric": "g", "as": "value"},
        highest={"metric": "g", "as": "value", "combine": "max"},
    )
    batch = extract(entry, text)
    # the sum of 4 and NaN is NaN, the highest of them is 4
    assert batch.dropped == {"nan": 3, "inf": 4}
    assert rows(batch, "a", "total", "highest") == [("4", None, 4.0)]


def test_integers_and_booleans() -> None:
    entry = measurement(
        n={"metric": "n", "as": "value", "type": "int"},
        ok={"metric": "ok", "as": "value", "type": "bool"},
    )
    assert rows(extract(entry, "n 5\nok 1\n"), "n", "ok") == [(5, True)]
    with pytest.raises(AnswerInvalid, match=r"n is int in the catalogue, but 5\.5 came"):
        extract(entry, "n 5.5\nok 1\n")


def test_too_many_series() -> None:
    entry = measurement("a", max_series=2, x={"metric": "g", "as": "value"})
    lines = [f'g{{a="{n}"}} 1\n' for n in range(3)]
    assert len(extract(entry, "".join(lines[:2])).frame) == 2
    with pytest.raises(SeriesExceeded, match=r"m: 3 series from .+ to .+, max_series is 2"):
        extract(entry, "".join(lines))


def test_what_prometheus_client_prints() -> None:
    registry = CollectorRegistry()
    odd = 'a"b\\c\nd,{}é'
    Gauge("accuracy", "it", ["client"], registry=registry).labels(odd).set(0.25)
    Counter("rounds_total", "they", registry=registry).inc(3)
    Histogram("seconds", "it", registry=registry, buckets=(1, 2)).observe(1.5)
    text = generate_latest(registry).decode()
    entry = measurement("client", x={"metric": "accuracy", "as": "value"})
    assert rows(extract(entry, text), "client", "x") == [(odd, 0.25)]
    rounds = measurement(x={"metric": "rounds_total", "as": "value"})
    assert rows(extract(rounds, text), "x") == [(3.0,)]
    assert page(text).samples["seconds_bucket"] == {
        (("le", "1.0"),): 0.0,
        (("le", "2.0"),): 1.0,
        (("le", "+Inf"),): 1.0,
    }


@pytest.mark.parametrize(
    "text",
    ["<html>\n", "up{", "up one\n", 'up{a="1} 2\n', "up\n", f"up {'9' * 400}\n", 'up{"} 1\n'],
)
def test_text_that_is_no_page(text: str) -> None:
    with pytest.raises(AnswerInvalid, match=r"its metrics page: it cannot be parsed"):
        _ = page(text).samples


def service(url: str, token: str | None = None) -> Service:
    secret = SecretStr(token) if token else None
    return Service(
        url=url.rstrip("/"), token=secret, origin="FED_VIT_API_URL", token_from="FED_VIT_API_TOKEN"
    )


def guarded(request: Request) -> Response:
    if request.headers.get("Authorization") != "Bearer t0ken":
        return Response("no", 401)
    if not request.headers["Accept"].startswith("text/plain"):
        return Response("no", 406)
    return Response(GAUGES, content_type="text/plain; version=0.0.4")


def test_a_page_is_fetched_with_its_time(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/metrics").respond_with_handler(guarded)
    url = httpserver.url_for("").rstrip("/")
    before = datetime.now(UTC)
    fetched = fetch_page(service(url, "t0ken"))
    assert before <= fetched.time <= datetime.now(UTC)
    assert (fetched.url, fetched.text) == (url, GAUGES)


def fetched_from(httpserver: HTTPServer, body: bytes) -> Page:
    httpserver.expect_request("/metrics").respond_with_data(body, content_type="text/plain")
    return fetch_page(service(httpserver.url_for("")))


BAD_LINES = {
    "no number": (b"up one", "could not convert string to float: 'one'"),
    "a line break in a label": (b'up{a="x', "could not convert string to float"),
    "another encoding": (b'up{a="caf\xe9"} 1', "it is not UTF-8"),
    "a type of nothing": (b"# TYPE up", "a malformed line"),
    "a page of HTML below": (b"<br>", "invalid metric name:<br>"),
}


@pytest.mark.parametrize(("line", "problem"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_skipped_and_named(httpserver: HTTPServer, line: bytes, problem: str) -> None:
    found = fetched_from(httpserver, b"# TYPE g gauge\ng 1\n" + line + b"\nh 2\n")
    entry = measurement(g={"metric": "g", "as": "value"}, h={"metric": "h", "as": "value"})
    batch = ScrapeSource(found, None, NOW).extract(entry, "production", WINDOW)

    assert rows(batch, "g", "h") == [(1.0, 2.0)]
    (warning,) = batch.warnings
    assert warning.startswith("malformed lines of the metrics page are skipped (1): line 3: ")
    assert problem in warning
    # it is kept for the rates of the next run as it was read
    assert Page(found.url, found.time, found.text).samples == found.samples


def test_many_bad_lines_are_counted_and_some_named(httpserver: HTTPServer) -> None:
    found = fetched_from(httpserver, b"g 1\n" + b"up one\n" * 9)
    assert found.warnings[0].startswith("malformed lines of the metrics page are skipped (9): ")
    assert found.warnings[0].count("line ") == 3
    assert found.warnings[0].endswith("; …")


@pytest.mark.parametrize("lead", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_good_page_has_no_warning(httpserver: HTTPServer, lead: bytes, end: bytes) -> None:
    found = fetched_from(
        httpserver, lead + end.join([b"# HELP g G", b"# TYPE g gauge", b"g 1", b""])
    )
    assert (found.samples["g"], found.warnings) == ({(): 1.0}, ())


OPENMETRICS = r"""# HELP jobs Jobs that were done: "all" of them\nsecond line, C:\\temp
# TYPE jobs counter
# UNIT jobs
jobs_total{queue="a\"b\\c\nd # {",x=""} 7 # {trace_id="abc",span="}"} 1.0 1772359200.000
jobs_created{queue="a\"b\\c\nd # {",x=""} 1772359000.000
# TYPE wait_seconds histogram
wait_seconds_bucket{le="0.1"} 5 # {} 0.06
wait_seconds_bucket{le="+Inf"} 9
wait_seconds_count 9
# TYPE plain counter
plain_total 3 # {trace_id="x"} 0.5
# TYPE temperature_celsius gauge
temperature_celsius{room="a"} 21.5 1772359200.000
temperature_celsius{room="b"} NaN
temperature_celsius{room="c"} +Inf
# TYPE build info
build_info{version="1.2"} 1
# TYPE mode stateset
mode{mode="on"} 1
# EOF
"""


def test_a_page_of_openmetrics_is_read(httpserver: HTTPServer) -> None:
    found = fetched_from(httpserver, OPENMETRICS.encode())
    assert found.warnings == ()
    assert found.samples["jobs_total"] == {(("queue", 'a"b\\c\nd # {'), ("x", "")): 7.0}
    assert found.samples["wait_seconds_bucket"][("le", "0.1"),] == 5.0
    assert found.samples["plain_total"] == {(): 3.0}
    entry = measurement("room", t={"metric": "temperature_celsius", "as": "value"})
    batch = ScrapeSource(found, None, NOW).extract(entry, "production", WINDOW)
    assert rows(batch, "room", "t") == [("a", 21.5)]
    assert batch.dropped == {"nan": 1, "inf": 1}


def test_a_wrong_token_is_refused(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/metrics").respond_with_handler(guarded)
    with pytest.raises(SourceRefused) as caught:
        fetch_page(service(httpserver.url_for(""), "wr0ng"))
    assert caught.value.status == 401
    assert "FED_VIT_API_TOKEN" in caught.value.fix
    assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize(
    ("response", "error", "problem"),
    [
        (Response("<p>hi</p>", content_type="text/html"), AnswerInvalid, "it is an HTML page"),
        (Response("<p>hi</p>", content_type="text/plain"), AnswerInvalid, "it cannot be parsed"),
        (Response(b"g\xff 1\n", content_type="text/plain"), AnswerInvalid, "it is not UTF-8"),
        (Response("gone", 404), SourceRefused, "gone"),
        (Response("down", 503), SourceUnavailable, "HTTP 503: down"),
        (Response("", 302, headers={"Location": "http://login.invalid/"}), SourceRefused, "it redirects to login.invalid"),
    ],
)  # fmt: skip
def test_a_page_that_is_none(
    httpserver: HTTPServer, response: Response, error: type[Exception], problem: str
) -> None:
    httpserver.expect_request("/metrics").respond_with_handler(lambda _: response)
    with pytest.raises(error) as caught:
        fetch_page(service(httpserver.url_for("")))
    assert problem in caught.value.problem  # type: ignore[attr-defined]
    assert caught.value.what == "its metrics page"  # type: ignore[attr-defined]


def test_half_a_page_may_come_right() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 999\r\n\r\n"
    with RawServer([head + GAUGES.encode()]) as server, pytest.raises(SourceUnavailable):
        fetch_page(service(server.url))


API = "the service's API"


def test_check_api_finds_all_well(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/metrics").respond_with_handler(guarded)
    url = httpserver.url_for("").rstrip("/")
    assert check_api(service(url, "t0ken")) == (
        ServiceCheck(API, "reachable", True, url),
        ServiceCheck(API, "authorised", True, "with a token"),
        ServiceCheck(API, "metrics page", True, "1 sample names"),
    )


def test_check_api_names_what_is_wrong(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/metrics").respond_with_handler(guarded)
    reachable, authorised = check_api(service(httpserver.url_for("")))
    assert reachable.ok
    assert not authorised.ok
    assert (authorised.what, authorised.detail) == ("authorised", "no token is set")
    assert "FED_VIT_API_TOKEN" in authorised.fix


def test_check_api_of_another_page(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/metrics").respond_with_data("<p>", content_type="text/html")
    checks = check_api(service(httpserver.url_for("")))
    assert [one.ok for one in checks] == [True, True, False]
    assert checks[-1].detail == "it is an HTML page"
    assert checks[-1].fix == "Check the address in FED_VIT_API_URL and any proxy"


def test_check_api_of_nobody() -> None:
    with RawServer([]) as server:
        url = server.url
    [reachable] = check_api(service(url))
    assert (reachable.what, reachable.ok) == ("reachable", False)
    assert reachable.fix == "Start it, or fix the address in FED_VIT_API_URL"
