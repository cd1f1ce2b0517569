"""Robust estimates of trends, shares and associations, each with its interval."""

from typing import cast

import numpy as np

from tasks.analysis.curve import Floats, Ints
from tasks.analysis.interval import Interval
from tasks.analysis.noise import MAD_TO_SD

LEAST_FOR_A_TREND = 6
MOST_POINTS = 300  # pairs grow with the square: a longer series is thinned evenly
LEAST_FOR_AN_ASSOCIATION = 10


def normal_quantile(level: float) -> float:
    """Return half the width, in deviations, of the normal's central interval."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def student_quantile(level: float, degrees: float) -> float:
    """Return the same of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2))


def quantile_interval(draws: Floats, level: float) -> Interval:
    """Return median and central interval of draws."""
    low, middle, high = np.quantile(draws, [0.5 - level / 2, 0.5, 0.5 + level / 2])
    return Interval(float(middle), float(low), float(high), level)


def theil_sen(x: Floats, y: Floats, level: float) -> Interval | None:
    """Return the slope of y on x; None below six finite points or without spread in x.

    The median of all pairs' slopes, its interval by Kendall's statistic (Sen, "Estimates of the
    regression coefficient based on Kendall's tau", JASA 1968), whose variance is corrected for
    successive residuals that resemble each other (Yue and Wang, "The Mann-Kendall test modified by
    effective sample size", Water Resources Management 2004).
    """
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(x) > MOST_POINTS:
        keep = np.linspace(0, len(x) - 1, MOST_POINTS).astype(np.int64)
        x, y = x[keep], y[keep]
    count = len(x)
    if count < LEAST_FOR_A_TREND or np.ptp(x) == 0.0:
        return None
    first, second = np.triu_indices(count, 1)
    apart = x[second] - x[first]
    slopes = np.sort(((y[second] - y[first])[apart != 0.0]) / apart[apart != 0.0])
    estimate = float(np.median(slopes))
    variance = count * (count - 1) * (2 * count + 5) / 18.0
    variance *= _inflation(y - estimate * x)
    reach = normal_quantile(level) * np.sqrt(variance)
    low = int(np.clip(np.floor((len(slopes) - reach) / 2.0), 0, len(slopes) - 1))
    high = int(np.clip(np.ceil((len(slopes) + reach) / 2.0), 0, len(slopes) - 1))
    return Interval(estimate, float(slopes[low]), float(slopes[high]), level)


def _inflation(residuals: Floats) -> float:
    """Return the growth of the variance by successive residuals' likeness."""
    centred = residuals - np.median(residuals)
    power = float(centred @ centred)
    if power <= 0.0:
        return 1.0
    memory = float(centred[1:] @ centred[:-1]) / power
    if memory <= 1.96 / np.sqrt(len(residuals)):
        return 1.0
    return (1.0 + min(memory, 0.9)) / (1.0 - min(memory, 0.9))


def share(hits: float, trials: float, level: float) -> Interval | None:
    """Return a share with its interval; None without a trial.

    The interval is Wilson's ("Probable inference, the law of succession, and statistical inference",
    JASA 1927).
    """
    if trials <= 0:
        return None
    z2 = normal_quantile(level) ** 2
    p = float(hits / trials)
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = np.sqrt(z2 * (p * (1 - p) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    # at 0 and 1 rounding must not push the bound past the share
    low, high = min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))
    return Interval(p, float(low), float(high), level)


def group_medians(groups: Ints, values: Floats, count: int) -> Floats:
    """Return the median of each group 0 … count - 1; NaN for an empty group."""
    medians = np.full(count, np.nan)
    sizes = np.bincount(groups, minlength=count)
    ordered = values[np.lexsort((values, groups))]
    starts = np.cumsum(sizes) - sizes
    filled = sizes > 0
    low = starts[filled] + (sizes[filled] - 1) // 2
    high = starts[filled] + sizes[filled] // 2
    medians[filled] = 0.5 * (ordered[low] + ordered[high])
    return medians


def group_spreads(groups: Ints, values: Floats, medians: Floats) -> Floats:
    """Return each group's deviation by its MAD (Rousseeuw and Croux, JASA 1993)."""
    away = np.abs(values - medians[groups])
    return MAD_TO_SD * group_medians(groups, away, len(medians))


def partial_spearman(x: Floats, y: Floats, given: Floats, level: float) -> Interval | None:
    """Return Spearman's correlation of x and y, without what both owe to `given`.

    None below ten finite points, or when x or y does not vary.

    The partial correlation of the ranks; its interval by Fisher's transformation with the variance
    of Bonett and Wright ("Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations", Psychometrika 2000).
    """
    from scipy.stats import rankdata

    finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(given)
    count = int(finite.sum())
    if count < LEAST_FOR_AN_ASSOCIATION:
        return None
    ranks = [cast(Floats, rankdata(one[finite])) for one in (x, y, given)]
    basis = np.stack([np.ones(count), ranks[2]], axis=1)
    left = [r - basis @ np.linalg.lstsq(basis, r, rcond=None)[0] for r in ranks[:2]]
    norms = [float(np.linalg.norm(one)) for one in left]
    if min(norms) < 1e-9 * count:
        return None
    estimate = float(np.clip(left[0] @ left[1] / (norms[0] * norms[1]), -0.9999, 0.9999))
    reach = normal_quantile(level) * np.sqrt((1.0 + estimate**2 / 2.0) / (count - 4))
    middle = np.arctanh(estimate)
    return Interval(estimate, float(np.tanh(middle - reach)), float(np.tanh(middle + reach)), level)
