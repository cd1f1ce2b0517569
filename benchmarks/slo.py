"""Pages at exactly the objective, and time to a page, of our rule and of the SRE workbook's.

`python -m benchmarks.slo` prints the tables of docs/science.md.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.analysis.slo.tiers import explained, tiers_of
from tasks.core.slos import Slo
from tasks.core.window import parse_duration

Floats = NDArray[np.float64]
SEED = 20261201
OBJECTIVES = (0.99, 0.999)
HOURLY = (4, 10, 20, 50, 100, 200, 300, 1000)
WEEK, WEEKS = 7 * 24 * 60, 400
TRIALS, BEFORE, AFTER = 200, 6 * 60, 14 * 60
MINUTE = parse_duration("1m")
OUTAGES = (1.0, 0.1, 0.01)


class Pages(NamedTuple):
    """Whether each rule pages, by minute; the last axis is time."""

    workbook: NDArray[np.bool_]
    ours: NDArray[np.bool_]


def pages(objective: float, bad: Floats, total: Floats) -> Pages:
    """Evaluate the tiers that page, with the workbook's factors, each minute."""
    ratio = {"total": "t", "bad": "b"}
    slo = Slo.model_validate({"id": "s", "objective": objective, "ratio": ratio, "summary": "s"})
    workbook, ours = np.zeros(bad.shape, bool), np.zeros(bad.shape, bool)
    for tier in tiers_of(slo, MINUTE):
        if tier.name == "ticket":
            continue
        long = [_sums(each, tier.long // MINUTE) for each in (bad, total)]
        short = [_sums(each, tier.short // MINUTE) for each in (bad, total)]
        limit = tier.factor * slo.budget
        burns = (long[0] > limit * long[1]) & (short[0] > limit * short[1])
        workbook |= burns
        ours |= burns & (long[0] > explained(long[1] * slo.budget))
    return Pages(workbook, ours)


def _sums(values: Floats, minutes: int) -> Floats:
    sums = np.cumsum(values, axis=-1)
    sums[..., minutes:] -= sums[..., :-minutes].copy()
    return sums


def at_objective(objective: float, hourly: float, weeks: int = WEEKS) -> tuple[float, float]:
    """Return pages in a week of the workbook's rule and of ours, without any fault."""
    rng = np.random.default_rng([SEED, int(objective * 1e4), int(hourly)])
    total = rng.poisson(hourly / 60, weeks * WEEK)
    bad = rng.binomial(total, 1 - objective)
    both = pages(objective, bad.astype(np.float64), total.astype(np.float64))
    starts = [np.count_nonzero(each[1:] & ~each[:-1]) / weeks for each in both]
    return starts[0], starts[1]


def to_page(objective: float, hourly: float, share: float, trials: int = TRIALS) -> Floats:
    """Return the median minutes to a page since this share fails, for both; inf: not in time."""
    rng = np.random.default_rng([SEED, int(objective * 1e4), int(hourly), int(share * 100)])
    total = rng.poisson(hourly / 60, (trials, BEFORE + AFTER))
    rates = np.where(np.arange(BEFORE + AFTER) < BEFORE, 1 - objective, share)
    bad = rng.binomial(total, rates)
    both = pages(objective, bad.astype(np.float64), total.astype(np.float64))
    return np.array([np.median(_first(each[:, BEFORE:])) for each in both])


def _first(paged: NDArray[np.bool_]) -> Floats:
    return np.where(paged.any(axis=1), paged.argmax(axis=1) + 1.0, np.inf)


def rows() -> Iterator[list[Any]]:
    """Yield the table's rows: objective, events in an hour, pages, minutes to a page."""
    for objective in OBJECTIVES:
        for hourly in HOURLY:
            found = at_objective(objective, hourly)
            times = [to_page(objective, hourly, share) for share in OUTAGES]
            yield [objective, hourly, *found, *times]


def main() -> None:
    """Print the table as markdown."""
    heads = ["objective", "events/h", "workbook", "ours", *(f"{share:.0%}" for share in OUTAGES)]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for objective, hourly, workbook, ours, *times in rows():
        minutes = [" / ".join(_shown(each) for each in pair) for pair in times]
        cells = [f"{objective:.1%}", f"{hourly}", f"{workbook:.3f}", f"{ours:.3f}", *minutes]
        print(f"| {' | '.join(cells)} |", flush=True)


def _shown(minutes: float) -> str:
    return f"{minutes:.0f}" if np.isfinite(minutes) else "> 14 h"


if __name__ == "__main__":
    main()
