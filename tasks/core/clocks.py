"""Clocks of the services, read from the dates of answers that a run gets anyway."""

import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import NamedTuple

from tasks.core.finding import Finding
from tasks.core.retry import seconds_ahead
from tasks.core.services import Environment
from tasks.core.severity import Severity

CLOCK = "clock"
WARNING_SECONDS = 5.0
# more than the default settle_delay: hours would be read before they end
MOST_SECONDS = 60.0
FIX = "Set the clocks of both machines, best by NTP: hours would be read before they end"
# readings of a long-lived process do not hold for ever
_FRESH_SECONDS = 600.0


class Skew(NamedTuple):
    """By how many seconds a service's clock is ahead of ours, give or take `margin`."""

    ahead: float
    margin: float
    read: float

    @property
    def severity(self) -> Severity | None:
        """Return how bad it is by what the clocks differ for certain; None when they agree."""
        least = abs(self.ahead) - self.margin
        if least > MOST_SECONDS:
            return Severity.HIGH
        return Severity.WARNING if least > WARNING_SECONDS else None

    @property
    def words(self) -> str:
        """Describe the service's clock beside ours."""
        return (
            f"{abs(self.ahead):.0f} s {'ahead of' if self.ahead > 0 else 'behind'} this machine's"
        )

    @property
    def is_old(self) -> bool:
        """Return whether the clock may be another one by now."""
        return time.monotonic() - self.read > _FRESH_SECONDS


_skews: dict[str, Skew] = {}


def note_date(url: str, headers: Mapping[str, str], took: timedelta) -> None:
    """Note the clock of a service from an answer whose head took so long to come."""
    # a cache keeps the date of its first answer
    ahead = None if "Age" in headers else seconds_ahead(headers.get("Date", ""))
    if ahead is not None:
        # the head was made at any time of the wait, and its date lacks the fraction of its second
        margin = took.total_seconds() / 2 + 0.5
        known = _skews.get(url)
        if known is None or known.is_old or margin <= known.margin:
            _skews[url] = Skew(ahead + margin, margin, time.monotonic())


def skews(environment: Environment) -> Iterator[tuple[str, Skew]]:
    """Yield the services of an environment that answered of late, each with its clock."""
    for name, service in environment.services.items():
        skew = _skews.get(service.url)
        if skew is not None and not skew.is_old:
            yield name, skew


def clock_findings(environment: Environment) -> Iterator[Finding]:
    """Yield a finding for each service whose clock is not ours."""
    for name, skew in skews(environment):
        if skew.severity is not None:
            sentence = f"{environment.name}: the clock of {name} is {skew.words}"
            evidence = {"service": name, "seconds_ahead": round(skew.ahead, 1)}
            subject = f"{environment.name}: {name}"
            yield Finding(CLOCK, skew.severity, sentence, evidence, subject=subject, hint=FIX)
