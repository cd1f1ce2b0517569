"""A digest of a window: what is open, what fired, what was noise, and what was acted on."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo

from tasks.alerts.explain import lines_of
from tasks.alerts.noise import acted_on, is_noise
from tasks.core.alert_report import BudgetLine, Digest, IncidentLine, Review, SilenceLine
from tasks.core.finding import clock_of
from tasks.core.incidents import AlertMessage, Incident, IncidentEvent
from tasks.core.severity import Severity, worst
from tasks.core.units import counted, human
from tasks.core.window import Window

# of a list in a message
_MOST = 15


def digest(
    incidents: Sequence[Incident],
    events: Sequence[IncidentEvent],
    undelivered: Mapping[str, str],
    window: Window,
) -> Digest:
    """Return the digest of incidents that were open in a window, with the changes in it."""
    acted = acted_on(events)
    fired = [one for one in incidents if one.opened_at >= window.start]
    left = [one for one in incidents if one.is_open]
    return Digest(
        start=window.start,
        stop=window.stop,
        open=lines_of(left, undelivered),
        fired=_numbers(fired),
        noise=_numbers(one for one in fired if is_noise(one, acted)),
        acted_on=_numbers(one for one in incidents if one.id in acted),
        escalated=len({e.incident_id for e in events if e.change == "escalated"}),
        flapping=tuple(sorted({one.newest.name for one in incidents if one.is_flapping})),
        undelivered=len([one for one in left if one.id in undelivered]),
    )


def message_of(found: Digest, environment: str, zone: tzinfo) -> AlertMessage:
    """Return the digest as one message."""
    stop = found.stop.astimezone(zone)
    fired = sum(found.fired.values())
    facts = [
        ("From", clock_of(found.start, stop)),
        ("Fired", _text(found.fired)),
        ("Noise", _text(found.noise)),
        ("Acted on", _text(found.acted_on)),
        ("Escalated", str(found.escalated)),
    ]
    more = (f"{title}: {text}" for title, text in _more(found, stop))
    return AlertMessage(
        incident_id=f"digest-{found.stop:%Y%m%dT%H%M}",
        fingerprint="digest",
        action="summary",
        environment=environment,
        name="digest",
        kind="digest",
        severity=worst([one.severity for one in found.open]) or Severity.INFO,
        title=f"Digest of alerts: {counted(len(found.open), 'open incident')}, {fired} fired",
        sentence="Open, the gravest first:" if found.open else "Nothing is open.",
        time=stop,
        opened_at=found.start,
        facts=tuple(facts),
        failed=(*(_line(one, stop) for one in found.open[:_MOST]), *more),
    )


def _more(found: Digest, stop: datetime) -> Iterable[tuple[str, str]]:
    if found.silences_that_end:
        ending = (_silence(one, stop) for one in found.silences_that_end)
        yield "Silences that end", _listed(ending)
    if found.budgets:
        yield "Budgets below 25 %", _listed(map(_budget, found.budgets))
    if found.review is not None:
        yield from _review(found.review, stop)
    if found.not_known:
        yield "Not known", _listed(found.not_known)


def _review(review: Review, stop: datetime) -> Iterable[tuple[str, str]]:
    rows = {
        "Never fired": review.never_fired,
        "Fired, never acted on": review.never_acted_on,
        "SLOs with over 90 % of their budget left": map(_budget, review.budgets_unused),
        "Limits that history sets elsewhere": (
            f"{one.rule}: {one.limit:g}, learned {one.learned:g} ({counted(one.fires, 'firing')})"
            for one in review.limits
        ),
        "Silences of more than 30 days": (
            _silence(one, stop) for one in review.silences_without_end
        ),
    }
    for title, lines in rows.items():
        if text := _listed(lines):
            yield title, text


def _silence(one: SilenceLine, stop: datetime) -> str:
    why = f" ({one.why})" if one.why else ""
    return f"{one.environment} {one.what} until {clock_of(one.until, stop)} by {one.by}{why}"


def _budget(one: BudgetLine) -> str:
    return f"{one.environment} {one.slo}: {human(one.left_ratio, 'ratio')}"


def _line(one: IncidentLine, stop: datetime) -> str:
    who, until = one.acknowledged_by, one.acknowledged_until
    given = f", {who} until {clock_of(until, stop)}" if until else ""
    return f"{one.severity} {one.environment}: {one.alert}{given}"


def _numbers(incidents: Iterable[Incident]) -> dict[str, int]:
    return dict(Counter(one.newest.name for one in incidents).most_common())


def _text(numbers: Mapping[str, int]) -> str:
    return _listed(f"{name} ({number})" for name, number in numbers.items()) or "none"


def _listed(texts: Iterable[str]) -> str:
    every = [*texts]
    more = [f"and {len(every) - _MOST} more"] if len(every) > _MOST else []
    return ", ".join((*every[:_MOST], *more))
