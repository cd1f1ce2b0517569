"""The privacy race: whether target or end of the privacy budget comes first."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.analysis import accounting
from tasks.analysis.curve import Curve, Floats
from tasks.analysis.forecast import Forecast, NoForecast
from tasks.analysis.interval import Interval
from tasks.analysis.robust import quantile_interval
from tasks.analysis.spending import DRAWS, Pace, Reported, pace, started
from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.core.training import PrivacyTerms

AGREE_WITHIN = 0.05  # epsilons this close, as a share, agree: accountants differ a little
AGREE_LEAST = 0.01
LEVEL = 0.8
TERMS = ("noise_multiplier", "sampling_rate", "delta")
Source = Literal["service", "accounting"]


@dataclass(frozen=True, eq=False)
class Race:
    """The race between target and budget.

    exhausted is the last round that the budget affords, None when it is unknown (why_not) or epsilon
    does not grow; probability that the target is reached within budget and plan; forgone the gain
    until budget or plan ends, lost by stopping now, in the metric's own unit, more is better.
    recomputed is epsilon by dp-accounting at the last round reported, None without the terms.
    last_rounds are draws of the last round afforded (Inf: never spent), pace draws of further epsilon
    (None by accounting alone).
    """

    sentence: str
    budget: float | None
    spent: float | None
    exhausted: Interval | None
    is_exhausted: bool
    source: Source | None
    probability: float | None
    forgone: Interval | None
    recomputed: float | None
    findings: tuple[Finding, ...]
    why_not: tuple[str, ...]
    last_rounds: Floats | None
    pace: Pace | None

    def remaining_at(self, last_round: int, rounds: Floats, shares: Floats) -> Floats | None:
        """Return quantiles of the epsilon left at future rounds: (shares, rounds)."""
        if self.pace is None or self.budget is None:
            return None
        spent = self.pace.spent_at(np.asarray(rounds, dtype=np.float64) - last_round)
        return np.asarray(np.quantile(self.budget - spent, shares, axis=0))


def race(
    epsilon: Reported,
    terms: PrivacyTerms | None,
    curve: Curve,
    forecast: Forecast | NoForecast,
    target: float | None,
    level: float = LEVEL,
    level_now: float | None = None,
) -> Race | None:
    """Run the race; target and level_now (else the last five rounds) are on the scale.

    Epsilon and the forecast are drawn independently: how fast a mechanism spends does not depend on
    what is learned. The chance is the share of pairs of draws in which the target is first reached no
    later than in the last round afforded. None for a run that reports nothing on privacy.
    """
    says_nothing = epsilon.spent_now is None and epsilon.budget is None
    if says_nothing and not accounting.is_reported(terms):
        return None
    check = _Check(epsilon, terms)
    going = pace(epsilon)
    last_rounds, source = _last_rounds(epsilon, check, going)
    why_not, chance = [*check.why_not], None
    if last_rounds is None:
        why_not.append(
            "the end of epsilon needs a budget and an epsilon, or the terms of the mechanism"
        )
    if isinstance(forecast, NoForecast):
        why_not.append(f"the race needs a forecast: {forecast.reason}")
    elif target is None:
        why_not.append("the chance to reach the target needs a target")
    elif last_rounds is not None:
        chance = wins(passages(forecast, target), last_rounds)
    spent = epsilon.spent_now if epsilon.spent_now is not None else check.recomputed
    is_over = epsilon.budget is not None and spent is not None and spent >= epsilon.budget
    exhausted = _exhausted(last_rounds, level)
    is_done = not isinstance(forecast, NoForecast) and not len(forecast.rounds)
    if last_rounds is not None and exhausted is None:
        why_not.append("epsilon does not grow, so its end is unknown")
    return Race(
        _sentence(epsilon, spent, *((None, is_over, None) if is_done else (exhausted, is_over, chance))),
        epsilon.budget, spent, exhausted, is_over, source, chance,
        _forgone(curve, forecast, last_rounds, level, level_now),
        check.recomputed, check.findings, tuple(why_not), last_rounds, going,
    )  # fmt: skip


def passages(forecast: Forecast, target: float) -> Floats:
    """Return draws of the first round at the target, Inf where the plan ends before."""
    if forecast.now >= target:
        return np.array([float(forecast.last_round)])
    if not len(forecast.rounds):
        return np.array([np.inf])
    reached = forecast.levels >= target
    first = forecast.rounds[np.argmax(reached, axis=1)].astype(np.float64)
    return np.where(reached.any(axis=1), first, np.inf)


def wins(reached: Floats, last_rounds: Floats) -> float:
    """Return the chance to reach the target by the last round afforded; Inf is never."""
    ordered = np.sort(last_rounds)
    finite = reached[np.isfinite(reached)]
    afforded = 1.0 - np.searchsorted(ordered, finite, side="left") / len(ordered)
    return float(afforded.sum() / len(reached))


class _Check:
    """Epsilon by dp-accounting beside the reported one."""

    def __init__(self, epsilon: Reported, terms: PrivacyTerms | None) -> None:
        self.findings: tuple[Finding, ...] = ()
        self.why_not: tuple[str, ...] = ()
        self.recomputed: float | None = None
        self.last_round: float | None = None
        if not accounting.is_reported(terms) or terms is None:
            self.why_not = (
                "epsilon is not recomputed: noise multiplier, sampling rate and delta are not all known",
            )
            return
        if not accounting.is_installed():
            self.why_not = ("epsilon is not recomputed: dp-accounting is not installed",)
            return
        noise, rate, delta = terms.noise_multiplier, terms.sampling_rate, terms.delta
        self._compare(epsilon, (noise or 0.0, rate or 0.0, delta or 0.0))

    def _compare(self, epsilon: Reported, mechanism: tuple[float, float, float]) -> None:
        origin = started(epsilon)
        at = int(epsilon.rounds[-1]) if len(epsilon.rounds) else epsilon.last_round
        self.recomputed = accounting.epsilon_after(*mechanism, at - origin)
        said = epsilon.spent_now
        apart = abs(said - self.recomputed) if said is not None else 0.0
        agrees = apart <= max(AGREE_LEAST, AGREE_WITHIN * self.recomputed)
        if said is not None and not agrees:
            self.findings = (_disagreement(said, self.recomputed, at, mechanism),)
        if agrees and epsilon.budget is not None:
            # the service's own count decides its end
            scale = self.recomputed / said if said else 1.0
            within = accounting.rounds_within(*mechanism, epsilon.budget * scale)
            self.last_round = np.inf if within is None else float(origin + within)


def _disagreement(
    said: float, counted: float, at: int, mechanism: tuple[float, float, float]
) -> Finding:
    noise, rate, delta = mechanism
    word = "less" if said < counted else "more"
    return Finding(
        "epsilon_disagrees",
        # spending faster than reported is the dangerous side
        Severity.HIGH if said < counted else Severity.WARNING,
        f"The service reports epsilon {said:.4g} at round {at}, {word} than the {counted:.4g} that "
        f"noise {noise:g}, sampling rate {rate:g} and delta {delta:g} make.",
        {"round": at, "reported": said, "recomputed": counted, **dict(zip(TERMS, mechanism, strict=True))},
        estimate=said - counted,
        n=1,
    )  # fmt: skip


def _last_rounds(
    epsilon: Reported, check: _Check, going: Pace | None
) -> tuple[Floats | None, Source | None]:
    """Return draws of the last round afforded: by terms that agree, else by epsilons."""
    if epsilon.budget is None:
        return None, None
    spent = epsilon.spent_now
    if spent is not None and spent > epsilon.budget:
        over = np.flatnonzero(epsilon.spent > epsilon.budget)
        first = int(epsilon.rounds[over[0]]) if len(over) else epsilon.last_round
        return np.full(DRAWS, float(first - 1)), "service"
    if check.last_round is not None:
        return np.full(DRAWS, check.last_round), "accounting"
    if going is None:
        return None, None
    return epsilon.last_round + going.rounds_for(epsilon.budget - going.spent_now), "service"


def _exhausted(last_rounds: Floats | None, level: float) -> Interval | None:
    if last_rounds is None:
        return None
    shares = [0.5 - level / 2, 0.5, 0.5 + level / 2]
    low, middle, high = np.quantile(last_rounds, shares, method="inverted_cdf")
    if not np.isfinite(high):
        return None
    return Interval(float(middle), float(low), float(high), level)


def _forgone(
    curve: Curve,
    forecast: Forecast | NoForecast,
    last_rounds: Floats | None,
    level: float,
    level_now: float | None,
) -> Interval | None:
    """Return draws of the level at the end of plan or budget less that of now."""
    if isinstance(forecast, NoForecast):
        return None
    gains = usable_gains(forecast, last_rounds, level_now)[0]
    if not len(gains):
        return Interval(0.0, 0.0, 0.0, level)
    return quantile_interval(gains * curve.unit, level)


def usable_gains(
    forecast: Forecast, last_rounds: Floats | None, level_now: float | None = None
) -> tuple[Floats, Floats]:
    """Return draws of the gain until plan or budget ends, and of those rounds.

    The gain is on the scale, over level_now (else the mean of the last five rounds); empty when the
    plan is over.
    """
    if not len(forecast.rounds):
        return np.empty(0), np.empty(0)
    now = forecast.now if level_now is None else level_now
    count = len(forecast.levels)
    afforded = np.resize(np.inf if last_rounds is None else last_rounds, count)
    steps = np.searchsorted(forecast.rounds, afforded, side="right") - 1
    gains = forecast.levels[np.arange(count), np.maximum(steps, 0)] - now
    ahead = forecast.rounds[np.maximum(steps, 0)] - forecast.last_round
    none_left = steps < 0
    return np.where(none_left, 0.0, gains), np.where(none_left, 0.0, ahead.astype(np.float64))


def _sentence(
    epsilon: Reported,
    spent: float | None,
    exhausted: Interval | None,
    is_over: bool,
    chance: float | None,
) -> str:
    if is_over and spent is not None and epsilon.budget is not None:
        amount = f"epsilon {spent:.3g} of {epsilon.budget:.3g}"
        return f"The privacy budget is used up: {amount} is spent."
    parts = []
    if spent is not None:
        of = f" of {epsilon.budget:.3g}" if epsilon.budget is not None else ""
        parts.append(f"Epsilon {spent:.3g}{of} is spent")
    if exhausted is not None:
        around = f" ({exhausted.low:.0f} to {exhausted.high:.0f})"
        around = around if exhausted.high > exhausted.low else ""
        parts.append(f"the budget lasts until round {exhausted.estimate:.0f}{around}")
    if chance is not None:
        parts.append(f"the target is reached before with a chance of {chance:.0%}")
    text = "; ".join(parts) or "epsilon is unknown"
    return text[0].upper() + text[1:] + "."
