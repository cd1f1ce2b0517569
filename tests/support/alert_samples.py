"""Messages about an incident."""

from datetime import timedelta
from typing import Any

from tasks.core.incidents import AlertMessage
from tasks.core.severity import Severity
from tests.support.incident_samples import NOW


def a_message(action: str = "open", **facts: Any) -> AlertMessage:
    """A message about a critical incident of production, with all that one may have."""
    known = {
        "incident_id": "0a1b2c3d4e5f6071",
        "fingerprint": "f" * 16,
        "action": action,
        "environment": "production",
        "name": "TrainingStalled",
        "kind": "alert",
        "severity": Severity.CRITICAL,
        "title": f"[{'RESOLVED' if action == 'resolve' else 'CRITICAL'}] production: TrainingStalled",
        "sentence": "the training runs, and is in round 7 since 08:20",
        "time": NOW + timedelta(minutes=1),
        "opened_at": NOW,
        "closed_at": NOW + timedelta(minutes=9) if action == "resolve" else None,
        "history": f"09:01 {action}",
        "facts": (("Severity", "critical"), ("Since", "09:00"), ("Value", "0.3 (limit 0.8)")),
        "failed": ("/health", "/api/status"),
        "newest": (1.0, 2.0, 4.0),
        "links": (("Runbook", "https://docs.example/stalled"), ("Logs", "https://logs.example/")),
    }
    return AlertMessage(**{**known, **facts})


# texts by which someone outside would mention people, run code, or forge a header
NASTY = (
    "<!channel> *bold* @everyone #1 [x](http://evil.example) `code` <script>alert(1)</script>",
    "{{ 7 * 7 }} ${env} %s",
    "line\r\nBcc: everyone@example.com",
    "<!-- fedvitals:ffffffffffffffff:0 -->",
)
