"""Parts of an analysis as text: numbers with intervals, or the reason for none."""

import math
from collections.abc import Sequence

import numpy as np

from tasks.analysis.curve import Metric
from tasks.analysis.forecast import Forecast, NoForecast
from tasks.analysis.interval import Interval
from tasks.analysis.participation import Client, Participation
from tasks.analysis.remaining_time import duration
from tasks.analysis.run_analysis import RunAnalysis
from tasks.analysis.wording import change_text, level_text, number_text, range_text, share_text
from tasks.core.training import Round
from tasks.reports.convergence.records import FAN, BurnChart, ClientLine, HeatChart, Number, Part

MOST_CLIENTS = 30  # of the heat map
NO_VERDICT = "too few rounds"
QUALITY = "change of data quality a round"
NO_FORECAST = "there is no forecast, for the reason below"
NO_TARGET = "no target is set (--target, or training.target in environments.yaml)"


def value_text(analysis: RunAnalysis, value: float) -> str:
    """Format a value of the scale in the metric's own unit."""
    return level_text(analysis.curve.metric, analysis.curve.unscaled(value))


def numbers_of(analysis: RunAnalysis, metric: str) -> tuple[Number, ...]:
    """Return the level, trend, forecast and gains of a run."""
    level = analysis.verdict.level
    numbers = [
        Number(f"{metric} now", *_scaled(analysis, level), NO_VERDICT if level is None else None),
        _trend(analysis),
        *_final(analysis),
        *_target(analysis),
    ]
    if isinstance(analysis.forecast, Forecast) and len(analysis.forecast.rounds):
        advice = analysis.advice
        numbers.append(_gain("expected gain", analysis, advice.gain))
        numbers.append(_gain("gain a further round", analysis, advice.per_round))
        if analysis.race is not None:
            numbers.append(_gain("gain per unit of epsilon", analysis, advice.per_epsilon))
    return tuple(numbers)


def _scaled(analysis: RunAnalysis, interval: Interval | None) -> tuple[str | None, str | None]:
    if interval is None:
        return None, None
    low, high = sorted((interval.low, interval.high), key=analysis.curve.unscaled)
    texts = [value_text(analysis, one) for one in (interval.estimate, low, high)]
    return texts[0], f"{texts[1]} to {texts[2]} ({interval.level:.0%})"


def _trend(analysis: RunAnalysis) -> Number:
    trend, metric = analysis.verdict.trend, analysis.curve.metric
    if trend is not None and metric == "loss":
        ends = (trend.estimate, trend.high, trend.low)
        estimate, low, high = (-analysis.curve.worst * end for end in ends)
        trend = Interval(estimate, low, high, trend.level)
    return _changed("trend per round", metric, trend, NO_VERDICT)


def _changed(label: str, metric: Metric, interval: Interval | None, why_not: str | None) -> Number:
    if interval is None:
        return Number(label, None, None, why_not)
    return Number(label, *_change(metric, interval))


def _change(metric: Metric, interval: Interval) -> tuple[str, str]:
    ends = range_text(metric, interval.low, interval.high, "+")
    return change_text(metric, interval.estimate, "+"), f"{ends} ({interval.level:.0%})"


def _gain(label: str, analysis: RunAnalysis, interval: Interval | None) -> Number:
    why_not = ("the plan is over", *analysis.advice.why_not)[-1]
    return _changed(label, analysis.curve.metric, interval, why_not)


def _final(analysis: RunAnalysis) -> list[Number]:
    forecast = analysis.forecast
    if isinstance(forecast, NoForecast):
        return [Number("final level", None, None, NO_FORECAST)]
    label = f"final level (round {analysis.final_round}, the last of {analysis.planned_rounds})"
    if analysis.is_over:
        return [Number(label, value_text(analysis, forecast.now))]
    return [Number(label, *_scaled(analysis, forecast.final))]


