"""The limits of a suite, for charts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.validation.model import BETWEEN, Suite

Bounds = tuple[float | None, float | None]


def limits_of(suite: Suite) -> dict[str, Bounds]:
    """Return the tightest limits of each column, in its base unit; None for none.

    Physical limits are left out: they are too far from usual values to show.
    """
    ranges: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for check in suite.expectations:
        if check.type == BETWEEN and check.origin != "physical":
            ranges[str(check.arguments["column"])].append(check.arguments)
    return {column: tightest(given) for column, given in ranges.items()}


def tightest(ranges: Sequence[Mapping[str, Any]]) -> Bounds:
    """Return the highest min_value and the lowest max_value; None for none."""
    lows = [each["min_value"] for each in ranges if each.get("min_value") is not None]
    highs = [each["max_value"] for each in ranges if each.get("max_value") is not None]
    return max(lows, default=None), min(highs, default=None)
