"""Forecast of a run's end, and of when it reaches a target.

Curves that agree with what was seen are drawn from the families of learning curves
(tasks.analysis.families) and from the service's past runs (tasks.analysis.similar), both as in
tasks.analysis.posterior, mixed and widened as in tasks.analysis.mixture. Every number here is read
off these draws, so intervals and probabilities agree with each other.

The level at a round is the mean of the last five rounds up to it; the final level is the level at
the last round of the plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.analysis import mixture
from tasks.analysis.curve import Curve, Floats, Ints
from tasks.analysis.families import PLANNED_ENDS
from tasks.analysis.gains import gains
from tasks.analysis.interval import Interval
from tasks.analysis.noise import MEMORY
from tasks.analysis.observed import Observed, observe
from tasks.analysis.onset import collapsed_once, onsets
from tasks.analysis.settings import ForecastSettings
from tasks.analysis.similar import FINAL_ROUNDS, PastRun, choose, nearest, past_run

MOST_ROUNDS = 400
"""A longer future is drawn on a thinner grid of rounds."""
LEAST_ROUNDS = 3
SIMILAR_FOR_A_PLAN = 10


@dataclass(frozen=True)
class NoForecast:
    """The reason why there is no forecast, and what it needs."""

    reason: str


@dataclass(frozen=True)
class TargetForecast:
    """Further rounds until the level reaches the target; None beyond the plan.

    probability is that of reaching it within the plan: 1, with 0 rounds, when the present level is
    there already.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    probability: float


@dataclass(frozen=True, eq=False)
class Forecast:
    """Draws of the future, on the scale 0 to 1.

    rounds are future rounds by the curve's own numbers, final_round, the plan's, last (all of them,
    or some 400 of a longer future; empty when the plan is over); levels are the draws of the level at
    each, of shape (draws, rounds); now is the level at the last round seen; n counts the rounds that
    the forecast rests on, neighbours names the past runs behind it, most similar first, and
    history_share is their share in the draws.
    """

    final: Interval
    final_round: int
    last_round: int
    now: float
    rounds: Ints
    levels: Floats
    n: int
    neighbours: tuple[str, ...]
    history_share: float

    def reach(self, target: float) -> TargetForecast:
        """Return when the level reaches the target (on the scale 0 to 1)."""
        level = self.final.level
        if self.now >= target:
            return TargetForecast(0.0, 0.0, 0.0, level, 1.0)
        if not len(self.rounds):
            return TargetForecast(None, None, None, level, 0.0)
        reached = self.levels >= target
        ever = reached.any(axis=1)
        rounds = self.rounds[np.argmax(reached, axis=1)] - self.last_round
        further = np.sort(np.where(ever, rounds.astype(np.float64), np.inf))
        low, middle, high = (
            _finite(further[round(share * (len(further) - 1))])
            for share in (0.5 - level / 2, 0.5, 0.5 + level / 2)
        )
        return TargetForecast(middle, low, high, level, float(ever.mean()))

    def quantiles(self, shares: Sequence[float]) -> Floats:
        """Return quantiles of the level at each of `rounds`: (shares, rounds)."""
        return np.asarray(np.quantile(self.levels, list(shares), axis=0))


def forecast(
    curve: Curve,
    final_round: int | None,
    history: Sequence[Curve] = (),
    settings: ForecastSettings | None = None,
) -> Forecast | NoForecast:
    """Forecast a run whose last round will be final_round.

    Without that number the plan is the longest of the ten past runs most similar to this one. A run
    that has broken and not come back is forecast from its rounds since, from the families alone.
    """
    settings = settings or ForecastSettings()
    finite = int(np.isfinite(curve.values).sum())
    if finite < LEAST_ROUNDS:
        return NoForecast(
            f"a forecast needs {LEAST_ROUNDS} rounds with a value, there are {finite}"
        )
    planned = final_round if final_round is not None else plan_of(curve, history)
    if planned is None:
        return NoForecast(
            "the planned number of rounds is unknown: set it (total rounds), or give a history "
            "of longer runs"
        )
    last = int(curve.rounds[-1])
    if planned <= last:
        return _over(curve, planned, settings.level)
    part = _since_break(curve)
    ahead = planned - last
    observed, mine = observe(part), past_run(part)
    if observed is None or mine is None:
        return NoForecast("no round since the run broke has a value")
    # rounds without a value at the end are part of the future
    now = float(part.rounds[-1] - part.rounds[0] + 1)
    x = now + _steps(ahead)
    past = [] if part is not curve else usable(curve, history)
    latent, mix, names = _latent(observed, past, mine, x, settings)
    levels = _levels(part, observed, x, latent, settings.seed)
    rounds = last + _steps(ahead).astype(np.int64)
    return Forecast(
        _interval(levels[:, -1], settings.level),
        planned,
        last,
        level_now(curve),
        rounds,
        levels,
        int(np.isfinite(part.values).sum()),
        names,
        mix.of_history,
    )


def plan_of(curve: Curve, history: Sequence[Curve]) -> int | None:
    """Return the last round of the longest of the most similar past runs.

    None when none of them went on for longer than this one.
    """
    if not len(curve):
        return None
    now = float(curve.rounds[-1] - curve.rounds[0] + 1)
    similar = choose(curve, history, now + 1.0)[:SIMILAR_FOR_A_PLAN]
    if not similar:
        return None
    return int(curve.rounds[0] - 1 + max(run.x[-1] for run in similar))


