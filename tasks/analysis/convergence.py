"""The verdict on a run, in one sentence with reasons.

Kinds are tried in the order of VerdictKind, the first that holds is the verdict; the numbers are in
tasks.analysis.settings. A run that fell and came back is judged by where it is now, with the fall as
evidence. The trend, the level and the asymptote come from tasks.analysis.state, breaks from
tasks.analysis.onset, swings from tasks.analysis.oscillation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tasks.analysis import settings
from tasks.analysis.curve import Curve
from tasks.analysis.interval import Interval
from tasks.analysis.noise import without_spikes
from tasks.analysis.observed import window_of
from tasks.analysis.onset import Onset, onsets
from tasks.analysis.oscillation import Swing, swing_of
from tasks.analysis.similar import choose, distance, past_run
from tasks.analysis.state import State, state_of
from tasks.analysis.wording import change_text, level_text, range_text
from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.core.training import end_of_values

VerdictKind = Literal[
    "too_short", "collapsed", "diverging", "oscillating", "improving", "plateau", "converged"
]
SEVERITIES: dict[VerdictKind, Severity] = {
    "too_short": Severity.INFO,
    "collapsed": Severity.CRITICAL,
    "diverging": Severity.HIGH,
    "oscillating": Severity.WARNING,
    "improving": Severity.INFO,
    "plateau": Severity.WARNING,
    "converged": Severity.INFO,
}
SURE = 0.975  # beyond noise: so sure of it
MISLED = 1.0
"""What it costs, beside the mistake, to say converged of a run that falls or has twice the gap left."""
MOST_SIMILAR = 10
SIMILAR_WITHIN = 0.03


@dataclass(frozen=True)
class Verdict:
    """A verdict with its evidence.

    trend (a round), level and asymptote are on the scale 0 to 1, None when the run is too short;
    onset_round and found_round belong to the break that the verdict is about, by the run's own
    round numbers; rounds is how many were seen.
    """

    kind: VerdictKind
    sentence: str
    evidence: Mapping[str, Any]
    rounds: int
    trend: Interval | None = None
    level: Interval | None = None
    asymptote: Interval | None = None
    onset_round: int | None = None
    found_round: int | None = None

    def finding(self) -> Finding:
        """Return the verdict as a finding; its number is the trend a round."""
        evidence = {"verdict": self.kind, **self.evidence}
        trend = {} if self.trend is None else vars(self.trend)
        severity = SEVERITIES[self.kind]
        return Finding("convergence", severity, self.sentence, evidence, n=self.rounds, **trend)


@dataclass(frozen=True)
class _Seen:
    """The input of the rules."""

    curve: Curve
    state: State
    swing: Swing
    breaks: tuple[Onset, ...]
    reached: float | None
    reached_by: tuple[str, ...]


def judge(curve: Curve, history: Sequence[Curve] = ()) -> Verdict:
    """Return the verdict on the rounds seen; without history no run is on a plateau."""
    known = int(np.isfinite(curve.values).sum())
    if len(curve) < settings.LEAST_ROUNDS or (known < 2 and not curve.lost.any()):
        return _too_short(curve, known)
    if known < 2:
        return _never_finite(curve)
    if known < settings.LEAST_ROUNDS and not curve.lost[-1]:
        return _too_short(curve, known)
    breaks = onsets(curve)
    part = _since_last_break(curve, breaks)
    finite = np.isfinite(part.values)
    window = min(window_of(known), int(finite.sum()))
    state = state_of(part, window)
    if state is None:
        return _too_short(curve, known)
    values = without_spikes(part.values[finite])
    reached, by = _reached_by_similar(curve, history)
    swing = swing_of(values, window).every(np.diff(part.rounds[finite]))
    seen = _Seen(curve, state, swing, breaks, reached, by)
    rules = (_collapsed, _diverging, _ended, _oscillating, _improving, _plateau, _converged)
    verdict = next((found for rule in rules if (found := rule(seen)) is not None), None)
    return _with_falls(verdict or _slowly(seen), breaks)


def _too_short(curve: Curve, known: int) -> Verdict:
    count = len(curve)
    sentence = f"Too short to judge: {count} rounds seen, {settings.LEAST_ROUNDS} are needed."
    if count >= settings.LEAST_ROUNDS and known == 0:
        sentence = f"Nothing to judge: none of the {count} rounds has a value."
    elif count >= settings.LEAST_ROUNDS:
        sentence = f"Too short to judge: {known} of {count} rounds have a value, {settings.LEAST_ROUNDS} are needed."
    return Verdict("too_short", sentence, {"rounds_seen": count}, count)


def _never_finite(curve: Curve) -> Verdict:
    first, sentence = None, "Diverging: hardly a round has a value."
    if curve.lost.any():
        first = int(curve.rounds[np.argmax(curve.lost)])
        sentence = f"Diverging: the loss is not a finite number from round {first} on."
    evidence = {"loss_lost_at": first, "rounds_seen": len(curve)}
    verdict = Verdict("diverging", sentence, evidence, len(curve))
    return replace(verdict, onset_round=first, found_round=first)


def _since_last_break(curve: Curve, breaks: tuple[Onset, ...]) -> Curve:
    """Return the curve since the last break was over, or all if too few rounds remain.

    While a break lasts, it is the curve since its beginning, and at least the last rounds.
    """
    if not breaks:
        return curve
    last = breaks[-1]
    finite = np.flatnonzero(np.isfinite(curve.values))
    since = finite[curve.rounds[finite] >= (last.began if last.ended is None else last.ended)]
    if len(since) < settings.LEAST_ROUNDS:
        if last.ended is not None:
            return curve
        since = finite[-settings.LEAST_ROUNDS :]
    return curve.part(slice(since[0], None))


def _reached_by_similar(
    curve: Curve, history: Sequence[Curve]
) -> tuple[float | None, tuple[str, ...]]:
    """Return the median of similar runs' best at this round or later, and their names."""
    mine = past_run(curve)
    if mine is None:
        return None, ()
    now = mine.x[-1]
    nearest = choose(curve, history, now)[:MOST_SIMILAR]
    if not nearest:
        return None, ()
    limit = distance(mine, nearest[0]) + SIMILAR_WITHIN
    near = [run for run in nearest if distance(mine, run) <= limit]
    most = [float(run.smooth[run.x >= now].max()) for run in near]
    return float(np.median(most)), tuple(run.name for run in near)


