"""The suite of a proposed measurement: general rules, and limits of its units."""

from typing import Any

from tasks.core.severity import Severity
from tasks.runs.init.fields import Draft
from tasks.runs.init.groups import Proposed
from tasks.validation.boilerplate import Expectation, expectation, required
from tasks.validation.model import BETWEEN

REASONS = {
    "per_second": "A counter only grows, so its growth is never negative.",
    "bytes": "No size is negative; if a negative value means unknown, remove the check.",
    "bits": "No size is negative; if a negative value means unknown, remove the check.",
    "seconds": "A duration is not negative; if this is an offset, remove the check.",
    "ratio": "A share of a whole is neither negative nor more than all of it.",
}


def suite_for(proposed: Proposed) -> dict[str, Any]:
    """Build its suite: certain limits are critical, guessed ones are warnings."""
    limited = {n: d for n, d in proposed.drafts.items() if d.low is not None or d.high is not None}
    limits = [_limit(name, draft) for name, draft in limited.items()]
    expectations = [*required(proposed.measurement), *limits]
    return {"name": proposed.measurement.suite_name, "expectations": expectations}


def _limit(name: str, draft: Draft) -> Expectation:
    bounds = {"min_value": draft.low, "max_value": draft.high}
    kwargs = {"column": name, **{key: value for key, value in bounds.items() if value is not None}}
    unit = "per_second" if draft.unit.endswith("per_second") else draft.unit
    severity = Severity.CRITICAL if draft.certain else Severity.WARNING
    return expectation(f"{name}_possible", BETWEEN, kwargs, REASONS[unit], severity)
