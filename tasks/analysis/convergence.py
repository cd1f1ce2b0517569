"""The verdict on a run: where it is now, why, in one sentence.

Kinds are tried in the order of VerdictKind, the first that holds is the verdict; the numbers are in
tasks.analysis.settings. A run that fell and came back is judged by where it is now, with the fall as
evidence. The trend, the level and the asymptote come from tasks.analysis.state, breaks from
tasks.analysis.onset, swings from tasks.analysis.oscillation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tasks.analysis.curve import Curve
from tasks.analysis.interval import Interval
from tasks.analysis.noise import without_spikes
from tasks.analysis.observed import window_of
from tasks.analysis.onset import Onset, onsets
from tasks.analysis.oscillation import Swing, swing_of
from tasks.analysis.settings import VerdictSettings
from tasks.analysis.similar import choose, distance, past_run
from tasks.analysis.state import State, state_of
from tasks.analysis.wording import change_text, level_text, range_text
from tasks.core.finding import Finding
from tasks.core.severity import Severity

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
    """What is said of a run.

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
        """The verdict as a finding; its number is the trend a round."""
        trend = self.trend
        return Finding(
            "convergence",
            SEVERITIES[self.kind],
            self.sentence,
            {"verdict": self.kind, **self.evidence},
            trend.estimate if trend else None,
            trend.low if trend else None,
            trend.high if trend else None,
            trend.level if trend else None,
            self.rounds,
        )


@dataclass(frozen=True)
class _Seen:
    """All that the rules look at."""

    curve: Curve
    settings: VerdictSettings
    state: State
    swing: Swing
    breaks: tuple[Onset, ...]
    reached: float | None
    reached_by: tuple[str, ...]


def judge(
    curve: Curve, settings: VerdictSettings | None = None, history: Sequence[Curve] = ()
) -> Verdict:
    """The verdict on the rounds seen; without history no run is on a plateau."""
    settings = settings or VerdictSettings()
    known = int(np.isfinite(curve.values).sum())
    if len(curve) < settings.least_rounds or (known == 0 and not curve.lost.any()):
        return _too_short(curve, settings)
    if known < 2:
        return _never_finite(curve)
    breaks = onsets(curve, settings)
    window = window_of(len(curve), settings.window_rounds, settings.window_share)
    part = _since_last_break(curve, breaks, settings.least_rounds)
    window = min(window, len(part))
    state = state_of(part, window)
    if state is None:
        return _too_short(curve, settings)
    values = without_spikes(part.values[np.isfinite(part.values)])
    reached, by = _reached_by_similar(curve, history)
    seen = _Seen(curve, settings, state, swing_of(values, window), breaks, reached, by)
    rules = (_collapsed, _diverging, _oscillating, _improving, _plateau, _converged)
    verdict = next((found for rule in rules if (found := rule(seen)) is not None), None)
    return _with_falls(verdict or _slowly(seen), breaks)


def _too_short(curve: Curve, settings: VerdictSettings) -> Verdict:
    count = len(curve)
    sentence = f"Too short to judge: {count} rounds seen, {settings.least_rounds} are needed."
    if count >= settings.least_rounds:
        sentence = f"Nothing to judge: none of the {count} rounds has a value."
    return Verdict("too_short", sentence, {"rounds_seen": count}, count)


def _never_finite(curve: Curve) -> Verdict:
    first = int(curve.rounds[np.flatnonzero(curve.lost)[0]]) if curve.lost.any() else None
    return Verdict(
        "diverging",
        f"Diverging: the loss is not a finite number from round {first} on."
        if first is not None
        else "Diverging: hardly a round has a value.",
        {"loss_lost_at": first, "rounds_seen": len(curve)},
        len(curve),
        onset_round=first,
        found_round=first,
    )


