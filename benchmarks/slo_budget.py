"""Forecasts of error budgets against histories of a process that the method does not know.

`python -m benchmarks.slo_budget` prints the tables of docs/science.md. The process is a semi-Markov
service, `releases_and_outages`: its state is calm, degraded (Weibull times, 1.5 to 10 hours) or
out (log-normal minutes); releases on working days at 10 or 15 h go wrong with a chance; traffic is
a wave of day and week times a log-AR(1), and grows or shrinks. Its parameters differ by service.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.analysis.slo.forecast import Past, budget_used, exhaustion

Floats = NDArray[np.float64]
SEED, TUNING_SEED = 20261207, 7
HISTORIES = 1000
DAY, WEEK = 24, 168
WINDOW, HORIZON = 30 * DAY, 30 * DAY
LEVEL = 0.8
AHEAD = (1, 7, 30)


class Service(NamedTuple):
    """One history: events of each hour, and the share that may be bad."""

    bad: Floats
    total: Floats
    budget: float


def releases_and_outages(rng: np.random.Generator, hours: int) -> Service:
    """Make the history of one service; a budget is spent to a third or by half too much."""
    at = np.arange(hours)
    wave = 1 + rng.uniform(0.1, 0.9) * np.sin(2 * np.pi * (at % DAY - 8) / DAY)
    weekly = np.where(at // DAY % 7 < 5, 1.0, rng.uniform(0.3, 1.1))
    level = np.zeros(hours)
    memory, noise = rng.uniform(0.8, 0.98), rng.normal(0, rng.uniform(0.02, 0.1), hours)
    for hour in range(1, hours):
        level[hour] = memory * level[hour - 1] + noise[hour]
    growth = np.exp(rng.normal(0, 0.15) * at / (30 * DAY))
    mean = 10 ** rng.uniform(2, 4.5) * wave * weekly * growth * np.exp(level)
    total = rng.poisson(mean).astype(float)
    share = np.full(hours, rng.uniform(0.1, 0.5))
    gap = rng.uniform(2, 10) * DAY
    now = rng.exponential(gap)
    degraded, shape = rng.uniform(1.5, 10), rng.uniform(0.7, 1.6)
    while now < hours:
        if rng.random() < 0.75:
            length, size = degraded * rng.weibull(shape), 10 ** rng.normal(1.1, 0.3)
        else:
            length, size = rng.lognormal(np.log(0.4), 0.7), 10 ** rng.normal(2.2, 0.3)
        _raise(share, now, length, size)
        now += length + rng.exponential(gap)
    failing = rng.uniform(0.02, 0.25)
    for day in range(hours // DAY):
        if day % 7 < 5 and rng.random() < failing:
            start = day * DAY + rng.choice([10, 15])
            _raise(share, start, rng.gamma(2, 0.6), rng.uniform(3, 40))
    target = rng.uniform(0.4, 1.3)
    wanted = rng.choice([0.001, 0.003, 0.01])
    # the objective is one at which the service would spend about so much
    usual = float((share * mean).sum() / mean.sum())
    rate = np.minimum(share * wanted * target / usual, 0.95)
    return Service(rng.binomial(total.astype(int), rate).astype(float), total, float(wanted))


def _raise(share: Floats, start: float, length: float, size: float) -> None:
    """Add an episode, with its parts of the first and last hour."""
    for hour in range(int(start), min(int(start + length) + 1, len(share))):
        part = min(hour + 1, start + length) - max(hour, start)
        share[hour] += size * max(part, 0.0)


class Case(NamedTuple):
    """Truth, our interval and the straight line's: of the budget left by day, and of the end."""

    truth: Floats
    ours: Floats
    line: Floats
    rank: float


