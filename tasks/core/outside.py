"""Text and numbers from outside: read without surprise, and made fit to be shown."""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import msgspec

# all that a parser of JSON raises, also for nested brackets and numbers of 5,000 digits
UNREADABLE = (ValueError, msgspec.DecodeError, RecursionError)
# one takes some 80 bytes in memory, a few bytes in the text; a new key some 240
MOST_VALUES = 6_000_000
MOST_KEYS = 4_000_000
# of a long quote: its begin says what, its end why
LONGEST_QUOTE, END_OF_QUOTE = 300, 140
MOST_NAMES = 10
# controls of a terminal (C0, C1), of the direction of text, and halves of a character
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
# in JSON: an escape of a whole character, of half of one, or another
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)


def shortened(text: str, longest: int = LONGEST_QUOTE) -> str:
    """Return the text on one line, without controls, and cut in its middle if it is long."""
    # more of it cannot be needed, whatever its blanks
    part = text if len(text) <= 40 * longest else f"{text[: 20 * longest]} {text[-20 * longest :]}"
    line = _UNSAFE.sub("\ufffd", " ".join(part.split()))
    if len(line) <= longest:
        return line
    return f"{line[: longest - END_OF_QUOTE - 3]} … {line[-END_OF_QUOTE:]}"


def escaped(text: str) -> str:
    """Return JSON or a line whose controls are shown as escapes."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def listed(names: Iterable[Any], count: int) -> list[Any]:
    """Return the first names, and how many more of `count` there are."""
    first = [shown(name) for name in islice(names, MOST_NAMES)]
    return [*first, f"… and {count - MOST_NAMES} more"] if count > MOST_NAMES else first


def shown(value: Any, longest: int = LONGEST_QUOTE) -> Any:
    """Return a fact of a message, clean and short."""
    if isinstance(value, str):
        return shortened(value, longest)
    if isinstance(value, list | tuple):
        return listed(value, len(value))
    if isinstance(value, Mapping):
        first = islice(value.items(), MOST_NAMES)
        return {shown(name): shown(each, longest) for name, each in first}
    return value


def check_keys(text: bytes) -> bytes:
    """Return the JSON; raise ValueError for so many keys that they would fill the memory."""
    if text.count(b":") > MOST_KEYS:
        raise ValueError(f"it has more than {MOST_KEYS} keys")
    return text


def check_size(text: bytes) -> bytes:
    """Return the JSON; raise ValueError for so many values that they would fill the memory, or escapes."""
    if sum(map(check_keys(text).count, (b",", b"[", b"{", b"\\"))) > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES} values or escapes")
    return text


def read_json(text: bytes) -> Any:
    """Parse JSON with NaN and Infinity; raise ValueError alone."""
    try:
        return json.loads(_ESCAPE.sub(_whole, check_size(text)))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _whole(found: re.Match[bytes]) -> bytes:
    """Replace half of a character, which no store takes."""
    return rb"\ufffd" if found[1] else found[0]
