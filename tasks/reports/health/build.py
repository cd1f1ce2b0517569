"""What the status page shows, from intervals and response times."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tasks.analysis.health.uptime import Uptime, bars, day_edges, uptime
from tasks.core.finding import Finding
from tasks.core.health import Interval, ResponseTime, State
from tasks.core.maintenance_windows import Maintenance
from tasks.core.units import counted

DAYS = 90
MOST_OUTAGES = 5
_RANGES = (("24 h", 1), ("7 d", 7), ("30 d", 30), (f"{DAYS} d", DAYS))
# worst first
WORDS: dict[State, str] = {
    "down": "down",
    "no_data": "without data",
    "degraded": "degraded",
    "maintenance": "in maintenance",
    "up": "up",
}


@dataclass(frozen=True)
class CheckStatus:
    """One check: its state and why, and its past."""

    name: str
    state: State
    since: datetime | None
    why: str
    bars: tuple[Uptime, ...]
    ranges: tuple[tuple[str, Uptime], ...]
    outages: tuple[Interval, ...]
    responses: tuple[ResponseTime, ...]


@dataclass(frozen=True)
class StatusPage:
    """All checks of an environment at a time, which has the zone of the page."""

    environment: str
    at: datetime
    checks: tuple[CheckStatus, ...]
    findings: tuple[Finding, ...]
    planned: tuple[Maintenance, ...]

    @property
    def state(self) -> State:
        """Return the worst state of a check."""
        found = {check.state for check in self.checks}
        return next((state for state in WORDS if state in found), "no_data")

    @property
    def headline(self) -> str:
        """Return how many checks are in which state, worst first."""
        counts = Counter(check.state for check in self.checks)
        if len(counts) <= 1:
            return f"{counted(len(self.checks), 'check')}, all {WORDS[self.state]}"
        parts = [f"{counts[state]} {words}" for state, words in WORDS.items() if counts[state]]
        return f"{counted(len(self.checks), 'check')}: {', '.join(parts)}"


def build(
    environment: str,
    at: datetime,
    checks: Iterable[str],
    intervals: Sequence[Interval],
    responses: Sequence[ResponseTime],
    findings: Iterable[Finding],
    planned: Iterable[Maintenance],
) -> StatusPage:
    """Return the page of some checks; intervals and response times are oldest first."""
    states: dict[str, list[Interval]] = {name: [] for name in checks}
    times: dict[str, list[ResponseTime]] = {name: [] for name in states}
    for interval in intervals:
        states.get(interval.check, []).append(interval)
    for response in responses:
        times.get(response.check, []).append(response)
    shown = tuple(_status(name, at, own, tuple(times[name])) for name, own in states.items())
    return StatusPage(environment, at, shown, tuple(findings), tuple(planned))


def _status(
    name: str, at: datetime, own: Sequence[Interval], responses: tuple[ResponseTime, ...]
) -> CheckStatus:
    now = at.astimezone(UTC)
    last = own[-1] if own else None
    ranges = ((words, uptime(own, now - timedelta(days=days), now)) for words, days in _RANGES)
    bad = [one for one in own if one.shown in ("down", "degraded")]
    return CheckStatus(
        name=name,
        state=last.shown if last else "no_data",
        since=last.start if last else None,
        why=last.why if last and last.shown != "up" else "",
        bars=tuple(bars(own, day_edges(at, DAYS))),
        ranges=tuple(ranges),
        outages=tuple(reversed(bad[-MOST_OUTAGES:])),
        responses=responses,
    )