def _since_last_break(curve: Curve, breaks: tuple[Onset, ...], least: int) -> Curve:
    """The curve since the last break was over, when that leaves enough rounds to judge, else all of it;
    while a break lasts, since it began, and at least the last rounds, which tell more of where the run
    goes than those before the break."""
    if not breaks:
        return curve
    last = breaks[-1]
    finite = np.flatnonzero(np.isfinite(curve.values))
    since = finite[curve.rounds[finite] >= (last.began if last.ended is None else last.ended)]
    if len(since) < least:
        if last.ended is not None:
            return curve
        since = finite[-least:]
    return replace(
        curve,
        rounds=curve.rounds[since[0] :],
        values=curve.values[since[0] :],
        lost=curve.lost[since[0] :],
    )


def _reached_by_similar(
    curve: Curve, history: Sequence[Curve]
) -> tuple[float | None, tuple[str, ...]]:
    """The median over similar runs of the most each reached at this round or later, and their
    names. Similar: no more than 0.03 further away than the nearest one."""
    mine = past_run(curve)
    if not history or mine is None:
        return None, ()
    now = mine.x[-1]
    nearest = choose(curve, history, now)[:MOST_SIMILAR]
    if not nearest:
        return None, ()
    distances = [distance(mine, run) for run in nearest]
    near = [
        run
        for run, away in zip(nearest, distances, strict=True)
        if away <= distances[0] + SIMILAR_WITHIN
    ]
    most = [float(run.smooth[run.x >= now].max()) for run in near]
    return float(np.median(most)), tuple(run.name for run in near)


def _verdict(
    seen: _Seen, kind: VerdictKind, sentence: str, onset: Onset | None = None, **evidence: Any
) -> Verdict:
    state = seen.state
    common = {
        "rounds_seen": len(seen.curve),
        "window_rounds": window_of(
            len(seen.curve), seen.settings.window_rounds, seen.settings.window_share
        ),
        "noise_sd": state.noise_sd,
        "trend_per_round": state.trend.estimate,
        "level": state.level.estimate,
        "asymptote": state.asymptote.estimate,
    }
    return Verdict(
        kind,
        sentence,
        {**common, **evidence},
        len(seen.curve),
        state.trend,
        state.level,
        state.asymptote,
        onset.began if onset else None,
        onset.found if onset else None,
    )


def _collapsed(seen: _Seen) -> Verdict | None:
    last = seen.breaks[-1] if seen.breaks else None
    if last is None or last.ended is not None or last.kind != "collapse":
        return None
    now = float(np.median(seen.curve.values[np.isfinite(seen.curve.values)][-3:]))
    limit = max(seen.settings.collapse_drop, seen.settings.collapse_noise * last.noise_sd)
    if last.held - now <= limit:
        return None
    return _verdict(
        seen,
        "collapsed",
        f"Collapsed: {'fell' if seen.curve.metric == 'accuracy' else 'rose'} from {_at(seen, last.held)}"
        f" to {_at(seen, now)} at round {last.began} and has not come back.",
        last,
        held_level=last.held,
        level_now=now,
        fall=last.held - now,
        loss_lost=bool(seen.curve.lost[-1]),
    )


def _diverging(seen: _Seen) -> Verdict | None:
    curve, flat = seen.curve, seen.settings.flat_trend
    if curve.lost[-1]:
        first = int(curve.rounds[len(curve) - int(np.argmin(np.append(curve.lost[::-1], False)))])
        sentence = f"Diverging: the loss is not a finite number since round {first}."
        return replace(
            _verdict(seen, "diverging", sentence, loss_lost_at=first),
            onset_round=first,
            found_round=first,
        )
    last = seen.breaks[-1] if seen.breaks else None
    sinking = last is not None and last.ended is None and last.kind == "divergence"
    sure = float(np.mean(seen.state.trends < -flat))
    if sure < SURE and not (sinking and seen.state.trend.estimate < -flat):
        return None
    return _verdict(
        seen,
        "diverging",
        f"Diverging: the {seen.curve.metric} {'falls' if seen.curve.metric == 'accuracy' else 'rises'}"
        f" by {_by(seen, -seen.state.trend.estimate)} a round"
        + (f" since round {last.began}." if last is not None and sinking else "."),
        last if sinking else None,
        probability_of_fall=sure,
    )


