"""The limits that a suite sets, for charts."""

from collections.abc import Mapping
from typing import Any

from tasks.validation.model import BETWEEN, Suite

Bounds = tuple[float | None, float | None]


def limits_of(suite: Suite) -> dict[str, Bounds]:
    """The tightest lower and upper limit of each column, in its base unit; None for none.

    What is physically impossible is left out: it lies far from any value that is worth a look.
    """
    limits: dict[str, Bounds] = {}
    for check in suite.expectations:
        if check.type == BETWEEN and check.origin != "physical":
            column = str(check.arguments["column"])
            limits[column] = _tighter(limits.get(column, (None, None)), check.arguments)
    return limits


def _tighter(known: Bounds, arguments: Mapping[str, Any]) -> Bounds:
    lows = [low for low in (known[0], arguments.get("min_value")) if low is not None]
    highs = [high for high in (known[1], arguments.get("max_value")) if high is not None]
    return max(lows, default=None), min(highs, default=None)
