"""Ranges learned from history, as warnings beside the limits set by people."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.errors import UsageInvalid
from tasks.core.measurement import Measurement
from tasks.core.severity import Severity
from tasks.core.units import outward
from tasks.core.window import Window, iso
from tasks.validation.boilerplate import expectation
from tasks.validation.limits import Bounds, tightest
from tasks.validation.model import BETWEEN, Suite
from tasks.validation.structure import Origin
from tasks.validation.suites import suite_of

LEARNED: Origin = "learned"
# makes the standard error of a quartile of normal values a tenth of the quartiles' distance
FEWEST = 100
# multiple of the distance from median to quartile, beyond the quartile
FENCE = 6.0
TAILS = (0.005, 0.995)

Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Learned:
    """A suite with learned ranges, and the numeric fields without one with the reason."""

    suite: Suite
    left_out: Mapping[str, str]


def learn(suite: Suite, measurement: Measurement, frame: pd.DataFrame, window: Window) -> Learned:
    """Add a range for each numeric field of the landed rows (layout of a Batch).

    A range goes from the lower to the upper fence of Kimber (Applied Statistics 39, 1990): six
    times the distance from the median to the quartile beyond the quartile, each side by itself, so
    that a skewed field has a long side and a short one. For a symmetric field these are Tukey's
    outer fences, three times the interquartile range beyond the quartiles (Exploratory Data
    Analysis, 1977). Quartiles do not move when up to a quarter of the values is wild, so an
    incident in the window does not become the normal case. A range is never tighter than the 0.5 %
    and 99.5 % quantiles: a field that is nearly always the same has quartiles without a distance.
    Bounds are rounded outwards to three digits, of an int to whole numbers.

    All series are pooled. A bound that the critical limits of the suite imply is left out. Learned
    ranges are warnings and take the place of earlier learned ones of the same field; all other
    expectations stay as they are. Raises UsageInvalid when there is nothing to learn from, e.g.
    fewer than 100 values a field; SuiteInvalid when the new check's id is taken.
    """
    found: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for name, spec in measurement.fields.items():
        if spec.type not in ("float", "int"):
            continue
        values = frame[name].dropna().to_numpy(dtype="float64")
        bounds = _bounds(values, _possible(suite, name), is_int=spec.type == "int")
        if isinstance(bounds, str):
            left_out[name] = bounds
        else:
            found[name] = _expectation(name, bounds, values, window)
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UsageInvalid(
            argument="MEASUREMENT",
            problem=f"there is nothing to learn from for {measurement.name}: "
            f"{reasons or 'it has no numeric field'}",
            fix="Name a longer window (--start), or collect more first",
        )
    content = {**suite.content, "expectations": _with(found, suite.content["expectations"])}
    return Learned(suite_of(content, measurement, suite.path), left_out)


def _bounds(values: Numbers, possible: Bounds, is_int: bool) -> Bounds | str:
    """Return the bounds worth a check, else why there are none."""
    if len(values) < FEWEST:
        return f"{len(values)} values, {FEWEST} are needed"
    low, high = fences(values)
    if low == high:
        return f"nearly all of its {len(values)} values are {low:.12g}"
    lower, upper = outward(low, ROUND_FLOOR), outward(high, ROUND_CEILING)
    if is_int:
        lower, upper = math.floor(lower), math.ceil(upper)
    least, most = possible
    bounds = (
        None if not math.isfinite(lower) or (least is not None and lower <= least) else lower,
        None if not math.isfinite(upper) or (most is not None and upper >= most) else upper,
    )
    if bounds == (None, None):
        return "its usual range has all possible values"
    return bounds


def fences(values: Numbers) -> tuple[float, float]:
    """Return both ends of the usual range, as in `learn`, not rounded.

    values are finite, at least one. Quantiles are interpolated linearly (type 7 of Hyndman and Fan,
    American Statistician 50, 1996).
    """
    least, first, median, third, most = np.quantile(values, [TAILS[0], 0.25, 0.5, 0.75, TAILS[1]])
    with np.errstate(over="ignore"):
        lower, upper = first - FENCE * (median - first), third + FENCE * (third - median)
    return float(min(lower, least)), float(max(upper, most))


def _possible(suite: Suite, column: str) -> Bounds:
    """Return the bounds set by the suite's critical ranges."""
    critical = [each for each in suite.expectations if each.severity is Severity.CRITICAL]
    ranges = [each.arguments for each in critical if each.type == BETWEEN]
    return tightest([r for r in ranges if r["column"] == column and r.get("mostly", 1) == 1])


def _expectation(name: str, bounds: Bounds, values: Numbers, window: Window) -> dict[str, Any]:
    lower, upper = bounds
    below = values < (-math.inf if lower is None else lower)
    outside = int((below | (values > (math.inf if upper is None else upper))).sum())
    kwargs = {"column": name, "min_value": lower, "max_value": upper}
    reason = (
        f"Usual range of {len(values)} values, {iso(window.start)} to {iso(window.stop)}, of which "
        f"{outside} lie outside it."
    )
    return expectation(f"{name}_usual", BETWEEN, kwargs, reason, Severity.WARNING, LEARNED)


def _with(
    found: Mapping[str, dict[str, Any]], expectations: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the expectations with new ones in the places of a field's earlier ones."""
    rest = dict(found)
    result = []
    for each in expectations:
        is_learned = each["meta"]["origin"] == LEARNED and each["type"] == BETWEEN
        column = each["kwargs"].get("column")
        if not (is_learned and column in found):
            result.append(each)
        elif column in rest:
            result.append(rest.pop(column))
    return [*result, *rest.values()]
