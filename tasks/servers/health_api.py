"""The server for pushed checks: `POST /checks/NAME`, when a job is done."""

import hmac
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from fastapi import FastAPI, HTTPException, Request

from tasks.core.errors import FedvitalsError, UsageInvalid
from tasks.core.health import Health
from tasks.core.secrets import secret_of
from tasks.core.services import checked_token
from tasks.core.settings import Settings
from tasks.ledger.opening import opened_ledger
from tasks.runs.health.round import push_report
from tasks.servers.http_server import TOKEN_VARIABLE, listen, serving

ADDRESS_VARIABLE = "FEDVITALS_INTAKE_ADDRESS"
DEFAULT_ADDRESS = "127.0.0.1:4210"
# a report needs no body; what a job sends all the same is not read
LARGEST = 10_000


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
    address = variables.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    listener = listen(address, ADDRESS_VARIABLE, DEFAULT_ADDRESS, has_token=bool(token))
    with serving(make_app(settings, health, token), listener) as url:
        yield url


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
