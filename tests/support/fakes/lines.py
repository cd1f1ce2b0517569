"""Reads InfluxDB line protocol back, written apart from the code that makes it.

After docs.influxdata.com, "Line protocol"; what is refused is what influxd 2.9.1 refuses.
"""

import math
import re
from dataclasses import dataclass

Value = float | int | str | bool

# A backslash escapes only what follows here; before anything else it is itself. The quantifiers
# are possessive: an escaped separator must never be tried again as a separator.
_NAME = r"(?>\\[, ]|[^, \n])++"
_KEY = r"(?>\\[,= ]|[^,= \n])++"
_VALUE = r'(?>"(?>\\["\\]|[^"])*+"|[^, \n"]++)'
_LINE = re.compile(
    rf"({_NAME})((?:,{_KEY}={_KEY})*+) ({_KEY}={_VALUE}(?:,{_KEY}={_VALUE})*+)(?: (-?\d+))?(?=\n|\Z)"
)
_TAG = re.compile(rf",({_KEY})=({_KEY})")
_FIELD = re.compile(rf",?({_KEY})=({_VALUE})")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_INTEGER = re.compile(r"-?\d+i")
_BOOLEANS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}
_RESERVED = {"time", "_field", "_measurement"}


@dataclass(frozen=True)
class Line:
    """One line, unescaped. `time` is in the post's precision."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Value]
    time: int | None


def read_lines(text: str) -> tuple[list[Line], list[str]]:
    """The lines of a post, and what the server says of each that it cannot parse."""
    lines: list[Line] = []
    problems: list[str] = []
    position = 0
    while position < len(text):
        found = _LINE.match(text, position)
        end = found.end() if found else _end_of_line(text, position)
        raw = text[position:end]
        position = end + 1
        try:
            if raw and not raw.startswith("#"):
                lines.append(_read(raw, found))
        except ValueError as error:
            problems.append(f"unable to parse '{raw}': {error}")
    return lines, problems


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _read(raw: str, found: re.Match[str] | None) -> Line:
    if found is None:
        raise ValueError(_why(raw))
    tags = [(_plain(key), _plain(value)) for key, value in _TAG.findall(found[2])]
    keys = [key for key, _ in tags]
    if len(set(keys)) < len(keys):
        raise ValueError("duplicate tags")
    if reserved := _RESERVED.intersection(keys):
        raise ValueError(f'cannot use reserved tag key "{reserved.pop()}"')
    fields = {_plain(key): _value(value) for key, value in _FIELD.findall(found[3])}
    time = None if found[4] is None else _integer(found[4])
    return Line(re.sub(r"\\([, ])", r"\1", found[1]), dict(tags), fields, time)


def _why(raw: str) -> str:
    if " " not in raw:
        return "missing fields"
    if re.search(r"=[ ,].* ", raw):
        return "missing tag value"
    return "missing field value" if re.search(r"=( |\Z)", raw) else "invalid tag format"


def _plain(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)


def _value(text: str) -> Value:
    if text.startswith('"'):
        return re.sub(r'\\(["\\])', r"\1", text[1:-1])
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text[:-1])
    if not _NUMBER.fullmatch(text):
        raise ValueError("invalid number")
    if math.isinf(float(text)):
        raise ValueError("invalid float")
    return float(text)


def _integer(text: str) -> int:
    if not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"unable to parse integer {text}: value out of range")
    return int(text)