def _verdict(
    seen: _Seen,
    kind: VerdictKind,
    sentence: str,
    evidence: Mapping[str, Any],
    onset: Onset | None = None,
) -> Verdict:
    state = seen.state
    common = {
        "rounds_seen": len(seen.curve),
        "window_rounds": window_of(int(np.isfinite(seen.curve.values).sum())),
        "noise_sd": state.noise_sd,
        "trend_per_round": state.trend.estimate,
        "level": state.level.estimate,
        "asymptote": state.asymptote.estimate,
    }
    about = (onset.began, onset.found) if onset else (None, None)
    known = (state.trend, state.level, state.asymptote)
    return Verdict(kind, sentence, {**common, **evidence}, len(seen.curve), *known, *about)


def _collapsed(seen: _Seen) -> Verdict | None:
    last = seen.breaks[-1] if seen.breaks else None
    if last is None or last.ended is not None or last.kind != "collapse":
        return None
    now = float(np.median(seen.curve.values[np.isfinite(seen.curve.values)][-3:]))
    fall = last.held - now
    if fall <= max(settings.COLLAPSE_DROP, settings.COLLAPSE_NOISE * last.noise_sd):
        return None
    sentence = (
        f"Collapsed: {'fell' if seen.curve.metric == 'accuracy' else 'rose'} from {_at(seen, last.held)}"
        f" to {_at(seen, now)} at round {last.began} and has not come back."
    )
    evidence = {"held_level": last.held, "level_now": now, "fall": fall}
    evidence["loss_lost"] = bool(seen.curve.lost[-1])
    return _verdict(seen, "collapsed", sentence, evidence, last)


def _diverging(seen: _Seen) -> Verdict | None:
    curve = seen.curve
    if curve.lost[-1]:
        first = int(curve.rounds[len(curve) - int(np.argmin(np.append(curve.lost[::-1], False)))])
        sentence = f"Diverging: the loss is not a finite number since round {first}."
        verdict = _verdict(seen, "diverging", sentence, {"loss_lost_at": first})
        return replace(verdict, onset_round=first, found_round=first)
    last = seen.breaks[-1] if seen.breaks else None
    sinking = last is not None and last.ended is None and last.kind == "divergence"
    last = last if sinking else None
    sure, trend = (
        float(np.mean(seen.state.trends < -settings.FLAT_TREND)),
        seen.state.trend.estimate,
    )
    if sure < SURE and not (last and trend < -settings.FLAT_TREND):
        return None
    goes = f"{curve.metric} {'falls' if curve.metric == 'accuracy' else 'rises'}"
    since = f" since round {last.began}" if last else ""
    sentence = f"Diverging: the {goes} by {_by(seen, -trend)} a round{since}."
    return _verdict(seen, "diverging", sentence, {"probability_of_fall": sure}, last)


