"""The HTTP application: paths, and the middleware around them."""

from typing import Annotated

from fastapi import FastAPI, Query, Response

from deployments.services.fl_server import bodies, faults, middleware
from deployments.services.fl_server.faults import Fault
from deployments.services.fl_server.service import Service
from deployments.services.fl_server.settings import VERSION

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Round = Annotated[int, Query(ge=0)]


def create_app(service: Service) -> FastAPI:
    """Build the application of a service; fault knobs exist in testing only."""
    # no pages of documentation: they load scripts from other hosts
    app = FastAPI(version=VERSION, docs_url=None, redoc_url=None, redirect_slashes=False)
    token, metrics = service.settings.token, service.metrics
    _add_paths(app, service)
    if service.settings.testing:
        _add_fault_paths(app, service)
        app.add_middleware(middleware.FaultMiddleware, board=service.faults)
    # the last one added is the outermost
    if token is not None:
        app.add_middleware(middleware.TokenMiddleware, token=token, metrics=metrics.security)
    app.add_middleware(
        middleware.MeasuringMiddleware, metrics=metrics.requests, tally=service.tally
    )
    return app


def _add_paths(app: FastAPI, service: Service) -> None:
    app.get("/health")(service.health)
    app.get("/health/detailed")(service.detailed_health)
    app.get("/api/status")(service.status)
    app.get("/api/privacy/status")(service.privacy_status)
    app.get("/api/clients/count")(service.client_count)
    app.get("/api/clients/participation")(service.participation)
    app.get("/api/training/status")(service.training_status)
    app.get("/api/training/progress")(service.training_progress)

    @app.get("/api/training/history")
    def history(since: Round = 0) -> bodies.TrainingHistory:
        return service.history(since)

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        return Response(service.metrics.page(), media_type=METRICS_TYPE)


def _add_fault_paths(app: FastAPI, service: Service) -> None:
    @app.post(faults.PATH, status_code=201)
    def add_fault(fault: Fault) -> Fault:
        service.faults.add(fault)
        return fault

    @app.delete(faults.PATH)
    def clear_faults() -> bodies.FaultCount:
        return bodies.FaultCount(cleared=service.faults.clear())
