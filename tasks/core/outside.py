"""Text and numbers from outside: read without surprise, and made fit to be shown."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
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


def check_size(text: str | bytes, most_keys: int = MOST_KEYS, most: int | None = None) -> None:
    """Raise ValueError for JSON of so many values that they would fill the memory.

    `most` is for what keeps its values as text, such as samples, when there is none.
    """
    count = text.count if isinstance(text, str) else partial(_count, text)
    if count(":") > most_keys:
        raise ValueError(f"it has more than {most_keys} keys")
    if most is not None and sum(map(count, ",[{")) > most:
        raise ValueError(f"it has more than {most} values")


def _count(text: bytes, mark: str) -> int:
    return text.count(mark.encode())


def read_json(text: str | bytes) -> Any:
    """Parse JSON with NaN and Infinity; raise ValueError alone."""
    check_size(text, most=MOST_VALUES)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
