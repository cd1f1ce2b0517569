"""Middleware of every request: measuring, token, faults (outermost first)."""

import asyncio
import hmac
import time

from pydantic import SecretStr
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.services.fl_server import faults
from deployments.services.fl_server.faults import Fault, FaultBoard
from deployments.services.fl_server.metrics import RequestMetrics, SecurityMetrics

OPEN_PATH = "/health"
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "OTHER"
SERVER_ERROR = 500


class RequestTally:
    """Requests answered so far, and those of them with a status of 500 or more."""

    def __init__(self) -> None:
        self.total = 0
        self.failed = 0

    def add(self, status: int) -> None:
        """Count an answered request; needs no lock, as only the event loop calls it."""
        self.total += 1
        self.failed += status >= SERVER_ERROR


class MeasuringMiddleware:
    """Counts and times every request until its whole answer is sent."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, tally: RequestTally) -> None:
        self._app, self._metrics, self._tally = app, metrics, tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count and time the request, also when it raises."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # without an answer, the server sends a 500 of its own
        status = SERVER_ERROR

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        start = time.perf_counter()
        try:
            await self._app(scope, receive, watch)
        finally:
            # any other name would let a caller create series without limit
            method = scope["method"] if scope["method"] in KNOWN_METHODS else OTHER_METHOD
            self._metrics.observe(method, status, time.perf_counter() - start)
            self._tally.add(status)


class TokenMiddleware:
    """Answers 401 to callers without a valid bearer token; /health is open."""

    def __init__(self, app: ASGIApp, token: SecretStr, metrics: SecurityMetrics) -> None:
        self._app, self._metrics = app, metrics
        self._wanted = token.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] == OPEN_PATH or self._knows(scope):
            await self._app(scope, receive, send)
            return
        self._metrics.unauthorized()
        refusal = JSONResponse(
            {"detail": "a valid bearer token is needed"},
            status_code=401,
            headers={"WWW-Authenticate": 'Bearer realm="fl-server"'},
        )
        await refusal(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        # constant time: the answer's delay must not reveal the token
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._wanted)


class FaultMiddleware:
    """Applies the board's faults to answers."""

    def __init__(self, app: ASGIApp, board: FaultBoard) -> None:
        self._app, self._board = app, board

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with the fault if there is one."""
        fault = self._board.take(scope["path"]) if scope["type"] == "http" else None
        if isinstance(fault, faults.SlowFault):
            await asyncio.sleep(fault.seconds)
        if fault is None or isinstance(fault, faults.SlowFault):
            await self._app(scope, receive, send)
        elif isinstance(fault, faults.ErrorFault):
            answer = JSONResponse({"detail": "a fault was set"}, status_code=SERVER_ERROR)
            await answer(scope, receive, send)
        else:
            await self._spoil(fault, scope, receive, send)

    async def _spoil(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        await self._app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in kept[1:])
        headers = {name.decode(): value.decode() for name, value in kept[0]["headers"]}
        content_type = headers.get("content-type", "")
        if isinstance(fault, faults.MissingFieldFault):
            is_json = content_type.startswith("application/json")
            body = faults.without_field(body, fault.field, is_json=is_json)
        else:
            body = faults.cut(body)
        answer = Response(
            body, status_code=kept[0]["status"], headers={"content-type": content_type}
        )
        await answer(scope, receive, send)
