"""Records of the convergence report: plain numbers, in the metric's own unit."""

from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

from tasks.analysis.convergence import VerdictKind
from tasks.analysis.interval import Interval
from tasks.core.finding import Finding

FAN = (0.1, 0.25, 0.5, 0.75, 0.9)
"""The quantiles of a fan."""
NOT_DRAWN = -1
Floats = tuple[float, ...]
LEAST_START = 5
"""Of fewer than 50 rounds the start is a large part."""
STEEP = 1.5


@dataclass(frozen=True)
class Number:
    """A number with its label, value and interval as text, or the reason for none."""

    label: str
    value: str | None
    interval: str | None = None
    why_not: str | None = None


@dataclass(frozen=True)
class CurveChart:
    """The learning curve, NaN where unknown; a row of `fan` for each quantile of FAN.

    `lost` are the rounds whose loss was not finite, `broken` where the run broke.
    """

    rounds: tuple[int, ...]
    values: Floats
    is_share: bool
    name: str
    fan_rounds: tuple[int, ...] = ()
    fan: tuple[Floats, ...] = ()
    target: float | None = None
    lost: tuple[int, ...] = ()
    broken: int | None = None

    @property
    def shown(self) -> tuple[float, float] | None:
        """Return the axis, cut if the first tenth would take most of it, else None."""
        start = len(self.values) // 10
        if start < LEAST_START:
            return None
        target = () if self.target is None else (self.target,)
        ahead = [value for row in self.fan for value in row]
        later = [v for v in (*self.values[start:], *ahead, *target) if isfinite(v)]
        early = [v for v in self.values[:start] if isfinite(v)]
        if not later or not early:
            return None
        low, high = min(later), max(later)
        span = high - low
        if max(low - min(early), max(early) - high) <= STEEP * span or not span:
            return None
        return low - span / 8, high + span / 8


@dataclass(frozen=True)
class BurnChart:
    """Epsilon left after each round; when it ends, and the target is reached."""

    rounds: tuple[int, ...]
    left: Floats
    budget: float
    fan_rounds: tuple[int, ...] = ()
    fan: tuple[Floats, ...] = ()
    exhausted: Interval | None = None
    reached: Interval | None = None


@dataclass(frozen=True)
class HeatChart:
    """states has a row for each client, worst first, and a state for each round."""

    clients: tuple[str, ...]
    rounds: tuple[int, ...]
    states: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ClientLine:
    """One client; texts are ready to read, None where nothing was reported."""

    name: str
    drawn: int
    drop_outs: str | None
    late: str | None
    accuracy: str | None
    examples: str | None
    seconds: str | None


@dataclass(frozen=True)
class Part:
    """A part of a run's analysis: a sentence, its numbers, and why some are missing."""

    title: str
    sentence: str
    numbers: tuple[Number, ...] = ()
    why_not: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunSection:
    """One run. parts are those beside the curve; charts and clients are separate."""

    name: str
    source: str
    verdict: VerdictKind
    sentence: str
    metric: str
    rounds_seen: int
    curve: CurveChart
    numbers: tuple[Number, ...]
    advice: str | None = None
    advice_further: str | None = None
    forecast_note: str | None = None
    time: Part | None = None
    privacy: Part | None = None
    burn: BurnChart | None = None
    participation: Part | None = None
    heat: HeatChart | None = None
    clients: tuple[ClientLine, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    is_finished: bool = False


@dataclass(frozen=True)
class ComparisonLine:
    """Two runs: the lead of the first as text, at the last common round and the end."""

    first: str
    second: str
    better: str | None
    at_round: int | None
    level: str | None
    final: str | None
    sentence: str
    why_not: tuple[str, ...]


@dataclass(frozen=True)
class ConvergenceReport:
    """The whole page. document is its JSON export, as printed by --json."""

    sections: tuple[RunSection, ...]
    generated_at: datetime
    document: dict[str, Any]
    environment: str | None = None
    comparison: tuple[ComparisonLine, ...] = ()
    notes: tuple[str, ...] = field(default=())
