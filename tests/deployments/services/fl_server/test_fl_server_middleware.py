"""The middleware around a small application of its own."""

import json

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from deployments.services.fl_server.faults import FaultBoard, MalformedFault, SlowFault
from deployments.services.fl_server.metrics import PREFIX, ServiceMetrics
from deployments.services.fl_server.middleware import (
    FaultMiddleware,
    MeasuringMiddleware,
    RequestTally,
    TokenMiddleware,
)
from tests.support.asgi_call import call

RIGHT = ("Authorization", "Bearer s3cret")


class AppBugError(Exception):
    """Raised by the application on purpose."""


def make_app() -> FastAPI:
    app = FastAPI(redirect_slashes=False)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/broken")
    def broken() -> None:
        raise AppBugError

    return app


def guarded(metrics: ServiceMetrics) -> TokenMiddleware:
    return TokenMiddleware(make_app(), SecretStr("s3cret"), metrics.security)


def test_requests_are_measured_by_method_and_status() -> None:
    metrics, tally = ServiceMetrics(), RequestTally()
    app = MeasuringMiddleware(make_app(), metrics.requests, tally)
    call(app, "/health")
    call(app, "/missing")
    with pytest.raises(AppBugError):
        call(app, "/broken")
    call(app, "/health", method="BREW")
    sample = metrics.registry.get_sample_value
    counts = [
        sample(f"{PREFIX}requests_total", {"method": method, "status": status})
        for method, status in [("GET", "200"), ("GET", "404"), ("GET", "500"), ("OTHER", "405")]
    ]
    assert counts == [1, 1, 1, 1]
    assert sample(f"{PREFIX}request_duration_seconds_count", {"method": "GET"}) == 3
    assert (tally.total, tally.failed) == (4, 1)


@pytest.mark.parametrize("header", ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret"])
def test_the_token_opens(header: str) -> None:
    metrics = ServiceMetrics()
    # 404: the request came through to an application without that path
    assert call(guarded(metrics), "/missing", ("Authorization", header)).status == 404
    assert metrics.registry.get_sample_value(f"{PREFIX}unauthorized_requests_total") == 0


@pytest.mark.parametrize(
    "header",
    ["Bearer s3cre", "Bearer s3cretX", "Bearer S3CRET", "Bearer", "Bearer ", "Basic s3cret"],
)
def test_anything_else_is_refused_and_counted(header: str) -> None:
    metrics = ServiceMetrics()
    answer = call(guarded(metrics), "/missing", ("Authorization", header))
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="fl-server"'
    assert "s3cret" not in answer.body
    assert metrics.registry.get_sample_value(f"{PREFIX}unauthorized_requests_total") == 1


def test_two_tokens_are_none() -> None:
    app = guarded(ServiceMetrics())
    assert call(app, "/missing", RIGHT, RIGHT).status == 401
    assert call(app, "/missing").status == 401


def test_health_is_open_and_nothing_like_it() -> None:
    app = guarded(ServiceMetrics())
    assert call(app, "/health").status == 200
    assert [call(app, path).status for path in ("/health/", "/healthy", "//health")] == [401] * 3


def test_faults_keep_the_status_and_the_type() -> None:
    board = FaultBoard()
    app = FaultMiddleware(make_app(), board)
    board.add(MalformedFault(path="/health", kind="malformed_json", times=1))
    board.add(SlowFault(path="/health", kind="slow", seconds=0.01, times=1))
    spoilt = call(app, "/health")
    assert (spoilt.status, spoilt.body) == (200, '{"statu')
    assert spoilt.headers["content-type"] == "application/json"
    assert spoilt.headers["content-length"] == "7"
    slow, plain = (json.loads(call(app, "/health").body) for _ in range(2))
    assert slow == plain == {"status": "ok"}