def _target(analysis: RunAnalysis) -> list[Number]:
    if analysis.target is None or math.isnan(analysis.target):
        return [Number("rounds to the target", None, None, NO_TARGET)]
    label = f"rounds to {value_text(analysis, analysis.target)}"
    if isinstance(analysis.forecast, NoForecast):
        return [Number(label, None, None, NO_FORECAST)]
    reach, at = analysis.forecast.reach(analysis.target), analysis.reached_round
    if analysis.is_over or reach.estimate == 0:
        return [Number(label, "missed" if at is None else f"reached at round {at}")]
    chance = f"chance within the plan {reach.probability:.0%}"
    if reach.estimate is None:
        return [Number(label, "beyond the plan", chance)]
    high = "beyond the plan" if reach.high is None else f"{reach.high:.0f}"
    span = f"{reach.low:.0f} to {high} ({reach.level:.0%}); {chance}"
    return [Number(label, f"{reach.estimate:.0f}", span)]


def time_of(analysis: RunAnalysis) -> Part:
    """Describe the time of the rest of the plan and to the target."""
    time = analysis.time
    lengths = {
        "rest of the plan": time.remaining,
        "until the target": time.to_target,
        "one round": time.a_round,
    }
    known = [_length(label, length) for label, length in lengths.items() if length and length.high]
    return Part("Time", time.sentence, tuple(known), time.why_not if known else ())


def _length(label: str, interval: Interval) -> Number:
    low, high = duration(interval.low), duration(interval.high)
    return Number(label, duration(interval.estimate), f"{low} to {high} ({interval.level:.0%})")


def privacy_of(analysis: RunAnalysis) -> Part | None:
    """Describe the race of target and budget."""
    race = analysis.race
    if race is None:
        return None
    chance = Number(
        "chance that the target comes first",
        None if race.probability is None else f"{race.probability:.0%}",
        None,
        "needs a forecast, a target and a budget",
    )
    numbers = [
        Number("epsilon spent", _epsilon(race.spent), None, "not reported"),
        Number("budget", _epsilon(race.budget), None, "not reported"),
        *([] if analysis.is_over else [_lasts(race.exhausted), chance]),
        Number(
            "recomputed by dp-accounting", _epsilon(race.recomputed), None, "terms not reported"
        ),
    ]
    if race.forgone is not None and not analysis.is_over:
        given_up = _change(analysis.curve.metric, race.forgone)
        numbers.append(Number("given up by stopping now", *given_up))
    return Part("Privacy", race.sentence, tuple(numbers), race.why_not)


def _lasts(exhausted: Interval | None) -> Number:
    label = "lasts until round"
    if exhausted is None:
        return Number(label, None, None, "see below")
    low, high = f"{exhausted.low:.0f}", f"{exhausted.high:.0f}"
    is_sure, span = low == high, f"{low} to {high} ({exhausted.level:.0%})"
    span = "certain: counted, not estimated" if is_sure else span
    return Number(label, f"{exhausted.estimate:.0f}", span)


