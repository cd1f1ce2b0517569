"""Quality of forecasts at 10 to 90 % of the rounds, beside simple forecasters.

"Stays as it is" says that the final level is the mean of the last five rounds seen, or the last
round's value, whichever has the smaller error at that share of the rounds. For the CRPS it needs a
spread, and is asked in three empirical forms, by what it may know:

- history: what the other runs of the set gained from the same share on;
- curves: what synthetic curves of the training seeds gained from the same share on, which is what one
  can know of learning curves without a run of the service;
- own: what the level of this run itself changed over as many rounds as are left, or over half of
  those seen where fewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from benchmarks.science_pool import Each, one_by_one
from tasks.analysis.curve import Curve, Floats
from tasks.analysis.forecast import Forecast, forecast, level_now

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
EARLY = 0.5
LEAST_ERROR = 0.002
FINAL_ROUNDS = 5
LEAST_SEEN = 3


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run; runs of one group are never the history of each other."""

    group: str
    curve: Curve

    @property
    def final(self) -> float:
        """Return the true final level."""
        return level_now(self.curve)

    def seen(self, share: float) -> Curve:
        """Return the first rounds."""
        return self.curve.until(max(LEAST_SEEN, round(share * len(self.curve))))


@dataclass(frozen=True)
class Point:
    """A forecast and the outcome: absolute errors, floored at 0.002, and crps,
    the continuous ranked probability score."""

    share: float
    covered: bool
    width: float
    error: float
    error_of_mean: float
    error_of_last: float
    crps: float
    crps_of_history: float
    crps_of_curves: float
    crps_of_own: float


def points(
    runs: Sequence[Run],
    past: Sequence[Run],
    others: Sequence[Run],
    curves: Sequence[Run],
    each: Each = one_by_one,
) -> list[Point]:
    """Forecast every run at every share, with runs of `past` as history (none: alone).

    "Stays as it is" learns from `others` and from `curves`. Of past and others, other groups only.
    """
    taught = _Taught(tuple(other.group for other in others), _gains(others), _gains(curves))
    return list(chain.from_iterable(each(partial(_points_of, past=past, taught=taught), runs)))


@dataclass(frozen=True, eq=False)
class _Taught:
    """Input of "stays as it is": gains by share, of the others by group, and of curves."""

    groups: tuple[str, ...]
    of_others: dict[float, Floats]
    of_curves: dict[float, Floats]


def _points_of(run: Run, past: Sequence[Run], taught: _Taught) -> list[Point]:
    """Forecast one run at every share."""
    history = [other.curve for other in past if other.group != run.group]
    strange = np.array(taught.groups) != run.group
    return [
        _point(run, share, history, taught.of_others[share][strange], taught.of_curves[share])
        for share in SHARES
    ]


def _gains(runs: Sequence[Run]) -> dict[float, Floats]:
    """Return each run's gains from that share of its rounds on."""
    return {
        share: np.array([run.final - level_now(run.seen(share)) for run in runs])
        for share in SHARES
    }


def _point(
    run: Run, share: float, history: Sequence[Curve], of_others: Floats, of_curves: Floats
) -> Point:
    seen, final = run.seen(share), run.final
    made = forecast(seen, int(run.curve.rounds[-1]), history)
    assert isinstance(made, Forecast)
    stays = level_now(seen)
    finite = seen.values[np.isfinite(seen.values)]
    return Point(
        share,
        bool(made.final.low <= final <= made.final.high),
        made.final.high - made.final.low,
        _error(made.final.estimate, final),
        _error(stays, final),
        _error(float(finite[-1]), final),
        crps(made.levels[:, -1], final),
        *(
            crps(np.clip(stays + gained, 0.0, 1.0), final) if len(gained) else float("nan")
            for gained in (of_others, of_curves, own_changes(seen, len(run.curve) - len(seen)))
        ),
    )


def own_changes(seen: Curve, ahead: int) -> Floats:
    """Return changes of the level (mean of five rounds) over `ahead` rounds.

    Over half of the rounds seen where these are fewer, from each round that allows it.
    """
    values = seen.values[np.isfinite(seen.values)]
    sums = np.cumsum(np.concatenate([[0.0], values]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - FINAL_ROUNDS, 0)
    levels = (sums[end] - sums[start]) / (end - start)
    lag = max(1, min(ahead, len(levels) // 2))
    return np.asarray(levels[lag:] - levels[:-lag])


def _error(said: float, final: float) -> float:
    return max(LEAST_ERROR, abs(said - final))


def crps(draws: Floats, value: float) -> float:
    """Return the continuous ranked probability score of draws.

    By Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 2007,
    equation 21.
    """
    ordered = np.sort(draws)
    count = len(ordered)
    ranks = 2.0 * np.arange(1, count + 1) - count - 1.0
    return float(np.abs(ordered - value).mean() - (ordered * ranks).sum() / count**2)


@dataclass(frozen=True)
class Summary:
    """Means of some points; ratio is the error over that of "stays as it is",
    crps_to_… the CRPS over that of its form with this knowledge."""

    points: int
    coverage: float
    width: float
    error: float
    ratio: float
    crps_to_history: float
    crps_to_curves: float
    crps_to_own: float


def summary(found: Sequence[Point]) -> Summary:
    """Return the means of these points."""
    error, crps_ = _mean(found, "error"), _mean(found, "crps")
    simple = min(_mean(found, "error_of_mean"), _mean(found, "error_of_last"))
    return Summary(
        len(found),
        _mean(found, "covered"),
        _mean(found, "width"),
        error,
        error / simple,
        *(crps_ / _mean(found, f"crps_of_{known}") for known in ("history", "curves", "own")),
    )


def summaries(found: Sequence[Point]) -> dict[str, Summary]:
    """Summarise by share, over the early shares together, and over all."""
    by_share = {
        f"{share:.0%}": summary([one for one in found if one.share == share]) for share in SHARES
    }
    early = summary([one for one in found if one.share <= EARLY])
    return {**by_share, "10-50 %": early, "all": summary(found)}


def _mean(found: Sequence[Point], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in found]))
