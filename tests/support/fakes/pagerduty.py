"""PagerDuty's Events API v2 and its list of incidents, by their rules."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.alert_services import PagerDutyService
from tasks.core.services import Service

KEY, TOKEN = "0123456789abcdef0123456789abcdef", "u+read0nly"
MOST_BYTES = 512 * 1024
Fault = Callable[[Request], Response | None]


@dataclass
class Incident:
    """What was paged: once when it was triggered, however often the event came."""

    key: str
    payload: dict[str, Any]
    state: str = "triggered"
    by: str = ""


@dataclass
class FakePagerDuty:
    """`incidents` is the ledger of effects; a key that was resolved begins a new one."""

    server: HTTPServer
    incidents: list[Incident] = field(default_factory=list)
    acknowledged_at: str = "2026-12-01T09:05:00Z"
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self.server.url_for("").rstrip("/")
        self.server.expect_request("/v2/enqueue", method="POST").respond_with_handler(self._event)
        self.server.expect_request("/incidents").respond_with_handler(self._list)

    def service(self, key: str = KEY, token: str | None = TOKEN) -> PagerDutyService:
        events = Service(url=self.url, origin="PAGERDUTY_EVENTS_URL")
        secret = SecretStr(token) if token else None
        api = Service(url=self.url, origin="PAGERDUTY_API_URL", token=secret)
        return PagerDutyService(events, SecretStr(key), api if token else None)

    @property
    def variables(self) -> dict[str, str]:
        return {"PAGERDUTY_INTEGRATION_KEY": KEY, "PAGERDUTY_EVENTS_URL": self.url}

    def states(self) -> list[str]:
        return [one.state for one in self.incidents]

    def acknowledge(self, key: str, by: str) -> None:
        for one in self.incidents:
            if one.key == key:
                one.state, one.by = "acknowledged", by

    def _event(self, request: Request) -> Response:
        if self.faults and (answer := self.faults.pop(0)(request)):
            return answer
        if len(request.get_data()) > MOST_BYTES:
            return said(413, status="error", message="Payload too large")
        body = json.loads(request.get_data())
        errors = list(_errors(body))
        if errors:
            return said(
                400, status="invalid event", message="Event object is invalid", errors=errors
            )
        current = next(
            (i for i in self.incidents if i.key == body["dedup_key"] and i.state != "resolved"),
            None,
        )
        action = body["event_action"]
        if action == "trigger" and current is None:
            self.incidents.append(Incident(body["dedup_key"], body["payload"]))
        elif action == "trigger" and current is not None:
            current.payload = body["payload"]
        elif current is not None:
            current.state = {"acknowledge": "acknowledged", "resolve": "resolved"}[action]
        return said(202, status="success", message="Event processed", dedup_key=body["dedup_key"])

    def _list(self, request: Request) -> Response:
        if request.headers.get("Authorization") != f"Token token={TOKEN}":
            return said(401, error={"message": "Unauthorized"})
        key, states = request.args.get("incident_key"), request.args.getlist("statuses[]")
        found = [
            {
                # null, as of services whose incidents have alerts: only the query knows the key
                "incident_key": None,
                "status": one.state,
                "acknowledgements": [
                    {"at": self.acknowledged_at, "acknowledger": {"summary": one.by}}
                ],
            }
            for one in self.incidents
            if (key is None or one.key == key) and (not states or one.state in states)
        ]
        return said(200, incidents=found)


def _errors(body: dict[str, Any]) -> Any:
    if body.get("routing_key") != KEY:
        yield "Length of 'routing_key' is incorrect (should be 32 characters)"
    if body.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        yield "'event_action' is invalid"
    if not 0 < len(body.get("dedup_key") or "") <= 255:
        yield "'dedup_key' is invalid"
    if body.get("event_action") == "trigger":
        payload = body.get("payload") or {}
        if not 0 < len(payload.get("summary") or "") <= 1024:
            yield "'payload.summary' is missing or too long"
        if payload.get("severity") not in ("critical", "error", "warning", "info"):
            yield "'payload.severity' is invalid"
        if not payload.get("source"):
            yield "'payload.source' is missing or blank"


def said(code: int, /, **content: Any) -> Response:
    return Response(json.dumps(content), code, content_type="application/json")