def _epsilon(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"


def burn_of(analysis: RunAnalysis, rounds: Sequence[Round]) -> BurnChart | None:
    """Return epsilon left by round, and the race; None without budget or epsilon."""
    race = analysis.race
    known = [
        (r.round, r.epsilon) for r in rounds if r.epsilon is not None and math.isfinite(r.epsilon)
    ]
    if race is None or race.budget is None or not known:
        return None
    forecast, last = analysis.forecast, int(analysis.curve.rounds[-1])
    ahead = forecast.rounds if isinstance(forecast, Forecast) else np.empty(0, dtype=np.int64)
    fan = race.remaining_at(last, ahead.astype(np.float64), np.array(FAN)) if len(ahead) else None
    return BurnChart(
        rounds=tuple(number for number, _ in known),
        left=tuple(race.budget - spent for _, spent in known),
        budget=race.budget,
        fan_rounds=() if fan is None else tuple(map(int, ahead)),
        fan=() if fan is None else tuple(tuple(map(float, row)) for row in fan),
        exhausted=None if analysis.is_over else race.exhausted,
        reached=_reached(analysis, last),
    )


def _reached(analysis: RunAnalysis, last: int) -> Interval | None:
    if analysis.target is None or not isinstance(analysis.forecast, Forecast):
        return None
    reach, at = analysis.forecast.reach(analysis.target), analysis.reached_round
    if at is not None and (analysis.is_over or reach.estimate == 0):
        return Interval(float(at), float(at), float(at), 1.0)
    if reach.estimate is None or reach.low is None:
        return None
    high = reach.high
    end = float(analysis.forecast.final_round) if high is None else last + high
    return Interval(last + reach.estimate, last + reach.low, end, reach.level)


def participation_of(analysis: RunAnalysis) -> Part | None:
    """Describe participation, and how evenly the model serves clients."""
    part = analysis.participation
    if part is None:
        return None
    why = part.why_not
    numbers = [
        _share("drop-outs", part.drop_outs, why.get("drop_outs")),
        _share("stragglers", part.stragglers, why.get("stragglers")),
        *_fairness(part),
        _changed(QUALITY, "accuracy", part.quality_trend, why.get("quality_trend")),
    ]
    if part.effect is None:
        numbers.append(Number("progress with participation", None, None, why.get("effect")))
    else:
        effect = part.effect.correlation
        ends = (effect.estimate, effect.low, effect.high)
        one, low, high = (number_text(each, "+") for each in ends)
        label = "progress with participation (correlation)"
        numbers.append(Number(label, one, f"{low} to {high} ({effect.level:.0%})"))
    texts = [part.sentence, *([part.effect.sentence] if part.effect else [])]
    return Part("Participation and fairness", " ".join(texts), tuple(numbers))


def _fairness(part: Participation) -> list[Number]:
    if part.fairness is None:
        return [Number("fairness", None, None, part.why_not.get("fairness"))]
    fair = part.fairness
    weighted = ", weighted by examples" if fair.is_weighted else ""
    return [
        _share(f"mean over clients{weighted}", fair.mean, None),
        _share("worst tenth", fair.worst_decile, None),
        _share("spread across clients", fair.spread, None),
    ]


def _share(label: str, interval: Interval | None, why_not: str | None) -> Number:
    if interval is None:
        return Number(label, None, None, why_not)
    ends = f"{100 * interval.low:.1f} to {share_text(interval.high)} ({interval.level:.0%})"
    return Number(label, share_text(interval.estimate), ends)


def heat_of(analysis: RunAnalysis) -> HeatChart | None:
    """Return clients by rounds, worst first."""
    part = analysis.participation
    if part is None or part.heat_map is None or len(part.heat_map.rounds) < 2:
        return None
    heat = part.heat_map
    states = tuple(tuple(map(int, row)) for row in heat.states[:MOST_CLIENTS])
    return HeatChart(heat.ids[:MOST_CLIENTS], heat.rounds, states)


def client_lines(analysis: RunAnalysis) -> tuple[ClientLine, ...]:
    """Return the clients, worst first."""
    part = analysis.participation
    return () if part is None else tuple(map(_client, part.clients))


def _client(client: Client) -> ClientLine:
    accuracy, now = client.accuracy, client.accuracy_now
    shown = None if now is None else share_text(now)
    if accuracy is not None:
        low, high = 100 * accuracy.low, 100 * accuracy.high
        shown = f"{share_text(accuracy.estimate)} ({low:.1f} to {high:.1f})"
    return ClientLine(
        name=client.id,
        drawn=client.drawn,
        drop_outs=_part_of(client.dropped, client.drawn, client.drop_outs),
        late=_part_of(client.late, client.drawn, client.stragglers),
        accuracy=shown,
        examples=None if client.examples is None else f"{client.examples:,.0f}",
        seconds=None if client.seconds is None else duration(client.seconds),
    )


def _part_of(count: int, drawn: int, interval: Interval | None) -> str | None:
    if interval is None:
        return None
    return f"{count} of {drawn} ({100 * interval.low:.0f} to {100 * interval.high:.0f} %)"