def case(rng: np.random.Generator) -> Case:
    """Forecast one history from 14 to 60 days of it."""
    seen = int(rng.integers(14, 61)) * DAY + int(rng.integers(DAY))
    used: Floats = np.ones(seen)
    # of a budget that is spent already there is nothing to forecast
    while used[seen - 1] >= 1:
        service = releases_and_outages(rng, seen + HORIZON)
        used = _used(service)
    past = Past(service.bad[:seen], service.total[:seen], 0)
    truth = used[seen:]
    paths = budget_used(past, service.budget, WINDOW, HORIZON)
    spent = np.minimum(exhaustion(paths, past, service.budget, WINDOW), HORIZON + 1)
    end = _first(truth)
    moments = np.array(AHEAD) * DAY - 1
    low, high = np.quantile(paths[:, moments], (0.1, 0.9), axis=0)
    ours = np.array([*zip(low, high, strict=True), _days(spent)])
    line = straight_line(used[max(0, seen - 7 * DAY) : seen], moments)
    below, equal = np.mean(spent < end), np.mean(spent == end)
    rank = float(below + rng.random() * equal)
    return Case(np.array([*truth[moments], end / DAY]), ours, line, rank)


def _used(service: Service) -> Floats:
    sums = [np.concatenate([[0.0], each.cumsum()]) for each in (service.bad, service.total)]
    start = np.maximum(np.arange(1, len(service.bad) + 1) - WINDOW, 0)
    bad, total = (each[1:] - each[start] for each in sums)
    return np.asarray(bad / np.maximum(total * service.budget, 1e-9))


def _first(used: Floats) -> float:
    return float(np.argmax(used >= 1) + 1) if (used >= 1).any() else HORIZON + 1.0


def _days(hours: Floats) -> Floats:
    return np.quantile(hours, (0.1, 0.9), method="inverted_cdf") / DAY


def straight_line(used: Floats, moments: NDArray[np.int64]) -> Floats:
    """Return the least-squares line of the last week with its 80 % prediction intervals."""
    x = np.arange(len(used)) - len(used) + 1.0
    slope, level = np.polyfit(x, used, 1)
    rest = used - (level + slope * x)
    spread = np.std(rest, ddof=2) * 1.2816
    ahead = moments + 1.0
    more = np.sqrt(1 + 1 / len(x) + (ahead - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum())
    middle = level + slope * ahead
    bands = np.stack([middle - spread * more, middle + spread * more], axis=1)
    ends = [
        np.clip((1 - (level + sign * spread)) / slope, 0, HORIZON + 1) if slope > 0 else HORIZON + 1
        for sign in (1, -1)
    ]
    return np.array([*bands, np.array(ends) / DAY])


def interval_score(truth: Floats, interval: Floats) -> Floats:
    """Return width and misses (Gneiting and Raftery 2007, 6.2)."""
    low, high = interval[..., 0], interval[..., 1]
    misses = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    return np.asarray(high - low + 2 / (1 - LEVEL) * misses)


def cases(seed: int = SEED, histories: int = HISTORIES) -> list[Case]:
    """Return the cases of independent histories."""
    return [case(np.random.default_rng([seed, number])) for number in range(histories)]


def rows(found: list[Case]) -> Iterator[tuple[str, float, float, float, float]]:
    """Yield of each number: how often the intervals hold, and scores, of ours and the line's."""
    truth, ours, line = (
        np.stack([getattr(one, name) for one in found]) for name in ("truth", "ours", "line")
    )
    names = [*(f"budget used after {days} d" for days in AHEAD), "day of exhaustion"]
    for at, name in enumerate(names):
        values = []
        for which in (ours, line):
            inside = (which[:, at, 0] <= truth[:, at]) & (truth[:, at] <= which[:, at, 1])
            values += [
                float(inside.mean()),
                float(interval_score(truth[:, at], which[:, at]).mean()),
            ]
        if at == len(AHEAD):
            ranks = np.array([one.rank for one in found])
            values[0] = float(np.mean((ranks >= 0.1) & (ranks <= 0.9)))
        yield name, values[0], values[1], values[2], values[3]


def main() -> None:
    """Print the table as markdown."""
    heads = ["", "80 % interval holds", "its score", "of a line", "score of a line"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    found = cases()
    for name, holds, score, line_holds, line_score in rows(found):
        print(f"| {name} | {holds:.1%} | {score:.3f} | {line_holds:.1%} | {line_score:.3f} |")
    spent = np.mean([one.truth[-1] <= AHEAD[-1] for one in found])
    print(f"\n{len(found)} histories, of which {spent:.0%} spend their budget")


if __name__ == "__main__":
    main()
