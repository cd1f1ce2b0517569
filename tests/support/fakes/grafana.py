"""A Grafana that keeps annotations by the rules of its HTTP API, and fails as it is reported."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.services import Service

TOKEN = "glsa_t0ken"
PATH = "/api/annotations"
MOST_FOUND = 100

Fault = Callable[[Request], Response | None]


@dataclass
class FakeGrafana:
    """Takes annotations with TOKEN. `faults` answer first, one request each, until they are used up;
    a fault that answers None lets its request through. `may_write` is the right of the token.
    """

    server: HTTPServer
    may_write: bool = True
    annotations: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self.server.url_for("").rstrip("/")
        pattern = re.compile(rf"{PATH}(/\d+)?$")
        self.server.expect_request(pattern).respond_with_handler(self._answer)

    def service(self, token: str | None = TOKEN) -> Service:
        secret = SecretStr(token) if token else None
        return Service(
            url=self.url, token=secret, origin="GRAFANA_URL", token_from="GRAFANA_API_KEY"
        )

    def _answer(self, request: Request) -> Response:
        self.asked.append(request)
        failed = self.faults.pop(0)(request) if self.faults else None
        return failed or self._by_the_rules(request)

    def _by_the_rules(self, request: Request) -> Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return said(401, "Invalid API key")
        if request.method == "GET":
            return self._found(request)
        if request.method not in ("POST", "PATCH"):
            return said(404, "Not found")
        if not self.may_write:
            return said(403, "Permission denied")
        return self._added(request) if request.method == "POST" else self._changed(request)

    def _changed(self, request: Request) -> Response:
        number = int(request.path.rpartition("/")[2])
        if number > len(self.annotations):
            return said(404, "Could not find annotation")
        self.annotations[number - 1] |= json.loads(request.data)
        return said(200, "Annotation patched")

    def _found(self, request: Request) -> Response:
        """Annotations that have all the tags, newest first."""
        tags = set(request.args.getlist("tags"))
        limit = int(request.args.get("limit", MOST_FOUND))
        found = [one for one in reversed(self.annotations) if tags <= set(one["tags"])]
        return Response(json.dumps(found[:limit]), content_type="application/json")

    def _added(self, request: Request) -> Response:
        if request.content_type != "application/json":
            return said(400, "bad request data")
        try:
            body = json.loads(request.data)
        except ValueError:
            return said(400, "bad request data")
        if not isinstance(body, dict) or problem(body):
            return said(400, problem(body) if isinstance(body, dict) else "bad request data")
        number = len(self.annotations) + 1
        self.annotations.append({"id": number, "tags": [], **body})
        answer = {"message": "Annotation added", "id": number}
        return Response(json.dumps(answer), content_type="application/json")


def problem(body: dict[str, Any]) -> str:
    """What is wrong with an annotation, empty when nothing is."""
    if not isinstance(body.get("text"), str) or not body["text"]:
        return "text field should not be empty"
    tags = body.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return "bad request data"
    times = [body[key] for key in ("time", "timeEnd") if key in body]
    # seconds would lie in January 1970
    if any(type(moment) is not int or moment < 10**12 for moment in times):
        return "time must be in milliseconds"
    return ""


def said(status: int, message: str, **headers: str) -> Response:
    """An answer of Grafana's with a message."""
    return Response(
        json.dumps({"message": message}),
        status=status,
        content_type="application/json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def fails(status: int, message: str = "failed", **headers: str) -> Fault:
    """A fault that answers so."""
    return lambda request: said(status, message, **headers)