def _ended(seen: _Seen) -> Verdict | None:
    """Judge a metric that ends before the run does: of a loss it is often a NaN left out."""
    curve = seen.curve
    is_loss = curve.metric == "loss"
    reported = np.isfinite(curve.values) | (curve.lost if is_loss else False)
    end = end_of_values(curve.rounds.tolist(), reported.tolist())
    if end is None:
        return None
    was = _at(seen, float(curve.values[np.isfinite(curve.values)][-1]))
    about = f"no {curve.metric} since round {end} of {curve.rounds[-1]}, where it was {was}"
    if not is_loss:
        return _verdict(seen, "too_short", f"Too short to judge: {about}.", {"values_end": end})
    sentence = f"Diverging: {about}; an empty cell is often a NaN."
    return replace(_verdict(seen, "diverging", sentence, {"values_end": end}), onset_round=end + 1)


def _oscillating(seen: _Seen) -> Verdict | None:
    swing = seen.swing
    rough = swing.ratio is not None and swing.ratio >= max(
        settings.OSCILLATION_RATIO, swing.by_chance
    )
    if not rough and swing.period is None:
        return None
    about = (
        f"a wave of {swing.period:.1f} rounds and amplitude {_by(seen, swing.amplitude)}"
        if swing.period is not None and swing.amplitude is not None
        else f"the spread about the trend is {swing.ratio:.1f} times that of the calmest third"
    )
    spreads = {"spread": swing.spread, "spread_ratio": swing.ratio}
    wave = {"period_rounds": swing.period, "amplitude": swing.amplitude}
    return _verdict(seen, "oscillating", f"Oscillating: {about}.", spreads | wave)


def _improving(seen: _Seen) -> Verdict | None:
    trend = seen.state.trend
    if trend.estimate <= settings.FLAT_TREND:
        return None
    sentence = (
        f"Improving by {_by(seen, trend.estimate)} a round"
        f" ({_by(seen, trend.low, trend.high)}); now at {_at(seen, seen.state.level.estimate)}."
    )
    return _verdict(seen, "improving", sentence, {"slowly": False})


def _plateau(seen: _Seen) -> Verdict | None:
    level = seen.state.level.estimate
    if seen.reached is None or seen.reached - level <= settings.PLATEAU_GAP:
        return None
    sentence = (
        f"On a plateau at {_at(seen, level)}: similar runs reached {_at(seen, seen.reached)}."
    )
    similar = {"similar_reached": seen.reached, "similar_runs": list(seen.reached_by)}
    return _verdict(seen, "plateau", sentence, similar)


def _converged(seen: _Seen) -> Verdict | None:
    """Return the verdict of least expected cost (Bishop 2006, 1.5).

    A mistake costs 1 either way, and MISLED more when it hides that much is left (Bishop: "Pattern
    recognition and machine learning")."""
    state, more = seen.state, seen.state.gaps > 2.0 * settings.CONVERGED_GAP
    done = float(
        np.mean((state.trends <= settings.FLAT_TREND) & (state.gaps <= settings.CONVERGED_GAP))
    )
    misled = float(np.mean((state.trends < -settings.FLAT_TREND) | more))
    if done <= 1.0 - done + MISLED * misled:
        return None
    at, gap = _at(seen, state.level.estimate), float(np.median(state.gaps))
    sentence = f"Converged at {at}: flat, with {_by(seen, max(0.0, gap))} left to gain."
    evidence = {"gap": gap, "probability": done, "probability_of_more": float(np.mean(more))}
    return _verdict(seen, "converged", sentence, evidence)


def _slowly(seen: _Seen) -> Verdict:
    gap = float(np.median(seen.state.gaps))
    more = float(np.mean(seen.state.gaps > 2.0 * settings.CONVERGED_GAP))
    left = _by(seen, max(0.0, gap))
    sentence = f"Improving, slowly: the trend is flat, but about {left} could still be gained."
    evidence = {"slowly": True, "gap": gap, "probability_of_more": more}
    return _verdict(seen, "improving", sentence, evidence)


def _at(seen: _Seen, level: float) -> str:
    return level_text(seen.curve.metric, seen.curve.unscaled(level))


def _by(seen: _Seen, change: float, until: float | None = None) -> str:
    """Format a change on the scale, or a range of changes, in the metric's own unit."""
    metric, unit = seen.curve.metric, seen.curve.unit
    if until is None:
        return change_text(metric, change * unit)
    return range_text(metric, change * unit, until * unit)


def _with_falls(verdict: Verdict, breaks: tuple[Onset, ...]) -> Verdict:
    """Add every break as evidence, and name past ones in the sentence."""
    if not breaks:
        return verdict
    names = ("kind", "began", "found", "ended", "held", "lowest")
    falls = [{name: getattr(one, name) for name in names} for one in breaks]
    over = [one for one in breaks if one.ended is not None]
    sentence = verdict.sentence
    if over and verdict.kind not in ("collapsed", "diverging"):
        sentence += f" It fell at round {over[-1].began} and came back."
    return replace(verdict, sentence=sentence, evidence={**verdict.evidence, "falls": falls})
