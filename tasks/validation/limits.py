"""The limits that a suite sets, for charts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.validation.model import BETWEEN, Suite

Bounds = tuple[float | None, float | None]


def limits_of(suite: Suite) -> dict[str, Bounds]:
    """The tightest lower and upper limit of each column, in its base unit; None for none.

    What is physically impossible is left out: it lies far from any value that is worth a look.
    """
    ranges: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for check in suite.expectations:
        if check.type == BETWEEN and check.origin != "physical":
            ranges[str(check.arguments["column"])].append(check.arguments)
    return {column: tightest(given) for column, given in ranges.items()}


def tightest(ranges: Sequence[Mapping[str, Any]]) -> Bounds:
    """Return the highest min_value and the lowest max_value of the arguments; None for none."""
    lows = [each["min_value"] for each in ranges if each.get("min_value") is not None]
    highs = [each["max_value"] for each in ranges if each.get("max_value") is not None]
    return max(lows, default=None), min(highs, default=None)
