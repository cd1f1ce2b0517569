"""How good the forecasts are: every set, at 10 to 90 % of the rounds, beside simple forecasters.

"Stays as it is" says that the final level is the mean of the last five rounds seen, or the last
round's value, whichever has the smaller error at that share of the rounds; its empirical form for
the CRPS adds what other runs gained from the same share on (all that the history holds, or synthetic
curves where there is no history).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        """The final level that a forecast is measured by."""
        return level_now(self.curve)

    def seen(self, share: float) -> Curve:
        """The first rounds."""
        return self.curve.until(max(LEAST_SEEN, round(share * len(self.curve))))


@dataclass(frozen=True)
class Point:
    """One forecast beside what came: errors are absolute and floored at 0.002, crps is the
    continuous ranked probability score."""

    share: float
    covered: bool
    width: float
    error: float
    error_of_mean: float
    error_of_last: float
    crps: float
    crps_of_stays: float


def points(runs: Sequence[Run], past: Sequence[Run], teachers: Sequence[Run]) -> list[Point]:
    """Every run forecast at every share, with the runs of `past` as history (none: alone). The
    empirical form of "stays as it is" learns from `teachers`. Of both, other groups only."""
    groups = np.array([teacher.group for teacher in teachers])
    gained = {
        share: np.array([one.final - level_now(one.seen(share)) for one in teachers])
        for share in SHARES
    }
    found: list[Point] = []
    for run in runs:
        others = [other.curve for other in past if other.group != run.group]
        taught = groups != run.group
        found.extend(_point(run, share, others, gained[share][taught]) for share in SHARES)
    return found


def _point(run: Run, share: float, history: Sequence[Curve], gained: Floats) -> Point:
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
        crps(np.clip(stays + gained, 0.0, 1.0), final) if len(gained) else float("nan"),
    )


def _error(said: float, final: float) -> float:
    return max(LEAST_ERROR, abs(said - final))


def crps(draws: Floats, value: float) -> float:
    """Continuous ranked probability score of draws (Gneiting and Raftery, "Strictly proper scoring
    rules, prediction, and estimation", JASA 2007, equation 21)."""
    ordered = np.sort(draws)
    count = len(ordered)
    ranks = 2.0 * np.arange(1, count + 1) - count - 1.0
    return float(np.abs(ordered - value).mean() - (ordered * ranks).sum() / count**2)


@dataclass(frozen=True)
class Summary:
    """Means over some points; ratio is of the error to that of the better "stays as it is"."""

    points: int
    coverage: float
    width: float
    error: float
    ratio: float
    crps_ratio: float


def summary(found: Sequence[Point]) -> Summary:
    """The means of these points."""
    error, crps_ = _mean(found, "error"), _mean(found, "crps")
    simple = min(_mean(found, "error_of_mean"), _mean(found, "error_of_last"))
    return Summary(
        len(found),
        _mean(found, "covered"),
        _mean(found, "width"),
        error,
        error / simple,
        crps_ / _mean(found, "crps_of_stays"),
    )


def summaries(found: Sequence[Point]) -> dict[str, Summary]:
    """By share, over the early shares together, and over all."""
    by_share = {
        f"{share:.0%}": summary([one for one in found if one.share == share]) for share in SHARES
    }
    early = summary([one for one in found if one.share <= EARLY])
    return {**by_share, "10-50 %": early, "all": summary(found)}


def _mean(found: Sequence[Point], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in found]))
