"""A service's API that answers one body, as a test wants it."""

from typing import Any

from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.services import Service

ENDPOINT = "/api/it"
TOKEN = "t0ken"


class Api:
    """What is asked of a server at ENDPOINT, and what it answers: `body` as it is."""

    def __init__(self, server: HTTPServer) -> None:
        self.asked: list[Request] = []
        self.body: str | bytes = "{}"
        self.answer: dict[str, Any] = {"content_type": "application/json"}
        self.url = server.url_for("").rstrip("/")
        server.expect_request(ENDPOINT).respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        self.asked.append(request)
        return Response(self.body, **self.answer)

    def service(self, token: str | None = TOKEN) -> Service:
        secret = SecretStr(token) if token else None
        return Service(
            url=self.url, token=secret, origin="FED_VIT_API_URL", token_from="FED_VIT_API_TOKEN"
        )
