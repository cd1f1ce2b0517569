"""The HTTP side: paths, the middleware around them, and nothing else."""

from typing import Annotated

from fastapi import FastAPI, Query, Response

from deployments.services.fl_server import bodies, faults
from deployments.services.fl_server.faults import Fault
from deployments.services.fl_server.middleware import (
    FaultMiddleware,
    MeasuringMiddleware,
    TokenMiddleware,
)
from deployments.services.fl_server.service import Service
from deployments.services.fl_server.settings import VERSION

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Round = Annotated[int, Query(ge=0)]


def create_app(service: Service) -> FastAPI:
    """The application of one service. The fault knobs exist only in the testing environment."""
    # no pages of documentation: they load scripts from other hosts
    app = FastAPI(
        title="Demo federated-learning server",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_service_paths(app, service)
    _add_training_paths(app, service)
    if service.settings.testing:
        _add_fault_paths(app, service)
        app.add_middleware(FaultMiddleware, board=service.faults)
    # the last one added is the outermost
    if service.settings.token is not None:
        app.add_middleware(
            TokenMiddleware, token=service.settings.token, metrics=service.metrics.security
        )
    app.add_middleware(MeasuringMiddleware, metrics=service.metrics.requests, tally=service.tally)
    return app


def _add_service_paths(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    def health() -> bodies.Health:
        return bodies.Health()

    @app.get("/health/detailed")
    def detailed_health() -> bodies.DetailedHealth:
        return service.detailed_health()

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        return Response(service.metrics.page(), media_type=METRICS_TYPE)

    @app.get("/api/status")
    def status() -> bodies.Status:
        return service.status()

    @app.get("/api/privacy/status")
    def privacy_status() -> bodies.PrivacyStatus:
        return service.privacy_status()


def _add_training_paths(app: FastAPI, service: Service) -> None:
    @app.get("/api/clients/count")
    def client_count() -> bodies.ClientCount:
        return service.client_count()

    @app.get("/api/clients/participation")
    def participation() -> bodies.Participation:
        return service.participation()

    @app.get("/api/training/status")
    def training_status() -> bodies.TrainingStatus:
        return service.training_status()

    @app.get("/api/training/progress")
    def training_progress() -> bodies.TrainingProgress:
        return service.training_progress()

    @app.get("/api/training/history")
    def history(since: Round = 0) -> bodies.TrainingHistory:
        return service.history(since)


def _add_fault_paths(app: FastAPI, service: Service) -> None:
    @app.post(faults.PATH, status_code=201)
    def add_fault(fault: Fault) -> Fault:
        service.faults.add(fault)
        return fault

    @app.delete(faults.PATH)
    def clear_faults() -> bodies.FaultCount:
        return bodies.FaultCount(cleared=service.faults.clear())
