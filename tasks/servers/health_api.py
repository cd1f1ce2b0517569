"""The server for pushed checks: `POST /checks/NAME`, when a job is done."""

import hmac
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI, HTTPException, Request

from tasks.core.errors import ConfigurationInvalid, FedvitalsError, UsageInvalid
from tasks.core.health import Health
from tasks.core.secrets import secret_of
from tasks.core.services import checked_token
from tasks.core.settings import Settings
from tasks.ledger.opening import opened_ledger
from tasks.runs.health.round import push_report

ADDRESS_VARIABLE, TOKEN_VARIABLE = "FEDVITALS_INTAKE_ADDRESS", "FEDVITALS_INTAKE_TOKEN"
DEFAULT_ADDRESS = "127.0.0.1:4210"
# a report needs no body; what a job sends all the same is not read
LARGEST = 10_000
_STOP_SECONDS = 2


@contextmanager
def health_api(
    settings: Settings, health: Health, variables: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """Serve pushed checks within the block; yield the address.

    Raises:
        ConfigurationInvalid: the address cannot be listened on, or is open to others without a token.
    """
    token = secret_of(variables, TOKEN_VARIABLE)
    if token:
        checked_token(token, TOKEN_VARIABLE)
    listener = _listen(variables.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS, bool(token))
    config = uvicorn.Config(
        make_app(settings, health, token),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=50,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = uvicorn.Server(config)
    # in another thread it leaves the signals alone
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        host, port = listener.getsockname()[:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        server.should_exit = True
        thread.join(2 * _STOP_SECONDS)
        listener.close()


def make_app(settings: Settings, health: Health, token: str | None) -> FastAPI:
    """Return the application; its pages of documentation would load from elsewhere."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/checks/{name:path}", status_code=HTTPStatus.NO_CONTENT)
    def report(
        name: str, request: Request, environment: str | None = None, failed: bool = False
    ) -> None:
        given = request.headers.get("Authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            why = f"the bearer token of {TOKEN_VARIABLE} is needed"
            raise HTTPException(HTTPStatus.UNAUTHORIZED, why, {"WWW-Authenticate": "Bearer"})
        if int(request.headers.get("Content-Length", "0")) > LARGEST:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a report needs no body")
        try:
            named = settings.environment(environment).name
            with opened_ledger(settings) as ledger:
                push_report(ledger, health, named, name, failed=failed)
        except UsageInvalid as error:
            raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from error
        except FedvitalsError as error:
            later = {"Retry-After": "30"}
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error), later) from error

    return app


def _listen(address: str, has_token: bool) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        if not has_token and not ip_address(host).is_loopback:
            problem = f"{address} is open to other machines, and {TOKEN_VARIABLE} is not set"
            fix = f"Set {TOKEN_VARIABLE}, or listen on {DEFAULT_ADDRESS}"
            raise ConfigurationInvalid(where=ADDRESS_VARIABLE, problem=problem, fix=fix)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(port)), family=family)
    except (OSError, ValueError, OverflowError) as error:
        problem = (
            f"cannot listen on {address}: {getattr(error, 'strerror', None) or 'it is no IP:PORT'}"
        )
        fix = f"Give a free address, such as {DEFAULT_ADDRESS} or 0.0.0.0:4210"
        raise ConfigurationInvalid(where=ADDRESS_VARIABLE, problem=problem, fix=fix) from error
