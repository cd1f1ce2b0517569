"""A drill: a message marked TEST to channels, and its end."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from tasks.core.errors import FedvitalsError
from tasks.core.incidents import AlertMessage
from tasks.core.ports import AlertChannel
from tasks.core.severity import Severity


def drill(
    channels: Mapping[str, AlertChannel], names: Iterable[str], environment: str, now: datetime
) -> list[dict[str, Any]]:
    """Open and resolve a test in each channel; return how each took it."""
    incident = uuid4().hex[:16]
    opening = AlertMessage(
        incident_id=incident,
        fingerprint=incident,
        action="open",
        environment=environment,
        name="TEST",
        kind="test",
        severity=Severity.CRITICAL,
        title=f"TEST [CRITICAL] {environment}: a test of alerts",
        sentence="This is a test, started by hand: nothing is wrong. It resolves itself.",
        time=now,
        opened_at=now,
        history="test",
        is_test=True,
    )
    title = f"TEST [RESOLVED] {environment}: a test of alerts"
    end = replace(opening, action="resolve", title=title, closed_at=now, history="test ended")
    return [_one(name, channels[name], opening, end) for name in names]


def _one(
    name: str, channel: AlertChannel, opening: AlertMessage, end: AlertMessage
) -> dict[str, Any]:
    try:
        channel.send(end, channel.send(opening, ""))
    except FedvitalsError as error:
        return {"channel": name, "ok": False, "detail": str(error)}
    return {"channel": name, "ok": True, "detail": "opened and resolved"}


def sent_to(
    channels: Mapping[str, AlertChannel], names: Iterable[str], message: AlertMessage
) -> list[dict[str, Any]]:
    """Send a message by itself to channels; return how each took it."""
    return [_sent(name, channels[name], message) for name in names]


def _sent(name: str, channel: AlertChannel, message: AlertMessage) -> dict[str, Any]:
    try:
        channel.send(message, "")
    except FedvitalsError as error:
        return {"channel": name, "ok": False, "detail": str(error)}
    return {"channel": name, "ok": True, "detail": "sent"}
