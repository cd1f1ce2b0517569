"""The suite of a proposed measurement: general rules, and limits of its units."""

from typing import Any

from tasks.core.severity import NAMES, Severity
from tasks.runs.init.fields import Draft
from tasks.runs.init.groups import Proposed
from tasks.validation.model import BETWEEN, NOT_NULL, ROW_COUNT, UNIQUE

Expectation = dict[str, Any]
CRITICAL = Severity.CRITICAL
REASONS = {
    "rows_present": "A table without rows passes every other check.",
    "key_unique": "A series has one value at a time; of two, the true one is unknown.",
    "time_present": "A value without a time belongs to no moment.",
    "per_second": "A counter only grows, so its growth is never negative.",
    "bytes": "No size is negative; if a negative value means unknown, remove the check.",
    "bits": "No size is negative; if a negative value means unknown, remove the check.",
    "seconds": "A duration is not negative; if this is an offset, remove the check.",
    "ratio": "A share of a whole is neither negative nor more than all of it.",
}


def suite_for(proposed: Proposed) -> dict[str, Any]:
    """Build its suite: certain limits are critical, guessed ones are warnings."""
    rows, key = {"min_value": 1}, {"column_list": list(proposed.measurement.key)}
    expectations = [
        _expectation("rows_present", ROW_COUNT, rows, REASONS["rows_present"]),
        _expectation("key_unique", UNIQUE, key, REASONS["key_unique"]),
        _expectation("time_present", NOT_NULL, {"column": "time"}, REASONS["time_present"]),
    ]
    limited = {n: d for n, d in proposed.drafts.items() if d.low is not None or d.high is not None}
    expectations += [_limit(name, draft) for name, draft in limited.items()]
    return {"name": proposed.measurement.suite_name, "expectations": expectations}


def _limit(name: str, draft: Draft) -> Expectation:
    bounds = {"min_value": draft.low, "max_value": draft.high}
    kwargs = {"column": name, **{key: value for key, value in bounds.items() if value is not None}}
    unit = "per_second" if draft.unit.endswith("per_second") else draft.unit
    severity = Severity.CRITICAL if draft.certain else Severity.WARNING
    return _expectation(f"{name}_possible", BETWEEN, kwargs, REASONS[unit], severity)


def _expectation(
    check_id: str, kind: str, kwargs: Expectation, reason: str, severity: Severity = CRITICAL
) -> Expectation:
    meta = {"check_id": check_id, "severity": str(severity), "origin": "physical", "reason": reason}
    name = NAMES[severity].great_expectations
    return {"type": kind, "kwargs": kwargs, "severity": name, "meta": meta}
