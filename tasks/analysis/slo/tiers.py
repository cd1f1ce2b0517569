"""Tiers of an SLO: how fast its budget has to burn, over which windows, for an alert."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.core.severity import Severity
from tasks.core.slos import Slo

# samples in the shortest window that a burn rate may have
LEAST_SAMPLES = 4
# of the long window, for an alert to end soon after the errors
SHORT = 12
SECOND = timedelta(seconds=1)
Amount = TypeVar("Amount", float, NDArray[np.float64])
# factors that take the place of one that even a total outage does not reach
REACHABLE = (6.0, 3.0, 1.5)


class _Kind(NamedTuple):
    """The SRE workbook's tiers: this share of the budget within the long window."""

    name: str
    share: float
    long: timedelta
    severity: Severity


KINDS = (
    _Kind("fast", 0.02, timedelta(hours=1), Severity.CRITICAL),
    _Kind("slow", 0.05, timedelta(hours=6), Severity.HIGH),
    _Kind("ticket", 0.10, timedelta(days=3), Severity.WARNING),
)


@dataclass(frozen=True)
class Tier:
    """An alert on both windows; `wanted` is the factor that the share of the budget asks for."""

    name: str
    severity: Severity
    long: timedelta
    short: timedelta
    factor: float
    wanted: float

    @property
    def is_rescaled(self) -> bool:
        """Return whether even a total outage does not reach the wanted factor."""
        return self.factor != self.wanted

    @property
    def is_usable(self) -> bool:
        """Return whether its long window holds more samples than the fewest."""
        return self.long > self.short


def tiers_of(slo: Slo, sampling: timedelta) -> Iterator[Tier]:
    """Yield all tiers of the SLO; a factor follows from window and share of the budget.

    Of a short window the long ones are shorter too, or they would fire at the objective.
    """
    for kind in KINDS:
        long = _whole(min(kind.long, kind.share * slo.window))
        wanted = round(kind.share * (slo.window / long), 6)
        factor = wanted
        if wanted * slo.budget >= 1:
            factor = next(each for each in REACHABLE if each * slo.budget < 1)
        short = max(_whole(long / SHORT), LEAST_SAMPLES * sampling)
        yield Tier(kind.name, kind.severity, long, short, factor, wanted)


def _whole(length: timedelta) -> timedelta:
    return max(SECOND, length // SECOND * SECOND)


def explained(expected: Amount) -> Amount:
    """Return the bad events that chance explains where so many are expected."""
    deviation: Amount = expected**0.5
    return expected + 3 * deviation + 3


def needed_events(budget: float) -> int:
    """Return the least events in the long window with which a total outage fires."""
    return next(n for n in range(1, 10_000) if n > explained(n * budget))
