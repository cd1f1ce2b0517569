"""Notices of one alert, in minutes after NOW."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.incidents import Notice
from tasks.core.severity import Severity

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)


def firing(
    minutes: float, severity: str = "critical", *, received: float | None = None, **facts: Any
) -> Notice:
    """A notice that the alert fires since then, received at once."""
    known = {
        "fingerprint": "f" * 16,
        "environment": "production",
        "name": "TrainingStalled",
        "kind": "alert",
        "severity": Severity(severity),
        "origin": "alertmanager",
        "starts_at": NOW + timedelta(minutes=minutes),
        "received_at": NOW + timedelta(minutes=minutes if received is None else received),
        "sentence": "the training stalls",
    }
    return Notice(**{**known, **facts})


def ended(minutes: float, until: float, severity: str = "critical", **facts: Any) -> Notice:
    """A notice that the alert that began then ended at `until`, received then."""
    facts = {"received": until, "ends_at": NOW + timedelta(minutes=until), **facts}
    return firing(minutes, severity, **facts)
