"""Required structure of suites, checked on the JSON alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tasks.core.batch import columns_of
from tasks.core.documents import closest
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
    close = closest(word, known)
    return f"Use {close}" if close else otherwise


def check_structure(content: Any, measurement: Measurement, path: Path) -> None:
    """Raise SuiteInvalid unless it is a suite of this measurement."""
    for flaw in structural_flaws(content, measurement, path):
        raise flaw


def structural_flaws(content: Any, measurement: Measurement, path: Path) -> Iterator[SuiteInvalid]:
    """Yield all that keeps it from being a suite of this measurement."""
    complain = Complaint(path)
    if not isinstance(content, dict):
        yield complain("is not a JSON object", "Write it as Great Expectations does")
        return
    yield from _unknown(content, SUITE_KEYS, complain)
    if content.get("name") != measurement.suite_name:
        fix = f'Call it "{measurement.suite_name}"'
        yield complain(f"its name is {content.get('name')!r}", fix)
    if not isinstance(content.get("meta") or {}, dict):
        yield complain("its meta is not an object", "Write name: value, or take it out")
    expectations = content.get("expectations")
    if not isinstance(expectations, list) or not expectations:
        yield complain("has no list of expectations", "Fill the key expectations")
        return
    flawed: set[Any] = set()
    for position, each in enumerate(expectations):
        for flaw in _flaws_of_one(each, position, measurement, complain):
            flawed.add(each.get("type") if isinstance(each, dict) else None)
            yield flaw
    shaped = shaped_ones(content)
    yield from _check_ids(shaped, complain)
    yield from _check_parameters(content, shaped, complain)
    yield from _check_obligations(shaped, flawed, measurement, complain)


def shaped_ones(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the expectations that have a name, a type and arguments."""
    return [
        each
        for each in content["expectations"]
        if isinstance(each, dict)
        and isinstance(each.get("meta"), dict)
        and isinstance(each["meta"].get("check_id"), str)
        and isinstance(each.get("type"), str)
        and isinstance(each.get("kwargs"), dict)
    ]


def _unknown(
    content: dict[str, Any], known: tuple[str, ...], complain: Complaint, inside: str = ""
) -> Iterator[SuiteInvalid]:
    for key in content:
        if key not in known:
            fix = did_you_mean(key, known, f"Known keys: {', '.join(known)}")
            yield complain(f"unknown key {inside}{key}", fix)


def _flaws_of_one(
    content: Any, position: int, measurement: Measurement, complain: Complaint
) -> Iterator[SuiteInvalid]:
    lacks = f"expectation {position + 1} has no meta"
    if not isinstance(content, dict) or not isinstance(content.get("meta"), dict):
        yield complain(lacks, f"Give it the keys {', '.join(META_KEYS)} in meta")
        return
    check_id = content["meta"].get("check_id")
    if not isinstance(check_id, str) or not check_id:
        yield complain(f"{lacks}.check_id", "Name it, once in the suite")
        return
    complain = complain.of(check_id)
    yield from _unknown(content, EXPECTATION_KEYS, complain)
    yield from _unknown(content["meta"], META_KEYS, complain, "meta.")
    if not isinstance(content.get("type"), str) or not isinstance(content.get("kwargs"), dict):
        yield complain("lacks its type or kwargs", "Write it as Great Expectations does")
        return
    yield from _check_meta(content["meta"], complain)
    yield from _check_severity(content, complain)
    yield from _check_columns(content["kwargs"], measurement, complain)


def _check_meta(meta: dict[str, Any], complain: Complaint) -> Iterator[SuiteInvalid]:
    reason, origin = meta.get("reason"), meta.get("origin")
    if not isinstance(reason, str) or not reason.strip():
        yield complain("has no meta.reason", "Explain in one sentence why this limit")
    if origin not in get_args(Origin):
        yield complain(f"meta.origin is {origin!r}", f"Use one of: {', '.join(get_args(Origin))}")


def _check_severity(content: dict[str, Any], complain: Complaint) -> Iterator[SuiteInvalid]:
    ours = content["meta"].get("severity")
    if ours not in list(Severity):
        yield complain(f"meta.severity is {ours!r}", f"Use one of: {', '.join(Severity)}")
        return
    theirs = NAMES[Severity(ours)].great_expectations
    given = content.get("severity")
    if given not in (None, ours, theirs):
        fix = "Remove severity, since that in meta is in force"
        yield complain(f"meta.severity is {ours!r}, but severity is {given!r}", fix)


def _check_columns(
    kwargs: dict[str, Any], measurement: Measurement, complain: Complaint
) -> Iterator[SuiteInvalid]:
    known = columns_of(measurement)
    for key in MANY_COLUMNS:
        if not isinstance(kwargs.get(key, []), list):
            yield complain(f"{key} is not a list", "Write the columns as a list")
            return
    for column in columns_named(kwargs):
        if column not in known:
            fix = did_you_mean(str(column), known, f"Its columns: {', '.join(known)}")
            yield complain(f"{measurement.name} has no column {column!r}", fix)


def _check_ids(expectations: list[dict[str, Any]], complain: Complaint) -> Iterator[SuiteInvalid]:
    seen: set[str] = set()
    for content in expectations:
        check_id = content["meta"]["check_id"]
        if check_id in seen:
            fix = "Give each expectation its own"
            yield complain.of(check_id)("meta.check_id is given twice", fix)
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


def _check_parameters(
    content: dict[str, Any], expectations: list[dict[str, Any]], complain: Complaint
) -> Iterator[SuiteInvalid]:
    given = content.get("suite_parameters") or {}
    if not isinstance(given, dict):
        yield complain("suite_parameters is not an object", "Write name: value")
        return
    needed: set[str] = set()
    for expectation in expectations:
        names = set(parameters_named(expectation["kwargs"]))
        needed |= names
        for name in sorted(names - set(given)):
            fix = did_you_mean(name, given, "Give it in suite_parameters")
            of_check = complain.of(expectation["meta"]["check_id"])
            yield of_check(f"the suite has no parameter {name}", fix)
    for name in sorted(set(given) - needed):
        fix = did_you_mean(name, needed, "Take it out of suite_parameters")
        yield complain(f"no expectation uses the parameter {name}", fix)


def _check_obligations(
    expectations: list[dict[str, Any]],
    flawed: set[Any],
    measurement: Measurement,
    complain: Complaint,
) -> Iterator[SuiteInvalid]:
    """Require the checks without which an empty, doubled or hollow frame would pass.

    An expectation with a flaw of its own may be meant for one, so its type is left out.
    """
    required = [name for name, field in measurement.fields.items() if field.required]
    obligations: list[tuple[str, dict[str, Any], str]] = [
        (ROW_COUNT, {"min_value": 1}, "critical"),
        (UNIQUE, {"column_list": list(measurement.key)}, "critical"),
        (NOT_NULL, {"column": "time"}, "critical"),
        *((NOT_NULL, {"column": name}, "high") for name in required),
    ]
    for kind, kwargs, severity in obligations:
        if kind in flawed:
            continue
        found = (each for each in expectations if each["type"] == kind)
        if severity == "critical":
            found = (each for each in found if each["meta"]["severity"] == Severity.CRITICAL)
        if not any(_fulfils(each["kwargs"], kwargs) for each in found):
            shown = ", ".join(f"{key} {value}" for key, value in kwargs.items()).replace("'", "")
            fix = "Add it: without it a bad batch would pass"
            yield complain(f"lacks {kind} with exactly {shown} ({severity})", fix)


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
