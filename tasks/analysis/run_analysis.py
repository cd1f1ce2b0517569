"""The results of a run's analysis, also as a JSON document."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np

from tasks.analysis.advice import Advice
from tasks.analysis.comparison import Comparison
from tasks.analysis.convergence import SEVERITIES, Verdict
from tasks.analysis.curve import Curve, Metric
from tasks.analysis.forecast import Forecast, NoForecast
from tasks.analysis.interval import Interval
from tasks.analysis.participation import Participation
from tasks.analysis.privacy import Race
from tasks.analysis.remaining_time import RemainingTime
from tasks.analysis.wording import level_text
from tasks.core.finding import Finding

LEVEL = 0.8


@dataclass(frozen=True)
class AnalysisSettings:
    """Options of an analysis."""

    metric: Metric | None = None  # by default accuracy if any round has it, else loss
    total_rounds: int | None = None  # by default the run's own, else the longest similar run's
    target: float | None = None  # in the metric's own unit (accuracy as a share)
    level: float = LEVEL  # probability that an interval holds the truth


@dataclass(frozen=True, eq=False)
class RunAnalysis:
    """One run's results. forecast.final and target are on the curve's scale 0 to 1;
    planned_rounds counts the plan's rounds, final_round is the number of the last one; notes are lines
    on skipped and missing input."""

    run_id: str
    source: str
    curve: Curve
    verdict: Verdict
    forecast: Forecast | NoForecast
    target: float | None
    planned_rounds: int | None
    final_round: int | None
    time: RemainingTime
    participation: Participation | None
    race: Race | None
    advice: Advice
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def is_over(self) -> bool:
        """Return whether the last planned round is done."""
        end, rounds = self.final_round, self.curve.rounds
        return end is not None and len(rounds) > 0 and int(rounds[-1]) >= end

    @property
    def reached_round(self) -> int | None:
        """Return the first round at the target; None without one."""
        values, target = self.curve.values, self.target
        at = np.flatnonzero(values >= (np.inf if target is None else target))
        return int(self.curve.rounds[at[0]]) if len(at) else None

    @property
    def is_finished(self) -> bool:
        """Return whether the run is over and neither collapsed nor diverging."""
        is_grave = SEVERITIES[self.verdict.kind].is_grave
        return self.is_over and not is_grave and isinstance(self.forecast, Forecast)

    @property
    def sentence(self) -> str:
        """Return the verdict; of a finished run, what it reached."""
        if not self.is_finished or not isinstance(self.forecast, Forecast):
            return self.verdict.sentence
        parts, reached = [], self.reached_round
        if self.target is not None:
            known = "missed" if reached is None else "reached"
            at = "" if reached is None else f" at round {reached}"
            parts.append(f"{known} {self._text(self.target)}{at}")
        parts.append(f"ended at {self._text(self.forecast.now)}")
        if self.race is not None and self.race.spent is not None:
            of = "" if self.race.budget is None else f" of {self.race.budget:.3g}"
            parts.append(f"epsilon {self.race.spent:.3g}{of}")
        return f"Finished: {'; '.join(parts)}."

    def _text(self, value: float) -> str:
        return level_text(self.curve.metric, self.curve.unscaled(value))

    def document(self, file: str | None = None) -> dict[str, Any]:
        """Return the analysis as JSON: finite numbers, null for unknown ones."""
        return {
            "file": file,
            "run_id": self.run_id,
            "source": self.source,
            "rounds_seen": len(self.curve),
            "metric": self.curve.metric,
            "verdict": self.verdict.kind,
            "sentence": self.sentence,
            "evidence": plain(self.verdict.evidence),
            "trend_per_round": self._own(self.verdict.trend, self._difference),
            "level": self._own(self.verdict.level, self.curve.unscaled),
            "asymptote": self._own(self.verdict.asymptote, self.curve.unscaled),
            "onset_round": self.verdict.onset_round,
            "planned_rounds": self.planned_rounds,
            "final_round": self.final_round,
            "target": None if self.target is None else plain(self.curve.unscaled(self.target)),
            "forecast": self._forecast(),
            "forecast_needs": getattr(self.forecast, "reason", None),
            "time": plain(self.time),
            "participation": plain(self.participation),
            "privacy": plain(self.race),
            "advice": plain(self.advice),
            "findings": plain(self.findings),
            "notes": list(self.notes),
        }

    def _difference(self, value: float) -> float:
        return value if self.curve.metric == "accuracy" else -value * self.curve.worst

    def _own(self, interval: Interval | None, unit: Any) -> dict[str, Any] | None:
        """Return an interval in the metric's own unit; a loss swaps low and high."""
        if interval is None:
            return None
        low, high = sorted((unit(interval.low), unit(interval.high)))
        own: dict[str, Any] = plain(Interval(unit(interval.estimate), low, high, interval.level))
        return own

    def _forecast(self) -> dict[str, Any] | None:
        forecast = self.forecast
        if isinstance(forecast, NoForecast):
            return None
        reach = None if self.target is None else forecast.reach(self.target)
        return {
            "final": self._own(forecast.final, self.curve.unscaled),
            "rounds_to_target": plain(reach),
            "level_now": plain(self.curve.unscaled(forecast.now)),
            "rests_on_rounds": forecast.n,
            "similar_runs": list(forecast.neighbours),
            "share_of_similar_runs": plain(forecast.history_share),
        }


def comparison_document(comparisons: tuple[Comparison, ...]) -> list[dict[str, Any]] | None:
    """Return the comparisons as JSON; null when there was nothing to compare."""
    return [plain(one) for one in comparisons] or None


def plain(value: Any) -> Any:
    """Return JSON values: objects for dataclasses, null for non-finite numbers."""
    if is_dataclass(value):
        return {name: plain(part) for name, part in vars(value).items() if not _is_for_charts(part)}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value


def _is_for_charts(value: Any) -> bool:
    parts = vars(value).values() if is_dataclass(value) else [value]
    return any(isinstance(part, np.ndarray) for part in parts)
