"""Forecast of an SLO's error budget: known events leave the window, simulated ones enter it."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from tasks.analysis.slo.counting import Events, Flags, Floats
from tasks.analysis.slo.tiers import explained
from tasks.core.slos import Slo

PATHS, SEED = 2000, 0
HOUR, DAY, WEEK = timedelta(hours=1), 24, 168
LEAST_DATA, LEAST_BAD = timedelta(days=7), 20
Ints = NDArray[np.int64]
# days within which the chance of exhaustion is given
CHANCES = (1, 7, 30)
SHARES = (0.1, 0.5, 0.9)
# log of the share of events that fail, and of the hours: mean, and spread, before any episode
PRIOR_SHARE, PRIOR_HOURS = (np.log(0.03), 0.8), (np.log(1.5), 0.6)
PRIOR_WEIGHT, PRIOR_DEGREES = 0.5, 3.0
# days that show the present level, and how much of it the next day may keep
NEWEST, MOST_MEMORY = 3, 0.98
# a day differs from what is usual by this share at least
DISCREPANCY = 0.15
# episodes added to those seen: to how many there are, and to their hours of the day
PRIOR_COUNT, ANY_HOUR = 1.0, 2


@dataclass(frozen=True)
class BudgetForecast:
    """Chances of exhaustion by days; its day with an 80 % interval, None: not within the window.

    fan has the budget left after each day: low, median, high. `needs` is why there is no forecast.
    """

    chances: dict[int, float] = field(default_factory=dict)
    low: float | None = None
    day: float | None = None
    high: float | None = None
    fan: tuple[tuple[float, float, float], ...] = ()
    needs: str = ""


class Past(NamedTuple):
    """Events of whole hours, oldest first, and the hour of the week of the first one."""

    bad: Floats
    total: Floats
    first: int


class _Logs(NamedTuple):
    """Means and spreads of a logarithm, one a path."""

    mean: Floats
    spread: Floats

    def drawn(self, paths: Ints, noise: Floats) -> Floats:
        return np.asarray(np.exp(self.mean[paths] + self.spread[paths] * noise))


def forecast(slo: Slo, events: Events) -> BudgetForecast:
    """Forecast the budget by the events; a rolling window also wins budget back."""
    past = past_of(events)
    if len(past.bad) * HOUR < LEAST_DATA:
        return BudgetForecast(needs=f"{len(past.bad) / DAY:.2g} of {LEAST_DATA.days} days")
    if past.bad.sum() < LEAST_BAD:
        return BudgetForecast(needs=f"{past.bad.sum():.0f} of {LEAST_BAD} bad events")
    window = max(1, slo.window // HOUR)
    used = budget_used(past, slo.budget, window, max(window, CHANCES[-1] * DAY))
    spent = exhaustion(used, past, slo.budget, window)
    days = np.quantile(spent, SHARES, method="inverted_cdf") / DAY
    low, day, high = (float(each) if each * DAY <= window else None for each in days)
    fan = 1 - np.quantile(used[:, DAY - 1 :: DAY], SHARES[::-1], axis=0).T
    chances = {within: float(np.mean(spent <= within * DAY)) for within in CHANCES}
    return BudgetForecast(chances, low, day, high, tuple((a, b, c) for a, b, c in fan.tolist()))


def past_of(events: Events) -> Past:
    """Return the events of each whole hour since the indicator's first value."""
    since = events.since or events.at
    hours = (events.at - since) // HOUR
    steps = max(1, HOUR // events.step)
    bad, total = (
        each[len(each) - hours * steps :].reshape(hours, steps).sum(axis=1)
        for each in (events.bad, events.total)
    )
    # two counters need not agree
    return Past(bad, np.maximum(total, bad), int(events.at.timestamp() // 3600 - hours) % WEEK)


def exhaustion(used: Floats, past: Past, budget: float, window: int) -> Floats:
    """Return the hours until each path has spent its budget; Inf: it never does."""
    if past.bad[-window:].sum() >= max(past.total[-window:].sum() * budget, 1e-9):
        return np.zeros(len(used))
    is_spent = used >= 1
    return np.where(is_spent.any(axis=1), is_spent.argmax(axis=1) + 1.0, np.inf)


def budget_used(past: Past, budget: float, window: int, horizon: int) -> Floats:
    """Return the share of the budget used after each hour ahead, of shape (paths, hours)."""
    rng = np.random.default_rng(SEED)
    total = _traffic(past, horizon, rng)
    bad = rng.poisson(total * _rates(past, horizon, rng)).astype(np.float64)
    sums = [
        _in_window(known, ahead, window)
        for known, ahead in ((past.bad, np.minimum(bad, total)), (past.total, total))
    ]
    return np.asarray(sums[0] / np.maximum(sums[1] * budget, 1e-9))


def _in_window(known: Floats, ahead: Floats, window: int) -> Floats:
    """Return the sums of a rolling window: known hours leave it, those ahead enter and leave."""
    hours = ahead.shape[1]
    stay = known[-window:][::-1].cumsum()[::-1]
    # of a window that is not full yet nothing leaves at first
    missing = window - len(stay)
    stay = np.concatenate([np.full(missing, stay[0]), stay, np.zeros(hours)])
    sums = ahead.cumsum(axis=1)
    sums[:, window:] -= sums[:, : max(0, hours - window)].copy()
    return np.asarray(sums + stay[1 : hours + 1])


def _traffic(past: Past, horizon: int, rng: np.random.Generator) -> Floats:
    """Return draws of the traffic: its mean by hour of week times how past days differed from it."""
    hours, days = len(past.total), len(past.total) // DAY
    week = (past.first + np.arange(hours + horizon)) % WEEK
    known, to_come = week[:hours], week[hours:]
    means = np.bincount(known, past.total, WEEK) / np.maximum(np.bincount(known, minlength=WEEK), 1)
    recent = slice(hours - days * DAY, None)
    ratios = (past.total[recent] + 1) / (means[known[recent]] + 1)
    ratios *= past.total[-WEEK:].sum() / max(float(means[known[-WEEK:]].sum()), 1.0)
    picked = rng.integers(days, size=(PATHS, -(-horizon // DAY)))
    noise = ratios.reshape(days, DAY)[picked].reshape(PATHS, -1)[:, :horizon]
    return np.asarray(means[to_come] * noise)


def _rates(past: Past, horizon: int, rng: np.random.Generator) -> Floats:
    """Return draws of the share of bad events: what is usual, and episodes."""
    rate, is_odd = _usual(past)
    # the first and last hour of an episode may be a small part of one, and an hour amid it good
    is_near: Flags = np.convolve(is_odd, np.ones(3), "same") > 0
    is_odd = np.convolve(np.pad(is_near, 1, "edge"), np.ones(3), "valid") == 3
    usual = _background(past, is_odd if is_near.all() else is_near, horizon, rng)
    return np.asarray(np.minimum(usual + _episodes(past, rate, is_odd, horizon, rng), 1.0))


def _episodes(
    past: Past, rate: float, is_odd: Flags, horizon: int, rng: np.random.Generator
) -> Floats:
    """Return draws of the share of each hour that is bad beyond what is usual."""
    starts, stops = np.flatnonzero(np.diff(is_odd, prepend=0, append=0)).reshape(-1, 2).T
    bad, total = (np.append(0.0, each.cumsum()) for each in (past.bad, past.total))
    shares = (bad[stops] - bad[starts]) / (total[stops] - total[starts]) - rate
    share = _posterior(np.log(np.clip(shares, 1e-9, 1.0)), PRIOR_SHARE, rng)
    hours = _posterior(np.log(stops - starts), PRIOR_HOURS, rng)
    frequency = rng.gamma(len(starts) + PRIOR_COUNT, 1 / len(past.bad), PATHS)
    paths = np.repeat(np.arange(PATHS), rng.poisson(frequency * horizon))
    size, length = (one.drawn(paths, rng.normal(size=len(paths))) for one in (share, hours))
    begins = _begins(starts - len(past.bad), len(paths), horizon, rng)
    found = _laid(paths, begins, size, length, horizon)
    if is_odd[-1]:
        # one lasts: at least as long as it did
        every, lived = np.arange(PATHS), float(stops[-1] - starts[-1])
        least = ndtr((np.log(lived) - hours.mean) / hours.spread)
        noise = ndtri(np.minimum(least + (1 - least) * rng.random(PATHS), 1 - 1e-9))
        rest = np.maximum(hours.drawn(every, noise) - lived, 0.0)
        found += _laid(every, 0 * every, np.full(PATHS, shares[-1]), rest, horizon)
    return found


def _begins(
    starts: Ints,
    count: int,
    horizon: int,
    rng: np.random.Generator,
) -> Ints:
    """Return hours at which episodes begin: at an hour of the day of a past one, or at any."""
    hours = np.append(starts, rng.integers(DAY, size=ANY_HOUR))
    drawn = rng.integers(len(hours), size=count)
    hour = np.where(drawn < len(starts), hours[drawn], rng.integers(DAY, size=count)) % DAY
    return np.asarray(rng.integers(horizon // DAY, size=count) * DAY + hour)


def _laid(
    paths: Ints,
    begins: Ints,
    size: Floats,
    length: Floats,
    horizon: int,
) -> Floats:
    """Return the share of each hour that the episodes of its path make bad."""
    whole = np.maximum(np.ceil(np.minimum(length, horizon)), 1.0)
    share = np.minimum(size, 1.0) * np.minimum(length / whole, 1.0)
    changes = np.zeros((PATHS, horizon + 1))
    np.add.at(changes, (paths, begins), share)
    np.add.at(changes, (paths, np.minimum(begins + whole, horizon).astype(np.int64)), -share)
    return np.asarray(np.maximum(changes[:, :horizon].cumsum(axis=1), 0.0))


def _usual(past: Past) -> tuple[float, Flags]:
    """Return the usual share of bad events, and the hours with more than chance explains."""
    is_odd: Flags = np.zeros(len(past.bad), dtype=bool)
    for _ in range(8):
        rate = float(past.bad[~is_odd].sum() / max(past.total[~is_odd].sum(), 1.0))
        is_odd = past.bad > explained(past.total * rate)
    return rate, is_odd


def _background(past: Past, is_odd: Flags, horizon: int, rng: np.random.Generator) -> Floats:
    """Return draws of the usual share, which differs from day to day as it did."""
    days = len(past.bad) // DAY
    bad, total = (
        np.where(is_odd, 0.0, each)[-days * DAY :].reshape(days, DAY).sum(axis=1)
        for each in (past.bad, past.total)
    )
    rate = bad.sum() / max(total.sum(), 1.0)
    expected = np.maximum(total * rate, 1e-9)
    off, squares = bad - expected, float((expected**2).sum())
    variance = max(float((off**2 - expected).sum()) / squares, DISCREPANCY**2)
    # a day is like the one before as far as days were so far
    memory = float(np.clip((off[1:] * off[:-1]).sum() / squares / variance, 0.0, MOST_MEMORY))
    certain = bad.sum() + 0.5
    usual = rate * rng.gamma(certain, 1 / certain, PATHS)
    level = np.log((bad[-NEWEST:].sum() + 1) / (expected[-NEWEST:].sum() + 1))
    spread = np.log1p(variance) ** 0.5
    logs = np.full(PATHS, level)
    factors = []
    for _ in range(-(-horizon // DAY)):
        logs = memory * logs + (1 - memory**2) ** 0.5 * spread * rng.normal(size=PATHS)
        factors.append(np.exp(logs - (1 - memory) * spread**2 / 2))
    return np.asarray(usual[:, None] * np.repeat(factors, DAY, axis=0).T[:, :horizon])


def _posterior(logs: Floats, prior: tuple[float, float], rng: np.random.Generator) -> _Logs:
    """Return draws of mean and spread of normal values (Gelman et al. 2013, 3.3)."""
    mean, spread = prior
    count, weight = len(logs), PRIOR_WEIGHT + len(logs)
    degrees = PRIOR_DEGREES + count
    middle = float(logs.mean()) if count else mean
    squares = PRIOR_DEGREES * spread**2 + float(((logs - middle) ** 2).sum())
    squares += PRIOR_WEIGHT * count / weight * (middle - mean) ** 2
    spreads = np.sqrt(squares / rng.chisquare(degrees, PATHS))
    centre = (PRIOR_WEIGHT * mean + count * middle) / weight
    return _Logs(centre + spreads / weight**0.5 * rng.normal(size=PATHS), spreads)
