"""The state machine of incidents: pure functions of an incident, a notice and a moment.

Of the notices about one alert, the one of the newest epoch counts, and of that epoch its end: a
maximum, so that neither order nor repetition matters. Alertmanager may report an end with another
start than the beginning had, but never with an earlier one.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

from tasks.core.incidents import (
    Acknowledgement,
    Change,
    Incident,
    IncidentEvent,
    Muted,
    Notice,
    Reason,
    Silence,
    Timing,
)

# shown as a sparkline
MOST_VALUES = 24


class Step(NamedTuple):
    """An incident after a change, and what changed; no event when nothing is to be shown."""

    incident: Incident
    events: tuple[IncidentEvent, ...] = ()


def event(
    incident: Incident,
    at: datetime,
    change: Change,
    after: str = "",
    *,
    before: str = "",
    by: str = "",
    why: str = "",
) -> IncidentEvent:
    """Return one change of an incident."""
    return IncidentEvent(incident.id, at, change, before, after, by, why)


def take(known: Incident | None, notice: Notice, timing: Timing, *, adopt: bool = False) -> Step:
    """Apply a notice to the newest incident of its alert, or begin one.

    An end of what was never seen begins a closed incident without an event, so that a beginning
    that arrives after it does not open one.
    """
    if known is None:
        return _begin(notice, adopt=adopt)
    if not known.is_open:
        return _after_close(known, notice, timing)
    seen = replace(known, seen_at=max(known.seen_at, notice.received_at), is_stale=False)
    seen = replace(seen, starts=_starts(seen, notice, timing))
    ended = notice.ends_at is not None
    if (notice.starts_at, ended) < (known.starts_at, known.ended):
        return _flap(Step(seen), notice, timing)
    if ended:
        quiet = known.quiet_since or min(notice.ends_at or known.seen_at, notice.received_at)
        after = replace(seen, starts_at=notice.starts_at, ended=True, quiet_since=quiet)
        return _flap(Step(after), notice, timing)
    step = _renewed(seen, notice)
    return _flap(step, notice, timing)


def _begin(
    notice: Notice,
    *,
    adopt: bool = False,
    returned_from: str = "",
    silence: Silence | None = None,
) -> Step:
    ended = notice.ends_at is not None
    new = Incident(
        id=uuid4().hex[:16],
        newest=notice,
        opened_at=notice.received_at,
        starts_at=notice.starts_at,
        seen_at=notice.received_at,
        ended=ended,
        starts=(notice.starts_at,),
        values=() if notice.value is None else (notice.value,),
        closed_at=notice.received_at if ended else None,
        reason="resolved" if ended else None,
        returned_from=returned_from,
        silence=silence,
    )
    if ended:
        return Step(new)
    change: Change = "adopted" if adopt else "opened"
    return Step(new, (event(new, new.opened_at, change, str(notice.severity), why=returned_from),))


def _after_close(known: Incident, notice: Notice, timing: Timing) -> Step:
    """Return the closed incident, or the same one open again, or a new one."""
    ended = notice.ends_at is not None
    this, last = (notice.starts_at, ended), (known.starts_at, known.ended)
    # what Alertmanager forgot, and holds again, may be of the same epoch
    if this < last or (this == last and known.reason != "gone"):
        return Step(known)
    if ended:
        return Step(replace(known, starts_at=notice.starts_at, ended=True))
    assert known.closed_at is not None
    silence = known.silence if _holds(known.silence, notice.received_at) else None
    if notice.received_at - known.closed_at > timing.reopen_window or _never_opened(known):
        earlier = "" if _never_opened(known) else known.id
        return _begin(notice, returned_from=earlier, silence=silence)
    again = replace(
        known,
        newest=notice,
        starts_at=notice.starts_at,
        seen_at=max(known.seen_at, notice.received_at),
        ended=False,
        starts=_starts(known, notice, timing),
        quiet_since=None,
        quiet_for=0.0,
        is_gone=False,
        closed_at=None,
        reason=None,
        acknowledged=None,
        has_returned=True,
        silence=silence,
    )
    reopened = event(again, notice.received_at, "reopened", str(notice.severity))
    return _flap(Step(again, (reopened,)), notice, timing)


def _holds(silence: Silence | None, now: datetime) -> bool:
    return silence is not None and silence.until > now


def _never_opened(incident: Incident) -> bool:
    return incident.closed_at == incident.opened_at


def _renewed(known: Incident, notice: Notice) -> Step:
    """Return the incident that fires on, with the newest of what is known of it."""
    fires = replace(
        known,
        starts_at=notice.starts_at,
        ended=False,
        quiet_since=None,
        quiet_for=0.0,
        is_gone=False,
    )
    if notice.received_at < known.newest.received_at:
        return Step(fires)
    before, after = known.newest.severity, notice.severity
    fires = replace(fires, newest=notice, values=_values(known, notice))
    if before is after:
        return Step(fires)
    change: Change = "worsened" if after.rank < before.rank else "eased"
    return Step(fires, (event(fires, notice.received_at, change, str(after), before=str(before)),))


def _values(known: Incident, notice: Notice) -> tuple[float, ...]:
    added = () if notice.value is None else (notice.value,)
    return (*known.values, *added)[-MOST_VALUES:]


def _starts(known: Incident, notice: Notice, timing: Timing) -> tuple[datetime, ...]:
    every = {*known.starts, notice.starts_at}
    newest = max(every)
    return tuple(sorted(at for at in every if newest - at <= timing.flapping_window))


def _flap(step: Step, notice: Notice, timing: Timing) -> Step:
    incident = step.incident
    if incident.is_flapping or len(incident.starts) < timing.flapping_starts:
        return step
    flapping = replace(incident, is_flapping=True)
    number = f"{len(incident.starts)} starts within {timing.flapping_window}"
    named = event(flapping, notice.received_at, "flapping", why=number)
    # its name says it all: that it began again is part of it
    kept = tuple(one for one in step.events if one.change != "reopened")
    return Step(flapping, (*kept, named))


def pass_time(
    incident: Incident, timing: Timing, now: datetime, elapsed: timedelta, *, is_source_up: bool
) -> Step:
    """Let time pass: close after quiet, let acknowledgements expire, name what is stale.

    `elapsed` is what passed since the last time, as a clock that never jumps has it; it counts as
    quiet only while the source was up.
    """
    events: list[IncidentEvent] = []
    given = incident.acknowledged
    if given is not None and given.until <= now:
        incident = replace(incident, acknowledged=None)
        why = f"the acknowledgement of {given.by} has expired"
        events.append(event(incident, now, "unacknowledged", by=given.by, why=why))
    if incident.silence is not None and not _holds(incident.silence, now):
        over = silence(incident, None, now, "fedvitals", "the silence has ended")
        incident = over.incident
        events += over.events
    if incident.quiet_since is not None:
        if is_source_up:
            quiet = incident.quiet_for + max(0.0, elapsed.total_seconds())
            incident = replace(incident, quiet_for=quiet)
        if incident.quiet_for >= hold_of(incident, timing).total_seconds():
            closed = close(incident, now, "gone" if incident.is_gone else "resolved")
            return Step(closed.incident, (*events, *closed.events))
    elif not incident.is_stale and now - incident.seen_at >= timing.stale_after:
        incident = replace(incident, is_stale=True)
        since = f"its source is silent since {incident.seen_at:%Y-%m-%d %H:%M} UTC"
        events.append(event(incident, now, "stale", why=since))
    return Step(incident, tuple(events))


def hold_of(incident: Incident, timing: Timing) -> timedelta:
    """Return how long an incident is quiet before it is closed."""
    evaluated = timedelta(seconds=timing.evaluations * incident.newest.every)
    if incident.is_flapping or incident.has_returned:
        return max(timing.reopen_window, evaluated)
    return max(timing.resolve_hold, evaluated)


def close(incident: Incident, now: datetime, reason: Reason, by: str = "", why: str = "") -> Step:
    """Close an open incident."""
    ended = incident.ended or reason == "by hand"
    closed = replace(
        incident, closed_at=now, reason=reason, ended=ended, is_flapping=False, muted=""
    )
    return Step(closed, (event(closed, now, "resolved", reason, by=by, why=why),))


def acknowledge(incident: Incident, given: Acknowledgement) -> Step:
    """Acknowledge; of a closed incident it is noted and changes nothing."""
    noted = event(incident, given.at, "acknowledged", by=given.by, why=given.why)
    if not incident.is_open:
        return Step(incident, (noted,))
    if incident.acknowledged is not None and incident.acknowledged.by == given.by:
        return Step(replace(incident, acknowledged=given))
    return Step(replace(incident, acknowledged=given), (noted,))


def mute(incident: Incident, muted: Muted, now: datetime) -> Step:
    """Note that Alertmanager silences or inhibits it, or does so no more."""
    if incident.muted == muted or not incident.is_open:
        return Step(incident)
    after = replace(incident, muted=muted)
    return Step(after, (event(after, now, muted or "unmuted", before=incident.muted),))


def silence(
    incident: Incident, given: Silence | None, now: datetime, by: str = "", why: str = ""
) -> Step:
    """Silence an alert, or with None end that; its incident may be closed already."""
    after = replace(incident, silence=given)
    if given is not None:
        text = given.until.isoformat(timespec="seconds")
        return Step(after, (event(after, now, "silenced", text, by=given.by, why=given.why),))
    if incident.silence is None:
        return Step(incident)
    return Step(after, (event(after, now, "unmuted", by=by, why=why),))


def lose(incident: Incident, now: datetime) -> Step:
    """Note that Alertmanager holds it no more: it is gone when that stays so."""
    if incident.quiet_since is not None:
        return Step(incident)
    return Step(replace(incident, quiet_since=now, quiet_for=0.0, is_gone=True))
