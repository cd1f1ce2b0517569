"""One request straight into an ASGI application, without a server."""

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Message

Header = tuple[str, str]


@dataclass(frozen=True)
class Answer:
    """What the application sent."""

    status: int
    headers: dict[str, str]
    body: str


def call(app: ASGIApp, path: str, *headers: Header, method: str = "GET") -> Answer:
    """Send a request without a body; an error of the application is raised here."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], names, body.decode())
