"""Text and numbers from outside: read without surprise, and made fit to be shown."""

import json
from typing import Any

import msgspec

# all that a parser of JSON raises, also for nested brackets and numbers of 5,000 digits
UNREADABLE = (ValueError, msgspec.DecodeError, RecursionError)
# one takes some 80 bytes in memory, a few bytes in the text; a new key some 240
MOST_VALUES = 6_000_000
MOST_KEYS = 4_000_000


def check_keys(text: bytes) -> bytes:
    """Return the JSON; raise ValueError for so many keys that they would fill the memory."""
    if text.count(b":") > MOST_KEYS:
        raise ValueError(f"it has more than {MOST_KEYS} keys")
    return text


def check_size(text: bytes) -> bytes:
    """Return the JSON; raise ValueError for so many values that they would fill the memory."""
    if sum(map(check_keys(text).count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES} values")
    return text


def read_json(text: bytes) -> Any:
    """Parse JSON with NaN and Infinity; raise ValueError alone."""
    try:
        return json.loads(check_size(text))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
