"""A drill: a message marked TEST to channels, and its end."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import uuid4

from tasks.core.alert_report import ChannelAnswer
from tasks.core.errors import FedvitalsError
from tasks.core.incidents import AlertMessage
from tasks.core.ports import AlertChannel
from tasks.core.severity import Severity


def drill(
    channels: Mapping[str, AlertChannel], names: Iterable[str], environment: str, now: datetime
) -> list[ChannelAnswer]:
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
    return [
        _answer(name, partial(_open_and_end, channels[name], opening, end), "opened and resolved")
        for name in names
    ]


def _open_and_end(channel: AlertChannel, opening: AlertMessage, end: AlertMessage) -> None:
    channel.send(end, channel.send(opening, ""))


def sent_to(
    channels: Mapping[str, AlertChannel], names: Iterable[str], message: AlertMessage
) -> list[ChannelAnswer]:
    """Send a message by itself to channels; return how each took it."""
    return [_answer(name, partial(channels[name].send, message, ""), "sent") for name in names]


def _answer(name: str, send: Callable[[], object], done: str) -> ChannelAnswer:
    try:
        send()
    except FedvitalsError as error:
        return ChannelAnswer(channel=name, ok=False, detail=str(error))
    return ChannelAnswer(channel=name, ok=True, detail=done)
