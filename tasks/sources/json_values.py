"""JSON values as the catalogue's types, without any change of value."""

import json
import math
from dataclasses import dataclass
from typing import Any

from tasks.core.json_path import kind_of
from tasks.core.measurement import FieldType

EXPECTED: dict[FieldType, str] = {
    "float": "a number",
    "int": "a whole number",
    "string": "a string",
    "bool": "true or false",
}
# integers below this are exact as doubles
EXACT = 2.0**53
HALF = "a string with half a character"
SMALLEST, LARGEST = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Unfit:
    """A value that a field's type cannot hold, and why."""

    value: Any
    reason: str


def fitted(value: Any, kind: FieldType) -> float | int | str | bool | Unfit | None:
    """Return the value in the field's type; NaN and Inf stay floats."""
    if value is None:
        return None
    if isinstance(value, bool):
        return value if kind == "bool" else _unfit(value, kind)
    if isinstance(value, int | float) and kind in ("float", "int"):
        return _as_float(value) if kind == "float" else _as_int(value)
    if isinstance(value, str) and kind == "string":
        return value if is_writable(value) else Unfit(value, HALF)
    return _unfit(value, kind)


def _unfit(value: Any, kind: FieldType) -> Unfit:
    return Unfit(value, f"{kind_of(value)} where {EXPECTED[kind]} belongs")


def _as_float(value: float | int) -> float | Unfit:
    try:
        return float(value)
    except OverflowError:
        return Unfit(value, "a number beyond 64 bits")


def _as_int(value: float | int) -> float | int | Unfit:
    if isinstance(value, float):
        if not math.isfinite(value):
            return value
        if not value.is_integer() or abs(value) >= EXACT:
            return Unfit(value, "a fraction where a whole number belongs")
        return int(value)
    if not SMALLEST <= value <= LARGEST:
        return Unfit(value, "a number beyond 64 bits")
    return value


def is_writable(text: str) -> bool:
    """Return whether UTF-8 can encode it: JSON may contain half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def tag_text(value: Any) -> str | None:
    """Return the value as a tag; raise TypeError for a list, object or half character."""
    if isinstance(value, list | dict):
        raise TypeError(kind_of(value))
    if isinstance(value, str) and not is_writable(value):
        raise TypeError(HALF)
    return value if value is None or isinstance(value, str) else json.dumps(value)


def shown(value: Any) -> str | float:
    """Return the value for a quarantine record: a number, or text in UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool) and SMALLEST <= value <= LARGEST
    ):
        return value
    return json.dumps(value)
