"""Which alerts were noise: ended soon, by themselves, and nobody acted on them."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from statistics import median

from tasks.core.alert_report import NoiseLine, NoiseReport
from tasks.core.incidents import Incident, IncidentEvent
from tasks.core.window import Window, format_duration

# what ended so soon, and by itself, was perhaps not worth a message
NOISE = timedelta(minutes=15)
# the share of noise that a longer `for` is to keep from firing, and the least noise to say so
_KEPT_BACK, _LEAST = 0.8, 3


def acted_on(events: Sequence[IncidentEvent]) -> set[str]:
    """Return the incidents that somebody acknowledged or closed by hand."""
    return {e.incident_id for e in events if e.change == "acknowledged" or e.after == "by hand"}


def is_noise(one: Incident, acted: set[str]) -> bool:
    """Return whether an incident ended within 15 minutes without anybody acting on it."""
    length = lasted(one)
    return one.id not in acted and length is not None and length < NOISE


def lasted(one: Incident) -> timedelta | None:
    """Return how long the alert of a closed incident fired, from its opening."""
    if one.closed_at is None:
        return None
    return max(timedelta(), (one.quiet_since or one.closed_at) - one.opened_at)


def noise(
    incidents: Sequence[Incident],
    events: Sequence[IncidentEvent],
    messages: Mapping[str, int],
    window: Window,
) -> NoiseReport:
    """Return the alerts that fired in a window, the noisiest first.

    `messages` are those that channels took, by incident.
    """
    acted = acted_on(events)
    flapped = {e.incident_id for e in events if e.change == "flapping"}
    groups: dict[tuple[str, str], list[Incident]] = {}
    for one in incidents:
        if one.opened_at >= window.start:
            groups.setdefault((one.newest.name, one.newest.environment), []).append(one)
    lines = [
        _line(alert, environment, group, acted, flapped, messages)
        for (alert, environment), group in groups.items()
    ]
    lines.sort(key=lambda line: (-line.noise, -line.messages, -line.fired, line.alert))
    return NoiseReport(start=window.start, stop=window.stop, alerts=tuple(lines))


def _line(
    alert: str,
    environment: str,
    group: Sequence[Incident],
    acted: set[str],
    flapped: set[str],
    messages: Mapping[str, int],
) -> NoiseLine:
    ended = (length for one in group if (length := lasted(one)) is not None)
    lengths = [length / timedelta(minutes=1) for length in ended]
    noisy = [length for one in group if is_noise(one, acted) and (length := lasted(one))]
    return NoiseLine(
        alert=alert,
        environment=environment,
        fired=len(group),
        noise=sum(is_noise(one, acted) for one in group),
        acted_on=sum(one.id in acted for one in group),
        flapping=sum(one.id in flapped for one in group),
        messages=sum(messages.get(one.id, 0) for one in group),
        median_minutes=round(median(lengths), 1) if lengths else None,
        longer_for=_longer(noisy) if len(noisy) >= _LEAST else None,
    )


def _longer(lengths: Sequence[timedelta]) -> str:
    """Return the least whole minutes that are longer than 80 % of what was noise."""
    longest = sorted(lengths)[math.ceil(_KEPT_BACK * len(lengths)) - 1]
    return format_duration(timedelta(minutes=longest // timedelta(minutes=1) + 1))
