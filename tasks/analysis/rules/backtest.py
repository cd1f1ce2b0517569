"""Back-test an alert: when it would have fired, from the evaluations at which it was breached."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from tasks.analysis.rules.firing import Alert
from tasks.core.evaluations import Chunk, Labels
from tasks.core.thresholds import Threshold
from tasks.core.window import Window, micros

# in microseconds
DAY = timedelta(days=1) // timedelta.resolution


class Firing(NamedTuple):
    """A series's alert that fired; `resolved` is None when it fires at the end."""

    labels: Labels
    since: datetime
    fired: datetime
    resolved: datetime | None


@dataclass(frozen=True)
class BackTest:
    """When an alert would have fired in a window, evaluated each `interval`.

    `days` are those of the window, counted back from its stop, on which the rule had a value; None
    when the query alone does not show it.
    """

    alert: str
    threshold: Threshold
    environment: str
    interval: timedelta
    window: Window
    firings: tuple[Firing, ...] = ()
    days: int | None = None
    problem: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as a JSON document; seconds are those within the window."""
        start, stop = self.window.start, self.window.stop
        ends = [min(one.resolved or stop, stop) for one in self.firings]
        starts = [max(one.fired, start) for one in self.firings]
        seconds = [(b - a).total_seconds() for a, b in zip(starts, ends, strict=True)]
        each = [
            {**one._asdict(), "labels": dict(one.labels), "seconds": length}
            for one, length in zip(self.firings, seconds, strict=True)
        ]
        return {
            "rule": self.alert,
            "environment": self.environment,
            "limit": (self.alert == self.threshold.id and self.threshold.limit) or None,
            "start": start,
            "stop": stop,
            "interval_seconds": self.interval.total_seconds(),
            "days": self.days,
            "fired": None if self.problem else len(each),
            "seconds": sum(seconds),
            "firings": each,
            "problem": self.problem,
        }


def firings(breaches: Iterable[Chunk], alert: Alert, window: Window) -> tuple[Firing, ...]:
    """Return when each series's alert fired in the window, by time.

    The chunks hold the breaches before the window's stop, in order; the first may begin before its
    start. Each series has an alert of its own, whose state goes on from chunk to chunk.
    """
    alerts: dict[Labels, Alert] = {}
    found = []
    for chunk in breaches:
        for labels, part in chunk.items():
            one = alerts.setdefault(labels, replace(alert))
            spans = [span for at in part.moments if (span := one.breach(at))]
            found += [Firing(labels, *span) for span in spans]
    for labels, one in alerts.items():
        if span := one.quiet(window.stop):
            found.append(Firing(labels, *span))
        elif one.since and one.fired:
            found.append(Firing(labels, one.since, one.fired, None))
    seen = (one for one in found if one.resolved is None or one.resolved > window.start)
    return tuple(sorted(seen, key=lambda one: (one.fired, one.labels)))


def days_of(chunk: Chunk, stop: datetime) -> set[int]:
    """Return the numbers of the days before the stop on which a series has a value."""
    times = [part.times for part in chunk.values()]
    return (
        set(np.unique((micros(stop) - np.concatenate(times)) // DAY).tolist()) if times else set()
    )
