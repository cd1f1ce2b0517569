"""Boilerplate of suites: the required checks, limits of units, and limits of the team."""

from difflib import get_close_matches
from typing import Any

from tasks.core.errors import UsageInvalid
from tasks.core.measurement import Measurement
from tasks.core.severity import Severity
from tasks.validation.limits import Bounds
from tasks.validation.model import BETWEEN, NOT_NULL, ROW_COUNT, UNIQUE
from tasks.validation.structure import Origin

Expectation = dict[str, Any]
TEAM: Origin = "operating limit of the team"


def expectation(
    check_id: str,
    kind: str,
    kwargs: Expectation,
    reason: str,
    severity: Severity = Severity.CRITICAL,
    origin: Origin = "physical",
) -> Expectation:
    """Write one expectation as it stands in a suite; arguments that are None are left out."""
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    meta = {"check_id": check_id, "severity": str(severity), "origin": origin, "reason": reason}
    return {"type": kind, "kwargs": kwargs, "meta": meta}


def required(entry: Measurement) -> list[Expectation]:
    """Write the expectations without which a suite is refused."""
    rows, key = {"min_value": 1}, {"column_list": list(entry.key)}
    one = "A series has one value at a time; of two, the true one is unknown."
    needed = [name for name, field in entry.fields.items() if field.required]
    return [
        expectation("rows_present", ROW_COUNT, rows, "A table without rows passes every check."),
        expectation("key_unique", UNIQUE, key, one),
        expectation("time_present", NOT_NULL, {"column": "time"}, "A value belongs to a moment."),
        *(_present(name) for name in needed),
    ]


def _present(name: str) -> Expectation:
    kwargs, reason = {"column": name}, "The catalogue requires this field."
    return expectation(f"{name}_present", NOT_NULL, kwargs, reason, Severity.HIGH, TEAM)


def boilerplate(entry: Measurement) -> dict[str, Any]:
    """Write a suite with the required checks and the limits that follow from the units."""
    reason = "By its unit no other value is possible; if one is, remove the check."
    limits: list[Expectation] = []
    for name, field in entry.fields.items():
        unit = field.unit or ""
        if unit in ("ratio", "bytes", "bits") or unit.endswith("_per_second"):
            most = 1 if unit == "ratio" else None
            kwargs = {"column": name, "min_value": 0, "max_value": most}
            limits.append(expectation(f"{name}_possible", BETWEEN, kwargs, reason))
    return {"name": entry.suite_name, "expectations": [*required(entry), *limits]}


def with_limit(
    content: dict[str, Any],
    entry: Measurement,
    field: str | None,
    bounds: Bounds,
    severity: Severity,
) -> dict[str, Any]:
    """Return the suite with the team's limit, by default of the only numeric field."""
    known = [name for name, one in entry.fields.items() if one.type in ("float", "int")]
    name = field or (known[0] if len(known) == 1 else "")
    if name not in known:
        problem = f"{entry.name} has no numeric field {name!r}" if name else "no field is named"
        similar = [each for each in known if name.lower() in each] or get_close_matches(name, known)
        fix = f"Name one of: {', '.join(similar or known)}"
        raise UsageInvalid(argument="--field", problem=problem, fix=fix)
    kwargs = {"column": name, "min_value": bounds[0], "max_value": bounds[1]}
    check_id, reason = f"{name}_within_limit", "The team's limit; look at the service beyond it."
    new = expectation(check_id, BETWEEN, kwargs, reason, severity, TEAM)
    others = [one for one in content["expectations"] if one["meta"]["check_id"] != check_id]
    return {**content, "expectations": [*others, new]}
