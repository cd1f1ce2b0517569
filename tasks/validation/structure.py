"""Required structure of suites, checked on the JSON alone."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tasks.core.batch import columns_of
from tasks.core.errors import SuiteInvalid
from tasks.core.measurement import Measurement
from tasks.core.severity import NAMES, Severity
from tasks.validation.model import MANY_COLUMNS, NOT_NULL, ROW_COUNT, UNIQUE, columns_named

Origin = Literal["physical", "operating limit of the team", "learned"]

SUITE_KEYS = ("name", "expectations", "suite_parameters", "meta", "notes", "id")
EXPECTATION_KEYS = ("type", "kwargs", "meta", "severity", "description", "notes", "id")
META_KEYS = ("check_id", "severity", "reason", "origin")


@dataclass(frozen=True)
class Complaint:
    """Builds the errors of one file's checks."""

    path: Path
    check_id: str | None = None

    def __call__(self, problem: str, fix: str) -> SuiteInvalid:
        """Return the error to raise."""
        where = f"check {self.check_id}: " if self.check_id else ""
        facts = {"suite": str(self.path), "check_id": self.check_id}
        return SuiteInvalid(**facts, problem=where + problem, fix=fix)

    def of(self, check_id: str) -> "Complaint":
        """Return the complaint about one check of the same file."""
        return Complaint(self.path, check_id)


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the fix for an unknown word."""
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"Use {close[0]}" if close else otherwise


def check_structure(content: Any, measurement: Measurement, path: Path) -> None:
    """Raise SuiteInvalid unless it is a suite of this measurement."""
    complain = Complaint(path)
    if not isinstance(content, dict):
        raise complain("is not a JSON object", "Write it as Great Expectations does")
    _refuse_unknown(content, SUITE_KEYS, complain)
    if content.get("name") != measurement.suite_name:
        fix = f'Call it "{measurement.suite_name}"'
        raise complain(f"its name is {content.get('name')!r}", fix)
    if not isinstance(content.get("meta") or {}, dict):
        raise complain("its meta is not an object", "Write name: value, or take it out")
    expectations = content.get("expectations")
    if not isinstance(expectations, list) or not expectations:
        raise complain("has no list of expectations", "Fill the key expectations")
    for position, expectation in enumerate(expectations):
        _check_expectation(expectation, position, measurement, complain)
    _check_ids(expectations, complain)
    _check_parameters(content, complain)
    _check_obligations(expectations, measurement, complain)


def _refuse_unknown(
    content: dict[str, Any], known: tuple[str, ...], complain: Complaint, inside: str = ""
) -> None:
    for key in content:
        if key not in known:
            fix = did_you_mean(key, known, f"Known keys: {', '.join(known)}")
            raise complain(f"unknown key {inside}{key}", fix)


def _check_expectation(
    content: Any, position: int, measurement: Measurement, complain: Complaint
) -> None:
    lacks = f"expectation {position + 1} has no meta"
    if not isinstance(content, dict) or not isinstance(content.get("meta"), dict):
        raise complain(lacks, f"Give it the keys {', '.join(META_KEYS)} in meta")
    check_id = content["meta"].get("check_id")
    if not isinstance(check_id, str) or not check_id:
        raise complain(f"{lacks}.check_id", "Name it, once in the suite")
    complain = complain.of(check_id)
    _refuse_unknown(content, EXPECTATION_KEYS, complain)
    _refuse_unknown(content["meta"], META_KEYS, complain, "meta.")
    if not isinstance(content.get("type"), str) or not isinstance(content.get("kwargs"), dict):
        raise complain("lacks its type or kwargs", "Write it as Great Expectations does")
    _check_meta(content["meta"], complain)
    _check_severity(content, complain)
    _check_columns(content["kwargs"], measurement, complain)


def _check_meta(meta: dict[str, Any], complain: Complaint) -> None:
    reason, origin = meta.get("reason"), meta.get("origin")
    if not isinstance(reason, str) or not reason.strip():
        raise complain("has no meta.reason", "Explain in one sentence why this limit")
    if origin not in get_args(Origin):
        raise complain(f"meta.origin is {origin!r}", f"Use one of: {', '.join(get_args(Origin))}")


def _check_severity(content: dict[str, Any], complain: Complaint) -> None:
    ours = content["meta"].get("severity")
    if ours not in list(Severity):
        raise complain(f"meta.severity is {ours!r}", f"Use one of: {', '.join(Severity)}")
    theirs = NAMES[Severity(ours)].great_expectations
    given = content.get("severity")
    if given != theirs:
        fix = f'Write "severity": "{theirs}", as Great Expectations calls it'
        raise complain(f"meta.severity is {ours!r}, but severity is {given!r}", fix)


def _check_columns(kwargs: dict[str, Any], measurement: Measurement, complain: Complaint) -> None:
    known = columns_of(measurement)
    for key in MANY_COLUMNS:
        if not isinstance(kwargs.get(key, []), list):
            raise complain(f"{key} is not a list", "Write the columns as a list")
    for column in columns_named(kwargs):
        if column not in known:
            fix = did_you_mean(str(column), known, f"Its columns: {', '.join(known)}")
            raise complain(f"{measurement.name} has no column {column!r}", fix)


def _check_ids(expectations: list[dict[str, Any]], complain: Complaint) -> None:
    seen: set[str] = set()
    for content in expectations:
        check_id = content["meta"]["check_id"]
        if check_id in seen:
            fix = "Give each expectation its own"
            raise complain.of(check_id)("meta.check_id is given twice", fix)
        seen.add(check_id)


def parameters_named(value: Any) -> Iterator[str]:
    """Yield the names of $PARAMETER anywhere in the value."""
    if isinstance(value, dict):
        if "$PARAMETER" in value:
            yield str(value["$PARAMETER"])
        for nested in value.values():
            yield from parameters_named(nested)
    elif isinstance(value, list):
        for nested in value:
            yield from parameters_named(nested)


def _check_parameters(content: dict[str, Any], complain: Complaint) -> None:
    given = content.get("suite_parameters") or {}
    if not isinstance(given, dict):
        raise complain("suite_parameters is not an object", "Write name: value")
    needed: set[str] = set()
    for expectation in content["expectations"]:
        names = set(parameters_named(expectation["kwargs"]))
        needed |= names
        for name in sorted(names - set(given)):
            fix = did_you_mean(name, given, "Give it in suite_parameters")
            of_check = complain.of(expectation["meta"]["check_id"])
            raise of_check(f"the suite has no parameter {name}", fix)
    for name in sorted(set(given) - needed):
        fix = did_you_mean(name, needed, "Take it out of suite_parameters")
        raise complain(f"no expectation uses the parameter {name}", fix)


def _check_obligations(
    expectations: list[dict[str, Any]], measurement: Measurement, complain: Complaint
) -> None:
    """Require the checks without which an empty, doubled or hollow frame would pass."""
    required = [name for name, field in measurement.fields.items() if field.required]
    obligations: list[tuple[str, dict[str, Any], str]] = [
        (ROW_COUNT, {"min_value": 1}, "critical"),
        (UNIQUE, {"column_list": list(measurement.key)}, "critical"),
        (NOT_NULL, {"column": "time"}, "critical"),
        *((NOT_NULL, {"column": name}, "high") for name in required),
    ]
    for kind, kwargs, severity in obligations:
        found = (each for each in expectations if each["type"] == kind)
        if severity == "critical":
            found = (each for each in found if each["meta"]["severity"] == Severity.CRITICAL)
        if not any(_fulfils(each["kwargs"], kwargs) for each in found):
            shown = ", ".join(f"{key} {value}" for key, value in kwargs.items()).replace("'", "")
            fix = "Add it: without it a bad batch would pass"
            raise complain(f"lacks {kind} with exactly {shown} ({severity})", fix)


def _fulfils(given: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Compare arguments exactly: another one would leave rows out."""
    if "min_value" in expected:
        least = given.get("min_value")
        is_enough = isinstance(least, int | float) and least >= expected["min_value"]
        return is_enough and set(given) <= {"min_value", "max_value"}
    if "column_list" in expected:
        is_alone = set(given) == {"column_list"}
        return is_alone and sorted(given["column_list"]) == sorted(expected["column_list"])
    return given == expected
