"""When a rule fires: Prometheus's states of an alert, from the moments of its breaches."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

AlertState = Literal["ok", "pending", "firing"]


class Span(NamedTuple):
    """An alert that fired: breached since, fired from, and resolved at (not included)."""

    since: datetime
    fired: datetime
    resolved: datetime


@dataclass
class Alert:
    """One series's alert, evaluated each `interval`; carries its state from query to query."""

    for_: timedelta
    keep_firing_for: timedelta
    interval: timedelta
    since: datetime | None = None
    fired: datetime | None = None
    last: datetime | None = None

    def breach(self, at: datetime) -> Span | None:
        """Take the next breach; return the span that ended before it, if one did."""
        ended = self.quiet(at)
        if self.since is None:
            self.since = at
        if self.fired is None and at - self.since >= self.for_:
            self.fired = at
        self.last = at
        return ended

    def quiet(self, until: datetime) -> Span | None:
        """Evaluate without breaches before `until`; return the span that ended, if one did."""
        if self.since is None or self.resolved >= until:
            return None
        span = None if self.fired is None else Span(self.since, self.fired, self.resolved)
        self.since = self.fired = self.last = None
        return span

    @property
    def resolved(self) -> datetime:
        """Return the evaluation at which it ends unless it is breached by then."""
        assert self.last is not None
        kept = self.keep_firing_for if self.fired else timedelta(0)
        return self.last + self.interval * (1 - (-kept // self.interval))

    @property
    def state(self) -> AlertState:
        """Return the state after the last evaluation that it was given."""
        if self.since is None:
            return "ok"
        return "pending" if self.fired is None else "firing"


def replay(alert: Alert, breaches: Iterable[datetime], until: datetime) -> list[Span]:
    """Give an alert its breaches, in order, then quiet until then; return the ended spans."""
    spans = [span for at in breaches if (span := alert.breach(at))]
    ended = alert.quiet(until)
    return [*spans, ended] if ended else spans
