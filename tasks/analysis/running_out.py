"""The day on which a disk is full or a privacy budget is spent, with an interval."""

import numpy as np

from tasks.analysis.curve import Floats
from tasks.analysis.spending import Reported, pace
from tasks.core.slo_report import RunsOut

PATHS, SEED = 2000, 0
LEAST_DAYS, MOST_DAYS, HORIZON = 7, 28, 90
SHARES = (0.1, 0.5, 0.9)


def disk_full(what: str, days: Floats, used: Floats) -> RunsOut:
    """Forecast when a share that moves up and down by days reaches 1."""
    newest = [np.flatnonzero(days.astype(int) == day)[-1] for day in np.unique(days.astype(int))]
    at, level = days[newest][-MOST_DAYS:], used[newest][-MOST_DAYS:]
    if len(at) <= LEAST_DAYS:
        return RunsOut(what=what, needs=f"{len(at)} of {LEAST_DAYS + 1} days")
    rng = np.random.default_rng(SEED)
    steps, lengths = np.diff(level), np.diff(at)
    count = len(steps)
    rate = steps.sum() / lengths.sum()
    spread = max(
        float(np.sqrt(((steps - rate * lengths) ** 2 / lengths).sum() / (count - 1))), 1e-9
    )
    # uncertain by the days seen, and uneven as they were: Brownian motion reaches a level so late
    # (Folks and Chhikara 1978)
    rates = rate + spread * rng.standard_t(count - 1, PATHS) / lengths.sum() ** 0.5
    left = max(1 - float(level[-1]), 1e-9)
    is_filling = rates > 0
    passed = rng.wald(left / np.where(is_filling, rates, 1.0), (left / spread) ** 2)
    return _read_off(what, np.where(is_filling, passed, np.inf))


def epsilon_spent(hours: Floats, remaining: Floats) -> RunsOut:
    """Forecast when the epsilon that remains is spent; the pace is that of its training."""
    what = "epsilon"
    # a new training has a new budget
    begun = int((np.flatnonzero(np.diff(remaining) > 0) + 1)[-1:].sum())
    at = np.floor(hours[begun:] - hours[begun]).astype(np.int64)
    spent = remaining[begun] - remaining[begun:]
    rounds, first = np.unique(at, return_index=True)
    if len(rounds) < 3:
        return RunsOut(what=what, needs=f"{len(rounds)} of 3 hours")
    now = float(spent[-1])
    known = spent[first]
    budget = float(remaining[begun])
    found = pace(Reported(rounds, known, int(rounds[-1]), 0, budget, now, False, 0))
    assert found is not None
    return _read_off(what, found.rounds_for(budget - now) / 24)


def _read_off(what: str, days: Floats) -> RunsOut:
    found = np.quantile(days, SHARES, method="inverted_cdf")
    low, day, high = (float(each) if each <= HORIZON else None for each in found)
    return RunsOut(what=what, low=low, day=day, high=high)
