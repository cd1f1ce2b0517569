"""What every suite must have, checked on the plain JSON, without Great Expectations."""

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
    """Where the checks of one file complain."""

    path: Path
    check_id: str | None = None

    def __call__(self, problem: str, mend: str) -> SuiteInvalid:
        """The error to raise."""
        where = f"check {self.check_id}: " if self.check_id else ""
        return SuiteInvalid(
            suite=str(self.path), check_id=self.check_id, problem=where + problem, mend=mend
        )


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """The mend for a word that is not among the known ones."""
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"Did you mean {close[0]}?" if close else otherwise


def check_structure(content: Any, measurement: Measurement, path: Path) -> None:
    """Refuses what is not a suite for this measurement.

    Raises:
        SuiteInvalid: with the file, the check (check_id, None when it is the file) and the mend.
    """
    complain = Complaint(path)
    if not isinstance(content, dict):
        raise complain("is not a JSON object", "Write it as Great Expectations does")
    _refuse_unknown(content, SUITE_KEYS, complain)
    if content.get("name") != measurement.suite_name:
        raise complain(
            f"its name is {content.get('name')!r}", f'Call it "{measurement.suite_name}"'
        )
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
            mend = did_you_mean(key, known, f"Known keys: {', '.join(known)}")
            raise complain(f"unknown key {inside}{key}", mend)


def _check_expectation(
    content: Any, position: int, measurement: Measurement, complain: Complaint
) -> None:
    if not isinstance(content, dict) or not isinstance(content.get("meta"), dict):
        raise complain(
            f"expectation {position + 1} has no meta",
            f"Give it the keys {', '.join(META_KEYS)} in meta",
        )
    check_id = content["meta"].get("check_id")
    if not isinstance(check_id, str) or not check_id:
        raise complain(
            f"expectation {position + 1} has no meta.check_id", "Name it, once in the suite"
        )
    complain = Complaint(complain.path, check_id)
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
        raise complain("has no meta.reason", "Say in one sentence why this limit")
    if origin not in get_args(Origin):
        raise complain(f"meta.origin is {origin!r}", f"Use one of: {', '.join(get_args(Origin))}")


def _check_severity(content: dict[str, Any], complain: Complaint) -> None:
    ours = content["meta"].get("severity")
    if ours not in list(Severity):
        raise complain(f"meta.severity is {ours!r}", f"Use one of: {', '.join(Severity)}")
    theirs = NAMES[Severity(ours)].great_expectations
    if content.get("severity") != theirs:
        raise complain(
            f"meta.severity is {ours!r}, but severity is {content.get('severity')!r}",
            f'Write "severity": "{theirs}", as Great Expectations calls it',
        )


def _check_columns(kwargs: dict[str, Any], measurement: Measurement, complain: Complaint) -> None:
    known = columns_of(measurement)
    for key in MANY_COLUMNS:
        if not isinstance(kwargs.get(key, []), list):
            raise complain(f"{key} is not a list", "Write the columns as a list")
    for column in columns_named(kwargs):
        if column not in known:
            mend = did_you_mean(str(column), known, f"Its columns: {', '.join(known)}")
            raise complain(f"{measurement.name} has no column {column!r}", mend)


def _check_ids(expectations: list[dict[str, Any]], complain: Complaint) -> None:
    seen: set[str] = set()
    for content in expectations:
        check_id = content["meta"]["check_id"]
        if check_id in seen:
            raise Complaint(complain.path, check_id)(
                "meta.check_id is given twice", "Give each expectation its own"
            )
        seen.add(check_id)


def parameters_named(value: Any) -> Iterator[str]:
    """The names of $PARAMETER anywhere in the value."""
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
            mend = did_you_mean(name, given, "Give it in suite_parameters")
            raise Complaint(complain.path, expectation["meta"]["check_id"])(
                f"the suite has no parameter {name}", mend
            )
    for name in sorted(set(given) - needed):
        mend = did_you_mean(name, needed, "Take it out of suite_parameters")
        raise complain(f"no expectation uses the parameter {name}", mend)


def _check_obligations(
    expectations: list[dict[str, Any]], measurement: Measurement, complain: Complaint
) -> None:
    """Without these, Great Expectations lets an empty, doubled or hollow frame pass."""
    if not any(_is_row_count(each) for each in expectations):
        raise _lacking(ROW_COUNT, {"min_value": 1}, "critical", complain)
    if not any(_is_uniqueness(each, measurement) for each in expectations):
        raise _lacking(UNIQUE, {"column_list": list(measurement.key)}, "critical", complain)
    if not any(_is_not_null(each, "time") and _is_critical(each) for each in expectations):
        raise _lacking(NOT_NULL, {"column": "time"}, "critical", complain)
    for name, field in measurement.fields.items():
        if field.required and not any(_is_not_null(each, name) for each in expectations):
            raise _lacking(NOT_NULL, {"column": name}, "high", complain)


def _is_critical(content: dict[str, Any]) -> bool:
    return bool(content["meta"]["severity"] == Severity.CRITICAL)


def _is_row_count(content: dict[str, Any]) -> bool:
    kwargs = content["kwargs"]
    least = kwargs.get("min_value")
    return (
        content["type"] == ROW_COUNT
        and _is_critical(content)
        and set(kwargs) <= {"min_value", "max_value"}
        and isinstance(least, int | float)
        and least >= 1
    )


def _is_uniqueness(content: dict[str, Any], measurement: Measurement) -> bool:
    # another argument, such as a condition, would leave rows out
    kwargs = content["kwargs"]
    return (
        content["type"] == UNIQUE
        and _is_critical(content)
        and set(kwargs) == {"column_list"}
        and sorted(kwargs["column_list"]) == sorted(measurement.key)
    )


def _is_not_null(content: dict[str, Any], column: str) -> bool:
    return bool(content["type"] == NOT_NULL and content["kwargs"] == {"column": column})


def _lacking(kind: str, kwargs: dict[str, Any], severity: str, complain: Complaint) -> SuiteInvalid:
    shown = ", ".join(f"{key} {value}" for key, value in kwargs.items()).replace("'", "")
    return complain(
        f"lacks {kind} with exactly {shown} ({severity})",
        "Add it: without it a bad batch would pass",
    )
