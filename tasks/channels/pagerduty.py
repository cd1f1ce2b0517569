"""PagerDuty: an alert an incident, by Events API v2; acknowledgements by its REST API."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from tasks.channels.http import HttpChannel, is_link
from tasks.core.alert_services import PagerDutyService
from tasks.core.checks import ServiceCheck
from tasks.core.incidents import Acknowledgement, AlertMessage
from tasks.core.ports import AlertChannel
from tasks.core.services import Service
from tasks.core.severity import NAMES

NAME = "PagerDuty"
TOKEN_FIX = "Set PAGERDUTY_API_TOKEN to a read-only key of the REST API"
SOURCE, COMPONENT = "Fed-ViT-AutoRL Monitoring", "federated-learning-system"
GROUP, CLASS = "infrastructure", "monitoring"
LONGEST_SUMMARY = 1024
_ACTIONS = {"acknowledge": "acknowledge", "resolve": "resolve"}


class PagerDutyChannel(HttpChannel, AlertChannel):
    """One integration. The key of an alert is the incident's id, so that a repeat changes nothing."""

    def __init__(self, service: PagerDutyService, _: timedelta) -> None:
        """Sends are tried again by the outbox, not here."""
        fix = "Set PAGERDUTY_INTEGRATION_KEY to the key of an Events API v2 integration"
        super().__init__(service.events, NAME, fix)
        self._key = service.key
        self._api = _Api(service.api) if service.api else None

    def send(self, message: AlertMessage, reference: str) -> str:
        """Trigger, acknowledge or resolve the alert; the reference is its key."""
        if message.action == "summary":
            return reference  # nothing to page for
        key = message.incident_id
        action = _ACTIONS.get(message.action, "trigger")
        event: dict[str, Any] = {
            "routing_key": self._key.get_secret_value(),
            "event_action": action,
            "dedup_key": key,
        }
        if action == "trigger":
            event |= {"payload": _payload(message), "client": "fedvitals", "links": _links(message)}
        self.ask("POST", "/v2/enqueue", (HTTPStatus.ACCEPTED,), json=event)
        return key

    def redacted(self, text: str) -> str:
        """Return the text without the key, which is in the body of a request."""
        return text.replace(self._key.get_secret_value(), "***")

    def acknowledged(self, references: Mapping[str, str]) -> Mapping[str, Acknowledgement]:
        """Return who acknowledged alerts there; none without a token of the API."""
        return self._api.acknowledged(references) if self._api else {}

    def check(self) -> ServiceCheck:
        """Check that acknowledgements can be read; an event would page."""
        if self._api is None:
            detail = "acknowledgements made there are unknown"
            return ServiceCheck(NAME, "is set", True, detail, TOKEN_FIX)
        return self._api.check()

    def close(self) -> None:
        """Give connections back."""
        super().close()
        if self._api:
            self._api.close()


class _Api(HttpChannel):
    def __init__(self, service: Service) -> None:
        super().__init__(service, NAME, TOKEN_FIX, scheme="Token token=")
        self.session.headers["Accept"] = "application/vnd.pagerduty+json;version=2"

    def acknowledged(self, references: Mapping[str, str]) -> dict[str, Acknowledgement]:
        found = {}
        for incident_id, key in references.items():
            # of each alone: what it lists has no key where incidents have alerts
            query = {"incident_key": key, "statuses[]": "acknowledged", "date_range": "all"}
            incidents = self._incidents(query)
            given = [one for each in incidents for one in each.get("acknowledgements", ())]
            if given:
                found[incident_id] = _acknowledgement(given[-1])
        return found

    def check(self) -> ServiceCheck:
        def attempt() -> str:
            self._incidents({"limit": "1"})
            return "acknowledgements can be read"

        return self.tried(attempt)

    def _incidents(self, query: Mapping[str, str]) -> list[Any]:
        found = self.document(self.ask("GET", "/incidents", params=query))
        incidents = found.get("incidents") if isinstance(found, dict) else None
        return incidents if isinstance(incidents, list) else []


def _acknowledgement(given: Mapping[str, Any]) -> Acknowledgement:
    who = (given.get("acknowledger") or {}).get("summary") or NAME
    try:
        at = datetime.fromisoformat(str(given.get("at")))
    except ValueError:
        at = datetime.now(UTC)
    return Acknowledgement(str(who), at, at, "in PagerDuty")


def _payload(message: AlertMessage) -> dict[str, Any]:
    summary = f"{message.title}: {message.sentence}"
    return {
        "summary": summary[:LONGEST_SUMMARY],
        "source": SOURCE,
        "severity": NAMES[message.severity].pagerduty,
        "timestamp": message.opened_at.isoformat(),
        "component": COMPONENT,
        "group": GROUP,
        "class": CLASS,
        "custom_details": {**dict(message.facts), "failed": list(message.failed)},
    }


def _links(message: AlertMessage) -> list[dict[str, str]]:
    return [{"href": url, "text": title} for title, url in message.links if is_link(url)]