def level_now(curve: Curve) -> float:
    """Return the mean of the last five rounds with a value; NaN without any."""
    values = curve.values[np.isfinite(curve.values)]
    return float(values[-FINAL_ROUNDS:].mean()) if len(values) else float("nan")


def _over(curve: Curve, planned: int, level: float) -> Forecast:
    now = level_now(curve)
    nothing = np.empty((0, 0))
    return Forecast(
        Interval(now, now, now, level),
        planned,
        int(curve.rounds[-1]),
        now,
        np.empty(0, dtype=np.int64),
        nothing,
        int(np.isfinite(curve.values).sum()),
        (),
        0.0,
    )


def _since_break(curve: Curve) -> Curve:
    """Return the curve since an unrecovered break; else all of it."""
    broken = [onset for onset in onsets(curve) if onset.ended is None and onset.kind == "collapse"]
    if not broken:
        return curve
    keep = curve.rounds >= broken[-1].found
    if int(np.isfinite(curve.values[keep]).sum()) < LEAST_ROUNDS:
        return curve
    return Curve(
        curve.name,
        curve.metric,
        curve.rounds[keep],
        curve.values[keep],
        curve.lost[keep],
        curve.worst,
    )


def usable(curve: Curve, history: Sequence[Curve]) -> list[PastRun]:
    """Return past runs of this metric that never collapsed."""
    runs = [past_run(one) for one in history if one.metric == curve.metric]
    return [run for run in runs if run is not None and not collapsed_once(run.curve)]


def _steps(ahead: int) -> Floats:
    """Return steps ahead, from 1 to `ahead`: all, or about MOST_ROUNDS of them."""
    if ahead <= MOST_ROUNDS:
        return np.asarray(np.arange(1.0, ahead + 1.0))
    # at least five apart, so that the means of five rounds share none
    apart = max(FINAL_ROUNDS, int(np.ceil(ahead / MOST_ROUNDS)))
    return np.asarray(np.arange(float(ahead), 0.0, -apart)[::-1], dtype=np.float64)


def _latent(
    observed: Observed,
    past: Sequence[PastRun],
    mine: PastRun,
    x: Floats,
    settings: ForecastSettings,
) -> tuple[Floats, mixture.Mix, tuple[str, ...]]:
    """Return draws of the noise-free level at x from all sources, and their past runs."""
    rng = np.random.default_rng(settings.seed)
    x_end = float(x[-1])
    runs = nearest(mine, past, x_end)[: settings.most_past_runs]
    found = gains(mine, past, observed.now, x_end)
    if not runs and found is None:
        parametric = mixture.parametric_levels(observed, x, settings.draws, rng)
        return parametric[rng.permutation(len(parametric))], mixture.ALONE, ()
    mix = mixture.learn(runs, found, observed.now, x_end, rng)
    ends = (mixture.likely_end(runs, x_end),) if runs else PLANNED_ENDS
    parametric = mixture.parametric_levels(observed, x, settings.draws, rng, ends)
    history = mixture.history_levels(observed, runs, x, settings.draws, rng) if runs else None
    gained = None
    if found is not None:
        base = parametric if history is None else history
        gained = mixture.gained_levels(found, base, observed, x, rng)
    levels = mixture.mixed((parametric, history, gained), mix.shares)
    levels = mixture.widened(levels, mix.widening, mix.widening)
    names = tuple(run.name for run in runs) or tuple(run.name for run in past)
    return levels[rng.permutation(len(levels))], mix, names


def _levels(part: Curve, observed: Observed, x: Floats, latent: Floats, seed: int) -> Floats:
    """Return draws of the mean of the last five rounds at x, from noise-free levels."""
    rng = np.random.default_rng(seed + 1)
    if len(x) > 1 and x[1] - x[0] > 1.0:
        centres = np.concatenate([[x[0]], x - 2.0])
        middle = np.stack([np.interp(centres[1:], x, draw) for draw in latent])
        scatter = np.sqrt(observed.noise.of_mean(float(FINAL_ROUNDS)))
        return np.asarray(np.clip(middle + scatter * rng.normal(size=middle.shape), 0.0, 1.0))
    noisy = np.clip(latent + _noise(observed, latent.shape, rng), 0.0, 1.0)
    before = part.values[np.isfinite(part.values)][-(FINAL_ROUNDS - 1) :]
    whole = np.concatenate([np.tile(before, (len(noisy), 1)), noisy], axis=1)
    sums = np.cumsum(np.pad(whole, ((0, 0), (1, 0))), axis=1)
    end = np.arange(len(before) + 1, whole.shape[1] + 1)
    start = np.maximum(end - FINAL_ROUNDS, 0)
    return np.asarray((sums[:, end] - sums[:, start]) / (end - start))


def _noise(observed: Observed, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return the noise of each round: white, and a slow part."""
    white = np.sqrt(observed.noise.white) * rng.normal(size=shape)
    shocks = np.sqrt(observed.noise.slow * (1.0 - MEMORY**2)) * rng.normal(size=shape)
    slow = np.zeros(shape)
    state = np.zeros(shape[0])
    for index in range(shape[1]):
        state = MEMORY * state + shocks[:, index]
        slow[:, index] = state
    return np.asarray(white + slow)


def _interval(draws: Floats, level: float) -> Interval:
    low, middle, high = np.quantile(draws, [0.5 - level / 2, 0.5, 0.5 + level / 2])
    return Interval(float(middle), float(low), float(high), level)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
