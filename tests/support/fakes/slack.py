"""A Slack with one channel: its Web API and an incoming webhook, which refuse what the real ones do."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.alert_services import SlackService
from tasks.core.services import Service

TOKEN, CHANNEL, CHANNEL_ID = "xoxb-t0ken", "#alerts", "C024BE91L"
HOOK = "/services/T000/B000/s3cret"
Fault = Callable[[Request], Response | None]


@dataclass
class FakeSlack:
    """What people see: messages by their time, replies by that of their thread.

    `faults` answer first, one request each; one that answers None lets it through.
    """

    server: HTTPServer
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    replies: dict[str, list[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self.server.url_for("").rstrip("/")
        for method in ("chat.postMessage", "chat.update", "auth.test"):
            path = f"/api/{method}"
            self.server.expect_request(path, method="POST").respond_with_handler(self._api)
        hooks = re.compile("/services/.*")
        self.server.expect_request(hooks, method="POST").respond_with_handler(self._hook)

    def by_bot(self, token: str = TOKEN, channel: str = CHANNEL) -> SlackService:
        api = Service(
            url=f"{self.url}/api",
            token=SecretStr(token),
            origin="SLACK_API_URL",
            token_from="SLACK_BOT_TOKEN",
        )
        return SlackService(api, channel, None)

    def by_webhook(self, path: str = HOOK) -> SlackService:
        return SlackService(None, "", SecretStr(self.url + path))

    @property
    def variables(self) -> dict[str, str]:
        return {
            "SLACK_BOT_TOKEN": TOKEN,
            "SLACK_CHANNEL": CHANNEL,
            "SLACK_API_URL": f"{self.url}/api",
        }

    def titles(self) -> list[str]:
        return [one["text"] for one in self.messages.values()]

    def _api(self, request: Request) -> Response:
        if self.faults and (answer := self.faults.pop(0)(request)):
            return answer
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return said(ok=False, error="invalid_auth")
        method = request.path.rpartition("/")[2]
        if method == "auth.test":
            return said(ok=True, team="FL")
        body = json.loads(request.get_data())
        if error := wrong(body):
            return said(ok=False, error=error)
        return self._update(body) if method == "chat.update" else self._post(body)

    def _update(self, body: dict[str, Any]) -> Response:
        if body.get("channel") != CHANNEL_ID:
            return said(ok=False, error="channel_not_found")
        if body.get("ts") not in self.messages:
            return said(ok=False, error="message_not_found")
        self.messages[body["ts"]] = body
        return said(ok=True, channel=CHANNEL_ID, ts=body["ts"])

    def _post(self, body: dict[str, Any]) -> Response:
        if body.get("channel") not in (CHANNEL, CHANNEL_ID):
            return said(ok=False, error="channel_not_found")
        moment, thread = f"1700000000.{len(self.messages):06d}", body.get("thread_ts")
        if thread and thread not in self.messages:
            return said(ok=False, error="thread_not_found")
        if thread:
            self.replies.setdefault(thread, []).append(body["text"])
        else:
            self.messages[moment] = body
        return said(ok=True, channel=CHANNEL_ID, ts=moment)

    def _hook(self, request: Request) -> Response:
        if self.faults and (answer := self.faults.pop(0)(request)):
            return answer
        body = json.loads(request.get_data())
        if request.path != HOOK:
            return Response("no_service", 404)
        if error := wrong(body):
            return Response(error, 400)
        self.messages[str(len(self.messages))] = body
        return Response("ok")


def wrong(body: dict[str, Any]) -> str:
    """The error of a message that breaks a limit of Block Kit."""
    blocks = body.get("blocks", [])
    if not body.get("text") and not blocks:
        return "no_text"
    if len(blocks) > 50:
        return "invalid_blocks"
    for block in blocks:
        text = block.get("text", {}).get("text", "")
        if block["type"] == "header" and not _is_header(block["text"]):
            return "invalid_blocks"
        fields = block.get("fields", [])
        if len(text) > 3000 or len(fields) > 10 or any(len(f["text"]) > 2000 for f in fields):
            return "invalid_blocks"
        if block["type"] == "section" and not text and not fields:
            return "invalid_blocks"
        if len(block.get("elements", [])) > 10:
            return "invalid_blocks"
    # refused somewhere above 9,597: of its texts alone
    return "msg_blocks_too_long" if sum(len(one["text"]) for one in objects(blocks)) > 9_500 else ""


def objects(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All text objects of the blocks."""
    found: list[dict[str, Any]] = []
    for block in blocks:
        found += [block["text"]] if "text" in block else []
        found += [*block.get("fields", ()), *block.get("elements", ())]
    return found


def _is_header(text: dict[str, Any]) -> bool:
    return text["type"] == "plain_text" and 0 < len(text["text"]) <= 150


def said(**content: Any) -> Response:
    return Response(json.dumps(content), content_type="application/json")
