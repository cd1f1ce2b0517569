"""Grafana: an incident as an annotation, a region from its opening to its end."""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from tasks.channels.http import HttpChannel
from tasks.core.checks import ServiceCheck
from tasks.core.incidents import AlertMessage
from tasks.core.ports import AlertChannel
from tasks.core.services import Service

NAME = "Grafana"
TAGS = ("fedvitals", "incident")
_PATH = "/api/annotations"


class GrafanaIncidents(HttpChannel, AlertChannel):
    """Annotations of one Grafana."""

    def __init__(self, service: Service, _: timedelta) -> None:
        """Sends are tried again by the outbox, not here."""
        fix = f"Set {service.token_from} to a service account's token that may write annotations"
        super().__init__(service, NAME, fix)
        self.session.headers["Accept"] = "application/json"

    def send(self, message: AlertMessage, reference: str) -> str:
        """Begin the region, or end it; the reference is the annotation's id."""
        if message.action == "summary":
            return reference
        known = reference or self._known(message)
        change: dict[str, Any] = {"text": _text(message)}
        if message.closed_at is not None:
            change["timeEnd"] = _milliseconds(message.closed_at)
        # one that was deleted there is made anew
        good = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        if known and self.ask("PATCH", f"{_PATH}/{known}", good, json=change).status == good[0]:
            return known
        tags = [*TAGS, _tag(message), str(message.severity), message.environment]
        body = {"time": _milliseconds(message.opened_at), "tags": tags, **change}
        return str(self.document(self.ask("POST", _PATH, json=body)).get("id"))

    def check(self) -> ServiceCheck:
        """Check that annotations can be read; whether they may be written shows when they are."""

        def attempt() -> str:
            self.ask("GET", _PATH, params={"limit": "1"})
            return "annotations of incidents can be read"

        return self.tried(attempt)

    def _known(self, message: AlertMessage) -> str:
        """Return the id of the incident's annotation, whose answer got lost; else none."""
        found = self.document(self.ask("GET", _PATH, params={"tags": _tag(message), "limit": "1"}))
        return str(found[0]["id"]) if isinstance(found, list) and found else ""


def _tag(message: AlertMessage) -> str:
    return f"incident:{message.incident_id}"


def _text(message: AlertMessage) -> str:
    # Grafana cleans the HTML of annotations, but a text needs none
    text = f"{message.title}: {message.sentence}"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
