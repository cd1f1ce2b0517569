"""The newest week of an SLO beside the one before, hour of the week by hour of the week."""

from typing import NamedTuple

import numpy as np

from tasks.analysis.slo.forecast import WEEK, Past

# the share of bad events changed when it did by so many standard deviations
SURE = 2.0


class Weeks(NamedTuple):
    """Relative change of the traffic, and the share of bad events before and now."""

    traffic: float
    before: float
    now: float
    is_changed: bool


def weeks(past: Past) -> Weeks | None:
    """Compare hours of the week with traffic in both weeks; None without any.

    Both shares are weighted by the same traffic, so that a quiet hour with many errors weighs as
    much in one week as in the other (direct standardisation).
    """
    if len(past.total) < 2 * WEEK:
        return None
    both = [each[-2 * WEEK :].reshape(2, WEEK) for each in past[:2]]
    is_paired = (both[1] > 0).all(axis=0)
    bad, total = (each[:, is_paired] for each in both)
    if not is_paired.any():
        return None
    weights = total.sum(axis=0) / total.sum()
    before, now = (weights * bad / total).sum(axis=1).tolist()
    # of counts: as many as there are
    variance = float((weights**2 * bad / total**2).sum())
    change = float(total[1].sum() / total[0].sum() - 1)
    return Weeks(change, before, now, bool(abs(now - before) > SURE * np.sqrt(variance)))
