"""Suites: JSON files of Great Expectations, read strictly: unknown keys are refused."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigurationInvalid, SuiteInvalid
from tasks.core.measurement import Measurement
from tasks.core.settings import shipped
from tasks.core.whole_file import replace_file
from tasks.validation import engine, trial
from tasks.validation.model import Expectation, Suite
from tasks.validation.structure import (
    Complaint,
    check_structure,
    did_you_mean,
    shaped_ones,
    structural_flaws,
)

# integers up to this size are exact as doubles
_EXACT = 2**53
_OPTIONAL = frozenset({"description", "meta", "notes", "suite_parameters"})


def canonical_json(content: dict[str, Any]) -> str:
    """Return the canonical text: sorted keys, indented by 2, with a final newline.

    Keys that Great Expectations adds, or without content, are left out: its version, ids, nulls, its
    severity (ours is in meta), and empty notes, meta and parameters. Whole numbers have no fraction; ValueError for NaN and Inf.
    """
    kept = _significant(content)
    kept["expectations"] = [_significant(each) for each in content["expectations"]]
    for each in kept["expectations"]:
        each.pop("severity", None)
    kept.get("meta", {}).pop("great_expectations_version", None)
    if not kept.get("meta"):
        kept.pop("meta", None)
    text = json.dumps(_plain(kept), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def _significant(content: dict[str, Any]) -> dict[str, Any]:
    return {
        key: dict(value) if key == "meta" else value
        for key, value in content.items()
        if key != "id" and value is not None and (value or key not in _OPTIONAL)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(nested) for key, nested in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(nested) for nested in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value


def read_suite(folder: Path, measurement: Measurement) -> Suite:
    """Read a suite without Great Expectations; raise SuiteInvalid for none."""
    path, content = _content(folder, measurement)
    return suite_of(content, measurement, path)


def _content(folder: Path, measurement: Measurement) -> tuple[Path, Any]:
    path = folder / f"{measurement.suite_name}.json"
    is_shipped = measurement.is_own and not path.is_file()
    # what is built in has a built-in suite
    return path, _read(shipped("expectations") / path.name if is_shipped else path)


def all_flaws(folder: Path, measurement: Measurement) -> list[SuiteInvalid]:
    """Return every flaw of a suite; raise SuiteInvalid for a file without JSON."""
    path, content = _content(folder, measurement)
    flaws = list(structural_flaws(content, measurement, path))
    if isinstance(content, dict) and isinstance(content.get("expectations"), list):
        flawed = {flaw.check_id for flaw in flaws}
        sound = [one for one in shaped_ones(content) if one["meta"]["check_id"] not in flawed]
        suite = Suite(measurement.suite_name, path, {**content, "expectations": sound}, digest="")
        flaws += _flaws_in_use(suite, measurement)
    return flaws


def read_unchecked(folder: Path, name: str) -> Suite | None:
    """Read the suite's JSON, None without a file; raise SuiteInvalid if malformed."""
    path = folder / f"{name}.json"
    return Suite(name, path, _read(path), digest="") if path.is_file() else None


def suite_of(content: Any, measurement: Measurement, path: Path) -> Suite:
    """Build the suite of a measurement from its content, checked as read_suite does."""
    check_structure(content, measurement, path)
    digest = hashlib.blake2b(canonical_json(content).encode(), digest_size=8).hexdigest()
    return Suite(measurement.suite_name, path, content, digest)


def write_suite(suite: Suite) -> None:
    """Replace the suite's file atomically; raise ConfigurationInvalid."""
    try:
        replace_file(suite.path, canonical_json(suite.content).encode())
    except OSError as error:
        raise ConfigurationInvalid(
            where=suite.path,
            problem=f"cannot be written: {error.strerror}",
            fix="Make its folder writable",
        ) from error


def _read(path: Path) -> Any:
    complain = Complaint(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        others = [other.stem for other in path.parent.glob("*.json")]
        fix = did_you_mean(path.stem, others, "Write it, or name another one under `suite`")
        raise complain("the file is missing", fix) from error
    except (OSError, UnicodeDecodeError) as error:
        raise complain(f"cannot be read: {error}", "Correct the file") from error
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite
        )
    except ValueError as error:
        raise complain(f"is not JSON: {error}", "Correct the file") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = sorted({key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1})
        raise ValueError(f"the key {twice[0]} is repeated in one object")
    return content


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def verify(suite: Suite, measurement: Measurement) -> None:
    """Load the suite in Great Expectations, and try it on a small frame.

    Raises SuiteInvalid for an unknown type or argument, an expectation that Great Expectations drops,
    or one that cannot run on a column of this type.
    """
    for flaw in _flaws_in_use(suite, measurement):
        raise flaw


def _flaws_in_use(suite: Suite, measurement: Measurement) -> Iterator[SuiteInvalid]:
    known = engine.known_types()
    sound: list[str] = []
    for expectation in suite.expectations:
        complain = Complaint(suite.path, expectation.check_id)
        flaws = list(_flaws_of_arguments(expectation, complain, known))
        yield from flaws
        sound += [] if flaws else [expectation.check_id]
    entries = [each for each in suite.content["expectations"] if each["meta"]["check_id"] in sound]
    suite = replace(suite, content={**suite.content, "expectations": entries})
    if engine.loaded_types(suite) != [each.type for each in suite.expectations]:
        fix = "Compare it with what it loads"
        yield Complaint(suite.path)("Great Expectations does not load all of it", fix)
    for check_id, problem in trial.obstacles(suite, measurement):
        complain = Complaint(suite.path, check_id)
        yield complain(f"cannot run on {measurement.name}: {problem}", "Choose one for its type")


def _flaws_of_arguments(
    expectation: Expectation, complain: Complaint, types: list[str]
) -> Iterator[SuiteInvalid]:
    if expectation.type not in types:
        fix = did_you_mean(expectation.type, types, f"It knows: {', '.join(types)}")
        yield complain(f"Great Expectations knows no {expectation.type}", fix)
        return
    known = engine.arguments_of(expectation.type)
    for name in expectation.arguments:
        if name not in known:
            fix = did_you_mean(name, known, f"Give one of: {', '.join(known)}")
            yield complain(f"{expectation.type} takes no {name}", fix)
            return
    problem = engine.problem_with(expectation.type, expectation.arguments)
    if problem:
        yield complain(f"{expectation.type}: {problem}", "Correct its kwargs")
