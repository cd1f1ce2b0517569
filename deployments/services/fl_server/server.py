"""The process: HTTP and HTTPS on one event loop, the training thread beside it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import tempfile
from collections.abc import Generator
from pathlib import Path

import prometheus_client
import uvicorn
from fastapi import FastAPI

from deployments.services.fl_server.api import create_app
from deployments.services.fl_server.errors import ListenError
from deployments.services.fl_server.federation import Federation
from deployments.services.fl_server.metrics import ServiceMetrics
from deployments.services.fl_server.service import Service
from deployments.services.fl_server.settings import ServerSettings
from deployments.services.fl_server.store import ModelStore
from deployments.services.fl_server.telemetry import Fleet
from deployments.services.fl_server.tls import Certificate, make_certificate
from deployments.services.fl_server.training import Trainer

GRACE_SECONDS = 2
BACKLOG = 128
POLL_SECONDS = 0.02


def run(settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT; ListenError for a port, OSError for a folder.

    Prints one line of JSON once both ports answer: event ("ready"), pid, run_id, http, https and
    ca_file (both null without HTTPS).
    """
    # these would double the series and are not in the service's vocabulary
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call, unused-ignore]
    with contextlib.ExitStack() as stack:
        folder = settings.state_dir
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="fl-server-")
            folder = Path(stack.enter_context(temporary))
        plain = stack.enter_context(_listen(settings.host, settings.port))
        secure = None
        if settings.https_port is not None:
            secure = stack.enter_context(_listen(settings.host, settings.https_port))
        service = build_service(settings, folder)
        asyncio.run(_serve(service, plain, secure))


def build_service(settings: ServerSettings, folder: Path) -> Service:
    """Build a service, with the model in the given folder; training has not started."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics, store = ServiceMetrics(), ModelStore(folder)
    federation = Federation(settings.federation)
    fleet = Fleet(federation.ids, settings.federation.seed, settings.federation.lossy_clients)
    return Service(
        settings=settings,
        trainer=Trainer(federation, fleet, store, metrics),
        metrics=metrics,
        store=store,
        certificate=_certificate(settings, folder, metrics),
    )


class _QuietServer(uvicorn.Server):
    """Leaves the signals to us: two servers share the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(service: Service, plain: socket.socket, secure: socket.socket | None) -> None:
    app = create_app(service)
    servers = [(_server(app, None), plain)]
    if secure is not None and service.certificate is not None:
        servers.append((_server(app, service.certificate.context), secure))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, [server for server, _ in servers])
    service.trainer.start()
    try:
        async with asyncio.TaskGroup() as group:
            for server, listener in servers:
                group.create_task(server.serve(sockets=[listener]))
            while not all(server.started or server.should_exit for server, _ in servers):
                await asyncio.sleep(POLL_SECONDS)
            if all(server.started for server, _ in servers):
                print(_ready_line(service, plain, secure), flush=True)
    finally:
        service.trainer.stop()


def _stop(servers: list[_QuietServer]) -> None:
    for server in servers:
        server.should_exit = True


def _server(app: FastAPI, context: ssl.SSLContext | None) -> _QuietServer:
    return _QuietServer(
        uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(host, port, error.strerror or str(error)) from error


def _certificate(
    settings: ServerSettings, folder: Path, metrics: ServiceMetrics
) -> Certificate | None:
    if settings.https_port is None:
        return None
    host, days, refused = (
        settings.host,
        settings.certificate_days,
        metrics.security.handshake_failed,
    )
    certificate = make_certificate(host, settings.tls_dir or folder, days, refused)
    metrics.security.watch_certificate(certificate.days_left)
    return certificate


def _ready_line(service: Service, plain: socket.socket, secure: socket.socket | None) -> str:
    certificate = service.certificate
    ready = {
        "event": "ready",
        "pid": os.getpid(),
        "run_id": service.trainer.progress.run_id,
        "http": _url("http", plain),
        "https": None if secure is None else _url("https", secure),
        "ca_file": None if certificate is None else str(certificate.ca_file.absolute()),
    }
    return json.dumps(ready)


def _url(scheme: str, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
