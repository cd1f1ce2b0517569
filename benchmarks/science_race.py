"""Calibration of the privacy race's chances.

A contest is a finished run with its epsilon, a target and a budget, so that the end is known: the
target was reached while the budget lasted, or not. The race is reported at the shares of the rounds at
which forecasts are, as long as it is open; a race that is decided asks for no forecast.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.science_forecasts import FINAL_ROUNDS, SHARES, Run
from benchmarks.science_pool import Each, one_by_one
from benchmarks.science_runs import RUNS_FILE
from benchmarks.science_sets import own_runs, synthetic_runs
from benchmarks.science_synthetic import TEST_SEED
from tasks.analysis.accounting import epsilon_after
from tasks.analysis.curve import Curve, Floats
from tasks.analysis.forecast import forecast
from tasks.analysis.privacy import race
from tasks.analysis.robust import share as share_of
from tasks.analysis.spending import reported
from tasks.core.training import PrivacyTerms, Round

DELTA = 1e-5
MECHANISMS = ((0.6, 0.02), (0.8, 0.1), (1.1, 0.2), (1.5, 0.05), (2.2, 0.4), (4.0, 0.6))
"""Noise multipliers and sampling rates of the synthetic runs."""
UNEVENNESS = 0.3
"""Spread of what a round of an uneven service spends, as a share."""
SOONEST, LATEST = 0.2, 1.2
"""Shares of the rounds between which a budget runs out; beyond 1 it lasts."""
LEFT = 0.1
"""The most that a budget that lasts has left, as a share."""
BINS = 10
LEVEL = 0.8
SEED = 5
FIRST_SEED = TEST_SEED + 500_000
INK, LINE, GREY, PALE = "#22303c", "#1f77b4", "#9aa5b1", "#e4e8ec"


@dataclass(frozen=True, eq=False)
class Contest:
    """A finished run, epsilon by round, and the race's terms; target on the scale.

    Index i means the same round in curve and epsilon."""

    run: Run
    epsilon: Floats
    terms: PrivacyTerms
    target: float

    @property
    def reached(self) -> int:
        """Return the index of the first round at the target; the count if none is."""
        at = np.flatnonzero(levels(self.run.curve) >= self.target)
        return int(at[0]) if len(at) else len(self.epsilon)

    @property
    def afforded(self) -> int:
        """Return how many rounds stay within the budget."""
        return int(np.searchsorted(self.epsilon, self.terms.epsilon_budget or 0.0, side="right"))

    @property
    def won(self) -> bool:
        """Return whether the target was reached while the budget lasted."""
        return self.reached < min(self.afforded, len(self.epsilon))


@dataclass(frozen=True)
class Call:
    """The chance reported at a share of the rounds, and the outcome."""

    share: float
    chance: float
    won: bool


@dataclass(frozen=True)
class Score:
    """brier is the mean squared error of the chances, base that of the set's rate of wins
    (Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 1950)."""

    calls: int
    won: float
    brier: float
    base: float

    @property
    def ratio(self) -> float:
        """Return the ratio of the two scores; NaN where all races ended alike."""
        return self.brier / self.base if self.base > 0.0 else float("nan")


@dataclass(frozen=True)
class Bin:
    """Calls with a chance between two tenths: mean, share won, 80 % interval."""

    calls: int
    chance: float
    won: float
    low: float
    high: float


def levels(curve: Curve) -> Floats:
    """Return the level at each round: the mean of the last five rounds up to it."""
    sums = np.concatenate([[0.0], np.cumsum(curve.values)])
    after = np.arange(1, len(curve) + 1)
    before = np.maximum(0, after - FINAL_ROUNDS)
    return np.asarray((sums[after] - sums[before]) / (after - before))


def own_contests(every: int = 1) -> list[Contest]:
    """Return each `every`-th of the own runs, with the reported epsilon."""
    import pandas as pd

    spent = [
        part["epsilon"].to_numpy(dtype=np.float64)
        for _, part in pd.read_parquet(RUNS_FILE).groupby(["configuration", "seed"])
    ]
    runs = own_runs()
    return [
        _contest(runs[index], runs, spent[index], None, np.random.default_rng([SEED, index]))
        for index in range(0, len(runs), every)
    ]


def synthetic_contests(first_seed: int, count: int, each: Each = one_by_one) -> list[Contest]:
    """Build contests of synthetic curves with the accountant's epsilon.

    Every other one reports its terms; the rest spend unevenly and report epsilon alone.
    """
    found = []
    runs = synthetic_runs(first_seed, count)
    longest = max((len(run.curve) for run in runs), default=0)
    schedules = each(partial(_spent, rounds=longest), MECHANISMS)
    for index, run in enumerate(runs):
        rng = np.random.default_rng([SEED, first_seed + index])
        drawn = int(rng.integers(len(MECHANISMS)))
        mechanism, spent = MECHANISMS[drawn], schedules[drawn][: len(run.curve)]
        if index % 2:
            uneven = rng.gamma(UNEVENNESS**-2, UNEVENNESS**2, len(spent))
            spent = np.cumsum(np.diff(spent, prepend=0.0) * uneven)
        found.append(_contest(run, runs, spent, None if index % 2 else mechanism, rng))
    return found


def _spent(mechanism: tuple[float, float], rounds: int) -> Floats:
    """Return epsilon after each of so many rounds."""
    return np.array([epsilon_after(*mechanism, DELTA, after + 1) for after in range(rounds)])


def _contest(
    run: Run,
    runs: Sequence[Run],
    epsilon: Floats,
    mechanism: tuple[float, float] | None,
    rng: np.random.Generator,
) -> Contest:
    """Draw a target and a budget at random for a run.

    The target is a level that another group's run held, which does not reveal how this run goes on;
    the budget ends at a round drawn evenly from 20 to 120 % of the rounds, beyond the end for one in
    six.
    """
    other = run
    while other.group == run.group:
        other = runs[int(rng.integers(len(runs)))]
    held = levels(other.curve)
    target = float(held[int(rng.uniform(SOONEST, 1.0) * (len(held) - 1))])
    at = rng.uniform(SOONEST, LATEST)
    budget = float(epsilon[int(min(at, 1.0) * (len(epsilon) - 1))])
    if at > 1.0:
        budget *= 1.0 + rng.uniform(0.0, LEFT)
    noise, rate = mechanism or (None, None)
    delta = None if mechanism is None else DELTA
    return Contest(run, epsilon, PrivacyTerms(delta, rate, noise, budget, None), target)


def calls(
    contests: Sequence[Contest], past: Sequence[Run] = (), each: Each = one_by_one
) -> list[Call]:
    """Call every contest at every open share, with other groups of `past` as history."""
    return list(chain.from_iterable(each(partial(_calls_of, past=past), contests)))


def _calls_of(contest: Contest, past: Sequence[Run]) -> list[Call]:
    history = [other.curve for other in past if other.group != contest.run.group]
    decided = min(contest.reached, contest.afforded)
    return [
        Call(share, _chance(contest, seen, history), contest.won)
        for share in SHARES
        if len(seen := contest.run.seen(share)) <= decided
    ]


def _chance(contest: Contest, seen: Curve, history: Sequence[Curve]) -> float:
    planned = int(contest.run.curve.rounds[-1])
    rounds = tuple(
        Round(int(number), None, None, None, None, float(spent), None)
        for number, spent in zip(seen.rounds, contest.epsilon[: len(seen)], strict=True)
    )
    made = forecast(seen, planned, history)
    said = race(reported(rounds, contest.terms), contest.terms, seen, made, contest.target)
    assert said is not None
    assert said.probability is not None
    return said.probability


def score(found: Sequence[Call]) -> Score:
    """Return the scores of these calls."""
    won = np.array([float(call.won) for call in found])
    chances = np.array([call.chance for call in found])
    base = float(won.mean())
    return Score(len(found), base, float(np.mean((chances - won) ** 2)), base * (1.0 - base))


def scores(found: Sequence[Call]) -> dict[str, Score]:
    """Score by share of the rounds, and over all."""
    by_share = {f"{share:.0%}": [call for call in found if call.share == share] for share in SHARES}
    return {name: score(part) for name, part in {**by_share, "all": list(found)}.items() if part}


def bins(found: Sequence[Call]) -> list[Bin]:
    """Return the calls by tenths of the chance reported, empty ones left out."""
    made = []
    places = [min(BINS - 1, int(call.chance * BINS)) for call in found]
    for place in range(BINS):
        part = [call for call, own in zip(found, places, strict=True) if own == place]
        held = share_of(sum(call.won for call in part), len(part), LEVEL)
        if held is not None:
            chance = float(np.mean([call.chance for call in part]))
            made.append(Bin(len(part), chance, held.estimate, held.low, held.high))
    return made


def measure(every: int, count: int, each: Each = one_by_one) -> dict[str, Any]:
    """Measure scores and bins of own runs (each `every`-th) and `count` synthetic ones."""
    synthetic = synthetic_contests(FIRST_SEED, count, each)
    sets = {
        "own runs, with history": calls(own_contests(every), own_runs(), each),
        "synthetic curves, alone": calls(synthetic, each=each),
    }
    return {
        name: {
            "scores": {
                share: {**asdict(one), "ratio": one.ratio} for share, one in scores(found).items()
            },
            "bins": [asdict(one) for one in bins(found)],
        }
        for name, found in sets.items()
    }


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    parts = []
    for name, part in figures.items():
        head = (
            f"**Privacy race, {name}**\n\n"
            "| rounds seen | races | won | Brier score | of the base rate | ratio |\n"
            "|---|---|---|---|---|---|"
        )
        lines = [
            f"| {share} | {row['calls']} | {row['won']:.1%} | {row['brier']:.3f} |"
            f" {row['base']:.3f} | {row['ratio']:.2f} |"
            for share, row in part["scores"].items()
        ]
        header = "| chance reported | races | won | 80 % interval |\n|---|---|---|---|"
        rows = [
            f"| {one['chance']:.0%} | {one['calls']} | {one['won']:.0%} |"
            f" {one['low']:.0%} to {one['high']:.0%} |"
            for one in part["bins"]
        ]
        parts.append("\n".join([head, *lines, "", header, *rows]))
    return "\n\n".join(parts)


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw the calibration as PNG, a panel a set: reported against actual chances.

    The diagonal is right; bars are the 80 % intervals, numbers count the races of a point.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(figures), 4.6), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(figures), sharey=True, squeeze=False)[0]
    for axes, (name, part) in zip(panels, figures.items(), strict=True):
        _panel(axes, [Bin(**one) for one in part["bins"]])
        axes.set_title(name)
    panels[0].set_ylabel("share of races won")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _panel(axes: Any, found: Sequence[Bin]) -> None:
    reach = [[one.won - one.low for one in found], [one.high - one.won for one in found]]
    chances, won = [one.chance for one in found], [one.won for one in found]
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    axes.errorbar(chances, won, yerr=reach, color=LINE, marker="o", markersize=5, linewidth=1.4)
    for one in found:
        # above the bar in the lower half, below it in the upper one: never out of the panel
        above = one.won < 0.5
        axes.annotate(
            f"{one.calls}",
            (one.chance, one.high if above else one.low),
            xytext=(0, 4 if above else -4),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=8,
            color=INK,
        )
    axes.set(xlim=(-0.05, 1.05), ylim=(-0.08, 1.08), xlabel="chance reported", aspect="equal")
    axes.grid(color=PALE, linewidth=0.6)
