"""A digest of a window: what is open, what fired, what was noise, and what was acted on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any

from tasks.core.finding import clock_of
from tasks.core.incidents import AlertMessage, Incident, IncidentEvent
from tasks.core.severity import Severity, worst
from tasks.core.units import counted
from tasks.core.window import Window

# what ended so soon, and by itself, was perhaps not worth a message
NOISE = timedelta(minutes=15)
_MOST = 15


def digest(
    incidents: Sequence[Incident],
    events: Sequence[IncidentEvent],
    undelivered: Mapping[str, str],
    window: Window,
) -> dict[str, Any]:
    """Return the digest of incidents that were open in a window, with the changes in it.

    Noise is what ended within 15 minutes without an acknowledgement; acted on is what was
    acknowledged or closed by hand.
    """
    acted = {e.incident_id for e in events if e.change == "acknowledged" or e.after == "by hand"}
    fired = [one for one in incidents if one.opened_at >= window.start]
    noise = [one for one in fired if one.id not in acted and _lasted(one) < NOISE]
    left = [one for one in incidents if one.is_open]
    return {
        "start": window.start,
        "stop": window.stop,
        "open": [_row(one, undelivered) for one in _gravest(left)],
        "fired": _numbers(fired),
        "noise": _numbers(noise),
        "acted_on": _numbers([one for one in incidents if one.id in acted]),
        "escalated": len({e.incident_id for e in events if e.change == "escalated"}),
        "flapping": sorted({one.newest.name for one in incidents if one.is_flapping}),
        "undelivered": len([one for one in left if one.id in undelivered]),
    }


def message_of(
    found: Mapping[str, Any], incidents: Sequence[Incident], environment: str, zone: tzinfo
) -> AlertMessage:
    """Return the digest as one message."""
    stop: datetime = found["stop"]
    left = [one for one in incidents if one.is_open]
    title = f"Digest of alerts: {counted(len(left), 'open incident')}, {_sum(found['fired'])} fired"
    facts = [
        ("From", clock_of(found["start"], stop.astimezone(zone))),
        ("Fired", _text(found["fired"])),
        ("Noise", _text(found["noise"])),
        ("Acted on", _text(found["acted_on"])),
        ("Escalated", str(found["escalated"])),
    ]
    return AlertMessage(
        incident_id=f"digest-{stop:%Y%m%dT%H%M}",
        fingerprint="digest",
        action="summary",
        environment=environment,
        name="digest",
        kind="digest",
        severity=worst([one.newest.severity for one in left]) or Severity.INFO,
        title=title,
        sentence="Open, the gravest first:" if left else "Nothing is open.",
        time=stop,
        opened_at=found["start"],
        facts=tuple(facts),
        failed=tuple(_line(row) for row in found["open"][:_MOST]),
    )


def _lasted(one: Incident) -> timedelta:
    end = one.quiet_since or one.closed_at
    return end - one.opened_at if end and not one.is_open else timedelta.max


def _gravest(incidents: Sequence[Incident]) -> list[Incident]:
    return sorted(incidents, key=lambda one: (one.newest.severity.rank, one.opened_at))


def _numbers(incidents: Sequence[Incident]) -> dict[str, int]:
    return dict(Counter(one.newest.name for one in incidents).most_common())


def _row(one: Incident, undelivered: Mapping[str, str]) -> dict[str, Any]:
    given = one.acknowledged
    return {
        "id": one.id,
        "severity": str(one.newest.severity),
        "environment": one.newest.environment,
        "alert": one.newest.name,
        "since": one.opened_at,
        "acknowledged_by": given.by if given else None,
        "acknowledged_until": given.until if given else None,
        "undelivered": undelivered.get(one.id),
    }


def _line(row: Mapping[str, Any]) -> str:
    who = row["acknowledged_by"]
    until = f", {who} until {row['acknowledged_until']:%Y-%m-%d %H:%M} UTC" if who else ""
    return f"{row['severity']} {row['environment']}: {row['alert']}{until}"


def _sum(numbers: Mapping[str, int]) -> int:
    return sum(numbers.values())


def _text(numbers: Mapping[str, int]) -> str:
    named = ", ".join(f"{name} ({number})" for name, number in [*numbers.items()][:_MOST])
    return named or "none"
