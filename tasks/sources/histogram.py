"""A quantile of a classic histogram, by the rules of PromQL."""

import math
from collections.abc import Mapping


def quantile_of(quantile: float, buckets: Mapping[float, float]) -> float | None:
    """Estimate a quantile from cumulative counts by upper bound, if there is one.

    The rules of histogram_quantile (Prometheus documentation, "Query functions"): observations are
    spread evenly inside a bucket, the lowest bucket starts at 0 when its bound is above 0, and a
    quantile in the +Inf bucket is the second highest bound. There is no quantile without the +Inf
    bucket, with that bucket alone, or without observations. Counts that fall, which separate
    reads of a page can cause, are taken as the highest count below them.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or bounds[-1] != math.inf:
        return None
    counts: list[float] = []
    for bound in bounds:
        counts.append(max(buckets[bound], counts[-1] if counts else 0.0))
    if not counts[-1] > 0:
        return None
    rank = quantile * counts[-1]
    place = next(i for i, count in enumerate(counts) if count >= rank)
    if place == len(bounds) - 1:
        return bounds[-2]
    if place == 0 and bounds[0] <= 0:
        return bounds[0]
    low, below = (bounds[place - 1], counts[place - 1]) if place else (0.0, 0.0)
    return low + (bounds[place] - low) * ((rank - below) / (counts[place] - below))