def _oscillating(seen: _Seen) -> Verdict | None:
    swing = seen.swing
    least = max(seen.settings.oscillation_ratio, swing.by_chance)
    rough = swing.ratio is not None and swing.ratio >= least
    if not rough and swing.period is None:
        return None
    about = (
        f"a wave of {swing.period:.1f} rounds and amplitude {_by(seen, swing.amplitude)}"
        if swing.period is not None and swing.amplitude is not None
        else f"the spread about the trend is {swing.ratio:.1f} times that of the calmest third"
    )
    return _verdict(
        seen,
        "oscillating",
        f"Oscillating: {about}.",
        spread=swing.spread,
        spread_ratio=swing.ratio,
        period_rounds=swing.period,
        amplitude=swing.amplitude,
    )


def _improving(seen: _Seen) -> Verdict | None:
    trend = seen.state.trend
    if trend.estimate <= seen.settings.flat_trend:
        return None
    sentence = (
        f"Improving by {_by(seen, trend.estimate)} a round"
        f" ({_by(seen, trend.low, trend.high)}); now at {_at(seen, seen.state.level.estimate)}."
    )
    return _verdict(seen, "improving", sentence, slowly=False)


def _plateau(seen: _Seen) -> Verdict | None:
    level = seen.state.level.estimate
    if seen.reached is None or seen.reached - level <= seen.settings.plateau_gap:
        return None
    return _verdict(
        seen,
        "plateau",
        f"On a plateau at {_at(seen, level)}: similar runs reached {_at(seen, seen.reached)}.",
        similar_reached=seen.reached,
        similar_runs=list(seen.reached_by),
    )


def _converged(seen: _Seen) -> Verdict | None:
    """The verdict that is expected to cost less (Bishop, "Pattern recognition and machine learning"
    2006, 1.5): a mistake costs 1 either way, and MISLED more when it hides that much is left."""
    state, flat, allowed = seen.state, seen.settings.flat_trend, seen.settings.converged_gap
    done = float(np.mean((state.trends <= flat) & (state.gaps <= allowed)))
    misled = float(np.mean((state.trends < -flat) | (state.gaps > 2.0 * allowed)))
    if done <= 1.0 - done + MISLED * misled:
        return None
    gap = float(np.median(state.gaps))
    return _verdict(
        seen,
        "converged",
        f"Converged at {_at(seen, seen.state.level.estimate)}: flat, with {_by(seen, max(0.0, gap))}"
        " left to gain.",
        gap=gap,
        probability=done,
        probability_of_more=float(np.mean(state.gaps > 2.0 * allowed)),
    )


def _slowly(seen: _Seen) -> Verdict:
    gap = float(np.median(seen.state.gaps))
    return _verdict(
        seen,
        "improving",
        f"Improving, slowly: the trend is flat, but some {_by(seen, max(0.0, gap))} are left to gain.",
        slowly=True,
        gap=gap,
        probability_of_more=float(np.mean(seen.state.gaps > 2.0 * seen.settings.converged_gap)),
    )


def _at(seen: _Seen, level: float) -> str:
    return level_text(seen.curve.metric, seen.curve.unscaled(level))


def _by(seen: _Seen, change: float, until: float | None = None) -> str:
    """A change on the scale, or a range of changes, in the metric's own unit."""
    curve = seen.curve
    unit = 1.0 if curve.metric == "accuracy" else curve.worst
    if until is None:
        return change_text(curve.metric, change * unit)
    return range_text(curve.metric, change * unit, until * unit)


def _with_falls(verdict: Verdict, breaks: tuple[Onset, ...]) -> Verdict:
    """The verdict with every break as evidence, the past ones named in the sentence."""
    if not breaks:
        return verdict
    falls = [
        {
            "kind": one.kind,
            "began": one.began,
            "found": one.found,
            "ended": one.ended,
            "held": one.held,
            "lowest": one.lowest,
        }
        for one in breaks
    ]
    over = [one for one in breaks if one.ended is not None]
    sentence = verdict.sentence
    if over and verdict.kind not in ("collapsed", "diverging"):
        sentence += f" It fell at round {over[-1].began} and came back."
    return replace(verdict, sentence=sentence, evidence={**verdict.evidence, "falls": falls})
