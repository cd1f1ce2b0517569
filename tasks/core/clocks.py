"""Clocks of the services, read from the dates of answers that a run gets anyway."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

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


@dataclass(frozen=True)
class Skew:
    """By how many seconds a service's clock is ahead of ours, give or take `margin`."""

    ahead: float
    margin: float

    @property
    def least(self) -> float:
        """Return by how much the clocks differ for certain, in seconds."""
        return max(0.0, abs(self.ahead) - self.margin)

    @property
    def severity(self) -> Severity | None:
        """Return how bad the difference is; None when the clocks agree."""
        if self.least > MOST_SECONDS:
            return Severity.HIGH
        return Severity.WARNING if self.least > WARNING_SECONDS else None

    @property
    def words(self) -> str:
        """Describe the service's clock beside ours."""
        return (
            f"{abs(self.ahead):.0f} s {'ahead of' if self.ahead > 0 else 'behind'} this machine's"
        )


_read: dict[str, tuple[float, Skew]] = {}


def note_date(url: str, headers: Mapping[str, str], took: timedelta) -> None:
    """Note the clock of a service from an answer whose head took so long to come."""
    # a cache keeps the date of its first answer
    ahead = None if "Age" in headers else seconds_ahead(headers.get("Date", ""))
    if ahead is None:
        return
    # the head was made at any time of the wait, and its date lacks the fraction of its second
    half = took.total_seconds() / 2
    skew, now = Skew(ahead + half + 0.5, half + 0.5), time.monotonic()
    then, known = _read.get(url, (0.0, skew))
    if skew.margin <= known.margin or now - then > _FRESH_SECONDS:
        _read[url] = now, skew


def skews(environment: Environment) -> Iterator[tuple[str, Skew]]:
    """Yield the services of an environment that answered of late, each with its clock."""
    oldest = time.monotonic() - _FRESH_SECONDS
    for name, service in environment.services.items():
        then, skew = _read.get(service.url, (oldest, None))
        if skew is not None and then > oldest:
            yield name, skew


def clock_findings(environment: Environment) -> Iterator[Finding]:
    """Yield a finding for each service whose clock is not ours."""
    for name, skew in skews(environment):
        if skew.severity is not None:
            where = f"{environment.name}: {name}"
            evidence = {"service": name, "seconds_ahead": round(skew.ahead, 1)}
            sentence = f"{environment.name}: the clock of {name} is {skew.words}"
            yield Finding(CLOCK, skew.severity, sentence, evidence, subject=where, hint=FIX)
