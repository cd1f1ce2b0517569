"""Comparison of runs: which is better, and by how much."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tasks.analysis import noise
from tasks.analysis.curve import Curve, Floats, Metric
from tasks.analysis.forecast import Forecast, NoForecast
from tasks.analysis.interval import Interval
from tasks.analysis.observed import window_of
from tasks.analysis.robust import quantile_interval, student_quantile
from tasks.analysis.wording import change_text, range_text

LEVEL = 0.95  # a difference counts when this interval does not hold 0
LEAST_ROUNDS = 5
FINAL_ROUNDS = 5
DRAWS = 4000
SEED = 0
Basis = Literal["paired rounds", "last rounds"]


@dataclass(frozen=True, eq=False)
class Compared:
    """The part of a run that a comparison needs."""

    name: str
    curve: Curve
    forecast: Forecast | NoForecast


@dataclass(frozen=True)
class Comparison:
    """Two runs, compared: differences are first less second in the metric's own
    unit, positive where the first is better (also of a loss); better is None when undecided.

    level is that of the levels at the same round, `round`; final that of the forecast final levels.
    n counts the rounds behind level. Both speak of these two trainings, not of their settings: for
    those, several seeds each are needed.
    """

    first: str
    second: str
    better: str | None
    metric: Metric
    round: int | None
    basis: Basis | None
    level: Interval | None
    final: Interval | None
    n: int
    sentence: str
    why_not: tuple[str, ...]


def compare_runs(runs: Sequence[Compared]) -> tuple[Comparison, ...]:
    """Compare each run with the best one, first in each pair; empty below two.

    The best has the highest level at the last round that all have.
    """
    if len(runs) < 2:
        return ()
    end = min((int(run.curve.rounds[-1]) for run in runs if len(run.curve)), default=0)
    best = max(range(len(runs)), key=lambda i: _standing(runs[i].curve, end))
    return tuple(compare_two(runs[best], runs[i]) for i in range(len(runs)) if i != best)


def _standing(curve: Curve, end: int) -> float:
    values = _until(curve, end)
    return float(values[-FINAL_ROUNDS:].mean()) if len(values) else -np.inf


def compare_two(first: Compared, second: Compared) -> Comparison:
    """Compare two runs.

    Where rounds match they are paired: what both share (the same data, the same schedule) falls out
    of the difference of a round. The mean of the last rounds' differences has an interval by the
    noise's white and slow parts (tasks.analysis.noise), since successive rounds are not independent
    (Zwiers and von Storch, "Taking serial correlation into account in tests of the mean", J. Climate
    1995), with Student's quantile. The forecast finals are compared draw by draw.
    """
    if first.curve.metric != second.curve.metric:
        return _undecidable(first, second, "one has accuracy and the other only loss")
    if len(first.curve) and first.curve.is_same(second.curve):
        return _same(first, second)
    unit = max(first.curve.unit, second.curve.unit)
    if unit <= 0.0:
        return _undecidable(first, second, "no loss is reported")
    one, other = _aligned(first.curve, second.curve)
    end, basis, difference, n = _at_equal_rounds(one, other)
    final, why_not = _final(first, second)
    if difference is None:
        needed = f"at least {LEAST_ROUNDS} rounds of each up to the same one are needed"
        why_not = (needed, *why_not)
    shown = None if difference is None else _times(difference, unit)
    better = _better(first.name, second.name, shown, final)
    return Comparison(
        first.name, second.name, better, first.curve.metric, end, basis, shown, final, n,
        _sentence(first.name, second.name, first.curve.metric, better, end, shown, final), why_not,
    )  # fmt: skip


def _aligned(first: Curve, second: Curve) -> tuple[Curve, Curve]:
    """Return both on one scale; for losses, the larger of the two worst is 0."""
    if first.metric == "accuracy":
        return first, second
    worst = max(first.worst, second.worst)
    return _on_scale(first, worst), _on_scale(second, worst)


def _on_scale(curve: Curve, worst: float) -> Curve:
    return replace(curve, values=1.0 - (1.0 - curve.values) * curve.worst / worst, worst=worst)


def _at_equal_rounds(
    first: Curve, second: Curve
) -> tuple[int | None, Basis | None, Interval | None, int]:
    """Return last common round, method, difference of levels, and rounds behind it."""
    if not len(first) or not len(second):
        return None, None, None, 0
    end = int(min(first.rounds[-1], second.rounds[-1]))
    shared, at_first, at_second = np.intersect1d(first.rounds, second.rounds, return_indices=True)
    differences = first.values[at_first] - second.values[at_second]
    differences = differences[np.isfinite(differences) & (shared <= end)]
    window = window_of(len(differences))
    if len(differences) >= LEAST_ROUNDS:
        count = min(window, len(differences))
        return end, "paired rounds", _mean(differences, window), count
    parts = [_until(curve, end) for curve in (first, second)]
    if min(len(part) for part in parts) < LEAST_ROUNDS:
        return end, None, None, 0
    means = [_mean(part, window_of(len(part))) for part in parts]
    middle = means[0].estimate - means[1].estimate
    reach = float(np.hypot(means[0].high - means[0].estimate, means[1].high - means[1].estimate))
    count = min(min(window_of(len(part)), len(part)) for part in parts)
    return end, "last rounds", Interval(middle, middle - reach, middle + reach, LEVEL), count


def _until(curve: Curve, end: int) -> Floats:
    return np.asarray(curve.values[(curve.rounds <= end) & np.isfinite(curve.values)])


def _mean(values: Floats, window: int) -> Interval:
    """Return the mean of the last rounds with its interval by the noise of the whole."""
    last = values[-window:]
    about = noise.estimate(noise.without_spikes(values))
    variance = max(about.of_mean(float(len(last))), float(last.var(ddof=1)) / len(last))
    reach = student_quantile(LEVEL, len(last) - 1.0) * float(np.sqrt(variance))
    middle = float(last.mean())
    return Interval(middle, middle - reach, middle + reach, LEVEL)


def _final(first: Compared, second: Compared) -> tuple[Interval | None, tuple[str, ...]]:
    draws = []
    rng = np.random.default_rng(SEED)
    for one in (first, second):
        if isinstance(one.forecast, NoForecast):
            return None, (f"the finals need a forecast of {one.name}: {one.forecast.reason}",)
        scaled = _finals(one, one.forecast, rng)
        own = scaled if one.curve.metric == "accuracy" else -one.curve.worst * (1.0 - scaled)
        draws.append(own)
    return quantile_interval(draws[0] - draws[1], LEVEL), ()


def _finals(run: Compared, ahead: Forecast, rng: np.random.Generator) -> Floats:
    """Return draws of the final level; of a finished run, by its last five rounds."""
    if ahead.levels.size:
        return np.asarray(ahead.levels[rng.integers(0, len(ahead.levels), size=DRAWS), -1])
    values = run.curve.values[np.isfinite(run.curve.values)]
    about = noise.estimate(noise.without_spikes(values))
    sd = float(np.sqrt(about.of_mean(float(min(FINAL_ROUNDS, len(values))))))
    return np.asarray(ahead.now + sd * rng.normal(size=DRAWS))


def _times(interval: Interval, unit: float) -> Interval:
    low, high = interval.low * unit, interval.high * unit
    return Interval(interval.estimate * unit, low, high, interval.level)


def _better(first: str, second: str, now: Interval | None, final: Interval | None) -> str | None:
    """Return the better run by the end, else at equal rounds; None when unsure."""
    sides = [(one.low > 0.0) - (one.high < 0.0) for one in (final, now) if one is not None]
    if not sides or {1, -1} <= set(sides):
        return None
    # with an undecided forecast, the present levels do not decide: curves may cross
    return {1: first, -1: second, 0: None}[sides[0]]


def _sentence(
    first: str,
    second: str,
    metric: Metric,
    better: str | None,
    end: int | None,
    now: Interval | None,
    final: Interval | None,
) -> str:
    parts = []
    if now is not None:
        parts.append(f"at round {end} {first} is {_by(metric, now)} {second}")
    if final is not None:
        parts.append(f"in the end it is forecast to be {_by(metric, final)} {second}")
    text = "; ".join(parts) or "there is too little to compare"
    lead = f"Undecided between {first} and {second}" if better is None else f"{better} is better"
    return f"{lead}: {text}."


def _by(metric: Metric, interval: Interval) -> str:
    word, ends = "ahead of", range_text(metric, interval.low, interval.high, "+")
    if interval.estimate < 0:
        word, ends = "behind", range_text(metric, -interval.high, -interval.low, "+")
    return f"{change_text(metric, abs(interval.estimate))} ({ends}) {word}"


def _undecidable(first: Compared, second: Compared, reason: str) -> Comparison:
    sentence = f"{first.name} and {second.name} cannot be compared: {reason}."
    return _without(first, second, sentence, reason)


def _same(first: Compared, second: Compared) -> Comparison:
    reason = "every round has the same value"
    return _without(
        first, second, f"{first.name} and {second.name} are the same run: {reason}.", reason
    )


def _without(first: Compared, second: Compared, sentence: str, reason: str) -> Comparison:
    return Comparison(
        first.name, second.name, None, first.curve.metric, None, None, None, None, 0,
        sentence, (reason,),
    )  # fmt: skip
