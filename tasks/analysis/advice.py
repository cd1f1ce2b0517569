"""Advice to stop or continue, with the expected gain of continuing."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.analysis.convergence import Verdict
from tasks.analysis.curve import Curve, Floats
from tasks.analysis.forecast import Forecast, NoForecast
from tasks.analysis.interval import Interval
from tasks.analysis.privacy import Race, usable_gains
from tasks.analysis.remaining_time import RemainingTime, duration
from tasks.analysis.robust import quantile_interval
from tasks.analysis.settings import LEAST_ROUNDS
from tasks.analysis.wording import change_text, span_text

Action = Literal["go_on", "stop", "undecided", "none"]
OPENINGS: dict[Action, str] = {
    "go_on": "Go on",
    "stop": "Stop",
    "undecided": "Undecided",
    "none": "No advice yet",
}
WORTH = 0.01  # a gain on the scale 0 to 1 that is worth going on for
UNLIKELY = 0.1
FLAT = {
    "converged": "the run has converged",
    "plateau": "the run is on a plateau that similar runs went beyond; change something",
}


@dataclass(frozen=True)
class Advice:
    """An action, and its reasons.

    gain is expected from continuing to the end of plan or budget, per_round and per_epsilon by
    further round and by unit of epsilon; in the metric's own unit, more is better. None for unknown
    values, explained in why_not.
    """

    action: Action
    sentence: str
    reasons: tuple[str, ...]
    gain: Interval | None
    per_round: Interval | None
    per_epsilon: Interval | None
    why_not: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """The input of an advice; target is on the scale 0 to 1."""

    curve: Curve
    verdict: Verdict
    forecast: Forecast | NoForecast
    race: Race | None
    time: RemainingTime
    target: float | None
    worth: float = WORTH
    level: float = 0.8


def advise(evidence: Evidence) -> Advice:
    """Advise by paired draws of forecast and spending, "none" if either is missing."""
    gains, ahead = _gains(evidence)
    unit, level = evidence.curve.unit, evidence.level
    gain = quantile_interval(gains * unit, level) if len(gains) else None
    per_round, per_epsilon, why_not = _rates(evidence, gains, ahead)
    action, reason = _decide(evidence, gain)
    reasons = [reason] if reason else []
    reasons += [] if action == "none" else _further(evidence, gain, per_round, per_epsilon, ahead)
    text = "; ".join(reasons)
    sentence = f"{OPENINGS[action]}: {text}."
    return Advice(action, sentence, tuple(reasons), gain, per_round, per_epsilon, why_not)


def _gains(evidence: Evidence) -> tuple[Floats, Floats]:
    if isinstance(evidence.forecast, NoForecast):
        return np.empty(0), np.empty(0)
    race, level = evidence.race, evidence.verdict.level
    last_rounds = race.last_rounds if race else None
    return usable_gains(evidence.forecast, last_rounds, level.estimate if level else None)


def _rates(
    evidence: Evidence, gains: Floats, ahead: Floats
) -> tuple[Interval | None, Interval | None, tuple[str, ...]]:
    """Return the gain per round and per unit of epsilon, and why one is missing."""
    if isinstance(evidence.forecast, NoForecast):
        return None, None, (f"the gain needs a forecast: {evidence.forecast.reason}",)
    going = ahead > 0.0
    if not going.any():
        return None, None, ("no round is left that plan and budget allow",)
    unit = evidence.curve.unit
    per_round = quantile_interval(unit * gains[going] / ahead[going], evidence.level)
    pace = evidence.race.pace if evidence.race else None
    if pace is None:
        return per_round, None, ("the gain by epsilon needs the epsilon spent so far",)
    count = min(len(pace.rate), len(ahead))
    spent = pace.spent_each(np.resize(ahead, len(pace.rate)))[:count] - pace.spent_now
    priced = going[:count] & (spent > 0.0)
    if not priced.any():
        return per_round, None, ("the gain by epsilon needs an epsilon that grows",)
    rate = unit * gains[:count][priced] / spent[priced]
    return per_round, quantile_interval(rate, evidence.level), ()


def _decide(evidence: Evidence, gain: Interval | None) -> tuple[Action, str]:
    """Return the action, and the first reason."""
    verdict, race, forecast = evidence.verdict, evidence.race, evidence.forecast
    if verdict.kind == "collapsed":
        before = f" before round {verdict.onset_round}" if verdict.onset_round is not None else ""
        return "stop", f"the run has collapsed; go back to the model{before}"
    if verdict.kind == "diverging":
        return "stop", "the run diverges, so that every further round makes it worse"
    if race is not None and race.is_exhausted:
        return "stop", "the privacy budget is used up"
    if not isinstance(forecast, NoForecast):
        if evidence.target is not None and forecast.now >= evidence.target:
            return "stop", "the target is reached"
        if not len(forecast.rounds):
            return "stop", "the plan is done"
        if gain is not None:
            return _by_gain(evidence, forecast, gain)
    return _by_verdict(evidence)


def _by_gain(evidence: Evidence, forecast: Forecast, gain: Interval) -> tuple[Action, str]:
    worth = evidence.worth * evidence.curve.unit
    flat = evidence.verdict.kind in FLAT
    chance = _chance(evidence, forecast)
    if flat and gain.low <= worth:
        return "stop", FLAT[evidence.verdict.kind]
    if gain.high <= worth:
        return "stop", "little is left to gain"
    if gain.low <= 0.0:
        return "undecided", "the expected gain cannot be distinguished from none"
    if chance is not None and chance <= UNLIKELY:
        missed = f"the target is likely missed (chance {chance:.0%})"
        return "undecided", f"there is more to gain, but {missed}"
    if flat:
        return "undecided", "the curve is flat now, and yet the forecast sees more to gain"
    return "go_on", "there is more to gain"


def _by_verdict(evidence: Evidence) -> tuple[Action, str]:
    """Decide by the verdict alone, without a forecast."""
    verdict = evidence.verdict
    if verdict.kind == "too_short":
        few = verdict.rounds < LEAST_ROUNDS
        seen = f"{verdict.rounds} rounds are too few" if few else "too few rounds have a value"
        return "none", f"{seen} to judge"
    if verdict.kind in FLAT:
        return "stop", FLAT[verdict.kind]
    if verdict.kind == "oscillating":
        calm = "a smaller learning rate or more clients a round may calm it"
        return "undecided", f"the run swings; {calm}"
    trend, curve = verdict.trend, evidence.curve
    if trend is not None and trend.low > 0.0:
        gained = change_text(curve.metric, trend.estimate * curve.unit)
        return "go_on", f"the run gains {gained} a round now"
    return "undecided", "the run improves slowly, and without a forecast its end is unknown"


def _chance(evidence: Evidence, forecast: Forecast) -> float | None:
    """Return the chance to reach the target within the plan, and within any budget."""
    if evidence.target is None:
        return None
    if evidence.race is not None and evidence.race.probability is not None:
        return evidence.race.probability
    return forecast.reach(evidence.target).probability


def _further(
    evidence: Evidence,
    gain: Interval | None,
    per_round: Interval | None,
    per_epsilon: Interval | None,
    ahead: Floats,
) -> list[str]:
    """Describe gain, price, chance and time, as far as they are known."""
    texts = []
    if gain is not None and per_round is not None:
        rounds = float(np.median(ahead))
        are = "round is" if rounds == 1 else "rounds are"
        metric = evidence.curve.metric
        text = (
            f"{rounds:.0f} further {are} expected to gain {span_text(metric, gain)}, "
            f"{change_text(metric, per_round.estimate)} a round"
        )
        if per_epsilon is not None:
            text += f" and {change_text(metric, per_epsilon.estimate)} per unit of epsilon"
        texts.append(text)
    forecast = evidence.forecast
    chance = None if isinstance(forecast, NoForecast) else _chance(evidence, forecast)
    if chance is not None and chance < 1.0:
        is_raced = evidence.race and evidence.race.probability is not None
        within = "within the privacy budget " if is_raced else ""
        texts.append(f"the target is reached {within}with a chance of {chance:.0%}")
    remaining = evidence.time.remaining
    if remaining is not None and remaining.estimate > 0.0:
        texts.append(f"the rest of the plan takes {duration(remaining.estimate)}")
    return texts
